"""`heteroreg watch` as a process, with and without a terminal."""

import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest

from heteroreg.watch import follow
from heteroreg.watch.view import ASCII, sparkline

ROWS = "10,0.5,5,,\n20,0.4,10,0.3,0.6\n"
COMMAND = [sys.executable, "-m", "heteroreg", "watch", "--every", "0.1"]
LIMIT = 60  # seconds, on a busy machine


def until(condition):
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def content(path):
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.rglob("*") if file.is_file()}


def fresh(folder, rows=ROWS, steps=100):
    """A run that writes just now."""
    folder.begin(steps).rows(rows)
    for path in folder.path.iterdir():
        os.utime(path)
    return folder


def test_a_line_for_each_change_until_the_end(folder, tmp_path):
    with (tmp_path / "out").open("w") as out:
        process = subprocess.Popen([*COMMAND, str(folder.path)], stdout=out)
        seen = (tmp_path / "out").read_text
        until(lambda: seen() == "run: not begun\n")
        fresh(folder, "")
        until(lambda: "run: 0/100, preparing\n" in seen())
        fresh(folder, ROWS[:-4])  # the second row is half written
        until(lambda: "run: 10/100, loss 0.5" in seen())
        fresh(folder)
        until(lambda: "run: 20/100, loss 0.4, validation Dice 0.6 (best 0.6 at 20), 2.0 steps/s, " in seen())
        before = content(folder.path)
        time.sleep(0.5)
        assert content(folder.path) == before
        folder.save(100)
        assert process.wait(LIMIT) == 0
    lines = seen().splitlines()
    assert lines[-1] == "run: 100/100, finished, loss 0.4, validation Dice 0.6 (best 0.6 at 20)"
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_ctrl_c_ends_it_well(number, code, folder):
    process = subprocess.Popen([*COMMAND, str(fresh(folder).path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline().startswith(b"run: 20/100")
    process.send_signal(number)
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == code
    assert errors == (b"" if code == 0 else b"heteroreg: interrupted\n")


def test_a_terminal_sees_it_change(folder):
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160", "LINES": "30"}
    process = subprocess.Popen([*COMMAND, str(fresh(folder).path)], stdout=slave, env=environment)
    os.close(slave)
    seen = b""
    while True:
        try:
            seen += os.read(master, 65536)
        except OSError:  # the process has ended
            break
        if b"20/100" in seen and not (folder.path / "checkpoints").exists():
            folder.save(100)
    assert process.wait(LIMIT) == 0
    os.close(master)
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", seen.decode())
    assert "mse · voxelmorph · training" in text
    assert "━" in text
    assert "20/100, 2.0 steps/s" in text
    assert re.search(r"loss +0\.4 +█▁ +best 0\.4 at step 20", text)
    assert "mse · voxelmorph · finished" in text


def test_once(folder, capsys):
    before = content(fresh(folder).path)
    follow(folder.path, once=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("run · mse · voxelmorph · training")
    assert "20/100, 2.0 steps/s" in lines[1]
    assert len(lines) == 5
    assert content(folder.path) == before


def test_once_of_several_runs(folder, capsys):
    fresh(folder)
    follow(folder.path.parent, once=True)
    title, heading, row = capsys.readouterr().out.splitlines()
    assert title.endswith(": 0/1 trained, 1 training")
    assert heading.split() == ["run", "state", "steps", "loss", "validation", "best", "left"]
    assert row.split()[:6] == ["run", "training", "20/100", "0.4", "0.6", "0.6"]


def test_it_needs_no_pytorch(folder):
    code = (
        "import sys; from heteroreg.watch import follow; follow(sys.argv[1], once=True); "
        "sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(fresh(folder).path)], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("values", "plot"),
    [([], ""), ([2.0], "_"), ([1.0, 1.0], "__"), ([0.0, 7.0, 3.0], "_@="), (range(100), "_.-=+*#@")],
)
def test_a_plot_of_the_last_values(values, plot):
    assert sparkline(list(values), ASCII, width=8) == plot
