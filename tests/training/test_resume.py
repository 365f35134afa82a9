"""Runs that are killed and go on."""

import multiprocessing
import random
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from heteroreg.data.cohort import Cohort
from heteroreg.losses import MeanSquaredError
from heteroreg.methods import METHODS, Method
from heteroreg.system.errors import UserError
from heteroreg.training import Run, checkpoint, loop, train

# Processes of their own that the kernel can kill. A server forks them, so that PyTorch is imported once.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["heteroreg.training.loop"])


def start(cohort, out, settings):
    process = PROCESSES.Process(
        target=train, args=(cohort.name, out), kwargs={"resume": True, **settings}, daemon=True
    )
    process.start()
    return process


def finish(cohort, out, settings):
    process = start(cohort, out, settings)
    process.join(120)
    assert process.exitcode == 0
    return Run.read(out)


def rows(out):
    try:
        return (out / "metrics.csv").read_text().count("\n") - 1
    except FileNotFoundError:
        return -1


def kill_at(process, out, row, delay):
    """Kills with SIGKILL a moment after the metrics have so many rows. Returns whether it was still running."""
    deadline = time.monotonic() + 60
    while process.is_alive() and rows(out) < row and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()
    process.join()
    return process.exitcode == -9


def assert_same(first, second):
    for name in ("last", "best"):
        (a, meta_a), (b, meta_b) = (checkpoint.read(run.checkpoint(name)) for run in (first, second))
        assert meta_a == meta_b
        assert a.keys() == b.keys()
        for key in a:
            assert torch.equal(a[key], b[key]), key
    a, b = (pd.read_csv(run.folder / "metrics.csv", dtype=str) for run in (first, second))
    pd.testing.assert_frame_equal(a.drop(columns="seconds"), b.drop(columns="seconds"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"method": "mse"},
        {"method": "hetero"},
        {"method": "hetero", "accumulate": 2, "warm_start": 0.25, "variance_alone": 0.25},
        {"method": "vxm-diff"},
        {"method": "hetero-z", "accumulate": 2},
        {"method": "mse", "network": "transmorph-small"},  # leaves branches out at random
    ],
    ids=["mse", "hetero", "accumulated", "vxm-diff", "hetero-z", "transmorph"],
)
def test_a_killed_run_ends_bit_for_bit_as_one_that_was_not(settings, cohort_2d, tmp_path):
    settings |= {"steps": 12, "batch_size": 4, "log_every": 1, "validate_every": 4, "checkpoint_every": 3}
    whole = finish(cohort_2d, tmp_path / "whole", settings)
    generator, kills = random.Random(str(settings)), 0
    for row in (generator.randrange(4), generator.randrange(4, 8), generator.randrange(8, 12)):
        process = start(cohort_2d, tmp_path / "killed", settings)
        kills += kill_at(process, tmp_path / "killed", row, generator.uniform(0, 0.05))
    assert kills >= 2
    killed = finish(cohort_2d, tmp_path / "killed", settings)
    names = set(checkpoint.read(killed.checkpoint("last"))[0])
    assert "random" in names
    parts = {"network", "optimizer.displacement"} | (
        {"objective", "optimizer.variance"} if settings["method"] == "hetero" else set()
    )
    assert all(any(name.startswith(f"{part}.") for name in names) for part in parts)
    assert_same(whole, killed)


@pytest.mark.slow
def test_ten_kills_at_random_moments(cohort_2d, tmp_path):
    out = tmp_path / "run"
    settings = {"steps": 400, "batch_size": 2, "log_every": 1, "validate_every": 5, "checkpoint_every": 2}
    generator, kills, steps = random.Random(0), 0, [0]
    while kills < 10:
        process = start(cohort_2d, out, settings)
        kills += kill_at(process, out, max(rows(out), 0) + generator.randrange(12), generator.uniform(0, 0.1))
        for name in ("last", "best"):
            folder = out / "checkpoints" / name
            if (folder / checkpoint.STATE).is_file():
                tensors, meta = checkpoint.read(folder)
                assert all(torch.isfinite(t).all() for t in tensors.values() if t.is_floating_point())
                if name == "last":
                    steps.append(meta["step"])
    assert steps == sorted(steps)
    assert 0 < steps[-1] < 400
    process = start(cohort_2d, out, settings)  # it goes on from there
    deadline = time.monotonic() + 60
    while checkpoint.read(out / "checkpoints" / "last")[1]["step"] < steps[-1] + 4:
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.join()


class CrashError(Exception):
    pass


def test_random_numbers_go_on_where_they_were(cohort_2d, tmp_path, monkeypatch):
    # A method that draws random numbers in every step, as dropout does, and is cut off in the fifth.
    class Random(MeanSquaredError):
        crash = False
        batches = 0

        def forward(self, moved, fixed, weighted=True):
            Random.batches += self.training
            if Random.crash and Random.batches == 5:
                raise CrashError
            return super().forward(moved, fixed + 0.1 * torch.randn(fixed.shape))

    monkeypatch.setitem(METHODS, "random", Method("random", "", lambda *_: Random()))
    settings = {"method": "random", "steps": 8, "batch_size": 2, "log_every": 1, "validate_every": 4}
    whole = train(cohort_2d, tmp_path / "whole", checkpoint_every=2, **settings)
    Random.crash, Random.batches = True, 0
    with pytest.raises(CrashError):
        train(cohort_2d, tmp_path / "cut", checkpoint_every=2, **settings)
    Random.crash = False
    torch.manual_seed(99)
    assert_same(whole, train(cohort_2d, tmp_path / "cut", resume=True))


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_goes_on_bit_for_bit(method, cohort_2d, tmp_path, monkeypatch):
    settings = {"method": method, "steps": 4, "batch_size": 2, "log_every": 1, "validate_every": 4}
    whole = train(cohort_2d, tmp_path / "whole", checkpoint_every=2, **settings)
    update = loop.update

    def cut(fabric, state, *others):
        if state.step == 3:
            raise CrashError
        return update(fabric, state, *others)

    monkeypatch.setattr(loop, "update", cut)
    with pytest.raises(CrashError):
        train(cohort_2d, tmp_path / "cut", checkpoint_every=2, **settings)
    monkeypatch.setattr(loop, "update", update)
    assert_same(whole, train(cohort_2d, tmp_path / "cut", resume=True))


def test_resuming_a_finished_run_changes_nothing(cohort_2d, tmp_path):
    settings = {"steps": 3, "batch_size": 2, "log_every": 1}
    run = train(cohort_2d, tmp_path / "run", **settings)
    before = {p: p.read_bytes() for p in run.folder.rglob("*") if p.suffix in (".safetensors", ".json", ".csv")}
    again = train(cohort_2d, tmp_path / "run", resume=True)
    assert again == run
    assert all(p.read_bytes() == content for p, content in before.items())


def test_resuming_what_never_began_begins(cohort_2d, tmp_path):
    run = train(cohort_2d, tmp_path / "run", resume=True, steps=2, batch_size=2)
    assert run.metrics["step"].tolist() == [1, 2]


def test_what_a_kill_in_the_very_first_write_leaves_is_no_obstacle(cohort_2d, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".4242-0a1b2c3d-config.yaml").write_text("schema_v")
    train(cohort_2d, tmp_path / "run", resume=True, steps=1, batch_size=2)


def test_a_row_that_was_cut_short_goes(cohort_2d, tmp_path):
    settings = {"steps": 4, "batch_size": 2, "log_every": 1, "checkpoint_every": 2, "validate_every": 4}
    run = train(cohort_2d, tmp_path / "run", **settings)
    expected = run.metrics.drop(columns="seconds")
    path = run.folder / "metrics.csv"
    path.write_text(path.read_text() + "5,0.1,0.2\n7")
    train(cohort_2d, tmp_path / "run", resume=True)
    pd.testing.assert_frame_equal(run.metrics.drop(columns="seconds"), expected)


def test_another_cohort_is_refused(cohort_2d, cohort_3d, tmp_path):
    train(cohort_2d, tmp_path / "run", steps=1, batch_size=2)
    with pytest.raises(UserError, match=r"was trained on .*small.*, not on .*volumes"):
        train(cohort_3d, tmp_path / "run", resume=True)


def moved(cohort, folder):
    """Move the cohort of a test into another folder, and return its table there."""
    shutil.copytree(Path(cohort.name).parent, folder)
    return folder / "pairs.csv"


def test_a_run_goes_on_after_its_cohort_was_moved(cohort_2d, tmp_path):
    first = moved(cohort_2d, tmp_path / "first")
    run = train(first, tmp_path / "run", steps=2, batch_size=2)
    first.parent.rename(tmp_path / "second")
    second = tmp_path / "second" / "pairs.csv"
    resumed = train(second.parent, run.folder, resume=True)
    assert resumed.config == Run.read(run.folder).config == run.config.model_copy(update={"cohort": str(second)})


def test_other_images_under_the_same_names_are_refused_with_the_first_that_differs(cohort_2d, tmp_path):
    first = moved(cohort_2d, tmp_path / "first")
    run = train(first, tmp_path / "run", steps=1, batch_size=2)
    second = moved(cohort_2d, tmp_path / "second")
    pair = Cohort.read(second).split("train")[1]
    pair.fixed.write_bytes(pair.moving.read_bytes())
    with pytest.raises(UserError, match=rf"was trained on .*first.*, not on .*second.* \(.*{pair.id}: fixed\)"):
        train(second, run.folder, resume=True)
    shutil.copy(pair.fixed, Cohort.read(first).split("train")[1].fixed)
    with pytest.raises(UserError, match=rf"began with another content of .*first.* \(.*{pair.id}: fixed\)"):
        train(first, run.folder, resume=True)


def test_a_pair_fewer_is_another_cohort(cohort_2d, tmp_path):
    first = moved(cohort_2d, tmp_path / "first")
    run = train(first, tmp_path / "run", steps=1, batch_size=2)
    pairs = Cohort.read(first)
    fewer = tuple(pair for pair in pairs if pair.id != pairs.split("train")[0].id)
    Cohort(fewer, pairs.name).write(first)
    with pytest.raises(UserError, match=r"\d+ pairs of train in place of \d+"):
        train(first, run.folder, resume=True)


def test_a_run_of_an_earlier_version_names_the_cohort_by_its_place(cohort_2d, tmp_path):
    first = moved(cohort_2d, tmp_path / "first")
    run = train(first, tmp_path / "run", steps=1, batch_size=2)
    (run.folder / "cohort.json").unlink()
    train(first, run.folder, resume=True)
    with pytest.raises(UserError, match="write its new path behind `cohort:`"):
        train(moved(cohort_2d, tmp_path / "second"), run.folder, resume=True)


def test_a_damaged_record_of_the_cohort_is_named(cohort_2d, tmp_path):
    run = train(cohort_2d, tmp_path / "run", steps=1, batch_size=2)
    (run.folder / "cohort.json").write_text('{"schema_version": 1, "train": 3}')
    with pytest.raises(UserError, match=r"cohort\.json: is damaged"):
        train(cohort_2d, run.folder, resume=True)


def test_a_damaged_checkpoint_is_named(cohort_2d, tmp_path):
    run = train(cohort_2d, tmp_path / "run", steps=2, batch_size=2)
    (run.checkpoint("last") / "state.json").write_text("{")
    with pytest.raises(UserError, match="the checkpoint is damaged"):
        train(cohort_2d, tmp_path / "run", resume=True)


def test_the_way_to_the_cohort_may_be_relative(cohort_2d, tmp_path, monkeypatch):
    folder = Path(cohort_2d.name).parent
    monkeypatch.chdir(folder)
    train("pairs.csv", tmp_path / "run", steps=1, batch_size=2)
    monkeypatch.chdir(tmp_path)
    train(cohort_2d.name, tmp_path / "run", resume=True)


def test_a_row_that_was_cut_short_is_not_read(cohort_2d, tmp_path):
    run = train(cohort_2d, tmp_path / "run", steps=2, batch_size=2, log_every=1)
    expected = run.metrics
    path = run.folder / "metrics.csv"
    path.write_text(path.read_text() + "3,0.1")
    pd.testing.assert_frame_equal(run.metrics, expected)
