"""Whole studies on a small phantom: what is trained, chosen, scored and compared, and what happens in between."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from heteroreg.data.cohort import Cohort
from heteroreg.data.image import read_image, write_image
from heteroreg.study import run_study
from heteroreg.study import study as study_module
from heteroreg.study.jobs import Local
from heteroreg.study.matrix import read_matrix
from heteroreg.system.errors import StoppedError, UserError
from heteroreg.system.outputs import output_folder
from heteroreg.system.signals import Interruption
from heteroreg.training import Run, train

Write = Callable[..., Path]
GRID = [f"voxelmorph-{m}-smoothness{s}-seed0" for m in ("mse", "hetero") for s in (0.001, 0.1)]


@pytest.fixture
def real_pages() -> None:
    """For a test that looks at the page of a report."""


@pytest.fixture(autouse=True)
def _empty_pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without content in all other tests: drawing takes longer than the trainings."""

    def write(_groups: object, out: Path, **_options: object) -> Path:
        with output_folder(out, "comparison") as folder:
            (folder / "index.html").write_text("")
        return out / "index.html"

    if "real_pages" not in request.fixturenames:
        monkeypatch.setattr(study_module, "write_report", write)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the finished study of this module is; the first test that needs it makes it."""
    return tmp_path_factory.mktemp("study") / "whole"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the study is that others are killed in the middle of; the first test that needs it makes it."""
    return tmp_path_factory.mktemp("undisturbed") / "study"


@pytest.fixture
def whole(study_file: Write, here, finished: Path) -> Path:
    """A finished study."""
    if not finished.exists():
        run_study(study_file(), finished, runner=here)
        here.names.clear()
    return finished


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """The same to play with."""
    return shutil.copytree(whole, tmp_path / "copy")


@pytest.mark.slow
@pytest.mark.usefixtures("real_pages")
def test_what_a_study_leaves(study_file: Write, here, tmp_path: Path) -> None:
    lines: list[str] = []
    pages = run_study(study_file(), tmp_path / "out", runner=here, say=lines.append)
    chosen = pd.read_csv(tmp_path / "out" / "chosen.csv")
    best = {
        method: max(
            (0.001, 0.1),
            key=lambda s: best_dice(tmp_path / "out" / "runs" / f"voxelmorph-{method}-smoothness{s}-seed0"),
        )
        for method in ("mse", "hetero")
    }
    others = [f"voxelmorph-{method}-smoothness{s}-seed1" for method, s in best.items()]
    scores = ["undeformed", *(f"voxelmorph-{method}-seed{n}" for method in ("mse", "hetero") for n in (0, 1))]
    # Each point with the first seed, then the chosen ones with the other; only these see the test pairs.
    assert here.names == [*GRID, *others, *(f"score-{name}" for name in scores)]
    assert sorted(path.name for path in (tmp_path / "out" / "runs").iterdir()) == sorted([*GRID, *others])
    assert sorted(path.name for path in (tmp_path / "out" / "scores").iterdir()) == sorted(scores)
    assert chosen[chosen["chosen"]].set_index("row")["smoothness"].to_dict() == best
    assert chosen["run"].tolist() == [*GRID, *others]
    for method, smoothness in best.items():
        summary = json.loads(
            (tmp_path / "out" / "scores" / f"voxelmorph-{method}-seed1" / "summary.json").read_text()
        )
        assert Path(summary["info"]["model"]).name == f"voxelmorph-{method}-smoothness{smoothness}-seed1"
        assert summary["split"] == "test"
    assert pages == [tmp_path / "out" / "report" / "index.html"]
    table = pd.read_csv(tmp_path / "out" / "report" / "table.csv").query("metric == 'dice_2'").set_index("row")
    assert table["seeds"].to_dict() == {"undeformed": 1, "mse": 2, "hetero": 2}
    assert lines[0] == "0/11: 4 to train"
    assert any(line.startswith("11/11: score-voxelmorph-hetero-seed1 in ") for line in lines)
    record = yaml.safe_load((tmp_path / "out" / "study.yaml").read_text())
    assert record == read_matrix(study_file()).record()


def best_dice(folder: Path) -> float:
    """The validation Dice at the step of the best checkpoint, which is the largest of all."""
    metrics = Run.read(folder).metrics.dropna(subset="val_dice").set_index("step")["val_dice"]
    step = json.loads((folder / "checkpoints" / "best" / "state.json").read_text())["step"]
    assert metrics[step] == metrics.max()
    return metrics[step]


def test_a_second_call_does_nothing(study_file: Write, here, copy: Path) -> None:
    lines: list[str] = []
    run_study(study_file(), copy, runner=here, say=lines.append)
    assert here.names == []
    assert [line.split()[0] for line in lines] == ["chosen", "chosen", "look"]


def test_a_seed_may_be_added(study_file: Write, here, copy: Path) -> None:
    run_study(study_file(seeds=[0, 1, 2]), copy, runner=here)
    assert [name for name in here.names if name.startswith("score")] == [
        "score-voxelmorph-mse-seed2", "score-voxelmorph-hetero-seed2",
    ]  # fmt: skip
    assert len(here.names) == 4


def test_a_better_point_changes_what_is_scored(study_file: Write, here, copy: Path) -> None:
    """The other point is made the better one by hand."""
    chosen = pd.read_csv(copy / "chosen.csv")
    loser = chosen[(chosen["row"] == "mse") & ~chosen["chosen"]].iloc[0]
    folder = copy / "runs" / loser["run"]
    step = json.loads((folder / "checkpoints" / "best" / "state.json").read_text())["step"]
    metrics = pd.read_csv(folder / "metrics.csv")
    metrics.loc[metrics["step"] == step, "val_dice"] = 0.99
    metrics.to_csv(folder / "metrics.csv", index=False, lineterminator="\n")
    run_study(study_file(), copy, runner=here)
    seed1 = loser["run"].replace("seed0", "seed1")
    assert here.names == [seed1, "score-voxelmorph-mse-seed0", "score-voxelmorph-mse-seed1"]
    summary = json.loads((copy / "scores" / "voxelmorph-mse-seed0" / "summary.json").read_text())
    assert Path(summary["info"]["model"]).name == loser["run"]


def test_what_another_matrix_has_made_is_refused(study_file: Write, here, copy: Path) -> None:
    settings = {**yaml.safe_load(study_file().read_text())["settings"], "steps": 7}
    with pytest.raises(UserError, match=r"copy: belongs to another study: .*steps is 7, and was 6"):
        run_study(study_file(settings=settings), copy, runner=here)
    assert here.names == []


def test_a_folder_of_something_else_is_refused(study_file: Write, here, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match=r"holds thesis\.tex"):
        run_study(study_file(), tmp_path / "mine", runner=here)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        run_study(study_file(), tmp_path / "file", runner=here)
    assert here.names == []


@pytest.mark.parametrize(
    "name", ["report/thesis.tex", "scores/undeformed/x", "scores/voxelmorph-mse-seed1/x", f"runs/{GRID[0]}/x"]
)
def test_a_file_in_one_of_its_folders_is_refused_before_the_work(
    study_file: Write, here, tmp_path: Path, contents, name: str
) -> None:
    mine = tmp_path / "out" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("x")
    if name.startswith("report"):  # a folder without a study is refused for it in any case
        (tmp_path / "out" / "study.yaml").write_text(yaml.safe_dump(read_matrix(study_file()).record()))
    before = contents(tmp_path / "out")
    with pytest.raises(UserError, match=rf"did not write there \({mine.name}\)"):
        run_study(study_file(), tmp_path / "out", runner=here)
    assert here.names == []
    assert contents(tmp_path / "out") == before


def test_a_run_that_was_trained_by_hand_is_taken_over(
    study_file: Write, here, whole: Path, tmp_path: Path, cohort_2d, contents
) -> None:
    settings = yaml.safe_load(study_file().read_text())["settings"]
    train(
        cohort_2d,
        tmp_path / "out" / "runs" / GRID[0],
        method="mse",
        network="voxelmorph",
        smoothness=0.001,
        seed=0,
        **settings,
    )
    run_study(study_file(), tmp_path / "out", runner=here)
    assert GRID[0] not in here.names
    assert contents(tmp_path / "out") == contents(whole)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("gamma", 0.3, r"smoothness0\.001-seed0: was trained with gamma=0\.3, and the study wants 0\.5"),
        ("steps", 4, "steps=4, and the study wants 6"),
        ("size", (16, 16), r"size=\(16, 16\), and the study wants \(32, 32\)"),
        ("seed", 3, "seed=3, and the study wants 0"),
    ],
)
def test_a_run_that_differs_is_refused(
    study_file: Write, here, tmp_path: Path, cohort_2d, setting: str, value: object, message: str
) -> None:
    settings = yaml.safe_load(study_file().read_text())["settings"]
    folder = tmp_path / "out" / "runs" / GRID[0]
    own = {"method": "mse", "network": "voxelmorph", "smoothness": 0.001, "seed": 0, setting: value}
    train(cohort_2d, folder, **{**settings, **own})
    with pytest.raises(UserError, match=message):
        run_study(study_file(), tmp_path / "out", runner=here)
    assert here.names == []


def moved(cohort: Path, to: Path) -> Path:
    return shutil.copytree(cohort, to)


def other_image(cohort: Path, split: str) -> str:
    """Give the first pair of a split another fixed image; return its id."""
    pair = next(iter(Cohort.read(cohort).split(split)))
    image = read_image(pair.fixed)
    write_image(replace(image, array=image.array + 1), pair.fixed)
    return pair.id


def test_a_run_of_other_images_is_refused(study_file: Write, here, copy: Path, tmp_path: Path) -> None:
    (copy / "study.yaml").unlink()
    (copy / "cohort.json").unlink()
    shutil.rmtree(copy / "report")
    cohort = moved(Path(yaml.safe_load(study_file().read_text())["cohort"]), tmp_path / "other")
    pair = other_image(cohort, "train")
    with pytest.raises(
        UserError, match=rf"was trained on other images .*difference: {pair}: fixed\); move it away"
    ):
        run_study(study_file(), copy, cohorts=[str(cohort)], runner=here)
    assert not (copy / "study.yaml").exists()


def test_a_run_of_an_earlier_version_is_known_by_its_place(
    study_file: Write, here, copy: Path, tmp_path: Path
) -> None:
    """It has no fingerprints."""
    (copy / "study.yaml").unlink()
    shutil.rmtree(copy / "report")
    for record in copy.rglob("cohort.json"):
        record.unlink()
    cohort = moved(Path(yaml.safe_load(study_file().read_text())["cohort"]), tmp_path / "other")
    with pytest.raises(UserError, match=r"was trained with cohort=.*, and the study wants .*other"):
        run_study(study_file(), copy, cohorts=[str(cohort)], runner=here)


def test_a_study_goes_on_where_its_cohort_was_moved(
    study_file: Write, here, copy: Path, tmp_path: Path, contents
) -> None:
    before = contents(copy)
    cohort = moved(Path(yaml.safe_load(study_file().read_text())["cohort"]), tmp_path / "moved")
    run_study(study_file(), copy, cohorts=[str(cohort)], runner=here)
    assert here.names == []
    record = yaml.safe_load((copy / "study.yaml").read_text())
    assert record["cohorts"]["cohort"]["path"] == str(cohort)
    after = contents(copy)
    assert {name for name in after if after[name] != before[name]} == {"study.yaml"}
    run_study(study_file(seeds=[0, 1, 2]), copy, cohorts=[str(cohort)], runner=here)  # and may grow there
    assert len(here.names) == 4


@pytest.mark.parametrize("place", ["moved", "the same"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_study_does_not_go_on_with_other_images(
    study_file: Write, here, copy: Path, tmp_path: Path, contents, split: str, place: str
) -> None:
    """Also in the same place: scores of the former images would stand beside those of the new ones."""
    cohort = moved(Path(yaml.safe_load(study_file().read_text())["cohort"]), tmp_path / "moved")
    if place == "the same":
        run_study(study_file(), copy, cohorts=[str(cohort)], runner=here)
    pair, before = other_image(cohort, split), contents(copy)
    with pytest.raises(
        UserError, match=rf"other images than those of .*moved.* \(first difference: {pair}: fixed\)"
    ):
        run_study(study_file(), copy, cohorts=[str(cohort)], runner=here)
    assert here.names == []
    assert contents(copy) == before


def test_another_cohort_is_named_by_its_place(study_file: Write, here, copy: Path, tmp_path: Path) -> None:
    """Its pairs have other names."""
    cohort = moved(Path(yaml.safe_load(study_file().read_text())["cohort"]), tmp_path / "other")
    table = cohort / "pairs.csv"
    head, *rows = table.read_text().splitlines()
    table.write_text("\n".join([head, *(f"x{row}" for row in rows)]) + "\n")
    with pytest.raises(UserError, match=r"belongs to another study: cohorts\.cohort\.path is .*other.*, and was "):
        run_study(study_file(), copy, cohorts=[str(cohort)], runner=here)
    assert here.names == []


def test_each_cohort_has_its_own_part(
    study_file: Write, here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: dict[str, tuple[list[str], str]] = {}

    def note(groups, out: Path, *, baseline: str, title: str) -> Path:
        reports[str(out.relative_to(tmp_path / "out"))] = list(groups), baseline
        return out

    monkeypatch.setattr(study_module, "write_report", note)
    cohort = yaml.safe_load(study_file().read_text())["cohort"]
    file = study_file(
        cohort=None,
        cohorts={"one": cohort, "two": {"path": cohort, "settings": {"steps": 2}}},
        methods={"mse": {"smoothness": 0.01}, "half": {"method": "mse", "smoothness": 0.01}},
        networks={"voxelmorph": {"seeds": [0]}, "voxelmorph-half": {"methods": ["mse"], "seeds": [3]}},
        registrars=[],
        baseline=["half", "mse"],
    )
    run_study(file, tmp_path / "out", runner=here)
    assert here.names[:3] == [
        "one-voxelmorph-mse-smoothness0.01-seed0",
        "one-voxelmorph-half-smoothness0.01-seed0",
        "one-voxelmorph-half-mse-smoothness0.01-seed3",
    ]
    assert sorted(path.name for path in (tmp_path / "out" / "two" / "runs").iterdir()) == [
        "voxelmorph-half-mse-smoothness0.01-seed3",
        "voxelmorph-half-smoothness0.01-seed0",
        "voxelmorph-mse-smoothness0.01-seed0",
    ]
    assert Run.read(tmp_path / "out" / "two" / "runs" / "voxelmorph-half-smoothness0.01-seed0").config.steps == 2
    both = ["voxelmorph mse", "voxelmorph half", "voxelmorph-half mse"]
    # The second network has no row `half`: its first report is the one against `mse`.
    expected = {
        "report": (both, "voxelmorph half"),
        "report-against-mse": (both, "voxelmorph mse"),
        "report-voxelmorph": (["mse", "half"], "half"),
        "report-voxelmorph-against-mse": (["mse", "half"], "mse"),
        "report-voxelmorph-half": (["mse"], "mse"),
    }
    assert reports == {f"{arm}/{name}": call for arm in ("one", "two") for name, call in expected.items()}


def test_a_failure_does_not_stop_the_others_and_is_told(study_file: Write, here, tmp_path: Path) -> None:
    settings = yaml.safe_load(study_file().read_text())["settings"]
    file = study_file(
        methods={"mse": {"learning_rate": [1e30, 1e-3]}}, settings={**settings, "clip": None}, baseline="mse"
    )
    with pytest.raises(
        UserError, match=r"1 of 2 failed, first voxelmorph-mse-learning_rate1e\+30-seed0: .*is not finite"
    ):
        run_study(file, tmp_path / "out", runner=here)
    assert (
        Run.read(tmp_path / "out" / "runs" / "voxelmorph-mse-learning_rate0.001-seed0").metrics["step"].max() == 6
    )


def test_a_cohort_without_a_split_to_choose_by(study_file: Write, here, tmp_path: Path, cohort_2d) -> None:
    table = pd.read_csv(cohort_2d.name, dtype=str)
    table = table[table["split"] != "val"]
    folder = Path(cohort_2d.name).parent
    for column in ("moving", "fixed"):
        table[column] = [str(folder / path) for path in table[column]]
    table[["id", "moving", "fixed", "split"]].to_csv(tmp_path / "pairs.csv", index=False)
    with pytest.raises(UserError, match="the split 'val' is empty"):
        run_study(study_file(), tmp_path / "out", cohorts=[str(tmp_path / "pairs.csv")], runner=here)


def test_runs_without_the_score_to_choose_by(study_file: Write, here, copy: Path) -> None:
    (copy / "study.yaml").unlink()
    shutil.rmtree(copy / "report")
    with pytest.raises(UserError, match=r"has no val_dice_9 to choose by"):
        run_study(study_file(choose_by="val_dice_9"), copy, runner=here)


def test_a_signal_ends_a_study_that_goes_on(study_file: Write, here, whole: Path, tmp_path: Path, contents) -> None:
    def stop(line: str) -> None:
        if line.startswith("3/"):
            raise Interruption(signal.SIGTERM)

    with pytest.raises(StoppedError, match="the same command goes on") as stopped:
        run_study(study_file(), tmp_path / "out", runner=here, say=stop)
    assert stopped.value.signal == signal.SIGTERM
    assert here.names == GRID[:3]
    here.names.clear()
    run_study(study_file(), tmp_path / "out", runner=here)
    assert here.names[0] == GRID[3]
    assert contents(tmp_path / "out") == contents(whole)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_study_that_is_killed_ends_its_trainings_and_goes_on_bit_for_bit(
    study_file: Write, here, tmp_path: Path, contents, undisturbed: Path, number: int
) -> None:
    """Two trainings at once, in processes of their own; the study dies, they save themselves and end."""
    one = {"methods": {"mse": {"smoothness": [0.001, 0.1]}}, "seeds": [0], "registrars": []}
    settings = yaml.safe_load(study_file().read_text())["settings"]
    file = study_file(settings={**settings, "steps": 120, "checkpoint_every": 1, "validate_every": 60}, **one)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "heteroreg", "study", str(file), "--out", str(out), "--jobs", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    study = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        states = [out / "runs" / name / "checkpoints" / "last" / "state.json" for name in GRID[:2]]
        wait_for(lambda: all(state.is_file() for state in states), "both runs have begun")
        study.send_signal(number)
        study.communicate(timeout=120)
    finally:
        study.kill()
    assert study.returncode == (128 + number if number == signal.SIGTERM else -number)
    logs = [out / "logs" / f"{name}.txt" for name in GRID[:2]]
    wait_for(lambda: all("stopped and saved" in log.read_text() for log in logs), "both trainings have ended")
    assert all(0 < json.loads(state.read_text())["step"] < 120 for state in states)

    run_study(file, out, runner=here)
    assert here.names == [*GRID[:2], "score-voxelmorph-mse-seed0"]
    if not undisturbed.exists():
        run_study(file, undisturbed, runner=here)
    assert contents(out) == contents(undisturbed)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 180) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"not in time: {what}"
        time.sleep(0.05)


@pytest.mark.long
@pytest.mark.slow
def test_processes_of_their_own_do_the_same(
    study_file: Write, here, tmp_path: Path, contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    file = study_file(methods={"mse": {"smoothness": [0.001, 0.1]}}, seeds=[0])
    run_study(file, tmp_path / "out", runner=Local(2, tmp_path / "out" / "logs"))
    run_study(file, tmp_path / "here", runner=here)
    assert here.names == [*GRID[:2], "score-undeformed", "score-voxelmorph-mse-seed0"]
    assert contents(tmp_path / "out") == contents(tmp_path / "here")
