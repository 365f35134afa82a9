import errno
import os
import resource
import threading
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from heteroreg.training.logs import Log

COLUMNS = ["loss", "seconds", "val_loss"]


def text(folder):
    return (folder / "metrics.csv").read_text()


def test_a_row_for_each_step(tmp_path):
    log = Log(tmp_path, COLUMNS, 0)
    assert log.seconds == 0
    log.write(10, {"loss": 0.5, "seconds": 1.25})
    log.write(20, {"loss": 1 / 3, "seconds": 2.5, "val_loss": 4.0})
    assert text(tmp_path) == "step,loss,seconds,val_loss\n10,0.5,1.25,\n20,0.333333,2.5,4\n"


def test_it_goes_on_after_the_step_with_the_time_up_to_there(tmp_path):
    first = Log(tmp_path, COLUMNS, 0)
    for step in (10, 20, 30):
        first.write(step, {"loss": 1.0, "seconds": step / 10})
    second = Log(tmp_path, COLUMNS, 20)
    assert second.seconds == 2
    second.write(30, {"loss": 7.0, "seconds": 9.0})
    assert text(tmp_path).splitlines()[1:] == ["10,1,1,", "20,1,2,", "30,7,9,"]


def test_tensorboard_shows_it_and_leaves_out_what_was_done_anew(tmp_path):
    first = Log(tmp_path, COLUMNS, 0)
    for step in (10, 20, 30):
        first.write(step, {"loss": 1.0, "val_loss": 2.0})
    second = Log(tmp_path, COLUMNS, 20)
    second.write(30, {"loss": 7.0})
    first.flush()
    second.flush()
    shown = EventAccumulator(str(tmp_path)).Reload()
    assert sorted(shown.Tags()["scalars"]) == ["loss", "validation/loss"]
    assert [(event.step, event.value) for event in shown.Scalars("loss")] == [(10, 1), (20, 1), (30, 7)]
    assert [event.step for event in shown.Scalars("validation/loss")] == [10, 20]


def test_two_logs_in_a_second_have_files_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)
    for step in (0, 1, 2):
        Log(tmp_path, COLUMNS, step)
    assert len(list(tmp_path.glob("events.out.tfevents.1700000000.*"))) == 3


def test_a_full_disk_leaves_whole_rows_and_is_told_at_once(tmp_path, monkeypatch):
    log = Log(tmp_path, COLUMNS, 0)
    log.write(10, {"loss": 0.5, "seconds": 1.0})
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    write, room = os.write, [7]

    def full(handle, data):
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done, room[0] = write(handle, data[: room[0]]), 0
        return done

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left on device") as error:
        log.write(20, {"loss": 0.5, "seconds": 2.0})
    assert Path(error.value.filename) == tmp_path / "metrics.csv"
    after = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert after.keys() == before.keys()
    assert after[tmp_path / "metrics.csv"] == before[tmp_path / "metrics.csv"]
    # TensorBoard's writer may bring earlier rows to the disk meanwhile; it never takes any back.
    assert all(after[path].startswith(before[path]) for path in before)


def test_a_fault_of_the_thread_that_writes_events_is_told_once(tmp_path, capfd):
    """A limit on the size of a file, as a full disk; the thread prints no traceback of its own."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE), threading.excepthook

    def fill() -> None:
        with Log.open(tmp_path, COLUMNS, 0) as log:
            resource.setrlimit(resource.RLIMIT_FSIZE, (400, before[0][1]))
            for step in range(1, 9):
                log.write(step, {"loss": 0.5})
                log.flush()

    try:
        with pytest.raises(OSError, match="File too large") as error:
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before[0])
    assert error.value.filename == str(tmp_path)
    assert capfd.readouterr().err == ""
    assert threading.excepthook is before[1]
    assert text(tmp_path).endswith("\n")
