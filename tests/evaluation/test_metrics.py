import pytest

from heteroreg.evaluation.metrics import metric, ordered


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
    assert (found.name, found.label, found.higher_is_better) == (name, label, higher_is_better)


@pytest.mark.parametrize("name", ["id", "slice", "vendor", "dice", "dice_x", "ause_2", "my_dice_2"])
def test_other_columns_are_no_metrics(name):
    assert metric(name) is None


def test_order_is_by_metric_then_by_label():
    shuffled = {"seconds", "epe_2", "dice_10", "hd_1", "epe", "ause", "dice_2", "hd95_1"}
    assert ordered(shuffled) == ["dice_2", "dice_10", "hd_1", "hd95_1", "ause", "epe", "epe_2", "seconds"]
