"""A whole cohort registered."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from heteroreg.cli.app import main
from heteroreg.data.cohort import Cohort
from heteroreg.data.image import Image, read_image, write_image
from heteroreg.evaluation import evaluate
from heteroreg.registration.classical import Undeformed
from heteroreg.registration.cohort import register_cohort
from heteroreg.registration.load import load
from heteroreg.system.errors import UserError
from heteroreg.training import Run

FILES = {"moved", "displacement", "inverse_displacement", "noise_sd", "weight", "moved_labels"}


class Counting(Undeformed):
    """Counts the pairs that it registers, and fails where it is told to."""

    registered = 0
    fail_at: int | None = None

    def register(self, moving, fixed, moving_labels=None):
        object.__setattr__(self, "registered", self.registered + 1)
        if self.registered == self.fail_at:
            raise KeyboardInterrupt
        return super().register(moving, fixed, moving_labels)


def counting(fail_at: int | None = None) -> Counting:
    registrar = Counting()
    object.__setattr__(registrar, "fail_at", fail_at)
    return registrar


def test_each_pair_gets_a_folder_and_the_table_a_row(run_2d: Run, cohort_2d: Cohort, tmp_path: Path) -> None:
    registrar = load(run_2d.folder)
    table = register_cohort(registrar, cohort_2d, tmp_path / "out")
    ids = [pair.id for pair in cohort_2d]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [*ids, "heteroreg.json", "registrations.csv"]
    )
    written = pd.read_csv(tmp_path / "out" / "registrations.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(written, table)
    assert table["id"].tolist() == table["folder"].tolist() == ids
    assert (table["error"] == "").all()
    assert (table["seconds"] > 0).all()

    folding = evaluate(registrar, cohort_2d).table["folding_percent"]
    np.testing.assert_allclose(table["folding_percent"], folding)
    for row, pair in zip(table.itertuples(), cohort_2d, strict=True):
        alone = registrar.register(pair.moving, pair.fixed, pair.moving_labels)
        folder = tmp_path / "out" / pair.id
        names = {f"{name}.nii.gz" for name in FILES} | {"heteroreg.json", "summary.json"}
        assert {path.name for path in folder.iterdir()} == names
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["id"] == pair.id
        lengths = np.linalg.norm(alone.displacement_mm, axis=0)
        assert row.mean_displacement_mm == pytest.approx(lengths.mean(), rel=1e-5)
        assert row.max_displacement_mm == pytest.approx(lengths.max(), rel=1e-5)
        np.testing.assert_allclose(read_image(folder / "moved.nii.gz").array, alone.moved.array, atol=1e-4)


def test_what_is_done_is_left_as_it_is(cohort_2d: Cohort, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        register_cohort(counting(fail_at=4), cohort_2d, tmp_path)
    done = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert done == [pair.id for pair in cohort_2d][:3]
    assert (tmp_path / "registrations.csv").is_file()  # marks the folder as ours
    before = {name: (tmp_path / name / "moved.nii.gz").stat().st_mtime_ns for name in done}

    shutil.rmtree(tmp_path / done[1])
    rest = counting()
    table = register_cohort(rest, cohort_2d, tmp_path)
    assert rest.registered == len(cohort_2d) - 2
    assert table["id"].tolist() == [pair.id for pair in cohort_2d]
    for name in (done[0], done[2]):
        assert (tmp_path / name / "moved.nii.gz").stat().st_mtime_ns == before[name]
    again = counting()
    pd.testing.assert_frame_equal(register_cohort(again, cohort_2d, tmp_path), table)
    assert again.registered == 0


def test_only_a_split(cohort_2d: Cohort, tmp_path: Path) -> None:
    test = cohort_2d.split("test")
    assert register_cohort(Undeformed(), test, tmp_path)["id"].tolist() == [pair.id for pair in test]


def test_ids_that_cannot_name_folders(cohort_2d: Cohort, tmp_path: Path) -> None:
    names = ["../x", "a b", "registrations.csv"]
    pairs = tuple(replace(pair, id=name) for pair, name in zip(cohort_2d, names, strict=False))
    out = tmp_path / "in" / "out"
    table = register_cohort(Undeformed(), Cohort(pairs, cohort_2d.name), out)
    assert table["id"].tolist() == names
    assert all((out / folder / "summary.json").is_file() for folder in table["folder"])
    assert sorted(path.name for path in tmp_path.rglob("*") if path.parent in (tmp_path, tmp_path / "in")) == [
        "in",
        "out",
    ]


def test_a_bad_pair_does_not_keep_the_others_from_it(cohort_2d: Cohort, tmp_path: Path) -> None:
    shutil.copytree(Path(cohort_2d.name).parent, tmp_path / "spoilt")
    cohort = Cohort.read(tmp_path / "spoilt")
    whole = cohort[2].fixed.read_bytes()
    cohort[2].fixed.write_bytes(whole[:-200])
    cohort[5].moving.unlink()
    table = register_cohort(Undeformed(), cohort, tmp_path / "out").set_index("id")
    assert (table["error"] != "").tolist() == [number in (2, 5) for number in range(len(cohort))]
    for number, file in ((2, cohort[2].fixed), (5, cohort[5].moving)):
        error = table.loc[cohort[number].id, "error"]
        assert error.startswith(f"pair {cohort[number].id}: {file}: ")
        assert "\n" not in error
        assert np.isnan(table.loc[cohort[number].id, "seconds"])
        assert not (tmp_path / "out" / cohort[number].id).exists()

    cohort[2].fixed.write_bytes(whole)
    registrar = counting()
    table = register_cohort(registrar, cohort, tmp_path / "out").set_index("id")
    assert registrar.registered == 1  # the mended one; the other file is still missing
    assert table.index[table["error"] != ""].tolist() == [cohort[5].id]


def test_another_registrars_folder_is_not_taken_for_done(run_2d: Run, cohort_2d: Cohort, tmp_path: Path) -> None:
    pairs = cohort_2d.split("test")
    register_cohort(Undeformed(), pairs, tmp_path / "out")
    copy = shutil.copytree(run_2d.folder, tmp_path / "another" / run_2d.folder.name)
    with pytest.raises(UserError, match="registered by undeformed; choose another folder, or delete"):
        register_cohort(load(copy), pairs, tmp_path / "out")
    register_cohort(load(copy), pairs, tmp_path / "copy")
    with pytest.raises(UserError, match=str(copy)):  # of one name, but in another folder
        register_cohort(load(run_2d.folder), pairs, tmp_path / "copy")


@pytest.mark.parametrize("what", ["out", "pair", "file", "summary"])
def test_what_is_somebody_elses_stays(what: str, cohort_2d: Cohort, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pair = cohort_2d[0].id
    register_cohort(Undeformed(), Cohort(cohort_2d.pairs[:2], cohort_2d.name), out)
    shutil.rmtree(out / pair)
    if what == "out":
        (out / "registrations.csv").rename(out / "notes.csv")
        (out / "heteroreg.json").unlink()
    elif what == "pair":
        (out / pair).mkdir()
        (out / pair / "notes.txt").write_text("mine")
    elif what == "file":
        (out / pair).write_text("mine")
    else:
        (out / pair).mkdir()
        (out / pair / "summary.json").write_text('{"kind": "registration"}')
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    with pytest.raises(UserError, match=str(out)):
        register_cohort(Undeformed(), cohort_2d, out)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("change", ["swapped", "content", "labels"])
def test_a_registration_of_other_images_is_not_kept(cohort_2d: Cohort, tmp_path: Path, change: str) -> None:
    files = {}
    for name in ("moving", "fixed", "moving_labels"):
        files[name] = tmp_path / getattr(cohort_2d[0], name).name
        shutil.copy(getattr(cohort_2d[0], name), files[name])
    pair = replace(cohort_2d[0], **files)
    table = register_cohort(Undeformed(), Cohort((pair,), "here"), tmp_path / "out")
    assert table.attrs["kept"] == 0
    assert register_cohort(Undeformed(), Cohort((pair,), "here"), tmp_path / "out").attrs["kept"] == 1
    if change == "swapped":
        pair = replace(pair, moving=pair.fixed, fixed=pair.moving)
    elif change == "content":
        shutil.copy(cohort_2d[1].moving, pair.moving)
    else:
        pair = replace(pair, moving_labels=None)
    with pytest.raises(UserError, match=r"is a registration of .* and the cohort names other files for the pair"):
        register_cohort(Undeformed(), Cohort((pair,), "here"), tmp_path / "out")


def test_a_registration_stays_when_the_cohort_moved(cohort_2d: Cohort, tmp_path: Path) -> None:
    pair = cohort_2d[0]
    register_cohort(Undeformed(), Cohort((pair,), "here"), tmp_path / "out")
    shutil.copy(pair.moving, tmp_path / "copy.nii.gz")
    moved = replace(pair, moving=tmp_path / "copy.nii.gz")
    assert register_cohort(Undeformed(), Cohort((moved,), "here"), tmp_path / "out").attrs["kept"] == 1


def test_no_pairs(cohort_2d: Cohort, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no pairs"):
        register_cohort(Undeformed(), Cohort((), cohort_2d.name), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fails_stops_all(cohort_2d: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path))

    monkeypatch.setattr("heteroreg.registration.result.write_displacement", full)
    registrar = counting()
    with pytest.raises(OSError, match="No space left"):
        register_cohort(registrar, cohort_2d, tmp_path / "out")
    assert registrar.registered == 1
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["heteroreg.json", "registrations.csv"]


Command = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `heteroreg register …` and gives its exit code, stdout and the lines of stderr."""

    def run(*arguments: str | Path) -> tuple[int, str, list[str]]:
        monkeypatch.setattr("sys.argv", ["heteroreg", "register", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err.splitlines()

    return run


def test_the_command(
    command: Command, run_2d: Run, cohort_2d: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heteroreg.system.progress.SILENT_SECONDS", 0.0)  # it may be over in two seconds
    out = tmp_path / "out"
    code, said, progress = command(cohort_2d.name, "--model", run_2d.folder, "--out", out, "--split", "test")
    count = len(cohort_2d.split("test"))
    assert (code, said) == (0, f"wrote {out}: {count} pairs, listed in {out / 'registrations.csv'}\n")
    assert progress[-1].startswith(f"register with {run_2d.folder.name}: {count}/{count}")
    assert len(pd.read_csv(out / "registrations.csv")) == count


def test_the_command_tells_which_pairs_failed(
    command: Command, run_2d: Run, cohort_2d: Cohort, tmp_path: Path
) -> None:
    shutil.copytree(Path(cohort_2d.name).parent, tmp_path / "spoilt")
    cohort = Cohort.read(tmp_path / "spoilt")
    write_image(Image.from_array(np.full((32, 32), 7.0, np.float32), 1.5), cohort[1].fixed)
    cohort[3].moving.unlink()
    arguments = (cohort.name, "--model", run_2d.folder, "--out", tmp_path / "out", "--quiet")
    code, said, lines = command(*arguments)
    assert (code, said, len(lines)) == (2, "", 3)
    assert lines[0].startswith(f"heteroreg: pair {cohort[1].id}: {cohort[1].fixed}: every voxel")
    assert lines[1].startswith(f"heteroreg: pair {cohort[3].id}: {cohort[3].moving}: no such file")
    assert f"2 of {len(cohort)} pairs failed" in lines[2]


def test_one_image_is_no_cohort(command: Command, run_2d: Run, cohort_2d: Cohort, tmp_path: Path) -> None:
    options = ("--model", run_2d.folder, "--out", tmp_path / "out")
    empty = tmp_path / "empty"
    empty.mkdir()
    for path in (cohort_2d[0].fixed, tmp_path / "missing.nii.gz", empty):
        code, _, lines = command(path, *options)
        assert (code, len(lines)) == (2, 1)
        assert lines[0].startswith(f"heteroreg: {path}: is no cohort; name two images, MOVING and FIXED")
    code, _, lines = command(tmp_path / "missing.csv", *options)
    assert (code, len(lines)) == (2, 1)
    assert "missing.csv: no such file" in lines[0]


@pytest.mark.parametrize(
    ("cohort", "options", "says"),
    [
        (True, ("--moving-labels", "x.nii.gz"), "--moving-labels: is for a single pair"),
        (False, ("--split", "test"), "--split: is for a cohort"),
        (True, ("--split", "tset"), "the split 'tset' is empty"),
    ],
)
def test_options_that_do_not_fit(
    cohort: bool,
    options: tuple[str, str],
    says: str,
    command: Command,
    run_2d: Run,
    cohort_2d: Cohort,
    tmp_path: Path,
) -> None:
    pair = cohort_2d[0]
    what = (cohort_2d.name,) if cohort else (pair.moving, pair.fixed)
    code, _, lines = command(*what, "--model", run_2d.folder, "--out", tmp_path / "out", *options)
    assert (code, len(lines)) == (2, 1)
    assert says in lines[0]
    assert not (tmp_path / "out").exists()
