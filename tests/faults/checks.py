"""What must hold after a fault, and what at the end."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from heteroreg.training import Run, checkpoint

TEMPORARY = re.compile(r"\.(\d+-|tmp)|.*\.(tmp|part)$")

OF_OTHERS = (".nfs", ".ipynb_checkpoints")


def last_step(out: Path) -> int:
    """The step of the last checkpoint; 0 if there is none."""
    folder = out / "checkpoints" / "last"
    return checkpoint.read(folder)[1]["step"] if (folder / checkpoint.STATE).is_file() else 0


def temporary_files(out: Path) -> list[Path]:
    """What a write that did not end has left."""
    return [path for path in out.rglob("*") if TEMPORARY.match(path.name)]


def check_after_a_fault(out: Path, whole: Run, before: int, *, killed: bool) -> int:
    """Whatever is there is whole, and nothing that was there is lost.

    Args:
        out: The run that was hit.
        whole: The same run, undisturbed.
        before: The step of the last checkpoint before the fault.
        killed: Whether it was killed, perhaps in the middle of a write.

    Returns:
        The step of the last checkpoint now.
    """
    for name in ("last", "best"):
        folder = out / "checkpoints" / name
        if (folder / checkpoint.STATE).is_file():
            tensors, _ = checkpoint.read(folder)
            assert all(t.isfinite().all() for t in tensors.values()), name
    step = last_step(out)
    assert step >= before
    if (out / "config.yaml").exists():
        assert Run.read(out).config == whole.config
    if (out / "metrics.csv").exists():
        assert killed or (out / "metrics.csv").read_bytes().endswith(b"\n")
        check_metrics(out, whole, up_to=step)
    else:
        assert step == 0
    return step


def check_metrics(out: Path, whole: Run, up_to: int) -> None:
    """Every row is one of the undisturbed run's, and none up to the last checkpoint is missing."""
    found, expected = rows(out), rows(whole.folder)
    assert list(found.columns) == list(expected.columns)
    assert found["step"].astype(int).is_monotonic_increasing
    assert found["seconds"].astype(float).is_monotonic_increasing
    count = int((expected["step"].astype(int) <= up_to).sum())
    assert len(found) >= count
    same(found, expected.head(len(found)))


def check_the_end(out: Path, whole: Run) -> None:
    """The run is bit for bit the undisturbed one, and nothing else is left behind."""
    run = Run.read(out)
    for name in ("last", "best"):
        (found, meta), (expected, meta_expected) = (checkpoint.read(r.checkpoint(name)) for r in (run, whole))
        assert meta == meta_expected
        assert found.keys() == expected.keys()
        for key in found:
            assert torch.equal(found[key], expected[key]), key
        assert names(run.checkpoint(name)) == names(whole.checkpoint(name))
    assert (out / "metrics.csv").read_bytes().endswith(b"\n")
    same(rows(out), rows(whole.folder))
    assert rows(out)["seconds"].astype(float).is_monotonic_increasing
    assert temporary_files(out) == []
    assert {name.split(".")[0] for name in names(out)} == {name.split(".")[0] for name in names(whole.folder)}
    logged = dict(events(out))
    for step, value in run.metrics.set_index("step")["loss"].items():
        assert abs(logged[step] - value) <= 1e-5 * abs(value)


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the files of an output, with their content where it does not depend on the time."""
    found = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    timed = ("summary.json", "scores.csv", "index.html", "README.md")
    return {str(path.relative_to(folder)): b"" if path.name in timed else text for path, text in found.items()}


def rows(out: Path) -> pd.DataFrame:
    """The figures as they are written, without a last row that was cut short."""
    text = (out / "metrics.csv").read_text()
    return pd.read_csv(io.StringIO(text[: text.rfind("\n") + 1]), dtype=str)


def same(first: pd.DataFrame, second: pd.DataFrame) -> None:
    """The same figures, the time they took aside."""
    pd.testing.assert_frame_equal(first.drop(columns="seconds"), second.drop(columns="seconds"))


def names(folder: Path) -> list[str]:
    """What is in a folder, but for what a file server and a notebook server leave there."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(OF_OTHERS))


def events(out: Path) -> Iterator[tuple[int, float]]:
    """Step and loss of all TensorBoard events."""
    for path in out.glob("events.out.tfevents*"):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.tag == "loss":
                    yield event.step, value.tensor.float_val[0] if value.HasField("tensor") else value.simple_value
