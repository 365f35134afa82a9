"""Names that a shell offers when Tab is pressed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from textwrap import shorten
from typing import Any, Literal, get_args, get_origin

WIDTH = 60  # characters beside a name, in the shells that show them
WRITTEN_BY_TRAINING = ("schema_version", "cohort")  # settings that nobody sets
SPLIT_USES = {
    "train": "trained on",
    "val": "chooses the best checkpoint",
    "test": "held out for the scores",
    "all": "every pair",
}
ASKED = "_HETEROREG_COMPLETE"  # how Typer's scripts ask
SETTING = "_HETEROREG_SETTING"  # the setting whose value is typed in bash
Offers = list[tuple[str, str]]


def method(incomplete: str) -> Offers:
    """Offer methods."""
    return _beginning(_methods(), incomplete)


def network(incomplete: str) -> Offers:
    """Offer networks."""
    return _beginning(_networks(), incomplete)


def model(incomplete: str) -> Offers:
    """Offer registrars; where no name fits, the shell goes on with folders."""
    return _beginning(_registrars(), incomplete)


def split_name(incomplete: str) -> Offers:
    """Offer splits."""
    return _beginning(SPLIT_USES, incomplete)


def precision(incomplete: str) -> Offers:
    """Offer precisions."""
    return _beginning(_choices("precision"), incomplete)


def choice(*names: str) -> Callable[[str], Offers]:
    """Return a completion that offers fixed names."""

    def offer(incomplete: str) -> Offers:
        return _beginning(dict.fromkeys(names, ""), incomplete)

    return offer


def setting(incomplete: str) -> Offers:
    """Offer `key=` for the settings; after the `=`, the values of settings that have few."""
    from heteroreg.training.config import Config

    if (typed := os.environ.get(SETTING)) is not None:
        return _beginning(_choices(typed), incomplete)
    key, equals, value = incomplete.partition("=")
    if not equals:
        fields = {
            f"{name}=": field.description or ""
            for name, field in Config.model_fields.items()
            if name not in WRITTEN_BY_TRAINING
        }
        return _beginning(fields, incomplete)
    return [(f"{key}={name}", about) for name, about in _beginning(_choices(key), value)]


def join_settings(environment: MutableMapping[str, str] = os.environ) -> None:
    """Put `--set key=value` together again, which bash cuts into three words at the `=`.

    Bash asks with the words in COMP_WORDS and the index of the one being typed in COMP_CWORD. It wants what comes
    after the `=`, so a value being typed becomes the word, and its setting goes to `SETTING`.
    """
    number = environment.get("COMP_CWORD", "")
    if environment.get(ASKED) != "complete_bash" or not number.isdigit():
        return
    text = environment.get("COMP_WORDS", "")
    words = (text.split("\n") if "\n" in text else text.split())[: int(number) + 1]
    words += [""] * (int(number) + 1 - len(words))
    words = "\n".join(words).replace("\n=\n", "=").replace("\n=", "=").split("\n")
    if words[-2:-1] == ["--set"] and "=" in words[-1]:
        environment[SETTING], _, words[-1] = words[-1].partition("=")
    environment["COMP_WORDS"] = "\n".join(words)
    environment["COMP_CWORD"] = str(len(words) - 1)


def tables() -> dict[str, dict[str, str]]:
    """Return the methods, networks and registrars, each with a one-line summary."""
    return {"methods": _methods(), "networks": _networks(), "registrars": _registrars()}


def _registrars() -> dict[str, str]:
    from heteroreg.registration.names import REGISTRARS

    return dict(REGISTRARS)


def _methods() -> dict[str, str]:
    from heteroreg.methods import METHODS

    return {name: one.summary for name, one in METHODS.items()}


def _networks() -> dict[str, str]:
    from heteroreg.methods import NETWORKS

    return {name: one.summary for name, one in NETWORKS.items()}


def _choices(key: str) -> dict[str, str]:
    """Return the values of a setting as YAML has them, where there are few, each with one line about it."""
    from heteroreg.training.config import Config

    if key == "method":
        return _methods()
    if key == "network":
        return _networks()
    field = Config.model_fields.get(key)
    return dict.fromkeys(_values(field.annotation), "") if field else {}


def _values(annotation: Any) -> Iterator[str]:
    if annotation is bool:
        yield from ("true", "false")
    elif get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    else:  # a union
        for part in get_args(annotation):
            yield from _values(part)


def _beginning(names: Mapping[str, str] | Iterable[tuple[str, str]], incomplete: str) -> Offers:
    found = ((name, about) for name, about in dict(names).items() if name.startswith(incomplete))
    return [(name, shorten(about, WIDTH, placeholder=" …")) for name, about in found]
