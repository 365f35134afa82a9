"""The report as a whole: written from evaluations, read as a browser would."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from heteroreg.evaluation import Case
from heteroreg.report import write_report
from heteroreg.system.errors import UserError

Evaluate = Callable[..., Path]
MakeCase = Callable[..., Case]

VOID = {"meta", "link", "img", "br", "input", "hr"}


class Page(HTMLParser):
    """Checks that elements are closed in order; collects what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read(path: Path) -> Page:
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page


BETTER = [0.80, 0.82, 0.78, 0.85, 0.81, 0.79, 0.84, 0.80]
WORSE = [0.75, 0.78, 0.72, 0.81, 0.77, 0.75, 0.79, 0.74]


def test_the_whole_report(evaluation: Evaluate, case: MakeCase, tmp_path: Path) -> None:
    folders = [
        evaluation("mse", WORSE, cases=(case(noise=False),), noise=False),
        evaluation("hetero", BETTER, cases=(case(truth=True),)),
    ]
    page = read(write_report(folders, tmp_path / "report", baseline=folders[0], title="Two methods"))
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        "figures",
        "heteroreg.json",
        "index.html",
        "table.csv",
        "table.md",
    ]
    figures = ["dice", "noise-maps", "sparsification", "warped-myocardium"]
    assert {path.name for path in (tmp_path / "report" / "figures").iterdir()} == {
        f"{name}.{kind}" for name in figures for kind in ("pdf", "png")
    }
    assert all(name in page.text for name in figures)
    assert set(pd.read_csv(tmp_path / "report" / "table.csv")["row"]) == {"mse", "hetero"}
    assert "hetero has the highest Dice of label 2" in page.text
    assert len(page.all("img")) == 1  # the pair, with both methods
    assert all(image["alt"] for image in page.all("img"))
    assert len(page.all("caption")) == 2
    assert "82.00" in page.text  # the Dice of the pair by both methods
    assert "78.00" in page.text
    assert [tag for tag, _ in page.elements if tag == "h1"] == ["h1"]
    for region in page.all("div"):
        if region.get("class") == "scroll":
            assert region["tabindex"] == "0"


def test_nothing_is_fetched(evaluation: Evaluate, case: MakeCase, tmp_path: Path) -> None:
    path = write_report([evaluation("one", BETTER, cases=(case(),))], tmp_path / "report", figures=False)
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|//cdn", text)
    assert "<script" not in text
    page = read(path)
    for _, attributes in page.elements:
        for name in ("src", "href"):
            address = attributes.get(name)
            assert address is None or address.startswith(("data:", "#"))


def test_ids_are_unique_and_links_inside_the_page_lead_somewhere(
    evaluation: Evaluate, case: MakeCase, tmp_path: Path
) -> None:
    folders = [evaluation("a", WORSE, cases=(case(),)), evaluation("b", BETTER, cases=(case(),))]
    page = read(write_report(folders, tmp_path / "report", figures=False))
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    named = [
        attributes[key] for _, attributes in page.elements for key in ("aria-labelledby",) if key in attributes
    ]
    linked = [(attributes.get("href") or "") for _, attributes in page.elements]
    assert named
    assert {*named, *(link[1:] for link in linked if link.startswith("#"))} <= set(ids)


def test_the_same_input_gives_the_same_page(evaluation: Evaluate, case: MakeCase, tmp_path: Path) -> None:
    folders = [evaluation("a", WORSE, cases=(case(),)), evaluation("b", BETTER)]
    first = write_report(folders, tmp_path / "one", figures=False).read_bytes()
    assert write_report(folders, tmp_path / "two", figures=False).read_bytes() == first


def test_names_are_text_never_markup(evaluation: Evaluate, case: MakeCase, tmp_path: Path) -> None:
    name = """<b id="x">Ω's "$x^2$" & co"""
    pair = "<script>alert('Zoë')</script>"
    folder = evaluation(name, BETTER, cases=(case(pair),))
    other = evaluation("plain", WORSE)
    page = read(
        write_report([folder, other], tmp_path / "report", title="<script>1</script> & more", figures=False)
    )
    assert page.all("script") == []
    assert all(attributes == {} for attributes in page.all("b"))  # the page's own have none
    assert name in page.text
    assert f"{pair}, slice 3" in page.text
    assert "<script>1</script> & more" in page.text
    assert any(pair in (image["alt"] or "") for image in page.all("img"))


@pytest.mark.parametrize(
    ("dice", "settings", "kind"),
    [
        (BETTER, {"labels": False}, {"labels": False}),
        (BETTER, {"noise": False}, {"noise": False}),
        (BETTER, {"labels": False, "noise": False}, {"labels": False, "noise": False}),
        ([0.8], {}, {}),
        ([0.8, 0.7], {}, {}),
    ],
    ids=["no labels", "no noise map", "neither", "one patient", "two patients"],
)
@pytest.mark.parametrize("count", [1, 2])
def test_with_less(
    evaluation: Evaluate, case: MakeCase, tmp_path: Path, dice: list, settings: dict, kind: dict, count: int
) -> None:
    folders = [evaluation(f"run{k}", dice, cases=(case(**kind),), **settings) for k in range(count)]
    page = read(write_report(folders, tmp_path / "report", figures=False))
    ids = {attributes.get("id") for _, attributes in page.elements}
    assert ("sparsification" in ids) == settings.get("noise", True)
    assert "nan" not in page.text.lower().split()
    assert ("label 2" in page.text) == settings.get("labels", True)


def test_without_a_gallery(evaluation: Evaluate, tmp_path: Path) -> None:
    page = read(write_report([evaluation("run", BETTER)], tmp_path / "report", figures=False))
    assert page.all("img") == []
    assert "pairs" not in {attributes.get("id") for _, attributes in page.elements}


def test_what_the_means_hide_is_said(evaluation: Evaluate, tmp_path: Path) -> None:
    folders = [evaluation("a", WORSE, missed=2, mode="reference"), evaluation("b", BETTER, mode="reference")]
    text = read(write_report(folders, tmp_path / "report", figures=False)).text
    assert "a lost label 2 in 2 of 8 slices." in text
    assert "distances in voxels" in text
    assert "(mm)" not in text


def test_an_earlier_report_is_replaced_and_a_foreign_folder_stays(evaluation: Evaluate, tmp_path: Path) -> None:
    folder = evaluation("run", BETTER)
    write_report([folder], tmp_path / "report", title="first", figures=False)
    assert "second" in read(write_report([folder], tmp_path / "report", title="second", figures=False)).text
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.txt").write_text("mine")
    with pytest.raises(UserError, match="thesis"):
        write_report([folder], foreign, figures=False)
    assert [path.name for path in foreign.iterdir()] == ["chapter.txt"]


def test_a_folder_that_is_no_evaluation(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty"):
        write_report([tmp_path / "empty"], tmp_path / "report", figures=False)
    assert not (tmp_path / "report").exists()
