"""Brain slices with some fifty labels."""

import time
from dataclasses import replace

import numpy as np
from scipy import ndimage

import heteroreg as hr
from heteroreg.data.cohort import Cohort
from heteroreg.data.image import read_labels


def test_fifty_labels_are_warped_in_a_moment(real_data, run_2d):
    pair = Cohort.read(real_data / "oasis-2d")[0]
    registrar = hr.load(run_2d.folder)
    began = time.process_time()
    registration = registrar.register(pair.moving, pair.fixed, pair.moving_labels)
    assert time.process_time() - began < 10
    labels = read_labels(pair.moving_labels).array
    assert len(np.unique(labels)) > 45
    assert registration.displacement.shape == (2, *labels.shape)
    found = registration.moved_labels.array
    assert set(np.unique(found)) <= set(np.unique(labels))
    positions = (
        np.stack(np.meshgrid(*[np.arange(n) for n in labels.shape], indexing="ij")) + registration.displacement
    )
    nearest = ndimage.map_coordinates(labels, positions, order=0, mode="constant")
    assert (found == nearest).mean() > 0.97
    # The strongest of the linear masks, all at once.
    masks = [ndimage.map_coordinates((labels == k).astype(float), positions, order=1) for k in np.unique(labels)]
    best = np.unique(labels)[np.argmax(masks, axis=0)]
    inner = (slice(1, -1),) * 2
    assert (found == best)[inner].mean() > 0.999


def test_training_on_slices_of_the_brain(real_data, tmp_path):
    cohort = Cohort.read(real_data / "oasis-2d")
    few = Cohort((*cohort.split("train").pairs[:2], replace(cohort.split("test")[0], split="val")), cohort.name)
    run = hr.train(few, tmp_path / "run", steps=1, batch_size=1, size=[96, 96])
    assert run.config.dims == 2
    assert run.metrics["val_dice"].between(0, 1).all()
    dice = [column for column in run.metrics if column.startswith("val_dice_")]
    assert len(dice) > 20
