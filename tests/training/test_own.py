"""A user's own loss and network, from a file outside the package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from torch import nn

import heteroreg as hr
from heteroreg.cli.app import main
from heteroreg.losses import Losses, Objective
from heteroreg.methods import Method
from heteroreg.networks import Displacement
from heteroreg.system.errors import UserError

MINE = '''
import torch
from torch import nn

from heteroreg.methods import Method
from heteroreg.networks import DisplacementNetwork, displacement_of


class Absolute(nn.Module):
    """Mean absolute error."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = scale

    def forward(self, moved, fixed):
        return self.scale * (fixed - moved).abs().mean()


class Plain(DisplacementNetwork):
    def __init__(self, dims, int_steps=7):
        super().__init__(dims, int_steps)
        self.layer = nn.Conv2d(2, dims, 3, padding=1)

    def forward(self, moving, fixed):
        velocity = self.layer(torch.cat([moving, fixed], dim=1))
        return displacement_of(velocity, moving.shape[2:], self.int_steps)


def backbone(dims):
    return nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.ReLU())


METHOD = Method("smooth", "absolute error, smoother", Absolute, {"smoothness": 0.125})
'''
SHORT = {"steps": 2, "batch_size": 2, "log_every": 1, "validate_every": 2}


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The user's module, importable."""
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "mine_of_user.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path / "user")
    yield tmp_path / "user"
    sys.modules.pop("mine_of_user", None)


def command(user: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(user), "HETEROREG_CACHE": "off"}
    code = "import sys; from heteroreg.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize(
    ("method", "network"),
    [("mine_of_user:Absolute", "mine_of_user:Plain"), ("mine_of_user:METHOD", "mine_of_user:backbone")],
)
def test_import_paths(method, network, mine, cohort_2d, tmp_path):
    run = hr.train(cohort_2d, tmp_path / "run", method=method, network=network, **SHORT)
    assert (run.config.method, run.config.network) == (method, network)
    assert run.config.smoothness == (0.125 if method.endswith("METHOD") else 0.01)
    assert f"method: {method}\n" in (run.folder / "config.yaml").read_text()
    registrar = hr.load(run.folder, method=method, network=network)
    scores = hr.evaluate(registrar, cohort_2d.split("test"), out=tmp_path / "scores")
    assert scores.table["dice_2"].between(0, 1).all()


def test_the_run_does_not_import_what_it_names(mine, cohort_2d, tmp_path):
    hr.train(cohort_2d, tmp_path / "run", method="mine_of_user:Absolute", network="mine_of_user:Plain", **SHORT)
    (mine / "mine_of_user.py").write_text("raise SystemExit('imported')")
    sys.modules.pop("mine_of_user")
    run = hr.Run.read(tmp_path / "run")
    with pytest.raises(UserError, match=r"^method: .*run names 'mine_of_user:Absolute' from outside") as error:
        run.modules()
    assert error.value.argument == "method"
    with pytest.raises(UserError, match=r"^network: .*run names 'mine_of_user:Plain' from outside"):
        run.modules(method=Absolute())
    with pytest.raises(UserError, match=r"^method: .*names 'mine_of_user:Absolute' from outside"):
        hr.train(cohort_2d, tmp_path / "other", config=run.config)
    assert "mine_of_user" not in sys.modules


class Absolute(Objective):
    def forward(self, moved, fixed, weighted=True):
        return Losses((fixed - moved).abs().mean())


class Coarse(nn.Module):
    """Maps (moving, fixed) to a displacement, without the base class."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, moving, fixed):
        field = self.layer(torch.cat([moving, fixed], dim=1))
        return Displacement(field, field, -field)


def test_objects(cohort_2d, tmp_path):
    network, loss = Coarse(), Absolute()
    first = {name: value.clone() for name, value in network.state_dict().items()}
    run = hr.train(cohort_2d, tmp_path / "run", method=loss, network=network, **SHORT)
    assert all(torch.equal(network.state_dict()[name], value) for name, value in first.items())  # a copy learned
    assert run.config.method == "custom: Absolute"
    assert run.config.network == "custom: Coarse"
    found, _ = hr.Run.read(run.folder).modules("last", network=network, method=loss)
    assert not torch.equal(found.module.layer.weight, network.layer.weight)
    with pytest.raises(UserError, match="'custom: Absolute' from outside"):
        run.modules()
    with pytest.raises(UserError, match="does not fit"):
        run.modules(network=nn.Conv2d(2, 4, 1), method=loss)


class Weighted(Objective):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, moved, fixed, weighted=True):
        log_variance = self.layer(torch.cat([moved, fixed], dim=1))
        loss = (fixed - moved).abs().mean()
        return Losses(
            loss, variance=log_variance.square().mean(), log_variance=log_variance, weight=log_variance.exp()
        )


def test_a_network_and_a_loss_in_low_precision(cohort_2d, tmp_path):
    """Autocast leaves what their convolutions return in bfloat16, which NumPy does not have."""
    parts = {"method": Weighted(), "network": Coarse()}
    run = hr.train(cohort_2d, tmp_path / "run", precision="bf16-mixed", **parts, **SHORT)
    pair = cohort_2d.split("test")[0]
    found = hr.load(run, precision="bf16-mixed", **parts).register(pair.moving, pair.fixed)
    expected = hr.load(run, precision="32-true", **parts).register(pair.moving, pair.fixed)
    # bfloat16 holds eight bits: 2^-8 of the value.
    scale = abs(expected.displacement).max()
    assert scale > 0
    assert abs(found.displacement - expected.displacement).max() < 0.05 * scale
    assert found.weight is not None
    assert found.noise_sd is not None


def test_a_training_with_objects_resumes_exactly(cohort_2d, tmp_path):
    torch.manual_seed(0)
    parts = {"method": Absolute(), "network": nn.Conv2d(2, 4, 3, padding=1)}
    whole = hr.train(cohort_2d, tmp_path / "whole", **parts, **SHORT | {"steps": 4, "checkpoint_every": 2})
    # A run of four steps, of which the last two are lost.
    hr.train(cohort_2d, tmp_path / "run", **parts, **SHORT | {"steps": 4, "checkpoint_every": 4})
    with pytest.raises(UserError, match="from outside"):
        hr.train(cohort_2d, tmp_path / "run", resume=True)
    again = hr.train(cohort_2d, tmp_path / "run", resume=True, **parts)
    for one, other in zip(again.modules("last", **parts), whole.modules("last", **parts), strict=True):
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name])


def test_a_method_with_a_fixed_option(cohort_2d, tmp_path, mine):
    from mine_of_user import Absolute as Scaled

    method = Method("scaled", "", Scaled, {"smoothness": 0.5}, fixed={"scale": 3.0})
    run = hr.train(cohort_2d, tmp_path / "run", method=method, **SHORT)
    assert (run.config.method, run.config.smoothness) == ("custom: scaled", 0.5)
    options = {"scale": 2.0}
    own = hr.train(cohort_2d, tmp_path / "own", method=Scaled, method_options=options, **SHORT)
    assert (own.config.method, own.config.method_options) == ("mine_of_user:Absolute", options)
    with pytest.raises(
        UserError, match="method_options: size: is no option of mine_of_user:Absolute; it has scale"
    ):
        hr.train(cohort_2d, tmp_path / "bad", method=Scaled, method_options={"size": 1}, **SHORT)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"method": "mine_of_user:Lost"}, "method: mine_of_user:Lost: mine_of_user has no Lost"),
        ({"network": "not_there:Net"}, "network: not_there:Net: no module is called not_there; install it, or put"),
        ({"method": "mine_of_user:MINE"}, "mine_of_user has no MINE"),
        ({"network": "heteroreg:__version__"}, "is neither a module nor a function that makes one"),
        ({"network": dict}, "must make a torch.nn.Module; got dict"),
        ({"network": nn.Linear(3, 3)}, "it failed on them"),
        ({"network": nn.Flatten()}, r"must give features \(N, C, \*grid\)"),
        ({"method": nn.L1Loss(reduction="none")}, r"must return a scalar or heteroreg.losses.Losses; got a tensor"),
        ({"method": "hetro"}, "method: no method is called 'hetro'; did you mean hetero"),
    ],
)
def test_what_is_no_loss_and_no_network(parts, message, mine, cohort_2d, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        hr.train(cohort_2d, tmp_path / "run", **parts, **SHORT)
    assert error.value.argument in parts


@pytest.mark.slow
def test_from_the_command_line(mine, cohort_2d, tmp_path):
    own = ["--method", "mine_of_user:Absolute", "--network", "mine_of_user:Plain"]
    settings = [part for key, value in SHORT.items() for part in ("--set", f"{key}={value}")]
    more = ["--set", "method_options.scale=2"]
    done = command(mine, "train", cohort_2d.name, "--out", "run", *own, *settings, *more, "--quiet", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert hr.Run.read(tmp_path / "run").config.method_options == {"scale": 2}
    assert pd.read_csv(tmp_path / "run" / "metrics.csv").loss.iloc[-1] > 0


def test_the_command_line_names_what_is_missing(mine, cohort_2d, tmp_path, monkeypatch, capsys):
    """Evaluation imports nothing that only the run names, and training nothing from the current folder."""
    own = {"method": "mine_of_user:Absolute", "network": "mine_of_user:Plain"}
    hr.train(cohort_2d, tmp_path / "run", **own, **SHORT)
    monkeypatch.chdir(tmp_path)
    options = [part for key, value in own.items() for part in (f"--{key}", value)]
    scored = ("evaluate", cohort_2d.name, "--model", "run", "--out", "scores", "--quiet")

    def code(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["heteroreg", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        return int(stop.value.code or 0)

    sys.modules.pop("mine_of_user")
    assert code(*scored) == 2
    said = capsys.readouterr().err
    assert "--method: " in said
    assert "is never imported by itself" in said
    assert "mine_of_user" not in sys.modules
    assert (code(*scored, *options), capsys.readouterr().err) == (0, "")
    assert pd.read_csv(tmp_path / "scores" / "scores.csv").dice_2.between(0, 1).all()

    sys.modules.pop("mine_of_user")
    monkeypatch.setattr("sys.path", [place for place in sys.path if place != str(mine)])
    monkeypatch.chdir(mine)  # holds the module, and is not searched
    assert code("train", cohort_2d.name, "--out", str(tmp_path / "other"), *options, "--quiet") == 2
    said = capsys.readouterr().err
    assert "no module is called mine_of_user" in said
    assert said.count("\n") == 1


@pytest.mark.long
@pytest.mark.slow
def test_a_study(mine, cohort_2d, tmp_path):
    study = {
        "cohort": str(Path(cohort_2d.name).parent),
        "settings": {**SHORT, "validate_every": 1},
        "networks": ["voxelmorph-half"],
        "seeds": [0],
        "methods": {"mse": {}, "own": {"method": "mine_of_user:Absolute"}},
        "baseline": "mse",
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    done = command(mine, "study", "study.yaml", "--out", "out", "--quiet", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    scores = [folder.name for folder in (tmp_path / "out" / "scores").iterdir()]
    assert sorted(scores) == ["voxelmorph-half-mse-seed0", "voxelmorph-half-own-seed0"]
