"""What a file asks for: rows, points, names; and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heteroreg.methods import METHODS
from heteroreg.study.matrix import Matrix, differences, read_matrix, slug
from heteroreg.study.runs import RESOLVED
from heteroreg.system.errors import UserError
from heteroreg.training import Config
from heteroreg.training.resolve import resolve

ROOT = Path(__file__).parents[2]
Write = Callable[..., Path]


def folders(matrix: Matrix) -> list[list[str]]:
    return [[row.folder(point, row.seeds[0]) for point in row.points()] for row in matrix.arms[0].rows]


@pytest.mark.parametrize(
    ("label", "settings", "names"),
    [
        ("mse", {}, ["voxelmorph-mse-seed0"]),
        ("mse", {"smoothness": 0.01}, ["voxelmorph-mse-smoothness0.01-seed0"]),
        (
            "nll",
            {"smoothness": [1, 0.3]},
            ["voxelmorph-nll-smoothness1-seed0", "voxelmorph-nll-smoothness0.3-seed0"],
        ),
        # λ before γ before the others, whatever the order of the file; λ changes slowest.
        (
            "hetero",
            {"beta": 1, "gamma": [0.25, 0.5], "smoothness": [0.01, 0.02]},
            [
                f"voxelmorph-hetero-smoothness{s}-gamma{g}-beta1-seed0"
                for s, g in ((0.01, 0.25), (0.01, 0.5), (0.02, 0.25), (0.02, 0.5))
            ],
        ),
        # YAML reads 1e-4 as a text; it is a number all the same.
        ("mse", {"learning_rate": "1e-4"}, ["voxelmorph-mse-learning_rate0.0001-seed0"]),
        ("mse", {"size": [96, 64]}, ["voxelmorph-mse-size96x64-seed0"]),
        ("mse", {"size": [[96, 96], [64, 64]]}, [f"voxelmorph-mse-size{n}x{n}-seed0" for n in (96, 64)]),
        ("mse", {"augment": False, "schedule": "constant"}, ["voxelmorph-mse-augmentfalse-scheduleconstant-seed0"]),
        (
            "hetero γ=0.5",
            {"method": "hetero", "gamma": 0.5},
            ["voxelmorph-hetero-gamma0.5-gamma0.5-seed0"],
        ),
        ("mse", {"smoothness": [0.01, 1e-2]}, ["voxelmorph-mse-smoothness0.01-seed0"]),  # one value, told twice
    ],
)
def test_names_of_runs(study_file: Write, label: str, settings: dict[str, Any], names: list[str]) -> None:
    assert folders(read_matrix(study_file(methods={label: settings}, baseline=label))) == [names]


@pytest.mark.parametrize(
    ("label", "expected"),
    [("beta-nll", "beta-nll"), ("hetero γ=0.5", "hetero-gamma0.5"), ("Ours (σ_z)", "ours-sigma-z"), ("…", "")],
)
def test_slug(label: str, expected: str) -> None:
    assert slug(label) == expected


def test_networks_may_have_seeds_methods_and_settings_of_their_own(study_file: Write) -> None:
    networks = {
        "voxelmorph": {},
        "voxelmorph-half": {
            "seeds": [5],
            "methods": {"mse": None, "nll": {"smoothness": [1, 2]}, "hetero": {"smoothness": [0.3]}},
            "settings": {"steps": 7},
        },
    }
    matrix = read_matrix(study_file(networks=networks, methods={"mse": None, "hetero": {"gamma": 0.5}}))
    rows = {row.name: row for row in matrix.arms[0].rows}
    assert list(rows) == [
        "voxelmorph-mse", "voxelmorph-hetero",
        "voxelmorph-half-mse", "voxelmorph-half-nll", "voxelmorph-half-hetero",
    ]  # fmt: skip
    assert rows["voxelmorph-mse"].seeds == (0, 1)
    assert rows["voxelmorph-half-mse"].seeds == (5,)
    # What the network does not say of a method is that of the file.
    assert rows["voxelmorph-half-hetero"].grid == {"smoothness": (0.3,), "gamma": (0.5,)}
    assert rows["voxelmorph-mse"].config({}, 0).steps == 6
    config = rows["voxelmorph-half-nll"].config({"smoothness": 2}, 5)
    assert (config.steps, config.network, config.method, config.seed, config.smoothness) == (
        7, "voxelmorph-half", "nll", 5, 2,
    )  # fmt: skip


def test_a_list_of_methods_takes_some_of_the_file(study_file: Write) -> None:
    matrix = read_matrix(study_file(networks={"voxelmorph": {"methods": ["hetero"]}}, baseline="hetero"))
    assert [row.label for row in matrix.arms[0].rows] == ["hetero"]


def test_several_cohorts(study_file: Write, tmp_path: Path) -> None:
    path = study_file(cohort=None, cohorts={"clean": "a", "noisy": {"path": "b", "settings": {"steps": 9}}})
    clean, noisy = read_matrix(path).arms
    assert (clean.name, clean.cohort, noisy.cohort) == ("clean", tmp_path / "a", tmp_path / "b")
    assert [arm.rows[0].config({}, 0).steps for arm in (clean, noisy)] == [6, 9]
    moved = read_matrix(path, ["noisy=/elsewhere"]).arms
    assert [arm.cohort for arm in moved] == [tmp_path / "a", Path("/elsewhere")]
    with pytest.raises(UserError, match="write NAME=PATH"):
        read_matrix(path, ["/elsewhere"])
    with pytest.raises(UserError, match="no cohort is called 'noise'; did you mean noisy"):
        read_matrix(path, ["noise=/elsewhere"])


def test_the_cohort_of_the_command_line_is_taken_instead(study_file: Write) -> None:
    assert read_matrix(study_file(), ["/elsewhere"]).arms[0].cohort == Path("/elsewhere")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sedes": [0]}, "study.yaml: no key is called 'sedes'; did you mean seeds"),
        ({"split": {"chose": "val"}}, "split: no key is called 'chose'; did you mean choose"),
        ({"networks": {"voxelmorph": {"method": ["mse"]}}}, "networks.voxelmorph: no key .* did you mean methods"),
        ({"methods": {"mse": {"smothness": 1}}}, "mse: no setting is called 'smothness'; did you mean smoothness"),
        ({"methods": {"mse": {"seed": 1}}}, "mse: no setting is called 'seed'"),
        ({"settings": {"step": 1}}, "no setting is called 'step'; did you mean steps"),
        ({"methods": ["hetro"]}, "hetro: method: no method is called 'hetro'; did you mean hetero"),
        ({"methods": {"ours": {"method": "hetro"}}}, "ours: method: no method is called 'hetro'"),
        ({"networks": ["voxelmorf"]}, "no network is called 'voxelmorf'; did you mean voxelmorph"),
        ({"networks": {"voxelmorph": {"methods": ["mze"]}}}, "no row is called 'mze'; did you mean mse"),
        ({"methods": {"mse": {"smoothness": -1}}}, "mse: smoothness: .* greater than or equal to 0"),
        ({"methods": {"mse": {"smoothness": [0.1, "much"]}}}, "mse: smoothness: .* valid number"),
        ({"methods": {"mse": {"smoothness": []}}}, "smoothness has no values"),
        ({"methods": {"mse": {"accumulate": 3}}}, "no multiple of accumulate"),
        ({"methods": {}}, "trains nothing"),
        ({"methods": None}, "methods: .*required"),
        ({"networks": []}, "trains nothing"),
        ({"seeds": []}, "seeds: .*at least 1"),
        ({"seeds": [1, 1]}, "names one twice"),
        ({"baseline": "mes"}, "baseline: no row is called 'mes'; did you mean mse"),
        ({"registrars": ["elastics"]}, "registrars.0: .*elastix"),
        ({"choose_by": "dice"}, "choose_by"),
        ({"split": {"choose": "test"}}, "split.choose: .*val"),
        ({"cohort": None}, "needs either"),
        ({"cohorts": {"a": "b"}}, "needs either"),
        ({"cohort": None, "cohorts": {"A b": "c"}}, "becomes a folder"),
        ({"methods": {"a b": {"method": "mse"}, "a-b": {"method": "mse"}}, "baseline": None}, "both be called"),
        ({"methods": {"mse": {"smoothness": [0.1, 0.10000001]}}}, "both be called"),
        ({"methods": {"…": {"method": "mse"}}, "baseline": None}, "use letters or digits"),
    ],
)
def test_what_is_unfit_is_one_line(study_file: Write, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_matrix(study_file(**changes))
    assert "\n" not in str(caught.value)
    assert "study.yaml" in str(caught.value)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_matrix(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- mse\n")
    with pytest.raises(UserError, match="must hold"):
        read_matrix(tmp_path / "list.yaml")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, None),
        ({"seeds": [0, 1, 2]}, None),
        ({"seeds": [1, 0]}, "seeds begins with 1, and did with 0"),
        ({"seeds": [0]}, "seeds has lost 1"),
        ({"methods": {"mse": {"smoothness": [0.5, 0.001, 0.1]}, "hetero": {"smoothness": [0.001, 0.1]}}}, None),
        (
            {"methods": {"mse": {"smoothness": [0.001]}, "hetero": {"smoothness": [0.001, 0.1]}}},
            "grid.smoothness has lost 0.1",
        ),
        ({"methods": {"mse": {"smoothness": [0.001, 0.1]}}}, "has no voxelmorph hetero any more"),
        ({"networks": ["voxelmorph", "voxelmorph-half"]}, None),
        ({"settings": {"steps": 7}}, "steps is 7, and was 6"),
        ({"settings": {"steps": 6, "batch_size": 2, "validate_every": 2, "head_sd": 0.2, "learning_rate": 0.01,
                       "clip": 2.0}}, "settings has clip now"),
        ({"registrars": ["undeformed", "elastix"]}, None),
        ({"baseline": "hetero"}, None),
        ({"choose_by": "val_dice_2"}, "choose_by is val_dice_2, and was val_dice"),
        ({"cohort": "elsewhere"}, "path is .*elsewhere"),
    ],
)  # fmt: skip
def test_what_may_change(study_file: Write, changes: dict[str, Any], found: str | None) -> None:
    earlier, now = read_matrix(study_file()).record(), read_matrix(study_file(**changes)).record()
    texts = "; ".join(differences(earlier, now))
    if found is None:
        assert texts == ""
    else:
        import re

        assert re.search(found, texts)


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda path: path.name)
def test_the_recipes_can_be_read(path: Path) -> None:
    matrix = read_matrix(path)
    for arm in matrix.arms:
        assert {row.label for row in arm.rows} & {*matrix.baselines}


def test_the_recipe_of_the_whole_table() -> None:
    rows = read_matrix(ROOT / "studies" / "accuracy.yaml").arms[0].rows
    assert [row.label for row in rows if row.network == "transmorph-small"] == [
        "mse", "nll", "beta-nll", "hetero-paper", "hetero",
    ]  # fmt: skip
    assert sorted(row.method for row in rows if row.network == "voxelmorph") == sorted(METHODS)
    assert {row.seeds for row in rows} == {(0, 1, 2), (0, 1)}
    assert {row.config({}, 0).steps for row in rows} == {1000}


def test_the_recipe_of_the_paper_is_its_configuration() -> None:
    acdc, camus = read_matrix(ROOT / "studies" / "paper.yaml").arms
    rows = {row.name: row.config(row.points()[0], 0) for row in acdc.rows}
    ours = rows["voxelmorph-hetero-paper"]
    assert (ours.steps, ours.batch_size, ours.learning_rate, ours.head_sd) == (15000, 8, 1e-4, 1e-5)
    assert (ours.smoothness, ours.gamma, ours.beta, ours.schedule) == (0.01, 0.5, 0.5, "constant")
    theirs = rows["transmorph-hetero-paper"]
    assert (ours.int_steps, theirs.int_steps, theirs.schedule) == (7, 0, "polynomial")
    assert (ours.centre_label, camus.rows[0].config({}, 0).centre_label) == (2, None)


def test_runs_that_exist_are_compared_in_every_setting_that_training_finds(cohort_2d: Any) -> None:
    given = Config.build({})
    found = resolve(given, cohort_2d)
    filled = {name for name in Config.model_fields if getattr(given, name) != getattr(found, name)}
    assert "kernel" in filled
    assert filled - {"cohort"} <= {*RESOLVED}
