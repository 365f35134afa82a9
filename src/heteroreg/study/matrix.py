"""Matrix of a study: rows of a table, the points of their grids, the names of their folders."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from heteroreg.methods import find_method, find_network
from heteroreg.study.file import NetworkSpec, StudyFile, read_file, unknown
from heteroreg.system.errors import UserError
from heteroreg.training.config import Config

FIRST_IN_NAMES = ("smoothness", "gamma")  # of the settings in the name of a folder
TUPLES = ("size", "spacing")  # a list is one value of these
NOT_SETTINGS = ("schema_version", "method", "network", "seed", "cohort")
SETTINGS = [name for name in Config.model_fields if name not in NOT_SETTINGS]


@dataclass(frozen=True)
class StudyRow:
    """A row of the table: one method with one network on one cohort, at each point of its grid.

    Attributes:
        network: The network.
        label: What the file calls the row.
        method: The method.
        settings: What all its runs have in common, beside what is in `grid`.
        grid: Setting → its values, in the order of the folders' names. One value: it is pinned.
        seeds: The first one chooses the point.
    """

    network: str
    label: str
    method: str
    settings: Mapping[str, Any]
    grid: Mapping[str, tuple[Any, ...]]
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name in files: `voxelmorph-mse`."""
        return f"{self.network}-{slug(self.label)}"

    def points(self) -> list[dict[str, Any]]:
        """Return the points of the grid; the first setting changes slowest."""
        return [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]

    def folder(self, point: Mapping[str, Any], seed: int) -> str:
        """Return the name of a run: `voxelmorph-hetero-smoothness0.01-gamma0.25-seed0`."""
        parts = [self.name, *(f"{key}{_text(value)}" for key, value in point.items()), f"seed{seed}"]
        return "-".join(parts)

    def config(self, point: Mapping[str, Any], seed: int) -> Config:
        """Return the configuration of a run, as far as it does not depend on the cohort."""
        names = {"method": self.method, "network": self.network, "seed": seed}
        return Config.build(self.settings, point, names)


@dataclass(frozen=True)
class Arm:
    """The matrix on one cohort.

    Attributes:
        name: What the file calls the cohort; empty where there is only one.
        cohort: The cohort's table or folder.
        rows: The rows of its table.
    """

    name: str
    cohort: Path
    rows: tuple[StudyRow, ...]


@dataclass(frozen=True)
class Matrix:
    """Everything that a study trains and scores.

    Attributes:
        path: The file that describes it.
        arms: One for each cohort.
        split: The split that is scored.
        choose_by: The column of `metrics.csv` that chooses.
        registrars: What is scored without training.
        baselines: Labels or registrars; the first is that of the main report.
    """

    path: Path
    arms: tuple[Arm, ...]
    split: str
    choose_by: str
    registrars: tuple[str, ...]
    baselines: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """Return the matrix as plain data, for `study.yaml`: equal records train and score the same."""
        cohorts = {}
        for arm in self.arms:
            rows = {
                f"{row.network} {row.label}": {
                    "method": row.method,
                    "settings": dict(row.settings),
                    "grid": {key: list(map(_plain, values)) for key, values in row.grid.items()},
                    "seeds": list(row.seeds),
                }
                for row in arm.rows
            }
            cohorts[arm.name or "cohort"] = {"path": str(arm.cohort.resolve()), "rows": rows}
        return {
            "choose_by": self.choose_by,
            "score": self.split,
            "registrars": list(self.registrars),
            "cohorts": cohorts,
        }


def read_matrix(path: Path, cohorts: Sequence[str] = ()) -> Matrix:
    """Read the file of a study, and spell out all that it asks for.

    Args:
        path: The file. Paths in it are relative to it.
        cohorts: Cohorts that are elsewhere than the file says: `PATH`, or `NAME=PATH` where there are several.

    Raises:
        UserError: The file is unfit, or a method, network, setting, label or cohort in it is unknown.
    """
    file = read_file(path)
    places = _places(path, file, cohorts)
    arms = []
    for name, place in places.items():
        own = file.cohorts[name].settings if name else {}
        rows = [
            _row(path, file, {**file.settings, **own, **spec.settings}, network, spec, label, method)
            for network, spec in file.networks.items()
            for label, method in _methods(path, file, network, spec).items()
        ]
        _check_names(path, rows)
        arms.append(Arm(name, place, tuple(rows)))
    if not any(arm.rows for arm in arms):
        raise UserError(f"{path}: trains nothing; name at least one network and one method")
    known = [*dict.fromkeys(row.label for arm in arms for row in arm.rows), *file.registrars]
    for label in file.baseline:
        if label not in known:
            raise UserError(f"{path}: baseline: {unknown('row', label, known)}")
    return Matrix(
        path,
        tuple(arms),
        file.split.score,
        file.choose_by,
        tuple(dict.fromkeys(file.registrars)),
        tuple(file.baseline or known[:1]),
    )


def differences(earlier: Any, now: Any, where: str = "") -> list[str]:
    """List what an earlier record has that a new one lacks or changes; additions do not count.

    The first seed must stay, since it has chosen, and settings and what a grid is over, since they make and name
    the runs.
    """
    if isinstance(earlier, dict) and isinstance(now, dict):
        found = [f"{where} has no {key} any more" for key in earlier if key not in now]
        if where.endswith((".grid", ".settings")):
            found += [f"{where} has {key} now" for key in now if key not in earlier]
        for key in sorted(earlier.keys() & now.keys()):
            found += differences(earlier[key], now[key], f"{where}.{key}".strip("."))
        return found
    if isinstance(earlier, list) and isinstance(now, list) and ".settings." not in where:
        gone = [value for value in earlier if value not in now]
        if gone:
            return [f"{where} has lost {', '.join(map(str, gone))}"]
        moved = where.endswith(".seeds") and earlier[0] != now[0]
        return [f"{where} begins with {now[0]}, and did with {earlier[0]}"] if moved else []
    return [] if earlier == now else [f"{where} is {now}, and was {earlier}"]


def slug(label: str) -> str:
    """Return a label as part of a file name: `hetero γ=0.5` becomes `hetero-gamma0.5`."""
    greek = {c: unicodedata.name(c, "").split()[-1] for c in label if "GREEK" in unicodedata.name(c, "")}
    text = "".join(greek.get(c, c) for c in label).replace("=", "")
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9.]+", "-", plain).strip("-.")


def _places(path: Path, file: StudyFile, given: Sequence[str]) -> dict[str, Path]:
    if file.cohort is not None:
        if len(given) > 1:
            raise UserError(f"cohorts: {path} has one cohort; name one path", argument="cohorts")
        return {"": Path(given[0]) if given else path.parent / file.cohort}
    places = {name: path.parent / spec.path for name, spec in file.cohorts.items()}
    for name in places:
        if slug(name) != name:
            raise UserError(
                f"{path}: cohorts.{name}: becomes a folder; use small letters, digits, - and inner dots"
            )
    for text in given:
        name, equals, place = text.partition("=")
        if not equals:
            raise UserError(f"cohorts {text}: {path} has several cohorts; write NAME=PATH", argument="cohorts")
        if name not in places:
            raise UserError(f"cohorts {text}: {unknown('cohort', name, places)}", argument="cohorts")
        places[name] = Path(place)
    return places


def _methods(path: Path, file: StudyFile, network: str, spec: NetworkSpec) -> dict[str, dict[str, Any]]:
    """The methods of a network: all of the file, or those that the network names, with its own values."""
    if spec.methods is None:
        return file.methods
    for label, own in spec.methods.items():
        if label not in file.methods and not own:
            raise UserError(f"{path}: networks.{network}.methods: {unknown('row', label, file.methods)}")
    return {label: {**file.methods.get(label, {}), **own} for label, own in spec.methods.items()}


def _row(
    path: Path,
    file: StudyFile,
    settings: Mapping[str, Any],
    network: str,
    spec: NetworkSpec,
    label: str,
    method: Mapping[str, Any],
) -> StudyRow:
    where = f"{path}: {label}"
    own = {key: value for key, value in method.items() if key != "method"}
    for key in (*settings, *own):
        if key not in SETTINGS:
            raise UserError(f"{where}: {unknown('setting', key, SETTINGS)}")
    name = method.get("method", label)
    if not slug(label):
        raise UserError(f"{where}: becomes part of a folder's name; use letters or digits")
    grid: dict[str, tuple[Any, ...]] = {}
    try:
        find_network(network)
        find_method(str(name))
        common = {key: value for key, value in settings.items() if key not in own}
        for key in sorted(own, key=lambda key: (*FIRST_IN_NAMES, key).index(key)):
            values = own[key] if _is_sweep(key, own[key]) else [own[key]]
            # As the configuration has them: YAML takes 1e-4 for a text.
            found = [getattr(Config.build(common, {key: v, "method": name}), key) for v in values]
            grid[key] = tuple(dict.fromkeys(found))
            if not found:
                raise UserError(f"{key} has no values")
        fixed = Config.build(common, {"method": name})
        plain = fixed.model_dump(mode="json", include=set(common))
        row = StudyRow(network, label, str(name), plain, grid, tuple(spec.seeds or file.seeds))
        for point in row.points():
            row.config(point, row.seeds[0])
    except UserError as error:
        raise UserError(f"{where}: {str(error).removeprefix('configuration: ')}") from error
    return row


def _is_sweep(key: str, value: object) -> bool:
    if not isinstance(value, list):
        return False
    return key not in TUPLES or not value or isinstance(value[0], list)


def _check_names(path: Path, rows: Sequence[StudyRow]) -> None:
    seen: dict[str, str] = {}
    for row in rows:
        for point in row.points():
            name = row.folder(point, row.seeds[0])
            if name in seen:
                raise UserError(f"{path}: {seen[name]} and {row.label} would both be called {name}; rename one")
            seen[name] = row.label
    names = [row.name for row in rows]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"{path}: two rows would both be called {twice[0]}; rename one")


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return "x".join(_text(part) for part in value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}"
    return slug(str(value))


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
