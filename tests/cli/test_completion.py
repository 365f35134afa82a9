"""What the shells are offered: as bash and zsh ask, in a process of its own."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from typing import get_args

import pytest

from heteroreg.cli import completion
from heteroreg.data.samples.intensity import Intensity
from heteroreg.methods import NETWORKS
from heteroreg.study.matrix import SETTINGS
from heteroreg.training import Config

CODE = """
import sys
sys.argv = ["heteroreg"]
from heteroreg.cli.app import main
try:
    main()
finally:
    print("loaded", *{"torch"} & set(sys.modules), file=sys.stderr)
"""


def ask(**environment: str) -> str:
    """What a shell gets, and that it got it without waiting for PyTorch."""
    environment = {**os.environ, "PYTHONUTF8": "1", **environment}
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment)
    assert result.stderr == "loaded\n"
    return result.stdout


def bash(*words: str) -> list[str]:
    """As the script of Typer asks for the last of the words."""
    text = ask(
        _HETEROREG_COMPLETE="complete_bash", COMP_WORDS="\n".join(["heteroreg", *words]), COMP_CWORD=str(len(words))
    )
    return text.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["stu"], ["study"]),
        (["train", "hearts", "--met"], ["--method"]),
        (["train", "hearts", "--method", "het"], ["hetero-paper", "hetero", "hetero-z"]),
        (["train", "hearts", "--network", ""], list(NETWORKS)),
        (["train", "hearts", "--precision", "b"], ["bf16-mixed"]),
        (["train", "hearts", "--set", "sche"], ["schedule="]),
        # Bash cuts at the =, and wants what comes after it.
        (["train", "hearts", "--set", "schedule", "="], ["one-cycle", "constant", "polynomial"]),
        (["train", "hearts", "--set", "schedule", "=", "c"], ["constant"]),
        (["train", "hearts", "--set", "augment", "=", "true", "--set", "intensity", "=", "m"], ["minmax"]),
        (["train", "hearts", "--set", "gamma", "=", "0.5", "--method", "adaf"], ["adaframe"]),
        (["train", "hearts", "--set", "steps", "="], []),
        (["train", "hearts", "--set", "nonsense", "="], []),
        (["evaluate", "hearts", "--model", ""], ["elastix", "phantom", "phantom-3d", "undeformed"]),
        (["evaluate", "hearts", "--split", "t"], ["train", "test"]),
        (["phantom", "out", "--noise", "r"], ["rician"]),
        (["import", "ac"], ["acdc"]),
    ],
)
def test_bash(words: list[str], offered: list[str]) -> None:
    assert bash(*words) == offered


@pytest.mark.parametrize(
    "words",
    [["check", "he"], ["study", "st"], ["export", "ru"], ["train", "he"], ["evaluate", "h", "--model", "runs/"]],
)
def test_where_a_file_is_meant_the_shell_offers_files(words: list[str]) -> None:
    assert bash(*words) == []  # the script says `complete -o default`: with nothing, bash goes on with files
    text = ask(_HETEROREG_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS=" ".join(["heteroreg", *words]))
    assert text.strip() == "_files"


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("train hearts --set sche", '"schedule=":"course of the learning rate"'),
        ("train hearts --set schedule=p", '"schedule=polynomial"'),
        ("train hearts --method mse", '"mse":"mean squared error'),
    ],
)
def test_zsh(words: str, offered: str) -> None:
    assert offered in ask(_HETEROREG_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS=f"heteroreg {words}")


@pytest.mark.parametrize(("shell", "says"), [("bash", "complete -o"), ("zsh", "#compdef"), ("fish", "complete -")])
def test_the_script_is_to_be_had(shell: str, says: str) -> None:
    code = CODE.replace('["heteroreg"]', f'["heteroreg", "--show-completion", "{shell}"]')
    # Else Typer looks for the shell that it was started from, and there may be none.
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert "_HETEROREG_COMPLETE" in result.stdout
    assert says in result.stdout


@pytest.mark.parametrize("number", ["", "x", "99"])
def test_a_shell_that_asks_oddly(number: str) -> None:
    environment = {"_HETEROREG_COMPLETE": "complete_bash", "COMP_WORDS": "heteroreg train", "COMP_CWORD": number}
    completion.join_settings(environment)
    assert environment["COMP_WORDS"].split() == ["heteroreg", "train"]


def test_every_setting_is_offered() -> None:
    offered = [name for name, _ in completion.setting("")]
    assert sorted(offered) == sorted(f"{name}=" for name in [*SETTINGS, "method", "network", "seed"])


def test_settings_with_few_values_offer_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def values(key: str) -> list[str]:
        return [name.removeprefix(f"{key}=") for name, _ in completion.setting(f"{key}=")]

    monkeypatch.delenv(completion.SETTING, raising=False)
    assert values("intensity") == list(get_args(Intensity))
    assert values("dims") == ["2", "3"]
    assert values("steps") == values("size") == []
    fields = Config.model_fields.items()
    assert [name for name, field in fields if values(name) == ["true", "false"]] == [
        name for name, field in fields if field.annotation is bool
    ]


def test_it_answers_before_a_person_waits() -> None:
    """Half a second on a quiet machine; counted in CPU seconds, which a busy machine lengthens less."""
    took = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        bash("train", "hearts", "--set", "sche")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(took) < 1.0
