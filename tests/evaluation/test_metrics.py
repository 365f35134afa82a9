"""The names, units and decimals of the metrics."""

from __future__ import annotations

import math

import numpy as np
import pytest

from heteroreg.evaluation import metrics, row
from heteroreg.evaluation.metrics import Metric, is_metric, metric, ordered
from heteroreg.registration.maps import Maps


@pytest.mark.parametrize(
    ("name", "label", "higher_is_better"),
    [
        ("dice_2", 2, True),
        ("hd95_1001", 1001, False),
        ("ause", None, False),
        ("aurg_foreground", None, True),
        ("coverage_95", None, None),
        ("epe", None, False),
        ("epe_3", 3, False),
    ],
)
def test_known_columns(name, label, higher_is_better):
    found = metric(name)
    assert is_metric(name)
    assert (found.name, found.label, found.higher_is_better) == (name, label, higher_is_better)


@pytest.mark.parametrize("name", ["id", "slice", "vendor", "dice", "dice_x", "ause_2", "my_dice_2"])
def test_other_columns_are_no_metrics(name):
    assert not is_metric(name)
    with pytest.raises(KeyError):
        metric(name)


def test_order_is_by_metric_then_by_label():
    shuffled = {"seconds", "epe_2", "dice_10", "hd_1", "epe", "ause", "dice_2", "hd95_1"}
    assert ordered(shuffled) == ["dice_2", "dice_10", "hd_1", "hd95_1", "ause", "epe", "epe_2", "seconds"]


@pytest.mark.parametrize(
    ("name", "heading", "long_heading", "spoken"),
    [
        ("dice_2", "Dice (%) ↑", "Dice, label 2 (%) ↑", "Dice of label 2"),
        ("hd95_1", "HD95 (mm) ↓", "95 % Hausdorff distance, label 1 (mm) ↓", "95 % Hausdorff distance of label 1"),
        ("folding_percent", "Folding (%) ↓", "Folding (%) ↓", "folding"),
        ("sd_log_jacobian", "SD log J ↓", "Roughness ↓", "roughness"),
        ("ause", "AUSE (×10⁻⁴) ↓", "AUSE (×10⁻⁴) ↓", "AUSE"),
        ("noise_ratio", "Noise ratio", "Noise ratio", "noise ratio"),
        ("seconds", "Time (s) ↓", "Time per pair (s) ↓", "time per pair"),
    ],
)
def test_names_in_words(name, heading, long_heading, spoken):
    found = metric(name)
    assert (found.heading, found.long_heading, found.spoken) == (heading, long_heading, spoken)


def test_some_modes_measure_labels_in_voxels():
    assert metric("hd_2", voxels=True).heading == "HD (voxels) ↓"
    assert metric("dice_2", voxels=True).unit == "%"
    assert metric("epe_2", voxels=True).unit == metric("epe", voxels=True).unit == "mm"


@pytest.mark.parametrize(
    ("name", "value", "options", "text"),
    [
        ("dice_2", 0.8067, {}, "80.67"),  # scaled to %
        ("dice_2", 0.0041, {"sign": True}, "+0.41"),
        ("dice_2", -0.0041, {"sign": True}, "−0.41"),
        ("dice_2", -0.00001, {"sign": True}, "0.00"),  # no sign on what is printed as zero
        ("noise_correlation", -0.5, {}, "−0.500"),
        ("hd_2", 4.567, {"unit": True}, "4.57 mm"),
        ("dice_2", 0.5, {"unit": True}, "50.00 %"),
        ("dice_2", 0.5, {"unit": True, "sign": True}, "+50.00 points"),
        ("noise_ratio", 1, {"unit": True}, "1.00"),
        ("coverage_68", 0.6789, {}, "67.9"),
        ("ause", 1.234e-4, {}, "1.23"),  # in units of 1e-4
        ("hd_2", math.nan, {"unit": True}, "–"),
    ],
)
def test_format(name, value, options, text):
    assert metric(name).format(value, **options) == text


def test_every_metric_is_computed_from_its_entry_but_those_of_the_pair():
    entries = (*metrics.LABEL_METRICS, *metrics.IMAGE_METRICS, *metrics.TRUTH_PER_LABEL)
    assert [one.name for one in entries if one.compute is None] == ["whole_dice", "unusual", "seconds"]


def test_one_entry_adds_a_metric(monkeypatch):
    volume = Metric(
        name="volume", title="Volume", words="volume", explanation="", compute=lambda label: label.moved.sum()
    )
    monkeypatch.setattr(row, "LABEL_METRICS", (*metrics.LABEL_METRICS, volume))
    labels = np.array([[1, 1], [0, 2]])
    maps = Maps(
        spacing=(1.0, 1.0),
        fixed=labels,
        moving=labels,
        moved=labels,
        displacement=np.zeros((2, 2, 2)),
        fixed_labels=labels,
        moving_labels=labels,
        moved_labels=labels,
    )
    values = row.score(maps, None, "standard").values
    assert (values["volume_1"], values["volume_2"]) == (2, 1)
