import math
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from heteroreg.data.cohort import Cohort
from heteroreg.data.image import read_image, read_labels, write_image
from heteroreg.data.samples.dataset import load_samples
from heteroreg.losses import Losses, MeanSquaredError, total
from heteroreg.methods import METHODS, Method, Network
from heteroreg.networks import VoxelMorph
from heteroreg.registration.load import load
from heteroreg.registration.register import register
from heteroreg.system.errors import UserError
from heteroreg.system.locks import only_writer
from heteroreg.training import Run, checkpoint, loop, train
from heteroreg.training.state import State

SHORT = {"steps": 6, "batch_size": 4, "log_every": 2}


def tensors(run, name="last"):
    return checkpoint.read(run.checkpoint(name))[0]


def without_labels(cohort):
    return Cohort(tuple(replace(p, moving_labels=None, fixed_labels=None) for p in cohort), cohort.name)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_run_is_as_promised(method, cohort_2d, tmp_path):
    run = train(cohort_2d, tmp_path / "run", method=method, **SHORT)
    assert run == Run.read(tmp_path / "run")

    config = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert config["schema_version"] == 1
    assert (config["method"], config["dims"], config["size"]) == (method, 2, [32, 32])
    assert config["spacing"] == [1.5, 1.5]
    assert config["cohort"] == cohort_2d.name

    for name in ("last", "best"):
        files = sorted(p.name for p in (run.folder / "checkpoints" / name).iterdir())
        assert files[0] == "state.json"
        assert files[1].startswith("tensors-")
        assert files[1].endswith(".safetensors")
        assert len(files) == 2
    assert not [p for p in run.folder.rglob("*") if p.suffix in (".pt", ".pth", ".ckpt", ".pkl")]

    metrics = run.metrics
    assert metrics["step"].tolist() == [1, 2, 3, 4, 5, 6]  # validated after each tenth, so after every step
    assert {"loss", "data", "smoothness", "learning_rate", "seconds", "val_loss", "val_dice"} <= set(metrics)
    assert {"val_dice_1", "val_dice_2", "val_dice_3"} <= set(metrics)
    assert metrics["val_dice"].between(0, 1).all()
    assert np.isfinite(metrics[["loss", "val_loss"]].to_numpy()).all()
    has_variance_loss = method.startswith("hetero") or method == "adacs"
    assert metrics["variance"].notna().all() == has_variance_loss
    assert list(run.folder.glob("events.out.tfevents*"))
    # By hand, of vxm-diff: σ_I²·½·d·λ·½·(½ smoothness) = 4e-4·2·λ/8 of the smoothness, in 2D.
    weight = run.config.smoothness * (4e-4 * 2 / 8 if method == "vxm-diff" else 1)
    uncertainty = metrics["uncertainty"] if METHODS[method].uncertain else 0
    np.testing.assert_allclose(
        metrics["loss"], metrics["data"] + weight * metrics["smoothness"] + uncertainty, rtol=1e-4
    )
    network, objective = run.modules()
    assert not network.training
    assert not objective.training


def test_training_learns(cohort_2d, tmp_path):
    settings = {"method": "mse", "network": "voxelmorph", "steps": 70, "batch_size": 5, "validate_every": 10}
    run = train(cohort_2d, tmp_path / "run", augment=False, **settings)
    loss = run.metrics["val_loss"]
    assert loss.iloc[-1] < 0.8 * loss.iloc[0]
    train_loss = run.metrics["loss"]
    assert train_loss.iloc[-1] < 0.8 * train_loss.iloc[0]
    _, best = checkpoint.read(run.checkpoint("best"))
    dice = run.metrics.set_index("step")["val_dice"]
    assert best["step"] == dice.idxmax()
    assert best["score"] == pytest.approx(dice.max(), rel=1e-5)


def test_the_seed_decides(cohort_2d, tmp_path):
    runs = [train(cohort_2d, tmp_path / str(k), seed=seed, **SHORT) for k, seed in enumerate((1, 1, 2))]
    first, same, other = map(tensors, runs)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["network.entry.0.weight"], other["network.entry.0.weight"])


@pytest.mark.parametrize("method", ["mse", "hetero"])
def test_a_batch_in_parts_is_the_same_batch(method, cohort_2d, tmp_path):
    settings = {"steps": 4, "batch_size": 4, "log_every": 1, "method": method, "learning_rate": 1e-3}
    whole, parts = (train(cohort_2d, tmp_path / str(k), accumulate=k, **settings) for k in (1, 2))
    columns = ["loss", "data", "smoothness", "val_loss"] + (["variance"] if method == "hetero" else [])
    np.testing.assert_allclose(whole.metrics[columns], parts.metrics[columns], rtol=2e-3)
    a, b = tensors(whole), tensors(parts)
    for name in a:
        if name.startswith(("network.", "objective.")):
            assert float((a[name] - b[name]).abs().mean()) < 2e-5, name


def test_without_labels_the_loss_chooses(cohort_2d, tmp_path):
    run = train(without_labels(cohort_2d), tmp_path / "run", **SHORT)
    metrics = run.metrics.set_index("step")
    assert not [column for column in metrics if "dice" in column]
    _, best = checkpoint.read(run.checkpoint("best"))
    assert best["step"] == metrics["val_loss"].idxmin()
    assert best["score"] == pytest.approx(-metrics["val_loss"].min(), rel=1e-5)


def test_without_validation_pairs_there_is_only_the_last(cohort_2d, tmp_path):
    cohort = Cohort(tuple(p for p in cohort_2d if p.split != "val"), cohort_2d.name)
    run = train(cohort, tmp_path / "run", **SHORT)
    assert not run.checkpoint("best").exists()
    assert not [column for column in run.metrics if column.startswith("val_")]
    run.modules("best")


def test_without_splits_every_pair_is_learned_from(cohort_2d, tmp_path):
    cohort = Cohort(tuple(replace(p, split=None) for p in list(cohort_2d)[:2]), cohort_2d.name)
    assert len(train(cohort, tmp_path / "run", **SHORT).metrics) > 0


def test_pairs_to_test_but_none_to_train_on(cohort_2d, tmp_path):
    with pytest.raises(UserError, match="the split 'train' is empty"):
        train(cohort_2d.split("test"), tmp_path / "run", **SHORT)
    assert not (tmp_path / "run").exists()


def recorded(monkeypatch):
    """The models at every checkpoint, by step."""
    history = {}
    save = State.save

    def record(self, run):
        history[self.step] = {name: tensor.clone() for name, tensor in self.models().items()}
        save(self, run)

    monkeypatch.setattr(State, "save", record)
    return history


def test_the_phases_of_the_warm_start(cohort_2d, tmp_path, monkeypatch):
    history = recorded(monkeypatch)
    train(
        cohort_2d,
        tmp_path / "run",
        method="hetero",
        steps=10,
        batch_size=2,
        checkpoint_every=1,
        validate_every=10,
        warm_start=0.4,
        variance_alone=0.3,
    )

    def changed(part, first, second):
        names = [name for name in history[first] if name.startswith(part)]
        return [not torch.equal(history[first][n], history[second][n]) for n in names]

    # Steps 1 to 4 change the displacement, 5 to 7 the variance, 8 to 10 both.
    for step in range(2, 11):
        assert all(changed("network", step - 1, step)) == (step <= 4 or step >= 8), step
        assert any(changed("network", step - 1, step)) == (step <= 4 or step >= 8), step
        assert all(changed("objective", step - 1, step)) == (step >= 5), step
        assert any(changed("objective", step - 1, step)) == (step >= 5), step


@pytest.mark.parametrize("method", ["mse", "nll"])
def test_a_phase_in_which_nothing_learns_passes(method, cohort_2d, tmp_path, monkeypatch):
    # `variance_alone` means nothing to a method whose variance has no loss of its own.
    history = recorded(monkeypatch)
    train(cohort_2d, tmp_path / "run", method=method, steps=6, batch_size=2, checkpoint_every=1, variance_alone=0.5)
    assert all(torch.equal(history[1][n], history[3][n]) for n in history[1] if n.startswith("network"))
    assert not all(torch.equal(history[3][n], history[6][n]) for n in history[1] if n.startswith("network"))


def test_low_precision(cohort_2d, tmp_path):
    run = train(cohort_2d, tmp_path / "run", precision="bf16-mixed", **SHORT)
    assert all(t.dtype == torch.float32 for n, t in tensors(run).items() if n.startswith(("network", "objective")))
    assert np.isfinite(run.metrics["loss"]).all()


@pytest.mark.parametrize("schedule", ["constant", "polynomial"])
def test_the_rate_follows_the_schedule(schedule, cohort_2d, tmp_path):
    run = train(cohort_2d, tmp_path / "run", schedule=schedule, learning_rate=1e-3, **SHORT)
    rate = run.metrics.set_index("step")["learning_rate"]
    # The row of step n has the rate of the update that led there, t = (n - 1)/6.
    assert rate[6] == pytest.approx(1e-3 if schedule == "constant" else 1e-3 * (1 / 6) ** 0.9, rel=1e-4)


def test_3d(cohort_3d, tmp_path):
    run = train(cohort_3d, tmp_path / "run", dims=3, steps=2, batch_size=1)
    # 12 slices are padded to the least that the network takes.
    assert run.config.size == (32, 32, 16)
    assert np.isfinite(run.metrics["val_loss"]).all()


class Poisoned(MeanSquaredError):
    """Loses its mind from the sixth training batch on."""

    what = "loss"

    def __init__(self):
        super().__init__()
        self.batches = 0

    def forward(self, moved, fixed, weighted=True):
        losses = super().forward(moved, fixed)
        self.batches += self.training
        if self.batches < 6 or not self.training:
            return losses
        if self.what == "loss":
            return Losses(losses.displacement * math.nan)
        # A finite loss whose gradient is not: √0 at the places where the images agree.
        zero = (moved - moved.detach()).abs().mean()
        return Losses(losses.displacement + zero.sqrt())


@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize("clip", [1.0, None])
@pytest.mark.parametrize("checkpoint_every", [1, 2, 3])
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_sound_checkpoint(
    what, clip, checkpoint_every, cohort_2d, tmp_path, monkeypatch
):
    class Here(Poisoned):
        pass

    Here.what = what
    monkeypatch.setitem(METHODS, "poisoned", Method("poisoned", "", lambda *_: Here()))
    with pytest.raises(UserError, match=r"is not finite at step 6, with the pairs \w+.*; .*learning_rate") as error:
        train(
            cohort_2d,
            tmp_path / "run",
            method="poisoned",
            steps=20,
            batch_size=2,
            clip=clip,
            log_every=10,
            validate_every=7,
            checkpoint_every=checkpoint_every,
        )
    assert str(tmp_path / "run") in str(error.value)
    run = Run.read(tmp_path / "run")
    found, meta = checkpoint.read(run.checkpoint("last"))
    assert meta["step"] == 5 - 5 % checkpoint_every  # the last before the sixth
    assert all(torch.isfinite(t).all() for t in found.values() if t.is_floating_point())
    assert not run.checkpoint("best").exists()


def test_an_existing_run_is_not_written_over(cohort_2d, tmp_path):
    train(cohort_2d, tmp_path / "run", **SHORT)
    before = tensors(Run.read(tmp_path / "run"))
    with pytest.raises(UserError, match="holds a run; resume it"):
        train(cohort_2d, tmp_path / "run", steps=1)
    after = tensors(Run.read(tmp_path / "run"))
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_is_being_written_is_refused_by_its_writer(cohort_2d, tmp_path, resume):
    train(cohort_2d, tmp_path / "run", **SHORT)
    with only_writer(tmp_path / "run"), pytest.raises(UserError, match=f"written by process {os.getpid()} on "):
        train(cohort_2d, tmp_path / "run", resume=resume, **SHORT)


def test_settings_that_are_none_are_refused(cohort_2d, tmp_path):
    for config in (3, "mse.yaml"):
        with pytest.raises(UserError, match=r"^config: (int|str) holds no settings; give a mapping or a Config"):
            train(cohort_2d, tmp_path / "run", config=config)
    with pytest.raises(UserError, match=r"^configuration: method_options: size: is no option of mse"):
        train(cohort_2d, tmp_path / "run", config={"method": "mse", "method_options": {"size": 1}})


@pytest.mark.parametrize("resume", [False, True])
def test_a_foreign_folder_stays_as_it_is(cohort_2d, tmp_path, resume):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="did not write"):
        train(cohort_2d, tmp_path, resume=resume, **SHORT)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(UserError, match="is a file"):
        train(cohort_2d, tmp_path / "notes.txt", **SHORT)


def test_a_mistake_leaves_no_folder(cohort_2d, tmp_path):
    for settings in ({"stepz": 1}, {"method": "magic"}, {"centre_label": 9}):
        with pytest.raises(UserError):
            train(cohort_2d, tmp_path / "run", **SHORT, **settings)
        assert not (tmp_path / "run").exists()


def test_a_size_for_the_wrong_dimension_is_named(cohort_2d, tmp_path):
    with pytest.raises(UserError, match="size needs 2 positive numbers"):
        train(cohort_2d, tmp_path / "run", size=[32, 32, 32], **SHORT)


def test_settings_come_from_the_mapping_and_then_the_keywords(cohort_2d, tmp_path):
    run = train(cohort_2d, tmp_path / "run", config={"steps": 9, "method": "mse", "seed": 3}, steps=2, batch_size=2)
    assert (run.config.steps, run.config.method, run.config.seed) == (2, "mse", 3)


def test_a_cohort_by_its_path(cohort_2d, tmp_path):
    run = train(cohort_2d.name, tmp_path / "run", **SHORT)
    assert run.config.cohort == cohort_2d.name


def test_no_motion_is_pointed_out(cohort_2d, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "NO_MOTION_AFTER", 5)
    with pytest.warns(UserWarning, match="the displacement is about zero"):
        train(cohort_2d, tmp_path / "run", learning_rate=1e-9, head_sd=1e-5, **SHORT)


def test_a_model_that_does_not_beat_no_registration_is_pointed_out(cohort_2d, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "NO_GAIN_AFTER", 5)
    with pytest.warns(UserWarning, match=r"does not beat no registration: validation Dice 0\.\d+ at best, undefor"):
        run = train(cohort_2d, tmp_path / "run", learning_rate=1e-9, head_sd=1e-9, **SHORT)
    scores = run.metrics.dropna(subset=["val_dice"])
    np.testing.assert_allclose(scores["val_dice"], scores["val_dice_undeformed"], atol=1e-5)


def test_undeformed_dice_stands_beside_the_validation_dice(cohort_2d, tmp_path):
    run = train(cohort_2d, tmp_path / "run", validate_every=1, learning_rate=1e-2, **SHORT)
    column = run.metrics["val_dice_undeformed"].dropna()
    best = run.metrics["val_dice"].max()
    assert run.validation_in_words().startswith(
        f", validation Dice {best:.3f} (undeformed {column.iloc[0]:.3f}) at step "
    )
    assert len(column) == run.config.steps
    assert column.nunique() == 1
    samples = load_samples(cohort_2d.split("val"), run.config.preparation, run.config.size, labels=True)
    assert len(samples) == 1
    moving, fixed = samples.labels([0]).unbind(dim=1)
    shared = [k for k in (1, 2, 3) if (moving == k).any() and (fixed == k).any()]
    dice = [
        2 * float(((moving == k) & (fixed == k)).sum()) / float((moving == k).sum() + (fixed == k).sum())
        for k in shared
    ]
    assert column.iloc[0] == pytest.approx(sum(dice) / len(dice), rel=1e-5)


def test_the_penalty_for_leaving_the_image_changes_no_bit_of_an_ordinary_training(cohort_2d, tmp_path, monkeypatch):
    with_penalty = train(cohort_2d, tmp_path / "with", **SHORT)
    monkeypatch.setattr(total, "OUTSIDE_WEIGHT", 0.0)
    without = train(cohort_2d, tmp_path / "without", **SHORT)
    first, second = tensors(with_penalty), tensors(without)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_network_chooses_the_learning_rate(cohort_2d, tmp_path):
    few = {**SHORT, "steps": 1}
    assert train(cohort_2d, tmp_path / "a", **few).config.learning_rate == 1e-3
    assert train(cohort_2d, tmp_path / "b", network="voxelmorph", **few).config.learning_rate == 3e-3
    assert train(cohort_2d, tmp_path / "c", network="pyramid", learning_rate=0.1, **few).config.learning_rate == 0.1
    own = Network("own", "mine", lambda dims: VoxelMorph(dims), learning_rates={2: 2e-3})
    assert train(cohort_2d, tmp_path / "d", network=own, **few).config.learning_rate == 2e-3


def test_the_initial_alignment_of_the_training_is_that_of_the_registration(cohort_2d, tmp_path):
    """The moving images lie 40 mm away by their headers, and centre to centre they lie where they did."""
    away = []
    for pair in cohort_2d:
        for name in ("moving", "moving_labels"):
            image = read_image(getattr(pair, name)) if name == "moving" else read_labels(getattr(pair, name))
            grid = replace(image.grid, origin=tuple(x + 40 for x in image.grid.origin))
            write_image(replace(image, grid=grid), tmp_path / f"{pair.id}-{name}.nii.gz")
        files = {name: tmp_path / f"{pair.id}-{name}.nii.gz" for name in ("moving", "moving_labels")}
        away.append(replace(pair, **files, truth={}))
    cohort = Cohort(tuple(away))
    run = train(cohort, tmp_path / "run", initial="centre", **SHORT)
    plain = train(cohort_2d, tmp_path / "plain", **SHORT)
    assert run.config.initial == "centre"
    np.testing.assert_allclose(run.metrics["loss"], plain.metrics["loss"], rtol=1e-5)
    pair, stayed = cohort.split("test")[0], cohort_2d.split("test")[0]
    found, expected = load(run).register(pair.moving, pair.fixed), load(plain).register(stayed.moving, stayed.fixed)
    np.testing.assert_allclose(found.moved.array, expected.moved.array, atol=1e-3 * np.ptp(expected.moved.array))
    by_grid = register(pair.moving, pair.fixed, run.folder, initial="grid")
    assert not np.allclose(by_grid.moved.array, expected.moved.array, atol=0.1 * np.ptp(expected.moved.array))


def test_a_run_of_a_version_with_other_columns_goes_on(cohort_2d, tmp_path):
    run = train(cohort_2d, tmp_path / "run", validate_every=3, checkpoint_every=3, **SHORT)
    path = run.folder / "metrics.csv"
    run.metrics.drop(columns="val_dice_undeformed").to_csv(path, index=False)
    train(cohort_2d, run.folder, resume=True)
    assert run.metrics["step"].tolist() == [2, 3, 4, 6]
    assert run.metrics["val_dice"].notna().any()


def test_a_run_is_recognised(tmp_path):
    with pytest.raises(UserError, match=r"is not the folder of a run \(no config.yaml\)"):
        Run.read(tmp_path)
    (tmp_path / "config.yaml").write_text("method: mse\ndims: 2\nsize: [32, 32]\n")
    with pytest.raises(UserError, match="holds no checkpoint"):
        Run.read(tmp_path).modules()


def test_metrics_of_a_run(run_2d):
    assert isinstance(run_2d.metrics, pd.DataFrame)
    assert run_2d.metrics["step"].is_monotonic_increasing


def test_a_best_checkpoint_that_a_kill_left_unfinished_does_not_hide_the_last(cohort_2d, tmp_path):
    run = train(cohort_2d, tmp_path / "run", **SHORT)
    (run.checkpoint("best") / checkpoint.STATE).unlink()
    run.modules("best")


@pytest.mark.parametrize("method", ["vxm-diff", "sigma-z", "hetero-z"])
def test_the_uncertainty_is_trained_and_logged(method, cohort_2d, tmp_path):
    run = train(cohort_2d, tmp_path / "run", method=method, **SHORT, learning_rate=1e-2)
    sd = run.metrics["velocity_sd"].dropna()
    assert sd.iloc[0] == pytest.approx(math.exp(-5), rel=1e-3)  # a bias of -10
    assert sd.iloc[-1] > sd.iloc[0]  # all of them ask for more than next to none
    assert "network.log_variance_head.weight" in tensors(run)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # log σ² = -10 everywhere at the start. 1e-3·(e⁻¹⁰ + 10).
        ("sigma-z", 1e-3 * (math.exp(-10) + 10)),
        # σ_I²·½·2·(λ·D̄·e⁻¹⁰ + 10) with D̄ = 4·(16·15·2)/(2·16·16), twice the edges over the voxels of 16 × 16.
        ("vxm-diff", 4e-4 * (20 * 3.75 * math.exp(-10) + 10)),
    ],
)
def test_the_first_uncertainty_by_hand(method, expected, cohort_2d, tmp_path):
    settings = {"alpha": 1e-3} if method == "sigma-z" else {"smoothness": 20.0}
    run = train(cohort_2d, tmp_path / "run", method=method, steps=1, batch_size=2, log_every=1, **settings)
    assert run.metrics["uncertainty"][0] == pytest.approx(expected, rel=1e-4)


def test_validation_draws_no_samples(cohort_2d, tmp_path):
    settings = {**SHORT, "method": "sigma-z", "learning_rate": 1e-2}
    runs = [train(cohort_2d, tmp_path / str(k), validate_every=every, **settings) for k, every in enumerate((1, 6))]
    first, second = map(tensors, runs)
    assert all(torch.equal(first[name], second[name]) for name in first if name.startswith("network."))


@pytest.mark.parametrize("alpha", [0, -1, float("nan")])
def test_an_alpha_that_holds_nothing_is_refused(alpha, cohort_2d, tmp_path):
    with pytest.raises(UserError, match="alpha"):
        train(cohort_2d, tmp_path / "run", method="sigma-z", alpha=alpha)
    assert not (tmp_path / "run").exists()
