"""What a shell offers when Tab is pressed.

Methods, networks and settings stand in modules that load PyTorch, which takes seconds. So their names are read from
the text of those modules, of which nothing is run.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from textwrap import shorten

from heteroreg.methods import METHODS, NETWORKS

NOT_SET = ("schema_version", "cohort")  # of the configuration: written by training, not by people
WIDTH = 60  # characters beside a name, in the shells that show them
Offers = list[tuple[str, str]]
REGISTRARS = {
    "elastix": "B-spline registration",
    "phantom": "the model that comes with heteroreg",
    "undeformed": "the images as they lie in space",
}
SPLITS = {"train": "learned from", "val": "chooses the best checkpoint", "test": "scored", "all": "every pair"}

# The setting whose value is being typed, where the shell takes its name for a word of its own.
_KEY: list[str] = []


@dataclass(frozen=True)
class Setting:
    """A setting of the configuration.

    Attributes:
        about: What it is.
        choices: Its values, where there are few; each with what it is.
    """

    about: str
    choices: dict[str, str]


def method(incomplete: str) -> Offers:
    """The methods that begin so."""
    return _beginning(methods(), incomplete)


def network(incomplete: str) -> Offers:
    """The networks that begin so."""
    return _beginning(networks(), incomplete)


def model(incomplete: str) -> Offers:
    """The registrars that begin so; where none does, the shell goes on with files."""
    return _beginning(REGISTRARS, incomplete)


def split(incomplete: str) -> Offers:
    """The splits that begin so."""
    return _beginning(SPLITS, incomplete)


def precision(incomplete: str) -> Offers:
    """The precisions that begin so."""
    return _beginning(settings()["precision"].choices, incomplete)


def setting(incomplete: str) -> Offers:
    """`key=` for the settings that begin so; after the `=`, the values of those that have few."""
    if _KEY:
        known = settings().get(_KEY[-1])
        return _beginning(known.choices if known else {}, incomplete)
    key, equals, value = incomplete.partition("=")
    if equals:
        known = settings().get(key)
        return [(f"{key}={name}", about) for name, about in _beginning(known.choices if known else {}, value)]
    return _beginning({f"{name}=": one.about for name, one in settings().items()}, incomplete)


def join_settings(environment: MutableMapping[str, str] = os.environ) -> None:
    """Puts `--set key=value` together again, which bash has cut into three words at the `=`.

    Bash asks with the words and the number of the one that is typed in COMP_WORDS and COMP_CWORD, and wants what
    comes after the `=` alone. So the name of a setting whose value is typed is taken out, and kept for `setting`.
    """
    if environment.get("_HETEROREG_COMPLETE") != "complete_bash":
        return
    text, number = environment.get("COMP_WORDS", ""), environment.get("COMP_CWORD", "")
    if not number.isdigit():
        return
    words = (text.split("\n") if "\n" in text else text.split())[: int(number) + 1]
    words += [""] * (int(number) + 1 - len(words))
    joined: list[str] = []
    while words:
        word = words.pop(0)
        if joined[-1:] == ["--set"] and words[:1] == ["="]:
            value = "".join(words[1:2])
            del words[:2]
            if words:
                word = f"{word}={value}"
            else:  # the value is what is typed
                _KEY.append(word)
                word = value
        joined.append(word)
    environment["COMP_WORDS"] = "\n".join(joined)
    environment["COMP_CWORD"] = str(len(joined) - 1)


@cache
def methods() -> dict[str, str]:
    """Method → one line on what it is."""
    return {name: method.summary for name, method in METHODS.items()}


@cache
def networks() -> dict[str, str]:
    """Network → one line on what it is."""
    return {name: network.summary for name, network in NETWORKS.items()}


@cache
def settings() -> dict[str, Setting]:
    """The settings that `train --set` takes."""
    module = _module("training/config")
    (config,) = [node for node in module.body if isinstance(node, ast.ClassDef) and node.name == "Config"]
    found = {}
    for node in config.body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        if isinstance(node.value, ast.Call) and node.target.id not in NOT_SET:
            words = {word.arg: word.value for word in node.value.keywords}
            about = ast.literal_eval(words["description"])
            found[node.target.id] = Setting(about, dict.fromkeys(_choices(node.annotation, module), ""))
    found["method"] = Setting(found["method"].about, methods())
    found["network"] = Setting(found["network"].about, networks())
    return found


def _choices(annotation: ast.expr, module: ast.Module) -> Iterator[str]:
    """The values that a type allows, as YAML has them, where it lists them."""
    if isinstance(annotation, ast.BinOp):  # int | None
        yield from _choices(annotation.left, module)
        yield from _choices(annotation.right, module)
    elif isinstance(annotation, ast.Subscript) and isinstance(annotation.value, ast.Name):
        if annotation.value.id == "Literal":
            values = ast.literal_eval(annotation.slice)
            yield from map(str, values if isinstance(values, tuple) else (values,))
    elif isinstance(annotation, ast.Name):
        if annotation.id == "bool":
            yield from ("true", "false")
        for node in module.body:
            if isinstance(node, ast.ImportFrom) and annotation.id in [alias.name for alias in node.names]:
                other = _module(str(node.module).removeprefix("heteroreg.").replace(".", "/"))
                yield from _choices(_assigned(other, annotation.id), other)


def _assigned(module: ast.Module, name: str) -> ast.expr:
    """What a module gives that name to."""
    for node in module.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if any(isinstance(target, ast.Name) and target.id == name for target in targets) and value is not None:
            assert isinstance(value, ast.expr)
            return value
    raise LookupError(name)


def _module(name: str) -> ast.Module:
    return ast.parse(files("heteroreg").joinpath(f"{name}.py").read_text(encoding="utf-8"))


def _beginning(names: dict[str, str], incomplete: str) -> Offers:
    found = ((name, about) for name, about in names.items() if name.startswith(incomplete))
    return [(name, shorten(about, WIDTH, placeholder=" …")) for name, about in found]
