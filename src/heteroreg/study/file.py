"""File that describes a study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from heteroreg.system.errors import UserError
from heteroreg.system.text import read_yaml
from heteroreg.training.config import Section

Settings = dict[str, Any]


def _named(value: object) -> object:
    """`[a, b]` and `a` as `{a: {}, b: {}}`, and a name without anything behind it as `name: {}`."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list):
        twice = [name for name in value if value.count(name) > 1]
        if twice:
            raise ValueError(f"{twice[0]} is named twice")
        return {name: {} for name in value}
    if isinstance(value, Mapping):
        return {name: {} if spec is None else spec for name, spec in value.items()}
    return value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _located(value: object) -> object:
    """Paths alone as `{path: …}`."""
    if isinstance(value, Mapping):
        return {name: {"path": spec} if isinstance(spec, str) else spec for name, spec in value.items()}
    return value


Methods = Annotated[dict[str, Settings], BeforeValidator(_named)]
Seeds = Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]], Field(min_length=1)]


class Split(Section):
    """Splits whose pairs choose, and whose pairs are scored."""

    choose: Literal["val"] = "val"
    score: Literal["test", "val"] = "test"


class CohortSpec(Section):
    """A cohort, and the settings of trainings on it."""

    path: str
    settings: Settings = Field(default_factory=dict)


class NetworkSpec(Section):
    """Differences for one network: fewer seeds, other methods, further settings."""

    seeds: Seeds | None = None
    methods: Methods | None = None
    settings: Settings = Field(default_factory=dict)


class StudyFile(Section):
    """The file as it is written, with the short forms spelled out."""

    cohort: str | None = None
    cohorts: Annotated[dict[str, CohortSpec], BeforeValidator(_located)] = Field(default_factory=dict)
    split: Split = Split()
    choose_by: str = Field("val_dice", pattern=r"^val_dice(_\d+)?$")
    settings: Settings = Field(default_factory=dict)
    networks: Annotated[dict[str, NetworkSpec], BeforeValidator(_named)]
    seeds: Seeds
    methods: Methods
    registrars: list[Literal["undeformed", "elastix", "phantom"]] = Field(default_factory=list)
    baseline: Annotated[list[str], BeforeValidator(_listed)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _consistent(self) -> StudyFile:
        if (self.cohort is None) == (not self.cohorts):
            raise ValueError("needs either `cohort: path` or `cohorts: {name: path}`")
        for seeds in (self.seeds, *(spec.seeds or [] for spec in self.networks.values())):
            if len(set(seeds)) < len(seeds):
                raise ValueError(f"seeds: {seeds} names one twice")
        return self


def read_file(path: Path) -> StudyFile:
    """Read a study's file.

    Raises:
        UserError: It is missing or no YAML mapping, a key is unknown (the message lists the near ones), or a
            value is not allowed.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a study, such as those in studies/")
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold `key: value`, see docs/studies.md")
    try:
        return StudyFile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = [str(part) for part in first["loc"]]
        problem = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            problem = unknown("key", where[-1], _keys(where[:-1]))
            where = where[:-1]
        raise UserError(f"{path}: {'.'.join(where) + ': ' if where else ''}{problem}") from error


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """Return a message about an unknown name, with the near ones, or all."""
    names = list(known)
    near = get_close_matches(str(name), names, n=3, cutoff=0.5)
    rest = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    return f"no {kind} is called '{name}'; {rest}"


def _keys(where: list[str]) -> Iterable[str]:
    sections: dict[str, type[BaseModel]] = {"split": Split, "cohorts": CohortSpec, "networks": NetworkSpec}
    return (sections.get(where[0], StudyFile) if where else StudyFile).model_fields
