"""Groups of evaluations: the rows of a comparison."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from heteroreg.evaluation.scores import Scores
from heteroreg.system.errors import UserError

Groups = Sequence[str | Path] | Mapping[str, str | Path | Sequence[str | Path]]
SEED_ENDING = re.compile(r"-seed\d+$")


def parse_groups(texts: Sequence[str]) -> Groups:
    """Parse the folders of the command line: plain ones, or rows as `NAME=DIR,DIR,…`.

    A text that is the name of an existing folder is that folder, even if it contains `=`.

    Raises:
        UserError: A row is named twice or has no folder.
    """
    plain = [text for text in texts if "=" not in text or Path(text).exists()]
    if len(plain) == len(texts):
        return plain
    found: list[tuple[str, list[Path]]] = []
    for text in texts:
        if text in plain:
            continue
        name, paths = text.partition("=")[0], [Path(part) for part in _folders(text)]
        if not (name and paths):
            raise UserError(f"{text}: write NAME=DIR,DIR,…")
        found.append((name, paths))
    found += by_seed([Path(text) for text in plain]).items()
    # A row is where the first of its folders was named.
    order = {Path(part): number for number, text in enumerate(texts) for part in (text, *_folders(text))}
    found.sort(key=lambda row: min(order[path] for path in row[1]))
    groups = dict(found)
    if len(groups) < len(found):
        names = [name for name, _ in found]
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{twice}: is the name of two rows; write NAME=DIR,DIR,… with another")
    return groups


def gather(folders: Groups, baseline: str | Path | None) -> tuple[dict[str, list[Path]], str]:
    """Return the rows with their folders, and the name of the baseline.

    Args:
        folders: As in `compare`.
        baseline: As in `compare`.

    Raises:
        UserError: There is no folder, a row has none, or one is named twice.
    """
    if isinstance(folders, Mapping):
        groups = {str(name): _paths(folders_of) for name, folders_of in folders.items()}
        empty = [name for name, paths in groups.items() if not paths]
        if empty:
            raise UserError(f"folders: the row {empty[0]} has no folder", argument="folders")
    else:
        groups = by_seed([Path(folder) for folder in folders])
    if baseline is not None:
        groups = _with_baseline(groups, baseline)
    if not groups:
        raise UserError("folders: name at least one folder that `evaluate` wrote", argument="folders")
    _require_once([path for paths in groups.values() for path in paths])
    return groups, next(iter(groups)) if baseline is None else _find(groups, baseline) or next(iter(groups))


def by_seed(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Group folders into rows: those in one place whose names differ only in the ending `-seed<n>` are one row.

    The name of a row is the common part of its folders' names; a single folder keeps its whole name.

    Raises:
        UserError: A folder is named twice.
    """
    _require_once(paths)
    stems: dict[Path, list[Path]] = {}
    for path in paths:
        whole = path.resolve()
        # A folder without a seed in its name is a row of its own: `mse` and `mse-seed1` are two rows.
        stem = whole.with_name(SEED_ENDING.sub("-seeds", whole.name))
        stems.setdefault(stem, []).append(path)
    plain = {path.resolve() for path in paths}
    named = []
    for stem, own in stems.items():
        short = stem.with_name(stem.name.removesuffix("-seeds"))
        named.append(own[0] if len(own) == 1 else stem if short in plain else short)
    return dict(zip(row_names(named), stems.values(), strict=True))


def row_names(paths: Sequence[Path]) -> list[str]:
    """Return the names of folders, with as many parents as make them unique.

    Raises:
        UserError: A folder is named twice.
    """
    _require_once(paths)
    parts = [path.resolve().parts for path in paths]
    names = []
    for own in parts:
        depth = 1
        while sum(other[-depth:] == own[-depth:] for other in parts) > 1:
            depth += 1
        names.append("/".join(own[-depth:]))
    return names


def check_fit(groups: Mapping[str, Sequence[Path]], repeats: Mapping[str, Sequence[Scores]]) -> None:
    """Check that evaluations can be compared, and that those of a row are repetitions of each other.

    Raises:
        UserError: They are not of the same pairs, mode and kind of rows; or one row holds different methods or
            networks, or one seed twice.
    """
    entries = [(path, one) for row, paths in groups.items() for path, one in zip(paths, repeats[row], strict=True)]
    first, base = entries[0]
    for path, one in entries[1:]:
        where = f"{path}: and {first}"
        if set(one.table["id"]) != set(base.table["id"]):
            odd = sorted(set(one.table["id"]) ^ set(base.table["id"]))
            raise UserError(
                f"{where} are not of the same pairs ({len(odd)} differ, first '{odd[0]}'); "
                "evaluate both on the same cohort and split"
            )
        if one.summary["mode"] != base.summary["mode"]:
            raise UserError(f"{where} were scored in different modes (`metrics`); evaluate both in the same")
        if len(one.table) != len(base.table) and one.slicewise == base.slicewise:
            raise UserError(f"{where} have another number of rows; evaluate both on the same cohort and split")
    _require_one_kind(repeats)
    for row, paths in groups.items():
        _check_row(row, paths, repeats[row])


def _require_one_kind(repeats: Mapping[str, Sequence[Scores]]) -> None:
    """Check that all rows are scored by slices, or all by whole images.

    Raises:
        UserError: They are not. The message tells which rows can be compared with each other.
    """
    by_slices = [row for row, scores in repeats.items() if any(one.slicewise for one in scores)]
    whole = [row for row, scores in repeats.items() if not all(one.slicewise for one in scores)]
    if by_slices and whole:
        raise UserError(
            f"rows of two kinds: scored by slices are {', '.join(by_slices)}, by whole images {', '.join(whole)}; "
            "compare those of one kind, or evaluate all with --slicewise or all with --whole"
        )


def _check_row(row: str, paths: Sequence[Path], scores: Sequence[Scores]) -> None:
    infos = [one.summary.get("info") or {} for one in scores]
    for key in ("method", "network"):
        found = [info.get(key) for info in infos]
        odd = next((k for k, value in enumerate(found) if value != found[0]), None)
        if odd is not None:
            raise UserError(
                f"{paths[odd]}: is of the {key} {found[odd]}, and {paths[0]} of {found[0]}: they cannot be seeds "
                f"of one row, {row}; give each a row with a name of its own"
            )
    seeds = [info["seed"] for info in infos if "seed" in info]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"{paths[0]}: and the others of {row} are not of different seeds ({seeds}); name each once")


def _with_baseline(groups: dict[str, list[Path]], baseline: str | Path) -> dict[str, list[Path]]:
    if _find(groups, baseline) is not None:
        return groups
    paths = [Path(baseline), *(paths[0] for paths in groups.values())]
    name = row_names(paths)[0]
    if name in groups:
        raise UserError(f"{baseline}: has the name of a row, {name}; give one of them another name")
    return {name: [Path(baseline)], **groups}


def _find(groups: Mapping[str, Sequence[Path]], wanted: str | Path) -> str | None:
    """Return the row of this name or with this folder."""
    if str(wanted) in groups:
        return str(wanted)
    place = Path(wanted).resolve()
    return next((row for row, paths in groups.items() if place in [path.resolve() for path in paths]), None)


def _paths(folders: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(path) for path in ([folders] if isinstance(folders, str | Path) else folders)]


def _folders(text: str) -> list[str]:
    return [part for part in text.partition("=")[2].split(",") if part]


def _require_once(paths: Sequence[Path]) -> None:
    places = [path.resolve() for path in paths]
    twice = [path for path, place in zip(paths, places, strict=True) if places.count(place) > 1]
    if twice:
        raise UserError(f"{twice[0]}: is named twice; name each evaluation once")
