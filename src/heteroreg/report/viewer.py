"""Data of the page's viewer: images, maps, scores and colours as text inside the page."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.colors import Colormap
from numpy.typing import NDArray

from heteroreg.evaluation.gallery import spread_evenly
from heteroreg.evaluation.metrics import Metric
from heteroreg.evaluation.scores import Scores
from heteroreg.evaluation.stack import Stack
from heteroreg.registration.maps import LABEL_MAPS, SCALAR_MAPS
from heteroreg.registration.plot.kinds import MAP_KINDS
from heteroreg.registration.plot.style import colour, label_colour
from heteroreg.report.pairs import pair_scores
from heteroreg.report.tables import Results

SHARED = ("fixed", "moving", "fixed_labels", "moving_labels")  # the same whatever the method
NOISE = ("noise_sd", "true_noise_sd")
VOLUME_VOXELS = 16  # along each axis; three planes of a thinner stack show little
SAMPLED_PAIRS = 6  # pairs whose size is measured to estimate that of all
# Title, unit and key of the colours in MAP_KINDS.
OVERLAYS = {
    "difference": ("Difference to the fixed image", "intensity", "difference"),
    "noise_sd": ("Predicted noise σ̂", "intensity", "noise_sd"),
    "true_noise_sd": ("True noise σ", "intensity", "noise_sd"),
    "weight": ("Weight", "factor", "weight"),
    "displacement_sd": ("Displacement uncertainty σ̂z", "mm", "displacement_sd"),
    "error_95": ("Error bars, half-width", "mm", "error_95"),
    "end_point_error": ("Displacement error", "mm", "end_point_error"),
}

PairStacks = dict[str, Stack]


@dataclass(frozen=True)
class Viewer:
    """The viewer of a page.

    Attributes:
        head: Names, scores and colours, as JSON.
        pairs: Images of each pair, as JSON; the page reads them when the pair is opened.
        notes: Sentences about images that were left out or made coarser.
        overlays: Keys and titles of the maps that any pair has.
    """

    head: Markup
    pairs: tuple[Markup, ...]
    notes: tuple[str, ...]
    overlays: dict[str, str]


def viewer(scores: Mapping[str, Scores], results: Results, budget: int) -> Viewer | None:
    """Group the stacks of several evaluations by pair.

    Args:
        scores: Name of the evaluation → its scores and stacks. Evaluations may lack a stack.
        results: The results of the comparison.
        budget: Maximum number of bytes of the images in the page. Beyond it, the viewer shows fewer or coarser
            voxels, with a note.

    Returns:
        The viewer, or None where no evaluation has kept a stack.
    """
    found = _together(scores)
    if not found:
        return None
    pairs, texts = within_budget(found, list(scores), budget)
    ids = [next(iter(pair.values())).id for pair in pairs]
    columns = [results.column(name) for name in dict.fromkeys((*results.main_metrics(), *results.measured))]
    head = {
        "methods": [
            {"name": name, "colour": colour(index), "widths": entry.error_widths}
            for index, (name, entry) in enumerate(scores.items())
        ],
        "overlays": {
            key: {"name": name, "unit": unit, "colours": _colours(MAP_KINDS[kind].colours)}
            for key, (name, unit, kind) in OVERLAYS.items()
        },
        "metrics": [_metric(one) for one in columns],
        "main": len(results.main_metrics()),
        "pairs": ids,
        "labels": {str(label): name for label, name in results.label_names.items()},
        "scores": [pair_scores(entry, columns, ids) for entry in scores.values()],
    }
    maps = {name for pair in pairs for stack in pair.values() for name in stack.images}
    return Viewer(
        head=_json(head),
        pairs=tuple(texts),
        notes=tuple(_notes(pairs, max(entry.summary["counts"]["pairs"] for entry in scores.values()))),
        overlays={key: name for key, (name, _, _) in OVERLAYS.items() if key == "difference" or key in maps},
    )


def _together(scores: Mapping[str, Scores]) -> list[PairStacks]:
    """Group the stacks that lie on one grid by pair, in the order in which pairs first occur."""
    pairs: dict[str, PairStacks] = {}
    for name, entry in scores.items():
        for stack in entry.stacks:
            pair = pairs.setdefault(stack.id, {})
            if all(stack.frame == other.frame for other in pair.values()):
                pair[name] = stack
    return list(pairs.values())


def within_budget(
    pairs: Sequence[PairStacks], names: Sequence[str], budget: int
) -> tuple[list[PairStacks], list[Markup]]:
    """Reduce the voxels of the pairs to the budget, and then the number of pairs.

    Args:
        pairs: For each pair, name of the evaluation → its stack.
        names: The names of all evaluations.
        budget: Maximum number of bytes of the JSON of all pairs together. A single pair may exceed it.

    Returns:
        The pairs that are kept, and the JSON of each.
    """
    kept = list(pairs)
    while len(kept) > 1:
        limit = max(next(iter(pair.values())).voxels for pair in kept)
        while limit >= 1:
            shown = [{name: stack.within(limit) for name, stack in pair.items()} for pair in kept]
            sample = [shown[index] for index in spread_evenly(SAMPLED_PAIRS, len(shown))]
            size = sum(len(text) for text in _texts(sample, names)) * len(shown) / len(sample)
            if size <= 0.97 * budget:
                texts = _texts(shown, names)
                size = sum(map(len, texts))
                if size <= budget:
                    return shown, texts
            limit = int(limit * min(0.95 * budget / size, 0.95))
        kept = [kept[index] for index in spread_evenly(len(kept) // 2, len(kept))]
    return kept, _texts(kept, names)


def _texts(pairs: Sequence[PairStacks], names: Sequence[str]) -> list[Markup]:
    return [_json(_pair(pair, names)) for pair in pairs]


def _notes(shown: Sequence[PairStacks], evaluated: int) -> Iterator[str]:
    if len(shown) < evaluated:
        yield f"{len(shown)} of {evaluated} pairs are kept here, spread evenly over them."
    stacks = [next(iter(pair.values())) for pair in shown]
    if any((stack.step * stack.shape < stack.full - stack.step + 1).any() for stack in stacks):
        yield "Large images are cropped to a region around the labels."
    steps = sorted({tuple(stack.step.tolist()) for stack in stacks})
    if steps[-1] != (1, 1, 1):
        sizes = " or ".join(" × ".join(map(str, step)) for step in steps if step != (1, 1, 1))
        yield (
            f"To keep this page small, a voxel here is the mean of {sizes} voxels of the image. "
            "Scores are computed at full resolution."
        )


def _metric(shown: Metric) -> dict[str, Any]:
    return {
        "key": shown.name,
        "name": shown.long_name,
        "short": shown.title if shown.label is None else f"{shown.title}, {shown.label_called}",
        "unit": shown.unit,
        "better": shown.direction,
        "digits": shown.digits,
    }


def _pair(pair: PairStacks, names: Sequence[str]) -> dict[str, Any]:
    first = next(iter(pair.values()))
    return {
        "shape": first.shape,
        "spacing": first.spacing.tolist(),
        "slices": None if first.slices is None else first.slices.tolist(),
        "volume": _is_volume(first),
        "labels": [[int(label), label_colour(index)] for index, label in enumerate(first.labels)],
        "ranges": {name: _range(name, list(pair.values())) for name in SCALAR_MAPS}
        | {"difference": _difference(first)},
        "images": {name: _image(first, name) for name in SHARED if name in first.images},
        "methods": {
            names.index(name): {key: _image(stack, key) for key in stack.images if key not in SHARED}
            for name, stack in pair.items()
        },
    }


def _range(name: str, stacks: Sequence[Stack]) -> list[float] | None:
    """Return both ends of the colour scale of a map, shared by all methods.

    The scale begins at 0, except for the displacement uncertainty where it varies by more than 1 %.
    """
    have = [stack for stack in stacks if name in stack.images]
    if not have:
        return None
    together = NOISE if name in NOISE else (name,)  # prediction and truth share one scale
    high = max(stack.limits[one][1] for stack in stacks for one in together if one in stack.images)
    low = min(float(np.min(stack.images[name])) / 255 * stack.limits[name][1] for stack in have)
    return [_short(low if name == "displacement_sd" and low < 0.99 * high else 0.0), _short(high)]


def _difference(stack: Stack) -> list[float]:
    """Return both ends of the colour scale of the difference: that before registration."""
    codes = np.abs(stack.images["fixed"].astype(float) - stack.images["moving"])
    low, high = stack.limits["fixed"]
    return [0.0, _short(max(float(np.percentile(codes, 99.5)), 1.0) / 255 * (high - low))]


def _image(stack: Stack, name: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"data": packed(stack.images[name])}
    if name not in LABEL_MAPS:
        entry["limits"] = [_short(value) for value in stack.limits[name]]
    return entry


def packed(codes: NDArray[np.uint8]) -> str:
    """Encode codes as text: differences along x modulo 256, deflated, in base64; x is the fastest axis, then y.

    Args:
        codes: uint8 with the last three axes x, y and slices.
    """
    ordered = np.ascontiguousarray(np.moveaxis(codes, (-3, -1), (-1, -3)))
    differences = np.diff(ordered, axis=-1, prepend=np.uint8(0))
    return base64.b64encode(zlib.compress(differences.tobytes(), 6)).decode("ascii")


def _is_volume(stack: Stack) -> bool:
    return min(stack.shape) >= VOLUME_VOXELS


def _colours(hues: str | Colormap) -> str:
    """Return 256 colours as the hexadecimal digits of 768 bytes."""
    levels = mpl.colormaps.get_cmap(hues)(np.linspace(0, 1, 256), bytes=True)[:, :3]
    return bytes(levels.astype(np.uint8).ravel()).hex()


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _json(content: Any) -> Markup:
    """Return JSON that cannot end the element around it."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 - no sign of markup is left in it
