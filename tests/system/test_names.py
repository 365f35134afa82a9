"""Ids and names of files and folders with every character that they may have, from a cohort to the page."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from heteroreg.cli.app import main
from heteroreg.comparison.escape import escaped
from heteroreg.data.cohort import Cohort, Pair
from heteroreg.data.phantom import write_phantom
from heteroreg.evaluation import Scores, evaluate
from heteroreg.registration.load import load
from heteroreg.system.errors import UserError

TEST = (
    "a b",
    "a\"b'c",
    "<script>alert(1)</script>",
    "../../x",
    "/etc/passwd",
    "Müller-ß-漢字",
    "é",  # one character
    "e\u0301",  # the same to the eye, two characters
    "a/b",
    "a:b",
    "a?b",
    "a_b",
    "A_B",
    "a|b `c` *d* [e](f)",
    "{{ 7*7 }} {% raw %}",
    "$x^2$ \\frac{1}",
    "=1+1",
    "&lt;b&gt; & co",
    "CON",
    ".",
    "..",
    "x" * 3000,
    "\u200bhidden\u202etxt",
)
# What a file may be called on Linux, but for the ends of lines.
FILES = (
    "a b",
    'it\'s "so"',
    "<i>&",
    "Größe 漢字",
    "%d %s",
    "#1;2",
    "-dash",
    "$HOME `id`",
    "a|b",
    "*?[x]",
    "~",
    "\u202e",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder deep enough for `../../` to stay in sight, with a cohort of such names."""
    top = tmp_path_factory.mktemp("names")
    plain = write_phantom(top / "phantom", pairs=4, size=32)
    assert plain is not None
    folder = top / "one" / "two" / 'co\'h "ort" ü'
    pairs = []
    for number, name in enumerate(("t1", "t2", "t3", "v1", *TEST)):
        source, split = plain[number % 4], "train" if number < 3 else "val" if number == 3 else "test"
        files = {}
        for side in ("moving", "fixed", "moving_labels", "fixed_labels"):
            path = folder / "im ages" / f"{FILES[number % len(FILES)]} {number}" / f"{side} é.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(getattr(source, side), path)
            files[side] = path
        pairs.append(Pair(id=name, split=split, patient=name, extra={"note": f"<b>{number}"}, **files))
    Cohort(tuple(pairs)).write(folder / "pairs.csv")
    shutil.rmtree(top / "phantom")
    return top


def run(*arguments: str | Path) -> None:
    """Runs `heteroreg … --quiet`, which must end well and say nothing: no warning of a missing glyph either."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(io.StringIO()) as said:
        patch.setattr("sys.argv", ["heteroreg", *map(str, arguments), "--quiet"])
        with pytest.raises(SystemExit) as stop:
            main()
    assert (stop.value.code or 0, said.getvalue()) == (0, "")


class Page(HTMLParser):
    """The texts of headings and row titles, the alternative texts of pictures, and the elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.titles: dict[str, list[str]] = {"h3": [], "h4": [], "th": []}
        self.alts: list[str] = []
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        self.alts += [value or "" for name, value in attrs if name == "alt"]
        if tag in self.titles:
            self._inside = tag
            self.titles[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag == self._inside else self._inside

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.titles[self._inside][-1] += data


def files_of(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*")}


NAMES = ("mé thod <b>|*x*<i>", "\"q\" 'q' $x^2$ 漢字", "%d {{ 7*7 }} [a](b)")


@pytest.fixture(scope="module")
def report(place: Path) -> Path:
    """A report of three evaluations of one run, each in a folder with such a name."""
    work = place / "one" / "two"
    cohort = next(path for path in work.iterdir())
    before = files_of(place)
    settings = ["--method", "hetero", "--steps", "2", "--set", "batch_size=2"]
    run("train", cohort, "--out", work / "run <u>|ü", *settings)
    test = Cohort.read(cohort, confine=True).split("test")
    for name in NAMES:
        shown_of = len(TEST) if name == NAMES[0] else 1
        evaluate(load(work / "run <u>|ü"), test, out=work / "scores" / name, gallery=shown_of)
    run("compare", *(work / "scores" / name for name in NAMES), "--out", work / "re port")
    new = {name.split("/")[2] for name in files_of(place) - before}
    assert new == {"run <u>|ü", "scores", "re port"}
    assert {path.name for path in place.iterdir()} == {"one"}
    assert {path.name for path in (place / "one").iterdir()} == {"two"}
    return work / "re port"


@pytest.mark.slow
def test_every_id_has_its_own_case(report: Path) -> None:
    for name in NAMES:
        folder = report.parent / "scores" / name
        scores = Scores.read(folder)
        assert [case.id for case in scores.cases] == list(TEST if name == NAMES[0] else TEST[:1])
        assert scores.table["id"].tolist() == list(TEST)
        assert scores.table["patient"].tolist() == list(TEST)
        assert scores.table["note"].tolist() == [f"<b>{number}" for number in range(4, 4 + len(TEST))]
        gallery = sorted(path.name for path in (folder / "gallery").iterdir())
        assert gallery == [f"{number:03d}.npz" for number in range(len(scores.cases))]


@pytest.mark.slow
def test_the_page_shows_ids_and_names_as_text(report: Path) -> None:
    page = Page((report / "index.html").read_text(encoding="utf-8"))
    # Those of the page come first; the name of the chosen pair is put there by a script.
    assert page.titles["h3"] == ["Sizes of labels", "", "Keyboard shortcuts", *TEST]
    assert not {"iframe", "object", "embed", "u", "i>"} & set(page.elements)
    assert page.elements.count("script") == 1 + 1 + len(TEST)  # the viewer's: itself, its data, the pairs
    assert page.titles["h4"] == []  # the pairs are figures, with the names in their alternative texts
    for name in NAMES:
        assert any(title.startswith(name) for title in page.titles["th"])
    for name in TEST:
        assert any(name in alt for alt in page.alts)


@pytest.mark.slow
def test_the_tables_keep_names(report: Path) -> None:
    with (report / "table.csv").open(encoding="utf-8", newline="") as handle:
        assert {row["row"] for row in csv.DictReader(handle)} == set(NAMES)
    text = (report / "table.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    widths = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]
    starts = [k for k, row in enumerate(rows) if row.startswith("|---")]
    for start in starts:  # a head, the rule, a row for each evaluation, all of one width
        assert len(set(widths[start - 1 : start + 1 + len(NAMES)])) == 1
        for name, row in zip(NAMES, rows[start + 1 :], strict=False):
            assert row.startswith(f"| {escaped(name)} |")
    assert "<b>" not in text.replace(r"\<b\>", "")


@pytest.mark.parametrize(
    ("name", "markdown"),
    [
        ("hetero_2", "hetero_2"),
        ("a|b", r"a\|b"),
        ("<b>", r"\<b\>"),
        ("*a* `b` [c](d) $e$", r"\*a\* \`b\` \[c\](d) \$e\$"),
        ("a\nb\x1b", r"a b\\x1b"),
        ("\\", "\\\\"),
    ],
)
def test_a_name_in_markdown(name: str, markdown: str) -> None:
    assert escaped(name) == markdown


@pytest.mark.parametrize("letter", ["\x00", "\n", "\r", "\t", "\x1b", "\x7f", "\x85", "\u2028"])
@pytest.mark.parametrize("column", ["id", "moving", "patient"])
def test_control_characters_are_refused(letter: str, column: str, tmp_path: Path) -> None:
    row = {"id": "a", "moving": "m.nii", "fixed": "f.nii", "patient": "p"}
    row[column] = f"x{letter}y"
    with (tmp_path / "pairs.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(row))
        writer.writeheader()
        writer.writerow(row)
    with pytest.raises(UserError, match=rf"pairs\.csv: line \d+ has a line break .* '{column}'") as error:
        Cohort.read(tmp_path)
    assert str(error.value).isprintable()


def test_folders_with_the_longest_name_that_there_is(place: Path, tmp_path: Path) -> None:
    name = "ü" * 127 + "x"  # 255 bytes
    cohort = next(path for path in (place / "one" / "two").iterdir() if (path / "pairs.csv").is_file())
    out = tmp_path / name
    run("evaluate", cohort, "--model", "undeformed", "--out", out)
    run("compare", out, "--out", tmp_path / ("y" * 255))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["y" * 255, name])
