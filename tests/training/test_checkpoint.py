import json
import os
import stat

import pytest
import torch
from torch import nn

import heteroreg.training.checkpoint as module
from heteroreg.system.errors import UserError
from heteroreg.training import checkpoint
from heteroreg.training.config import SCHEMA_VERSION


def tensors(value):
    return {"network.a": torch.full((3, 2), float(value)), "random": torch.arange(5, dtype=torch.uint8)}


def test_what_is_saved_comes_back(tmp_path):
    folder = tmp_path / "checkpoints" / "last"
    checkpoint.save(folder, tensors(1), {"step": 7, "best": None})
    found, meta = checkpoint.read(folder)
    assert found.keys() == tensors(1).keys()
    for name, tensor in tensors(1).items():
        torch.testing.assert_close(found[name], tensor, atol=0, rtol=0)
        assert found[name].dtype == tensor.dtype
    assert (meta["step"], meta["best"], meta["schema_version"]) == (7, None, SCHEMA_VERSION)


def test_no_pickle_and_nothing_left_of_older_ones(tmp_path):
    for step in (5, 10):
        checkpoint.save(tmp_path, tensors(step), {"step": step})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state.json", "tensors-0000010.safetensors"]
    assert float(checkpoint.read(tmp_path)[0]["network.a"][0, 0]) == 10


def test_files_of_others_beside_it_are_let_alone(tmp_path):
    others = (".nfs0001", ".ipynb_checkpoints/state.json", "notes.txt", "tensors-mine.safetensors")
    for name in others:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    for step in (5, 12345678):  # a number of eight digits is one of ours too
        checkpoint.save(tmp_path, tensors(step), {"step": step})
    assert all((tmp_path / name).read_text() == "mine" for name in others)
    checkpoint.save(tmp_path, tensors(5), {"step": 5})
    assert [p.name for p in tmp_path.glob("tensors-0*")] == ["tensors-0000005.safetensors"]
    assert not (tmp_path / "tensors-12345678.safetensors").exists()


def test_layout_of_the_weights_does_not_matter(tmp_path):
    weight = torch.rand(4, 3, 3, 3).contiguous(memory_format=torch.channels_last)
    checkpoint.save(tmp_path, {"w": weight}, {"step": 1})
    torch.testing.assert_close(checkpoint.read(tmp_path)[0]["w"], weight, atol=0, rtol=0)


class CrashError(Exception):
    pass


@pytest.mark.parametrize("when", ["serialise", "write_text"])
def test_a_crash_between_the_writes_leaves_the_older_one(tmp_path, monkeypatch, when):
    checkpoint.save(tmp_path, tensors(5), {"step": 5})

    def crash(*args, **kwargs):
        raise CrashError

    with monkeypatch.context() as patch:
        patch.setattr(module, when, crash)
        with pytest.raises(CrashError):
            checkpoint.save(tmp_path, tensors(10), {"step": 10})
    found, meta = checkpoint.read(tmp_path)
    assert meta["step"] == 5
    assert float(found["network.a"][0, 0]) == 5
    checkpoint.save(tmp_path, tensors(10), {"step": 10})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state.json", "tensors-0000010.safetensors"]


def test_a_first_one_that_crashed_is_none(tmp_path, monkeypatch):
    def crash(*args, **kwargs):
        raise CrashError

    monkeypatch.setattr(module, "write_text", crash)
    with pytest.raises(CrashError):
        checkpoint.save(tmp_path / "last", tensors(5), {"step": 5})
    with pytest.raises(UserError, match="holds no checkpoint"):
        checkpoint.read(tmp_path / "last")


def spoil_tensors(folder):
    path = next(folder.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-5])


def spoil_header(folder):
    path = next(folder.glob("*.safetensors"))
    path.write_bytes(b"\xff" * 40)


def spoil_state(folder):
    (folder / "state.json").write_text('{"schema_version": 1, "tens')


def empty_state(folder):
    (folder / "state.json").write_text("[]")


def lose_tensors(folder):
    next(folder.glob("*.safetensors")).unlink()


@pytest.mark.parametrize("spoil", [spoil_tensors, spoil_header, spoil_state, empty_state, lose_tensors])
def test_damage_is_named(tmp_path, spoil):
    checkpoint.save(tmp_path, tensors(5), {"step": 5})
    spoil(tmp_path)
    with pytest.raises(UserError, match="the checkpoint is damaged") as error:
        checkpoint.read(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_a_newer_schema_is_named(tmp_path):
    checkpoint.save(tmp_path, tensors(5), {"step": 5})
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps(state | {"schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(UserError, match=r"newer heteroreg .*update heteroreg"):
        checkpoint.read(tmp_path)


def test_it_cannot_point_out_of_its_folder(tmp_path):
    checkpoint.save(tmp_path / "other", tensors(9), {"step": 1})
    checkpoint.save(tmp_path / "own", tensors(5), {"step": 5})
    state = json.loads((tmp_path / "own" / "state.json").read_text())
    state["tensors"] = "../other/tensors-0000001.safetensors"
    (tmp_path / "own" / "state.json").write_text(json.dumps(state))
    with pytest.raises(UserError, match="damaged"):
        checkpoint.read(tmp_path / "own")


def test_an_optimizer_goes_on_as_if_nothing_had_been(tmp_path):
    def step(net, optimizer, k):
        optimizer.zero_grad()
        net(torch.full((1, 3), float(k))).square().sum().backward()
        optimizer.step()

    torch.manual_seed(0)
    first = nn.Linear(3, 2)
    one = torch.optim.Adam(first.parameters(), 0.1)
    for k in range(3):
        step(first, one, k)
    checkpoint.save(
        tmp_path,
        {
            **{f"net.{n}": t for n, t in first.state_dict().items()},
            **checkpoint.optimizer_tensors(one, "optimizer.x"),
        },
        {"step": 3},
    )
    step(first, one, 3)

    found, _ = checkpoint.read(tmp_path)
    second = nn.Linear(3, 2)
    two = torch.optim.Adam(second.parameters(), 0.1)
    checkpoint.restore_module(second, found, "net", tmp_path)
    checkpoint.restore_optimizer(two, found, "optimizer.x", tmp_path)
    step(second, two, 3)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=0)


def test_another_network_does_not_fit(tmp_path):
    with pytest.raises(UserError, match=r"does not fit its config\.yaml"):
        checkpoint.restore_module(nn.Linear(3, 2), {"net.weight": torch.zeros(5, 5)}, "net", tmp_path)


def test_what_a_kill_left_beside_it_goes(tmp_path):
    checkpoint.tidy(tmp_path / "none")
    checkpoint.save(tmp_path, tensors(5), {"step": 5})
    left = [tmp_path / f"tensors-{step:07d}.safetensors" for step in (4, 6)]  # superseded, and never current
    for path in left:
        path.write_bytes(b"")
    checkpoint.tidy(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state.json", "tensors-0000005.safetensors"]


def test_of_a_damaged_one_nothing_goes(tmp_path):
    checkpoint.save(tmp_path, tensors(5), {"step": 5})
    spoil_state(tmp_path)
    checkpoint.tidy(tmp_path)
    assert (tmp_path / "tensors-0000005.safetensors").is_file()


def test_it_can_be_read_while_a_training_replaces_it(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, {"x": torch.zeros(2)}, {"step": 1})
    read, steps = module.load_file, iter([2, 3])

    def replaced(file):
        # After state.json was read, and before the tensors are, a newer checkpoint takes their place; twice.
        step = next(steps, None)
        if step is not None:
            checkpoint.save(tmp_path, {"x": torch.full((2,), float(step))}, {"step": step})
        return read(file)

    monkeypatch.setattr(module, "load_file", replaced)
    tensors, meta = checkpoint.read(tmp_path)
    assert meta["step"] == 3
    assert tensors["x"].tolist() == [3.0, 3.0]
    (tmp_path / "tensors-0000003.safetensors").unlink()  # nothing newer has come: damage
    with pytest.raises(UserError, match="damaged"):
        checkpoint.read(tmp_path)


def test_others_can_read_it(tmp_path):
    checkpoint.save(tmp_path, tensors(5), {"step": 5})
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "tensors-0000005.safetensors").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize(
    "change",
    [
        {"step": -1}, {"step": 1.5}, {"step": None}, {"step": True}, {"schema_version": "1"}, {"best": "high"},
        {"tensors": ["a"]}, {"tensors": ""},
    ],
    ids=str,
)  # fmt: skip
def test_entries_that_others_rely_on_are_checked(tmp_path, change):
    checkpoint.save(tmp_path, tensors(5), {"step": 5, "best": 0.5})
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps(state | change))
    with pytest.raises(UserError, match="the checkpoint is damaged"):
        checkpoint.read(tmp_path)


def test_tensors_that_are_no_numbers_are_damage(tmp_path):
    checkpoint.save(tmp_path, {"network.a": torch.tensor([1.0, float("nan")])}, {"step": 5})
    with pytest.raises(UserError, match=r"network\.a holds NaN or infinite values"):
        checkpoint.read(tmp_path)


def test_tensors_of_too_many_axes_are_damage(tmp_path):
    """The file may declare them, and PyTorch makes them, but cannot look whether they are finite."""
    checkpoint.save(tmp_path, {"network.a": torch.ones(*[1] * 65)}, {"step": 5})
    with pytest.raises(UserError, match=r"the checkpoint is damaged .*network\.a has 65 axes"):
        checkpoint.read(tmp_path)


@pytest.mark.parametrize("spoil", ["drop", "shape", "index", "name"])
def test_the_state_of_another_optimizer_is_damage(tmp_path, spoil):
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    found = checkpoint.optimizer_tensors(optimizer, "optimizer.x")
    if spoil == "drop":
        del found["optimizer.x.0.step"]
    elif spoil == "shape":
        found["optimizer.x.0.exp_avg"] = torch.zeros(7)
    elif spoil == "index":
        found["optimizer.x.9.exp_avg"] = torch.zeros(2, 3)
    else:
        found["optimizer.x.exp_avg"] = torch.zeros(2)
    with pytest.raises(UserError, match="the checkpoint is damaged"):
        checkpoint.restore_optimizer(torch.optim.Adam(net.parameters()), found, "optimizer.x", tmp_path)
