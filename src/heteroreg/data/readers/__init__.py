"""Public data sets, as they are downloaded, as cohorts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from heteroreg.data.cohort import Cohort, Pair
from heteroreg.data.readers.acdc import read_acdc
from heteroreg.data.readers.camus import read_camus
from heteroreg.data.readers.dicom import read_dicom
from heteroreg.data.readers.folder import read_folder
from heteroreg.data.readers.learn2reg import read_learn2reg
from heteroreg.data.readers.mnms import read_mnms
from heteroreg.data.readers.splits import split_patients
from heteroreg.system.errors import UserError
from heteroreg.system.files import atomic_folder, write_text
from heteroreg.system.references import import_object, is_import_path

__all__ = [
    "KINDS",
    "import_cohort",
    "read_acdc",
    "read_camus",
    "read_dicom",
    "read_folder",
    "read_learn2reg",
    "read_mnms",
]

MARKER = "import.json"

# Each takes the data set and the cohort's folder, for what cannot be referred to.
_READERS: dict[str, Callable[[Path, Path], list[Pair]]] = {
    "acdc": lambda source, _: read_acdc(source),
    "camus": lambda source, _: read_camus(source),
    "mnms": read_mnms,
    "learn2reg": lambda source, _: read_learn2reg(source),
    "folder": lambda source, _: read_folder(source),
}
KINDS = (*_READERS, "dicom")


def import_cohort(
    kind: str,
    source: Path,
    out: Path,
    *,
    split: tuple[int, ...] | None = None,
    seed: int = 0,
    frames: str | None = None,
    label: int | None = None,
    show: bool = False,
) -> Cohort:
    """Makes a cohort from a data set as it is downloaded; nothing is copied that can be referred to.

    Args:
        kind: `acdc`, `camus`, `mnms`, `learn2reg`, `folder` or `dicom`; or `package.module:name`, a reader of your
            own that maps the folder to a list of pairs.
        source: The data set's folder.
        out: The cohort's folder, written whole or not at all: `pairs.csv`, an `import.json` that says what was
            imported, and for `mnms` the ED and ES frames.
        split: Percentages of the patients: train,val or train,val,test; see `split_patients`.
        seed: Of the split.
        frames: Of `dicom`: which frames are ED and ES; see `read_dicom`.
        label: Of `dicom`: the label that they are found by.
        show: Shows the progress on stderr, where it takes longer than two seconds.

    Raises:
        UserError: An unknown kind, a data set that is not whole, percentages that do not add up, or `out` exists
            and holds something else or the data set itself.
    """
    if kind not in KINDS and not is_import_path(kind):
        raise UserError(f"{kind}: no such data set; use {', '.join(KINDS)}, or a reader as package.module:name")
    if kind != "dicom" and (frames is not None or label is not None):
        raise UserError(f"--frames and --label: are for dicom; {kind} says itself which images are ED and ES")
    source, out = Path(source).resolve(), Path(out).resolve()  # relative paths across a link would miss
    if source.is_relative_to(out):
        raise UserError(f"{out}: holds the data set itself; choose another folder for the cohort")
    with atomic_folder(out, marker=MARKER) as folder:
        if kind == "dicom":
            found = read_dicom(source, frames, label, show=show)
        elif is_import_path(kind):
            found = import_object(kind, "kind")(source)
        else:
            found = _READERS[kind](source, folder)
        Cohort(tuple(split_patients(found, split, seed))).write(folder / "pairs.csv")
        about = {"kind": kind, "source": str(source), "split": split, "seed": seed}
        if kind == "dicom":
            about |= {"frames": frames, "label": label}
        write_text(folder / MARKER, json.dumps(about, indent=2) + "\n")
    return Cohort.read(out)
