"""The public functions that open files, each followed by a look at what came out."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from heteroreg.comparison import compare
from heteroreg.data.cohort import Cohort
from heteroreg.data.grid import Grid
from heteroreg.data.image import note_of_place, read_grid, read_image, read_labels, write_image
from heteroreg.data.importing import import_cohort
from heteroreg.data.io.displacement import read_displacement
from heteroreg.data.io.reading import reading
from heteroreg.data.io.transforms import read_transform
from heteroreg.data.looks import label_values, note_of_time
from heteroreg.data.samples.preparation import (
    Preparation,
    centre_crop,
    check_labels,
    check_pair,
    cut,
    resample,
    scale_of,
    slices_of,
)
from heteroreg.evaluation import Scores
from heteroreg.report.page import render_page
from heteroreg.report.paper import figures_of
from heteroreg.system.errors import UserError
from heteroreg.training.config import Config, read_settings
from heteroreg.training.run import Run
from heteroreg.training.state import State

GRID = Grid.of_shape((6, 5, 4), (2.0, 1.5, 4.0))
PREPARATION = Preparation(2, (0.5, 0.5))


def image(path: Path, number: int) -> None:
    """An image, and the pair of it with itself as training prepares it."""
    grid = read_grid(path)
    found = read_image(path)
    assert found.grid == grid
    assert found.array.ndim in (2, 3)
    assert found.array.dtype == np.float32
    assert found.array.size > 0
    assert np.isfinite(found.array).all()
    assert found.array.shape == found.grid.shape
    check_labels(found, found)
    check_pair(found, found, 2)
    working = PREPARATION.working_grid(found.grid, found.name)
    array = scale_of(found, PREPARATION.intensity)(resample(found, working).array)
    block = centre_crop(working, (32, 32))
    batch = slices_of(cut(array, working, block), 2)
    assert batch.shape[1:] == (32, 32)
    assert np.isfinite(batch).all()
    assert note_of_place(path).isprintable()
    assert note_of_time(found, path).isprintable()
    assert label_values(found.array).isprintable()
    with reading(nifti_frame="sform", spacing=(0.5,)):
        other = read_grid(path)
        assert other.shape == grid.shape
        assert np.isfinite(other.physical(np.zeros(other.dims))).all()


def named(path: Path, number: int) -> None:
    """An image under a name of odd bytes, read and written; seeds keep their name."""
    if number >= 0:
        path = path.rename(path.with_name(odd_name(number, path.name.partition(".")[2])))
    image(path, number)
    again = path.with_name(f"again-{path.name.removesuffix('.png')}{'.nrrd' if path.suffix == '.png' else ''}")
    write_image(read_image(path), again)
    image(again, number)


def odd_name(number: int, ending: str) -> str:
    """A name that Linux takes: any bytes but 0 and the slash, often valid UTF-8, sometimes as long as can be."""
    rng = random.Random(number)
    length = rng.choice((1, 3, 12, 240 - len(ending)))
    if rng.random() < 0.5:
        raw = bytes(rng.choice([byte for byte in range(1, 256) if byte != ord("/")]) for _ in range(length))
    else:
        letters = "aZ0 -_.~%$#&'\"\\*?[]{}()<>|;:!@^`=+,\t\n\x1b\x7fäß漢é\u202e\u200b\U0001f600"
        raw = "".join(rng.choice(letters) for _ in range(length)).encode()[:length]
    return f"{os.fsdecode(raw)}.{ending}"


def series(path: Path, number: int) -> None:
    """A DICOM series of three slices: none is left out."""
    image(path, number)
    assert read_image(path).grid.shape[2] == 3


def frame(path: Path, number: int) -> None:
    """A frame of a cine: three slices, or a 2D image."""
    image(path, number)
    shape = read_image(path).grid.shape  # one column alone makes it a slice of another plane
    assert len(shape) == 2 or 3 in shape


def labels(path: Path, number: int) -> None:
    """A label map."""
    found = read_labels(path)
    assert found.array.dtype == np.int32
    assert found.array.shape == found.grid.shape
    assert found.array.min() >= 0


def transform(path: Path, number: int) -> None:
    """A transform of ITK or of another program, as a field."""
    displacement, grid = read_transform(path, GRID)
    assert displacement.shape == (grid.dims, *grid.shape)
    assert np.isfinite(displacement).all()


def field(path: Path, number: int) -> None:
    """A displacement field."""
    displacement, grid = read_displacement(path)
    assert displacement.shape == (grid.dims, *grid.shape)
    assert np.isfinite(displacement).all()


def cohort(path: Path, number: int) -> None:
    """A table of pairs: what is written again is read as the same; an untrusted one stays in its folder."""
    found = Cohort.read(path)
    assert len({pair.id for pair in found}) == len(found) > 0
    found.write(path.with_name("again.csv"))
    again = Cohort.read(path.with_name("again.csv"))
    assert [pair.id for pair in again] == [pair.id for pair in found]
    assert [pair.extra for pair in again] == [
        {key: value for key, value in pair.extra.items() if any(other.extra[key] for other in found)}
        for pair in found
    ]
    for pair in Cohort.read(path, confine=True):
        for file in (pair.moving, pair.fixed, pair.moving_labels, pair.fixed_labels, *pair.truth.values()):
            assert file is None or file.resolve().is_relative_to(path.parent.resolve())


def settings(path: Path, number: int) -> None:
    """Settings, alone and over others."""
    found = Config.build({"seed": abs(number)}, read_settings(path))
    assert Config.model_validate(found.model_dump()) == found


def run(path: Path, number: int) -> None:
    """A run: its networks, and the state to go on from."""
    found = Run.read(path)
    network, objective = found.modules("last")
    for parameter in (*network.parameters(), *objective.parameters()):
        assert torch.isfinite(parameter).all()
    optimizers = {"displacement": torch.optim.Adam(network.parameters())}
    if list(objective.parameters()):
        optimizers["variance"] = torch.optim.Adam(objective.parameters())
    random = torch.get_rng_state()
    state = State(network, objective, optimizers, found.parts().total_loss())
    state.restore(found)
    torch.set_rng_state(random)
    assert isinstance(state.step, int)
    assert state.step >= 0


def evaluation(path: Path, number: int) -> None:
    """An evaluation; every so often compared with itself, and as a page, which take the longest."""
    scores = Scores.read(path)
    assert len(scores.table)
    assert all(stack.voxels for stack in scores.stacks)
    if number % 3 and number >= 0:
        return
    other = path.with_name("other")
    shutil.copytree(path, other)
    comparison = compare([path, other])
    assert comparison.to_markdown()
    if number % 36 == 0 or number < 0:
        assert "</html>" in render_page(comparison, "page", list(figures_of(comparison)))


def _import(kind: str) -> Callable[[Path, int], None]:
    def read(path: Path, number: int) -> None:
        assert len(import_cohort(kind, path, path.with_name("out")))

    return read


READERS: dict[str, Callable[[Path, int], None]] = {
    "image": image,
    "named": named,
    "series": series,
    "frame": frame,
    "labels": labels,
    "field": field,
    "transform": transform,
    "cohort": cohort,
    "settings": settings,
    "run": run,
    "evaluation": evaluation,
    **{kind: _import(kind) for kind in ("acdc", "camus", "mnms")},
}


def problem_with(error: UserError, opened: Path) -> str | None:
    """What is wrong with a refusal; None if it is one plain line that names the file."""
    message = str(error)
    if not message.isprintable():
        return "the message is not one printable line"
    if len(message) > 3000:
        return "the message is too long to read"
    if opened.parent.name not in message and opened.name not in message and "configuration: " not in message:
        return f"the message does not name the file: {message[:300]}"
    said = message.lower().replace("bits allocated", "")  # an element of DICOM
    if any(word in said for word in ("bad_alloc", "allocat", "out of memory", "fit into memory")):
        return f"it was refused because memory ran out: {message[:300]}"
    return None
