import pytest
from tests.watch.conftest import HEADER, NOW

from heteroreg.system.errors import UserError
from heteroreg.watch.run import Phase, read_rows, read_run

# 10 steps in 5 s: 2 a second. The third row has a validation too.
ROWS = "10,0.5,5,,\n20,0.4,10,0.3,0.6\n30,0.45,15,,\n40,0.35,20,0.2,0.55\n"


def test_a_folder_that_is_not_there_yet(tmp_path):
    state = read_run(tmp_path / "run")
    assert (state.phase, state.step, state.loss, state.left) == (Phase.absent, 0, None, None)


def test_a_run_that_prepares(folder):
    state = read_run(folder.begin(age=30).path, NOW)
    assert state.phase is Phase.preparing
    assert (state.steps, state.step, state.rate, state.age) == (100, 0, None, 30)


def test_a_run_that_trains(folder):
    state = read_run(folder.begin(age=40).rows(ROWS, age=3).save(30, age=8).path, NOW)
    assert state.phase is Phase.training
    assert (state.step, state.saved, state.age) == (40, 30, 3)
    assert state.about == "mse · voxelmorph"
    assert state.rate == pytest.approx(2.0)  # 30 steps in 15 s
    assert state.left == pytest.approx(27.0)  # 60 steps at 2 a second, of which 3 s are over
    assert (state.loss.steps, state.loss.values) == ([10, 20, 30, 40], [0.5, 0.4, 0.45, 0.35])
    assert state.loss.best == (40, 0.35)
    assert state.validation.name == "validation Dice"
    assert state.validation.best == (20, 0.6)


def test_without_labels_the_validation_is_the_loss(folder):
    (folder.begin().path / "metrics.csv").write_text("step,loss,seconds,val_loss\n10,0.5,5,0.3\n20,0.4,9,0.35\n")
    state = read_run(folder.path)
    assert state.validation.name == "validation loss"
    assert state.validation.best == (10, 0.3)


@pytest.mark.parametrize(("age", "phase"), [(60, Phase.training), (61, Phase.quiet)])
def test_silence_beyond_a_minute(age, phase, folder):
    # 5 s between rows: five of them are less than a minute, which is what any run may take
    assert read_run(folder.begin(age=100).rows(ROWS, age=age).path, NOW).phase is phase


@pytest.mark.parametrize(("age", "phase"), [(500, Phase.training), (501, Phase.quiet)])
def test_silence_at_a_slow_pace(age, phase, folder):
    rows = "10,0.5,100,,\n20,0.4,200,,\n"  # 100 s between rows
    assert read_run(folder.begin(age=1000).rows(rows, age=age).path, NOW).phase is phase


def test_a_checkpoint_is_a_sign_of_life_too(folder):
    state = read_run(folder.begin(age=500).rows(ROWS, age=400).save(47, age=1).path, NOW)
    assert (state.phase, state.step) == (Phase.training, 47)


def test_a_run_that_has_ended(folder):
    state = read_run(folder.begin(age=9e5).rows(ROWS, age=8e5).save(100, age=7e5).path, NOW)
    assert (state.phase, state.left) == (Phase.finished, None)


@pytest.mark.parametrize(
    "end",
    ["50", "50,0.3", "50,0.3,25,,", "50,0.3,25\n", "x,0.3,25,,\n", ",0.3,25,,\n", "\x00\x00\x00\n", "50,0.3,2"],
)
def test_a_row_that_is_half_written(end, folder):
    folder.begin().rows(ROWS + end)
    assert [row["step"] for row in read_rows(folder.path / "metrics.csv")] == [10, 20, 30, 40]
    assert read_run(folder.path).step == 40


@pytest.mark.parametrize("text", ["", "step,lo", HEADER, HEADER + "10,0.5"])
def test_no_row_yet(text, folder):
    (folder.begin().path / "metrics.csv").write_text(text)
    state = read_run(folder.path)
    assert (state.phase, state.loss) == (Phase.preparing, None)


def test_figures_that_are_no_numbers_are_left_out(folder):
    state = read_run(folder.begin().rows("10,nan,5,,\n20,inf,10,,\n").path)
    assert (state.step, state.loss) == (20, None)


def test_one_row_has_a_pace_too(folder):
    assert read_run(folder.begin().rows("10,0.5,4,,\n").path).rate == pytest.approx(2.5)


@pytest.mark.parametrize("text", ["steps: many\n", "- 1\n", "method: mse\n", "{", "steps: 0\n"])
def test_a_damaged_configuration(text, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml: "):
        read_run(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"step": "x"}'])
def test_a_damaged_checkpoint(text, folder):
    (folder.begin().save(1).path / "checkpoints" / "last" / "state.json").write_text(text)
    with pytest.raises(UserError, match=r"state\.json: "):
        read_run(folder.path)
