"""Output folders: nothing of the user's is touched, and a kill leaves the old output or the new one."""

import json
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest.mock import patch

import pytest

from heteroreg.system import outputs
from heteroreg.system.errors import UserError
from heteroreg.system.locks import LOCK_FILE, is_written, only_writer
from heteroreg.system.outputs import (
    growing_folder,
    output_folder,
    read_marker,
    recover,
    require_file,
    require_output,
)


def write(path, kind="evaluation", files=None, inputs=()):
    with output_folder(path, kind, inputs) as folder:
        for name, text in (files or {"scores.csv": "new", "gallery/000.npz": "case"}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_new_output_holds_its_files_and_the_marker(tmp_path):
    write(tmp_path / "a" / "out")
    names = {"scores.csv", "gallery/000.npz", "heteroreg.json"}
    assert set(contents(tmp_path / "a" / "out")) == names
    marker = json.loads((tmp_path / "a/out/heteroreg.json").read_text())
    assert marker == {"kind": "evaluation", "schema_version": 1, "files": ["gallery/000.npz", "scores.csv"]}


def test_the_same_kind_replaces_and_removes_what_it_no_longer_has(tmp_path):
    write(tmp_path / "out")
    write(tmp_path / "out", files={"scores.csv": "newer"})
    assert set(contents(tmp_path / "out")) == {"scores.csv", "heteroreg.json"}
    assert (tmp_path / "out/scores.csv").read_text() == "newer"
    assert not (tmp_path / "out/gallery").exists()


@pytest.mark.parametrize(
    "name", ["summary.json", "scores.csv", "index.html", "table.csv", "heteroreg.json", "x/notes"]
)
def test_a_folder_of_the_users_is_refused_and_not_touched(tmp_path, name):
    mine = tmp_path / "mine"
    (mine / name).parent.mkdir(parents=True)
    (mine / name).write_text('{"foreground_mean": 1}')
    before = contents(mine)
    with pytest.raises(UserError, match="did not write"):
        write(mine)
    with pytest.raises(UserError, match="did not write"):
        require_output(mine, "evaluation")
    assert contents(mine) == before


@pytest.mark.parametrize("name", ["note.txt", "gallery/mine.png", ".git/config", "sub/deep/thesis.txt"])
def test_a_file_of_the_users_in_an_output_is_refused_and_not_touched(tmp_path, name):
    write(tmp_path / "out")
    (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "out" / name).write_text("mine")
    before = contents(tmp_path / "out")
    with pytest.raises(UserError, match=name.split("/")[0]):
        write(tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_an_empty_folder_of_the_users_in_an_output_is_refused(tmp_path):
    write(tmp_path / "out")
    (tmp_path / "out/keep").mkdir()
    with pytest.raises(UserError, match="keep"):
        write(tmp_path / "out")


@pytest.mark.parametrize(
    "name", [".DS_Store", ".nfs0001", ".123-0a1b2c3d-config.yaml", ".ipynb_checkpoints/x", "lost+found/y"]
)
def test_files_that_systems_leave_are_neither_in_the_way_nor_removed(tmp_path, name):
    (tmp_path / "out" / name).parent.mkdir(parents=True)
    (tmp_path / "out" / name).write_text("")
    write(tmp_path / "out")
    write(tmp_path / "out")
    assert (tmp_path / "out" / name).is_file()


def test_another_kind_of_output_is_refused(tmp_path):
    write(tmp_path / "out", "evaluation")
    before = contents(tmp_path / "out")
    with pytest.raises(UserError, match="holds an evaluation, and a registration would replace it"):
        write(tmp_path / "out", "registration", {"moved.nii.gz": ""})
    assert contents(tmp_path / "out") == before


def test_an_input_is_never_replaced(tmp_path):
    write(tmp_path / "out", files={"moved.nii.gz": "input"})
    with pytest.raises(UserError, match="holds the input"):
        write(tmp_path / "out", inputs=[tmp_path / "out/moved.nii.gz"])
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "out")
    with pytest.raises(UserError, match="holds the input"):
        write(tmp_path / "out", inputs=[link / "moved.nii.gz"])


@pytest.mark.parametrize("source", ["a.nii.gz", "./a.nii.gz", "a.nii.gz#1", "link.nii.gz"])
def test_a_file_never_replaces_an_input(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    Path("a.nii.gz").write_text("input")
    Path("link.nii.gz").symlink_to("a.nii.gz")
    with pytest.raises(UserError, match=r"a\.nii\.gz: is the input .*; choose another file"):
        require_file("a.nii.gz", [None, source])
    require_file("b.nii.gz", [None, source])
    with pytest.raises(UserError, match="is a folder"):
        require_file(tmp_path, [])


def test_a_marker_of_a_newer_version_is_refused(tmp_path):
    write(tmp_path / "out")
    marker = json.loads((tmp_path / "out/heteroreg.json").read_text())
    (tmp_path / "out/heteroreg.json").write_text(json.dumps(marker | {"schema_version": 2}))
    with pytest.raises(UserError, match="newer heteroreg"):
        write(tmp_path / "out")


def test_a_marker_cannot_name_files_outside_of_its_folder(tmp_path):
    write(tmp_path / "out")
    (tmp_path / "mine").write_text("mine")
    marker = json.loads((tmp_path / "out/heteroreg.json").read_text())
    marker["files"] += ["../mine", str(tmp_path / "mine")]
    (tmp_path / "out/heteroreg.json").write_text(json.dumps(marker))
    write(tmp_path / "out")
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_stage_cannot_move_files_outside_of_its_folder(tmp_path):
    write(tmp_path / "out")
    stage = tmp_path / "out" / f"{outputs.STAGE}00000000"
    stage.mkdir()
    (tmp_path / "out" / "new").write_text("theirs")
    (stage / "complete").write_text(json.dumps({"kind": "evaluation", "schema_version": 1, "files": ["../new"]}))
    (tmp_path / "new").write_text("mine")
    recover(tmp_path / "out")
    assert (tmp_path / "new").read_text() == "mine"


def test_a_link_in_a_folder_leads_no_file_out_of_it(tmp_path):
    mine, out = tmp_path / "mine", tmp_path / "out"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    write(out)
    (out / "link").symlink_to(mine)
    marker = json.loads((out / "heteroreg.json").read_text())
    (out / "heteroreg.json").write_text(json.dumps(marker | {"files": [*marker["files"], "link/thesis.txt"]}))
    with pytest.raises(UserError, match="link"):
        write(out)
    # Whoever made the folder may have left a stage in it that is to be completed by its reader.
    stage = out / f"{outputs.STAGE}00000000"
    (stage / "link").mkdir(parents=True)
    for name in ("thesis.txt", "new.txt"):
        (stage / "link" / name).write_text("theirs")
    files = ["link/thesis.txt", "link/new.txt"]
    (stage / "complete").write_text(json.dumps({"kind": "evaluation", "schema_version": 1, "files": files}))
    recover(out)
    assert contents(mine) == {"thesis.txt": b"mine"}
    (stage / "real").mkdir(parents=True)
    (stage / "complete").write_text(json.dumps({"kind": "evaluation", "schema_version": 1, "files": []}))
    recover(out)  # the marker still lists link/thesis.txt
    assert contents(mine) == {"thesis.txt": b"mine"}


def test_a_stage_that_is_a_link_is_let_alone(tmp_path):
    mine, out = tmp_path / "mine", tmp_path / "out"
    mine.mkdir()
    for name in ("scores.csv", "complete"):
        (mine / name).write_text(json.dumps({"kind": "evaluation", "schema_version": 1, "files": ["scores.csv"]}))
    write(out, files={"summary.json": "{}"})
    (out / f"{outputs.STAGE}00000000").symlink_to(mine)
    recover(out)
    assert set(contents(mine)) == {"scores.csv", "complete"}


def test_a_file_that_appears_during_the_work_is_kept(tmp_path):
    write(tmp_path / "out")
    before = contents(tmp_path / "out")
    writer = output_folder(tmp_path / "out", "evaluation")
    (writer.__enter__() / "scores.csv").write_text("newer")
    (tmp_path / "out/thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="thesis"):
        writer.__exit__(None, None, None)
    assert contents(tmp_path / "out") == before | {"thesis.txt": b"mine"}


def test_a_folder_has_the_permissions_of_any_folder(tmp_path):
    write(tmp_path / "out")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o777 & ~mask


def fail_at(path):
    with output_folder(path, "evaluation") as folder:
        (folder / "scores.csv").write_text("half")
        raise ZeroDivisionError


def test_work_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        fail_at(tmp_path / "a/b")
    assert list(tmp_path.iterdir()) == []


def test_work_that_fails_leaves_the_earlier_output(tmp_path):
    write(tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(ZeroDivisionError):
        fail_at(tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_the_current_folder_and_links(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write(Path())
    write(Path())
    assert (tmp_path / "here/scores.csv").is_file()
    (tmp_path / "link").symlink_to("here")
    write(tmp_path / "link", files={"scores.csv": "by link"})
    assert (tmp_path / "here/scores.csv").read_text() == "by link"
    assert (tmp_path / "link").is_symlink()
    (tmp_path / "dangling").symlink_to("there")
    write(tmp_path / "dangling")
    assert (tmp_path / "there/scores.csv").is_file()


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match="is a file"):
        require_output(tmp_path / "out", "evaluation")
    with pytest.raises(UserError, match="does not allow"):
        require_output(tmp_path / "out" / "below", "evaluation")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o555)
    with pytest.raises(UserError, match="does not allow"):
        require_output(tmp_path / "closed" / "out", "evaluation")


def _killed_at(path, moment, calls):
    """Write an output and die before the `moment`-th file operation of the last part."""
    count = iter(range(1000))

    def counted(operation):
        def call(*args, **kwargs):
            if next(count) == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return operation(*args, **kwargs)

        return call

    for name in calls:
        setattr(outputs.os, name, counted(getattr(os, name)))
    write(path, files={"scores.csv": "newer", "summary.json": "newer"})


def in_a_child(target, *args):
    child = multiprocessing.get_context("fork").Process(target=target, args=args)
    child.start()
    child.join()
    return child.exitcode


@pytest.mark.parametrize("moment", range(5))
def test_a_kill_between_two_renames_leaves_the_old_output_or_the_new_one(tmp_path, moment):
    write(tmp_path / "out")
    old = contents(tmp_path / "out")
    child = multiprocessing.get_context("fork").Process(
        target=_killed_at, args=(tmp_path / "out", moment, ["replace"])
    )
    child.start()
    child.join()
    died = child.exitcode == -signal.SIGKILL
    recover(tmp_path / "out")
    now = {name: text for name, text in contents(tmp_path / "out").items() if not name.startswith(".heteroreg")}
    if died and now["scores.csv"] == b"new":
        assert now == old
    else:
        assert set(now) == {"scores.csv", "summary.json", "heteroreg.json"}
        assert now["scores.csv"] == now["summary.json"] == b"newer"
    write(tmp_path / "out")  # whatever was left, the next start removes it
    assert contents(tmp_path / "out") == old
    assert died == (moment < 4)  # the fourth call was the last: the complete list, two files, the marker


def test_a_foreign_file_that_came_after_a_kill_is_kept(tmp_path):
    assert in_a_child(_killed_at, tmp_path / "out", 1, ["replace"]) == -signal.SIGKILL
    (tmp_path / "out/scores.csv").write_text("mine")
    with pytest.raises(UserError, match=r"scores\.csv"):
        recover(tmp_path / "out")
    assert (tmp_path / "out/scores.csv").read_text() == "mine"


HOLDER = """
import sys, time
from pathlib import Path
from heteroreg.system.locks import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "held\n"
    yield child
    child.kill()
    child.wait()


def test_a_second_writer_is_refused_and_told_who_writes(tmp_path, holder):
    began = time.monotonic()
    with (
        pytest.raises(UserError, match=f"is being written by process {holder.pid} on "),
        only_writer(tmp_path / "run"),
    ):
        pass
    assert time.monotonic() - began < 1
    assert is_written(tmp_path / "run")
    with pytest.raises(UserError, match=f"process {holder.pid} on "):  # before the work too
        require_output(tmp_path / "run", "run")


def test_death_releases_the_lock(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert not is_written(tmp_path / "run")
    with only_writer(tmp_path / "run"):
        pass
    assert not (tmp_path / "run" / LOCK_FILE).exists()


def test_a_signal_while_the_lock_is_given_back_does_not_keep_it(tmp_path, monkeypatch):
    def interrupted(_path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), only_writer(tmp_path):
        patch.setattr(Path, "unlink", interrupted)
    with only_writer(tmp_path):  # the same process goes on
        pass


def test_a_thread_that_cannot_start_does_not_keep_the_lock(tmp_path):
    with (
        patch.object(threading.Thread, "start", side_effect=RuntimeError("can't start new thread")),
        pytest.raises(RuntimeError, match="new thread"),
        only_writer(tmp_path),
    ):
        pass
    assert not (tmp_path / LOCK_FILE).exists()
    with only_writer(tmp_path):
        pass


def test_a_thread_of_the_same_process_is_refused(tmp_path):
    with only_writer(tmp_path), pytest.raises(UserError, match=f"process {os.getpid()}"), only_writer(tmp_path):
        pass


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    with only_writer(tmp_path):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(30,))
        child.start()
    try:
        with only_writer(tmp_path):
            pass
    finally:
        child.kill()
        child.join()


@pytest.mark.parametrize(("silent", "job", "refused"), [(5, "7", True), (90, "7", False), (5, "8", False)])
def test_a_writer_on_another_machine(tmp_path, monkeypatch, silent, job, refused):
    monkeypatch.setattr("heteroreg.system.locks._is_local", lambda _: False)
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    lock = tmp_path / LOCK_FILE
    lock.write_text(json.dumps({"host": "elsewhere", "pid": 1, "slurm": job}))
    os.utime(lock, (time.time() - silent,) * 2)
    if refused:
        with pytest.raises(UserError, match="process 1 on elsewhere"), only_writer(tmp_path):
            pass
    else:
        with only_writer(tmp_path):
            pass


ELSEWHERE = """
import socket, sys, time
from pathlib import Path
from heteroreg.system import locks
socket.gethostname = lambda: "elsewhere"
locks.fcntl, locks.HEARTBEAT = None, 0.1  # a network file system that passes no locks on
with locks.only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("requeued", [False, True])
def test_signs_of_life_hold_a_folder_on_a_network_file_system(tmp_path, monkeypatch, requeued):
    monkeypatch.setattr("heteroreg.system.locks._is_local", lambda _: False)
    monkeypatch.setattr("heteroreg.system.locks.SILENCE", 2.0)
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    folder = tmp_path / "run"
    child = subprocess.Popen(
        [sys.executable, "-c", ELSEWHERE, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "SLURM_JOB_ID": "8" if requeued else "7"},
    )
    try:
        assert child.stdout.readline() == "held\n"
        if requeued:  # SLURM ends a job before it starts it again: its lock is void, whatever it shows
            child.kill()
            with only_writer(folder):
                pass
            return
        time.sleep(3.0)  # longer than the silence of a dead writer
        with pytest.raises(UserError, match=f"process {child.pid} on elsewhere"), only_writer(folder):
            pass
        child.kill()
        child.wait()
        time.sleep(2.2)
        with only_writer(folder):
            pass
    finally:
        child.kill()
        child.wait()


def test_a_folder_that_grows_is_held_and_marked(tmp_path):
    for _ in range(2):
        with growing_folder(tmp_path / "run", "run") as folder:
            (folder / "metrics.csv").write_text("")
            with pytest.raises(UserError, match="is being written"), growing_folder(tmp_path / "run", "run"):
                pass
    assert read_marker(tmp_path / "run")["kind"] == "run"
    with pytest.raises(UserError, match="holds a run, and a study"), growing_folder(tmp_path / "run", "study"):
        pass
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/config.yaml").write_text("a: 1")
    with pytest.raises(UserError, match=r"config\.yaml"), growing_folder(tmp_path / "mine", "run"):
        pass
    assert os.listdir(tmp_path / "mine") == ["config.yaml"]  # noqa: PTH208


def fail_after_writing(folder):
    (folder / "metrics.csv").write_text("")
    raise ZeroDivisionError


def test_work_that_fails_leaves_no_new_folder_that_grows(tmp_path):
    with pytest.raises(ZeroDivisionError), growing_folder(tmp_path / "run", "run"):
        _ = 1 / 0
    assert not (tmp_path / "run").exists()
    with pytest.raises(ZeroDivisionError), growing_folder(tmp_path / "run", "run") as folder:
        fail_after_writing(folder)
    assert read_marker(tmp_path / "run")["kind"] == "run"
    (tmp_path / "run" / "metrics.csv").unlink()
    with pytest.raises(ZeroDivisionError), growing_folder(tmp_path / "run", "run"):
        _ = 1 / 0
    assert read_marker(tmp_path / "run")["kind"] == "run"  # it was there before
