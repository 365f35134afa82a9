"""Cohorts from public data sets."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

from heteroreg.data.cohort import Cohort
from heteroreg.data.patients import patients_by_pattern
from heteroreg.data.readers import find_reader
from heteroreg.data.readers._left_out import LeftOut
from heteroreg.data.splits import split_patients
from heteroreg.system.errors import UserError
from heteroreg.system.files import write_text
from heteroreg.system.outputs import output_folder

IMPORT_MARKER = "import.json"


def import_cohort(
    kind: str,
    source: str | Path,
    out: str | Path,
    *,
    split: tuple[int, ...] | None = None,
    seed: int = 0,
    frames: str | None = None,
    label: int | None = None,
    pairs: str | None = None,
    patient: str | None = None,
    left_out: LeftOut | None = None,
    show: bool = False,
) -> Cohort:
    """Make a cohort from a data set as it is downloaded. Files are referred to, not copied, where possible.

    Args:
        kind: `acdc`, `camus`, `mnms`, `learn2reg`, `folder` or `dicom`; or `package.module:name`, a reader of your
            own, which maps the folder to a list of pairs.
        source: The data set's folder.
        out: The cohort's folder, written completely or not at all: `pairs.csv`, an `import.json` that records how
            it was made, and for `mnms` the ED and ES frames.
        split: Percentages of the patients, (train, val) or (train, val, test); see `split_patients`.
        seed: Seed of the random split.
        frames: For `dicom`, and series in a `folder`: the ED and ES frames; see `read_dicom`.
        label: For `dicom`: the label that determines the frames.
        pairs: For `dicom` and `folder`: `ed-es` or `first-each`, the pairs of a series.
        patient: Regular expression for the patient of a pair in the path of its moving image, see
            `patients_by_pattern`; by default the data set's own, or a guess from the names.
        left_out: Notes the files that are not used, and why.
        show: Show the progress on stderr if it takes longer than two seconds.

    Raises:
        UserError: The data set is unknown or incomplete, the percentages do not add up, or `out` exists and holds
            something else, or contains the data set itself.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from heteroreg.data.image import Image, write_image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("anna_moving.nii.gz", "anna_fixed.nii.gz", "ben_moving.nii.gz", "ben_fixed.nii.gz"):
        ...     write_image(Image.from_array(np.ones((8, 8))), folder / "images" / name)
        >>> cohort = import_cohort("folder", folder / "images", folder / "cohort", split=(50, 50))
        >>> [pair.id for pair in cohort], cohort.splits
        (['anna', 'ben'], ('train', 'val'))
    """
    reader = find_reader(kind)
    taken = inspect.signature(reader).parameters
    for name, value in (("frames", frames), ("label", label), ("pairs", pairs)):
        if value is not None and name not in taken:
            raise UserError(
                f"{name}: does not apply to {kind}, which defines the ED and ES images itself; leave it out",
                argument=name,
            )
    source, out = Path(source).resolve(), Path(out).resolve()  # relative paths across a link would be wrong
    if source.is_relative_to(out):
        raise UserError(f"{out}: contains the data set itself; choose another folder for the cohort")
    with output_folder(out, "cohort") as folder:
        options: dict[str, object] = {
            "folder": folder, "frames": frames, "label": label, "pairs": pairs, "show": show, "left_out": left_out,
        }  # fmt: skip
        found = reader(source, **{name: value for name, value in options.items() if name in taken})
        if patient is not None:
            found = patients_by_pattern(found, patient, source)
        Cohort(tuple(split_patients(found, split, seed))).write(folder / "pairs.csv", home=out)
        about: dict[str, object] = {"kind": kind, "source": str(source), "split": split, "seed": seed}
        about |= {} if patient is None else {"patient": patient}
        about |= {name: options[name] for name in ("frames", "label", "pairs") if name in taken}
        write_text(folder / IMPORT_MARKER, json.dumps(about, indent=2) + "\n")
    return Cohort.read(out)
