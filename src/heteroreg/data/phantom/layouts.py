"""Phantom patients in the layouts of public data sets, to try their readers without the data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from heteroreg.data.image import Image, write_image
from heteroreg.data.phantom.pair import PhantomPair, make_pair
from heteroreg.system.files import write_text

SLICES, SLICE_MM, WIDTH_MM = 6, 10.0, 144.0
ED, ES, FRAMES = 1, 10, 12  # frame numbers as ACDC counts them, from 1
DIAGNOSES = ("NOR", "DCM", "HCM", "MINF", "RV")
VENDORS = (("A", "Siemens", 1), ("B", "Philips", 2), ("C", "GE", 4))
MNMS_TABLE = "211230_M&Ms_Dataset_information_diagnosis_opendataset.csv"


def write_acdc(folder: Path, index: int, patients: int, seed: int, options: dict[str, Any]) -> None:
    """Write a patient of ACDC: `training/patient001/` or, for the last third, `testing/patient101/`.

    The folder has `Info.cfg`, two frames and their label maps (1 RV, 2 myocardium, 3 LV).
    """
    pair = make_stack(seed, index, **options)
    test = index >= patients - patients // 3
    name = f"patient{index + 101 if test else index + 1:03d}"
    patient = folder / ("testing" if test else "training") / name
    _write_info(
        patient / "Info.cfg", ED=ED, ES=ES, Group=DIAGNOSES[index % 5], Height=170.0, NbFrame=FRAMES, Weight=70.0
    )
    for number, image, labels in ((ED, pair.moving, pair.moving_labels), (ES, pair.fixed, pair.fixed_labels)):
        write_image(as_integers(image, np.int16), patient / f"{name}_frame{number:02d}.nii.gz")
        swapped = np.array([0, 3, 2, 1], dtype=np.uint8)[labels.array]  # the phantom numbers LV 1 and RV 3
        write_image(labels.with_array(swapped), patient / f"{name}_frame{number:02d}_gt.nii.gz")


def write_camus(folder: Path, index: int, patients: int, seed: int, options: dict[str, Any]) -> None:
    """Write a patient of CAMUS: two views in `database_nifti/patient0001/`, its split in `database_split/`.

    Labels are 1 LV, 2 myocardium, 3 left atrium. Images have 8 bits and are a third longer along the beam.
    """
    name = f"patient{index + 1:04d}"
    patient = folder / "database_nifti" / name
    shape = (options["size"], options["size"] * 4 // 3)
    for number, view in enumerate(("2CH", "4CH")):
        pair = make_pair(
            (seed, index, number), shape=shape, spacing=(0.9, 0.9), view=view, echo=True, **_without_size(options)
        )
        for phase, image, labels in (
            ("ED", pair.moving, pair.moving_labels),
            ("ES", pair.fixed, pair.fixed_labels),
        ):
            grey = np.clip(np.round(image.array * (255 / 1000)), 0, 255).astype(np.uint8)
            write_image(image.with_array(grey), patient / f"{name}_{view}_{phase}.nii.gz")
            write_image(labels, patient / f"{name}_{view}_{phase}_gt.nii.gz")
        _write_info(
            patient / f"Info_{view}.cfg",
            ED=1, ES=FRAMES, NbFrame=FRAMES, Sex="F", Age=56, ImageQuality="Good", EF=54, FrameRate=46.5,
        )  # fmt: skip
    for part in ("training", "validation", "testing"):
        listed = folder / "database_split" / f"subgroup_{part}.txt"
        before = listed.read_text(encoding="utf-8") if listed.exists() else ""
        write_text(listed, before + (f"{name}\n" if part == _part(index, patients) else ""))


def write_mnms(folder: Path, index: int, patients: int, seed: int, options: dict[str, Any]) -> None:
    """Write a patient of M&Ms: a 4D image and 4D labels in `Training/Labeled/CODE/`, and a row of the table.

    Labels are 1 LV, 2 myocardium, 3 RV, in the ED and ES frames alone. The table counts frames from 0.
    """
    pair = make_stack(seed, index, **options)
    part = {"training": "Training/Labeled", "validation": "Validation", "testing": "Testing"}
    code = f"{'ABCDEF'[index % 6]}{index % 10}P{index // 10 % 10}T{index // 100 % 10}"
    patient = folder / part[_part(index, patients)] / code
    patient.mkdir(parents=True)
    images, labels = _film(pair)
    _write_4d(images, pair, patient / f"{code}_sa.nii.gz")
    _write_4d(labels, pair, patient / f"{code}_sa_gt.nii.gz")
    vendor, vendor_name, centre = VENDORS[index % 3]
    row = {
        "External code": code, "VendorName": vendor_name, "Vendor": vendor, "Centre": centre, "ED": ED - 1,
        "ES": ES - 1, "Age": 50 + index % 30, "Pathology": "NOR", "Sex": "MF"[index % 2], "Height": 170,
        "Weight": 70,
    }  # fmt: skip
    table = pd.DataFrame([row], index=[index]).to_csv(lineterminator="\n", header=index == 0)
    with (folder / MNMS_TABLE).open("a", encoding="utf-8", newline="") as file:
        file.write(table)


# Each writes the patient of a number.
LAYOUTS: dict[str, Callable[[Path, int, int, int, dict[str, Any]], None]] = {
    "acdc": write_acdc,
    "camus": write_camus,
    "mnms": write_mnms,
}


def make_stack(seed: int, index: int, *, size: int, **options: Any) -> PhantomPair:
    """Make a pair of short-axis stacks with thick slices and a field of view of 144 mm."""
    spacing = (WIDTH_MM / size, WIDTH_MM / size, SLICE_MM)
    return make_pair((seed, index), shape=(size, size, SLICES), spacing=spacing, **options)


def as_integers(image: Image, dtype: Any) -> Image:
    """Return an image with its values rounded to integers, without negative ones."""
    return image.with_array(np.clip(np.round(image.array), 0, None).astype(dtype))


def _without_size(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key != "size"}


def _part(index: int, patients: int) -> str:
    """Return the part of a patient: the last fifth tests, the one before validates, if there are three or more."""
    left = patients - index
    testing = max(1, patients // 5)
    if patients < 3 or left > testing + 1:
        return "training"
    return "testing" if left <= testing else "validation"


def _write_info(path: Path, **entries: object) -> None:
    write_text(path, "".join(f"{key}: {value}\n" for key, value in entries.items()))


def _film(pair: PhantomPair) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Return a short series [x, y, z, t] that blends from ED to ES, and its labels."""
    ed, es = as_integers(pair.moving, np.int16).array, as_integers(pair.fixed, np.int16).array
    images, labels = np.empty((*ed.shape, FRAMES), np.int16), np.zeros((*ed.shape, FRAMES), np.uint8)
    for frame in range(FRAMES):
        share = max(0.0, 1 - abs(frame - (ES - 1)) / (ES - ED))
        images[..., frame] = np.round((1 - share) * ed + share * es)
    labels[..., ED - 1], labels[..., ES - 1] = pair.moving_labels.array, pair.fixed_labels.array
    return images, labels


def _write_4d(array: NDArray[Any], pair: PhantomPair, path: Path) -> None:
    image = nib.Nifti1Image(array, pair.moving.grid.nifti_affine())
    image.header.set_zooms((*pair.moving.grid.spacing, 30.0))
    image.header.set_xyzt_units("mm", "msec")
    nib.save(image, path)
