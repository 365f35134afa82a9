import pytest
import yaml

from heteroreg.methods import METHODS, NETWORKS, Method, Network, find_method
from heteroreg.system.errors import UserError
from heteroreg.training import Config
from heteroreg.training.config import SCHEMA_VERSION, read_settings


def test_layers_go_over_one_another_and_over_the_methods_defaults(monkeypatch):
    row = Method(
        "row", "a row with defaults", METHODS["mse"].objective, defaults={"gamma": 0.25, "smoothness": 0.06}
    )
    monkeypatch.setitem(METHODS, "row", row)
    config = Config.build({"method": "mse", "steps": 10, "gamma": 0.75}, {"method": "row", "steps": 20})
    assert (config.method, config.steps, config.gamma, config.smoothness) == ("row", 20, 0.75, 0.06)
    assert Config.build({}).method == "hetero"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stepz": 3}, r"^configuration: stepz: is not a setting; the settings are .*steps"),
        ({"steps": 0}, r"^configuration: steps: .*greater than or equal to 1"),
        ({"steps": "many"}, r"^configuration: steps: "),
        ({"learning_rate": -1}, r"^configuration: learning_rate: "),
        ({"dims": 4}, r"^configuration: dims: "),
        ({"schedule": "cosine"}, r"^configuration: schedule: .*one-cycle"),
        ({"beta": 2}, r"^configuration: beta: "),
        ({"warm_start": 1.5}, r"^configuration: warm_start: "),
        ({"intensity": "median"}, r"^configuration: intensity: .*percentile"),
        ({"batch_size": 8, "accumulate": 3}, r"batch_size 8 is no multiple of accumulate 3"),
        ({"dims": 2, "size": [32, 32, 32]}, r"size needs 2 positive numbers.*\(32, 32, 32\)"),
        ({"dims": 2, "spacing": [1.0, 0.0]}, r"spacing needs 2 positive numbers"),
        ({"size": [32, 8]}, r"size must be at least 16.*\(32, 8\)"),
        ({"method": "hetro"}, r"no method is called 'hetro'; did you mean hetero"),
        ({"network": "voxelmorf"}, r"no network is called 'voxelmorf'; did you mean voxelmorph"),
        ({"precision": "float7"}, r"^configuration: precision: .*bf16-mixed"),
    ],
)
def test_what_is_not_allowed_is_named(settings, message):
    with pytest.raises(UserError, match=message) as error:
        Config.build(settings)
    assert "\n" not in str(error.value)


def test_a_configuration_survives_its_file(tmp_path):
    config = Config.build({"method": "mse", "dims": 2, "size": [32, 48], "spacing": [1.25, 1.5], "clip": None})
    (tmp_path / "config.yaml").write_text(config.yaml())
    assert Config.read(tmp_path / "config.yaml") == config
    assert yaml.safe_load(config.yaml())["schema_version"] == SCHEMA_VERSION


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"schema_version: {SCHEMA_VERSION + 1}\nnew_thing: 1\n", "newer heteroreg.*update heteroreg"),
        ("steps: [", "not readable as YAML"),
        ("- 1\n- 2\n", "must hold settings"),
        ("", "must hold settings"),
        ("steps: -2\n", "steps"),
    ],
)
def test_damaged_files_are_named(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        Config.read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_text_and_one_that_is_missing(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00steps")
    with pytest.raises(UserError, match="not readable as text"):
        read_settings(tmp_path / "a.yaml")
    with pytest.raises(UserError, match="no such file"):
        read_settings(tmp_path / "b.yaml")


@pytest.mark.parametrize(
    "line",
    [
        "gamma: .inf", "gamma: .nan", "spacing: [.nan, 1]", "seed: 99999999999999999999", "int_steps: 100000",
        "method: [mse]", "method: {x: 1}", "network: 3", "steps: 1.5", "3: 4",
        "method: msee",
    ],
)  # fmt: skip
def test_a_file_of_settings_is_named_with_its_mistake(line, tmp_path):
    (tmp_path / "s.yaml").write_text(line + "\n")
    with pytest.raises(UserError, match=r"s\.yaml: "):
        Config.build(read_settings(tmp_path / "s.yaml"))


def test_a_batch_that_no_memory_holds():
    with pytest.raises(UserError, match="batch_size and size make more voxels than"):
        Config.build({"size": [100_000, 100_000]})


def test_settings_that_only_fit_others_are_left_to_the_whole(tmp_path):
    (tmp_path / "s.yaml").write_text("batch_size: 9\naccumulate: 3\n")
    assert read_settings(tmp_path / "s.yaml") == {"batch_size": 9, "accumulate": 3}
    (tmp_path / "s.yaml").write_text("accumulate: 3\n")  # no multiple of the usual batch, but of one set elsewhere
    assert Config.build(read_settings(tmp_path / "s.yaml"), {"batch_size": 9}).accumulate == 3


def test_a_network_without_uncertainty_is_named(monkeypatch):
    monkeypatch.setitem(NETWORKS, "plain", Network("plain", "", lambda dims, int_steps, head_sd: None))
    assert Config.build({"method": "hetero", "network": "plain"}).network == "plain"
    with pytest.raises(UserError, match=r"method sigma-z needs .* voxelmorph or voxelmorph-half.*; not plain"):
        Config.build({"method": "sigma-z", "network": "plain"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "mse", "method_options": {"window": 7}}, "window: is no option of mse; it has none"),
        (
            {"method": "ncc", "method_options": {"windoww": 7}},
            "windoww: is no option of ncc; it has window, ",
        ),
        ({"method": "ncc", "method_options.window": "wide"}, "method_options: window: .*valid integer"),
        (
            {"method": "hetero", "method_options.signal": "loud"},
            "signal: .*'none', 'fixed' or 'local'",
        ),
        ({"method": "hetero", "method_options.gamma": 1}, "gamma: is no option of hetero"),
        ({"method": "nll", "method_options.beta": 1}, "beta: is no option of nll"),
    ],
)
def test_an_option_that_is_not_the_methods(settings, message):
    with pytest.raises(UserError, match=message):
        Config.build(settings)


def test_the_options_of_a_method_reach_its_objective(tmp_path):
    config = Config.build({"method": "ncc", "method_options": {"window": 5}}, {"method_options.epsilon": "1e-3"})
    assert config.method_options == {"window": 5, "epsilon": 1e-3}
    objective = find_method("ncc").make(2, **config.method_options)
    assert (objective.window, objective.epsilon) == (5, 1e-3)
    (tmp_path / "config.yaml").write_text(config.yaml())
    assert Config.read(tmp_path / "config.yaml") == config
    (tmp_path / "s.yaml").write_text("method_options.window: 7\n")
    assert read_settings(tmp_path / "s.yaml") == {"method_options": {"window": 7}}


def test_a_file_without_method_options_is_one_of_an_older_version(tmp_path):
    (tmp_path / "config.yaml").write_text("method: hetero-z\nsteps: 3\n")
    config = Config.read(tmp_path / "config.yaml")
    # What such a file does not say is the default of the settings, not the one that the method has today.
    assert (config.method_options, config.correlation, config.gamma) == ({}, 0, 0.5)


def test_a_configuration_of_its_own_has_the_defaults_of_its_method():
    config = Config(method="ncc", steps=3)
    assert config.smoothness == Config.build({"method": "ncc"}).smoothness == 0.3
    assert config.model_fields_set == {"method", "steps"}
    assert Config().gamma == 0.25


def test_a_name_from_outside_is_not_imported():
    config = Config.build({"method": "not_there:Loss", "network": "custom: Net"})
    assert (config.method, config.network) == ("not_there:Loss", "custom: Net")


def test_the_default_lambda_of_vxm_diff_is_its_own():
    assert 10 <= Config.build({"method": "vxm-diff"}).smoothness <= 25
    assert Config.build({"method": "sigma-z"}).smoothness == Config.build({"method": "mse"}).smoothness
