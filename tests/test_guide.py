"""The readme and the guide: their commands, settings and code are those of the program."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk
import typer
import yaml
from typer.testing import CliRunner

import heteroreg
from heteroreg import Cohort, Config, evaluate, load, train
from heteroreg.cli.app import app
from heteroreg.data.phantom import write_phantom
from heteroreg.evaluation.metrics import is_metric
from heteroreg.methods import METHODS
from heteroreg.registration import elastix

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "benchmarks").glob("*.md")),
]
PARAMETERS = Path(elastix.__file__).with_name("bspline.txt")
COMMANDS = typer.main.get_command(app).commands


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def command_lines() -> list[tuple[str, str]]:
    """Every line of a shell block that calls heteroreg, with the page that it is on.

    What extend.md calls exists only after its changes; test_extend.py runs all of it.
    """
    found = []
    for page in PAGES:
        if page.name == "extend.md":
            continue
        for block in blocks(page, "bash"):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(page.name, line.strip()) for line in lines if line.strip().startswith("heteroreg ")]
    return found


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_a_command_of_the_guide_is_understood(page: str, line: str) -> None:
    name, *arguments = shlex.split(line, comments=True)[1:]
    context = COMMANDS[name].make_context(name, arguments)  # parses, and complains of what it does not know
    method = context.params.get("method")
    assert method is None or method in METHODS or method.startswith("$"), page
    for setting in context.params.get("set_") or []:
        key, _, value = setting.partition("=")
        group, _, option = key.partition(".")
        assert group in Config.model_fields, page
        if "$" not in value:
            Config.build({"method": method} if option else {}, {key: yaml.safe_load(value)})


def test_the_guide_has_commands() -> None:
    assert len(command_lines()) > 20


# Lines that only parse: they need data, machines or hours that a test does not have.
ELSEWHERE = re.compile(
    r"[~$*?]|\.\./shared|--(devices|nodes|slurm)|heteroreg (study|demo)|steps 6000|cohorts/(acdc|camus|mnms|oasis)"
    r"|cohorts/(varied|shapes)"
    r"|me/cardiac|exams|echo|hearts64|--pairs 1200|convert registered |disp_"
)
# Pages that have a test of their own, or no command that can run here.
OWN_TEST = {"extend.md", "export.md", "outside.md", "cluster.md", "CONTRIBUTING.md"}
QUICK = {"steps": 2, "batch_size": 2, "validate_every": 2}
SHORT = ["--steps", "2", "--set", "validate_every=2", "--set", "batch_size=2"]


def runs_here(page: Path, text: str) -> bool:
    """Return whether a command of a page can run on a small phantom cohort."""
    return page.parent.name != "benchmarks" and page.name not in OWN_TEST and not ELSEWHERE.search(text)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that the pages name, made from a small phantom."""
    place = tmp_path_factory.mktemp("guide")
    cohort = place / "cohorts" / "mine"
    write_phantom(cohort, pairs=6, size=32)
    (place / "my-data").mkdir()
    for patient in range(1, 7):
        for frame, image in (("ED", "moving"), ("ES", "fixed")):
            source = cohort / f"phantom{patient:03}_{image}.nii.gz"
            shutil.copy(source, place / "my-data" / f"p{patient}_{frame}.nii.gz")
            labels = cohort / f"phantom{patient:03}_{image}_labels.nii.gz"
            shutil.copy(labels, place / "my-data" / f"p{patient}_{frame}_gt.nii.gz")
    for name in ("ED", "ES", "ED_gt", "ES_gt"):
        shutil.copy(place / "my-data" / f"p6_{name}.nii.gz", place / f"{name}.nii.gz")
    shutil.copy(place / "ED.nii.gz", place / "other.nii.gz")
    sitk.WriteTransform(sitk.TranslationTransform(2, (1.0, 0.0)), str(place / "affine.tfm"))
    (place / "ED.fcsv").write_text("# CoordinateSystem = LPS\n# columns = id,x,y,z\n1,24,24,0\n")
    shutil.copytree(cohort, place / "downloaded" / "cohort")
    (place / "settings.yaml").write_text("smoothness: 0.02\n")
    shutil.copy(PARAMETERS, place / "mine.txt")
    test = Cohort.read(cohort).split("test")
    for name in ("mse", "hetero"):
        for seed in (0, 1):
            run = train(cohort, place / "more" / f"{name}-{seed}", method=name, seed=seed, **QUICK)
            evaluate(load(run.folder), test, out=place / "scores" / f"{name}-seed{seed}")
        shutil.copytree(place / "more" / f"{name}-0", place / "runs" / name)
        shutil.copytree(place / "scores" / f"{name}-seed0", place / "scores" / name)
    for name, seed in (("a", 0), ("b", 1)):
        shutil.copytree(place / "scores" / f"hetero-seed{seed}", place / "scores" / name)
    shutil.copytree(place / "runs" / "hetero", place / "model")
    load(place / "runs" / "hetero").register(place / "ED.nii.gz", place / "ES.nii.gz").save(place / "registered")
    return place


@pytest.fixture(scope="module")
def place(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of that folder, in which the commands of all pages run one after the other."""
    return shutil.copytree(made, tmp_path_factory.mktemp("commands") / "place")


@pytest.fixture(autouse=True)
def no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let figures open no window."""
    monkeypatch.setenv("MPLBACKEND", "Agg")


lines_done: set[str] = set()
# Each run of elastix takes a process of its own.
RUN_PAGES = [
    pytest.param(
        page, id=page.name, marks=[pytest.mark.slow, pytest.mark.long] if page.name == "evaluation.md" else []
    )
    for page in PAGES
]


# A page that calibrates a run comes before one that refines it, which says that the calibration is of another kind.
@pytest.mark.filterwarnings("ignore:.*this calibration is not used:UserWarning")
@pytest.mark.parametrize("page", RUN_PAGES)
def test_the_commands_of_a_page_run(place: Path, page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    for name, line in command_lines():
        if name != page.name or not runs_here(page, line) or line in lines_done:
            continue
        lines_done.add(line)  # the same line on another page would do the same
        arguments = shlex.split(line, comments=True)[1:]
        if arguments[0] in ("train", "register", "evaluate", "import", "export"):
            remove(COMMANDS[arguments[0]].make_context(arguments[0], arguments[1:]).params["out"])
        if "elastix" in line:
            python("-m", "heteroreg", *arguments)
            continue
        result = CliRunner().invoke(app, [*arguments, *(SHORT if arguments[0] == "train" else [])])
        assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception}"


def remove(path: Path | str) -> None:
    """Delete a file or folder of an earlier command."""
    shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink(missing_ok=True)


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.name, marks=[pytest.mark.slow] * (page.name == "evaluation.md")) for page in PAGES],
)
def test_the_code_of_a_page_runs(made: Path, tmp_path: Path, page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = blocks(page, "python")
    for number, block in enumerate(found):
        compile(block, f"{page.name}[{number}]", "exec")
    code = "\n".join(block for block in found if runs_here(page, "") and "slicer." not in block)
    if code:
        monkeypatch.chdir(shutil.copytree(made, tmp_path / "place"))
        python("-c", re.sub(r"steps=\d+", "steps=2, batch_size=2, validate_every=2", code))


def python(*arguments: str) -> None:
    """Run Python in a process of its own, which elastix needs beside PyTorch."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr


def test_most_commands_run() -> None:
    pages = {page.name: page for page in PAGES}
    run = [line for name, line in command_lines() if runs_here(pages[name], line)]
    assert len(set(run)) > 35
    assert {shlex.split(line)[1] for line in run} >= {
        "check",
        "compare",
        "convert",
        "evaluate",
        "import",
        "phantom",
        "push",
        "register",
        "train",
        "warp",
    }


def test_the_settings_as_published_are_settings() -> None:
    (text,) = blocks(ROOT / "docs" / "settings.md", "yaml")
    config = Config.build(yaml.safe_load(text))
    assert config.method == "hetero-paper"
    assert config.learning_rate == 1e-4
    assert (config.steps, config.warm_start) == (150 * 100, pytest.approx(10 / 150, abs=1e-4))


def test_the_table_of_settings_is_that_of_the_configuration() -> None:
    spec = importlib.util.spec_from_file_location("settings_table", ROOT / "docs" / "settings_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = module.PAGE.read_text(encoding="utf-8")
    assert written == module.page(), "run: python docs/settings_table.py"
    assert "| `smoothness` | 0.01 |" in written


def test_every_method_is_in_the_readme() -> None:
    table = re.findall(r"^\| `([\w-]+)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert table == list(METHODS)


def test_every_public_name_is_in_the_reference() -> None:
    """The reference lists modules, and takes the names from their `__all__`."""
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\.\. public-names:: ([\w.]+)$", text, re.MULTILINE)
    assert listed == ["heteroreg", "heteroreg.losses", "heteroreg.networks", "heteroreg.spatial"]
    assert all(getattr(heteroreg, name) is not None for name in heteroreg.__all__)


def test_the_metrics_of_the_guide_exist() -> None:
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`[^|]+`) \|", text, re.MULTILINE)
    names = {name.replace("<label>", "2") for cell in cells for name in re.findall(r"`(\w[\w<>]*)`", cell)}
    assert {"dice_2", "coverage_50", "epe_2", "noise_ratio"} <= names
    assert {name for name in names if not is_metric(name)} == set()
