import signal
import threading
from types import SimpleNamespace

import pytest
import torch

import heteroreg.demo as demo
from heteroreg.cli.app import main
from heteroreg.system.errors import StoppedError
from heteroreg.system.outputs import read_marker
from heteroreg.system.signals import SIGNALS, Interruption, handled, interrupt
from heteroreg.training import Run, checkpoint, loop, train
from heteroreg.training.stop import StopRequest, stop_request

SETTINGS = {"steps": 8, "batch_size": 2, "log_every": 2, "validate_every": 4, "checkpoint_every": 4}


def handlers():
    return {number: signal.getsignal(number) for number in SIGNALS}


@pytest.fixture(autouse=True)
def _handlers_are_as_before():
    before = handlers()
    yield
    assert handlers() == before


def last(out):
    return checkpoint.read(out / "checkpoints" / "last")[1]["step"]


def at(monkeypatch, name, call, act):
    """Lets something happen in the `call`-th call of a function of the loop."""
    inner, calls = getattr(loop, name), 0

    def wrapped(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == call:
            act()
        return inner(*args, **kwargs)

    monkeypatch.setattr(loop, name, wrapped)


def ask(number):
    return lambda: signal.raise_signal(number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted(number):
    with stop_request() as request:
        assert request.signal == 0
        signal.raise_signal(number)
        assert request.signal == number
        request.signal = 0  # or it would be passed on


def test_the_second_ctrl_c_interrupts():
    with stop_request() as request:
        signal.raise_signal(signal.SIGINT)
        assert request.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        request.signal = 0


def test_the_second_ctrl_c_goes_to_the_handler_from_before():
    with handled(interrupt), stop_request() as request:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interruption):
            signal.raise_signal(signal.SIGINT)
        request.signal = 0


def test_ctrl_c_after_sigterm_does_not_interrupt_the_saving():
    with stop_request() as request:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert request.signal == signal.SIGINT
        request.signal = 0


def test_what_the_block_did_not_act_on_is_passed_on():
    with pytest.raises(KeyboardInterrupt), stop_request():
        signal.raise_signal(signal.SIGINT)


def test_a_fault_is_not_hidden_by_a_signal():
    def fail():
        with stop_request():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        fail()


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as `nohup` and scripts do
    try:
        with stop_request() as request:
            signal.raise_signal(signal.SIGINT)
            assert request.signal == 0
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_several_processes_stop_together_where_they_meet():
    asked = []

    def gather(tensor):
        asked.append(int(tensor))
        return torch.tensor([int(tensor), 15])

    request = StopRequest()
    several = SimpleNamespace(world_size=2, all_gather=gather)
    assert request.agreed(several, meeting=False) == 0
    assert asked == []  # those that are not there cannot be asked
    assert request.agreed(several, meeting=True) == 15
    alone = SimpleNamespace(world_size=1)
    assert request.agreed(alone, meeting=True) == 0
    request.signal = 2
    assert request.agreed(alone, meeting=False) == 2


def test_a_training_in_another_thread(cohort_2d, tmp_path):
    runs = []
    thread = threading.Thread(target=lambda: runs.append(train(cohort_2d, tmp_path / "run", **SETTINGS)))
    thread.start()
    thread.join(120)
    assert [run.folder for run in runs] == [tmp_path / "run"]
    assert last(tmp_path / "run") == 8


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    ("name", "call", "step"),
    [
        ("progress", 1, 1),  # before the first step
        ("update", 1, 1),
        ("update", 5, 5),
        ("validate", 1, 5),  # after step 4: one more step
        ("update", 8, 8),
    ],
)
def test_a_stop_saves_the_step(number, name, call, step, cohort_2d, tmp_path, monkeypatch):
    at(monkeypatch, name, call, ask(number))
    with pytest.raises(
        StoppedError, match=f"stopped and saved after step {step} of 8; go on with `resume=True`"
    ) as stop:
        train(cohort_2d, tmp_path / "run", **SETTINGS)
    assert stop.value.signal == number
    assert last(tmp_path / "run") == step
    monkeypatch.undo()
    train(cohort_2d, tmp_path / "run", resume=True)
    assert Run.read(tmp_path / "run").metrics["step"].tolist() == [2, 4, 6, 8]


def test_a_stop_in_the_last_validation_ends_what_follows(cohort_2d, tmp_path, monkeypatch):
    at(monkeypatch, "validate", 2, ask(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(cohort_2d, tmp_path / "run", **SETTINGS)
    assert last(tmp_path / "run") == 8  # the run is whole


def test_the_second_ctrl_c_in_a_training(cohort_2d, tmp_path, monkeypatch):
    at(monkeypatch, "update", 6, lambda: [signal.raise_signal(signal.SIGINT) for _ in range(2)])
    with pytest.raises(KeyboardInterrupt):
        train(cohort_2d, tmp_path / "run", **SETTINGS)
    assert last(tmp_path / "run") == 4


def test_handlers_are_restored_after_a_fault(cohort_2d, tmp_path, monkeypatch):
    def fail():
        raise ValueError("a fault")

    at(monkeypatch, "update", 3, fail)
    with pytest.raises(ValueError, match="a fault"):
        train(cohort_2d, tmp_path / "run", **SETTINGS)


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["heteroreg", *map(str, arguments), "--quiet"])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code, capsys.readouterr().err


def test_the_command_says_so(cohort_2d, tmp_path, monkeypatch, capsys):
    at(monkeypatch, "update", 3, ask(signal.SIGTERM))
    code, text = command(monkeypatch, capsys, "train", cohort_2d.name, "--out", tmp_path / "run", "--steps", 8)
    assert code == 143
    assert text == f"heteroreg: {tmp_path / 'run'}: stopped and saved after step 3 of 8; go on with --resume\n"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_of_several_processes_the_first_tells(elsewhere, cohort_2d, tmp_path, monkeypatch, capsys):
    def stopped(*_args, **_kwargs):
        raise StoppedError("stopped", signal.SIGTERM, elsewhere=elsewhere)

    monkeypatch.setattr("heteroreg.training.train", stopped)
    outcome = command(monkeypatch, capsys, "train", cohort_2d.name, "--out", tmp_path / "run")
    assert outcome == ((0, "") if elsewhere else (143, "heteroreg: stopped\n"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_outside_of_training(number, code, cohort_2d, tmp_path, monkeypatch, capsys):
    at(monkeypatch, "load_samples", 1, ask(number))
    outcome = command(monkeypatch, capsys, "train", cohort_2d.name, "--out", tmp_path / "run", "--steps", 8)
    assert outcome == (code, "heteroreg: interrupted\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("where", ["train", "evaluate"])
def test_a_demo(where, tmp_path, monkeypatch, capsys):
    out = tmp_path / "demo"
    if where == "train":
        at(monkeypatch, "update", 3, ask(signal.SIGINT))
        line = f"{out}: the demo was stopped; the same command goes on with it"
    else:
        monkeypatch.setattr(demo, "evaluate", lambda *_, **__: signal.raise_signal(signal.SIGINT))
        line = "interrupted"
    assert command(monkeypatch, capsys, "demo", "--quick", "--out", out) == (130, f"heteroreg: {line}\n")
    assert read_marker(out)["kind"] == "demo"  # so that the same command goes on
    assert not (out / "report").exists()
