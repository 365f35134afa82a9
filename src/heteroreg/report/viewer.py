"""What the viewer of the page needs: images, maps, scores and colours as text inside the page."""

from __future__ import annotations

import base64
import json
import math
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
from heteroreg.report.drawing import UNCERTAINTY
from heteroreg.report.gallery import NOISE_MAP, WEIGHT_MAP
from heteroreg.report.style import colour, label_colour
from heteroreg.report.tables import Results

SHARED = ("fixed", "moving", "fixed_labels", "moving_labels")  # the same whatever the method
NOISE = ("noise_sd", "true_noise_sd")
VOLUME = 16  # voxels along each axis, from which on a view in three dimensions is worth having
SAMPLE = 6  # pairs whose size is measured to foresee that of all
# What an overlay is called, what its numbers count, and its colours.
OVERLAYS: dict[str, tuple[str, str, str | Colormap]] = {
    "noise_sd": ("Predicted noise σ̂", "intensity units", NOISE_MAP),
    "true_noise_sd": ("True noise σ", "intensity units", NOISE_MAP),
    "weight": ("Weight", "factor", WEIGHT_MAP),
    "displacement_sd": ("Uncertainty of the displacement σ̂z", "mm", UNCERTAINTY),
    "end_point_error": ("Error of the displacement", "mm", NOISE_MAP),
}

Pair = dict[str, Stack]


@dataclass(frozen=True)
class Viewer:
    """The viewer of a page.

    Attributes:
        head: Names, scores and colours, as JSON.
        pairs: For each pair its images, as JSON; read by the page only when the pair is looked at.
        notes: What was left out, in sentences.
        volumes: Whether any pair is worth a view in three dimensions.
    """

    head: Markup
    pairs: tuple[Markup, ...]
    notes: tuple[str, ...]
    volumes: bool


def has_volumes(scores: Mapping[str, Scores]) -> bool:
    """Whether any pair may be worth a view in three dimensions."""
    return any(_is_volume(stack) for entry in scores.values() for stack in entry.stacks)


def viewer(scores: Mapping[str, Scores], results: Results, budget: int) -> Viewer | None:
    """Brings the stacks of several evaluations together by pair.

    Args:
        scores: Name of the evaluation → its scores and stacks. Evaluations may lack a stack.
        results: How the metrics are shown.
        budget: The most bytes that the images may take in the page. Where they would take more, the viewer
            shows fewer and coarser voxels, and says so.

    Returns:
        The viewer; None where no evaluation has kept a stack.
    """
    found = _together(scores)
    if not found:
        return None
    pairs, texts = within_budget(found, list(scores), budget)
    ids = [next(iter(pair.values())).id for pair in pairs]
    columns = [results.column(name) for name in dict.fromkeys((*results.main_metrics(), *results.measured))]
    head = {
        "methods": [{"name": name, "colour": colour(index)} for index, name in enumerate(scores)],
        "overlays": {
            key: {"name": name, "unit": unit, "colours": _colours(hues)}
            for key, (name, unit, hues) in OVERLAYS.items()
        },
        "metrics": [_metric(one) for one in columns],
        "main": len(results.main_metrics()),
        "pairs": ids,
        "scores": [_scores(entry, columns, ids) for entry in scores.values()],
    }
    return Viewer(
        head=_json(head),
        pairs=tuple(texts),
        notes=tuple(_notes(pairs, max(entry.summary["counts"]["pairs"] for entry in scores.values()))),
        volumes=any(_is_volume(next(iter(pair.values()))) for pair in pairs),
    )


def _together(scores: Mapping[str, Scores]) -> list[Pair]:
    """For each pair the stacks that lie on one grid, in the order in which pairs first occur."""
    pairs: dict[str, Pair] = {}
    for name, entry in scores.items():
        for stack in entry.stacks:
            pair = pairs.setdefault(stack.id, {})
            if all(stack.frame == other.frame for other in pair.values()):
                pair[name] = stack
    return list(pairs.values())


def within_budget(pairs: Sequence[Pair], names: Sequence[str], budget: int) -> tuple[list[Pair], list[Markup]]:
    """The pairs with as many voxels as the budget allows; some of the pairs where even that is too much.

    Args:
        pairs: For each pair, name of the evaluation → its stack.
        names: The names of all evaluations.
        budget: The most bytes that the JSON of the pairs may have together. A single pair may have more.

    Returns:
        The pairs that are shown, and the JSON of each.
    """
    kept = list(pairs)
    while len(kept) > 1:
        limit = max(next(iter(pair.values())).voxels for pair in kept)
        while limit >= 1:
            shown = [{name: stack.within(limit) for name, stack in pair.items()} for pair in kept]
            sample = [shown[index] for index in spread_evenly(SAMPLE, len(shown))]
            size = sum(len(text) for text in _texts(sample, names)) * len(shown) / len(sample)
            if size <= 0.97 * budget:
                texts = _texts(shown, names)
                size = sum(map(len, texts))
                if size <= budget:
                    return shown, texts
            limit = int(limit * min(0.95 * budget / size, 0.95))
        kept = [kept[index] for index in spread_evenly(len(kept) // 2, len(kept))]
    return kept, _texts(kept, names)


def _texts(pairs: Sequence[Pair], names: Sequence[str]) -> list[Markup]:
    return [_json(_pair(pair, names)) for pair in pairs]


def _notes(shown: Sequence[Pair], evaluated: int) -> Iterator[str]:
    if len(shown) < evaluated:
        yield f"{len(shown)} of {evaluated} pairs are kept here, spread evenly over them."
    stacks = [next(iter(pair.values())) for pair in shown]
    if any((stack.step * stack.shape < stack.full - stack.step + 1).any() for stack in stacks):
        yield "Large images are cropped to the labels and what is around them."
    steps = sorted({tuple(stack.step.tolist()) for stack in stacks})
    if steps[-1] != (1, 1, 1):
        sizes = " or ".join(" × ".join(map(str, step)) for step in steps if step != (1, 1, 1))
        yield (
            f"To keep this page small, a voxel here is the mean of {sizes} voxels of the image. Scores are of "
            "the image as it is."
        )


def _metric(shown: Metric) -> dict[str, Any]:
    return {
        "key": shown.name,
        "name": shown.long_name,
        "unit": shown.unit,
        "better": shown.direction,
        "digits": shown.digits,
    }


def _scores(entry: Scores, columns: Sequence[Metric], ids: list[str]) -> list[list[float | None]]:
    """For each metric the mean of each pair over its slices, in the unit in which it is shown."""
    names = [one.name for one in columns]
    means = entry.table.reindex(columns=["id", *names]).groupby("id").mean().reindex(ids)
    return [
        [float(f"{value:.6g}") if math.isfinite(value) else None for value in one.scale * means[name]]
        for one, name in zip(columns, names, strict=True)
    ]


def _pair(pair: Pair, names: Sequence[str]) -> dict[str, Any]:
    first = next(iter(pair.values()))
    return {
        "shape": first.shape,
        "spacing": first.spacing.tolist(),
        "slices": None if first.slices is None else first.slices.tolist(),
        "volume": _is_volume(first),
        "labels": [[int(label), label_colour(index)] for index, label in enumerate(first.labels)],
        "ranges": {name: _range(name, list(pair.values())) for name in SCALAR_MAPS},
        "images": {name: _image(first, name) for name in SHARED if name in first.images},
        "methods": {
            names.index(name): {key: _image(stack, key) for key in stack.images if key not in SHARED}
            for name, stack in pair.items()
        },
    }


def _range(name: str, stacks: Sequence[Stack]) -> list[float] | None:
    """Both ends of the colours of a map, for all methods together, so that they can be compared by eye.

    From 0 for all but the uncertainty of the displacement, whose differences would not be seen; nor shall they
    where they are below a hundredth of it.
    """
    have = [stack for stack in stacks if name in stack.images]
    if not have:
        return None
    together = NOISE if name in NOISE else (name,)  # prediction and truth are there to be compared
    high = max(stack.limits[one][1] for stack in stacks for one in together if one in stack.images)
    low = min(float(np.min(stack.images[name])) / 255 * stack.limits[name][1] for stack in have)
    return [_short(low if name == "displacement_sd" and low < 0.99 * high else 0.0), _short(high)]


def _image(stack: Stack, name: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"data": packed(stack.images[name])}
    if name not in LABEL_MAPS:
        entry["limits"] = [_short(value) for value in stack.limits[name]]
    return entry


def packed(codes: NDArray[np.uint8]) -> str:
    """Codes as text: differences along x modulo 256, deflated, in base64; x runs fastest, then y, then slices.

    Args:
        codes: uint8, its last three axes being x, y, slices.
    """
    ordered = np.ascontiguousarray(np.moveaxis(codes, (-3, -1), (-1, -3)))
    differences = np.diff(ordered, axis=-1, prepend=np.uint8(0))
    return base64.b64encode(zlib.compress(differences.tobytes(), 6)).decode("ascii")


def _is_volume(stack: Stack) -> bool:
    return min(stack.shape) >= VOLUME


def _colours(hues: str | Colormap) -> str:
    """256 colours as the digits of 768 bytes."""
    levels = mpl.colormaps.get_cmap(hues)(np.linspace(0, 1, 256), bytes=True)[:, :3]
    return bytes(levels.astype(np.uint8).ravel()).hex()


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _json(content: Any) -> Markup:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 - no sign of markup is left in it
