"""The phantom as public data sets are downloaded, to try out their readers without the data."""

from __future__ import annotations

import json
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
from heteroreg.system.progress import Report, silent

SLICES = 6
SLICE_MM = 10.0
IN_PLANE_MM = 1.5
ED, ES, FRAMES = 1, 10, 12  # frame numbers as ACDC counts them, from 1
VENDORS = (("A", "Siemens", 1), ("B", "Philips", 2), ("C", "GE", 4))
MNMS_TABLE = "211230_M&Ms_Dataset_information_diagnosis_opendataset.csv"


def write_acdc(folder: Path, *, pairs: int, seed: int, report: Report = silent, **options: Any) -> None:
    """ACDC: `training/patient001/`, `testing/patient101/`, each with `Info.cfg`, two frames and their labels.

    Labels are 1 RV, 2 myocardium, 3 LV. About a third of the patients are for the test.
    """
    testing = pairs // 3
    for index in range(pairs):
        pair = _stack(seed, index, options)
        test = index >= pairs - testing
        name = f"patient{index + 101 if test else index + 1:03d}"
        patient = folder / ("testing" if test else "training") / name
        patient.mkdir(parents=True)
        group = ("NOR", "DCM", "HCM", "MINF", "RV")[index % 5]
        lines = [f"ED: {ED}", f"ES: {ES}", f"Group: {group}", "Height: 170.0", f"NbFrame: {FRAMES}", "Weight: 70.0"]
        write_text(patient / "Info.cfg", "\n".join(lines) + "\n")
        frames = ((ED, pair.moving, pair.moving_labels), (ES, pair.fixed, pair.fixed_labels))
        for frame, image, labels in frames:
            write_image(_whole(image, np.int16), patient / f"{name}_frame{frame:02d}.nii.gz")
            write_image(_exchanged(labels), patient / f"{name}_frame{frame:02d}_gt.nii.gz")
        report(index + 1)


def write_camus(
    folder: Path, *, pairs: int, size: int, seed: int, mhd: bool = False, report: Report = silent, **options: Any
) -> None:
    """CAMUS: `database_nifti/patient0001/` with two views, and the official subgroups in `database_split/`.

    Labels are 1 LV, 2 myocardium, 3 left atrium. The older release has `training/` and `testing/`, MetaImage
    files with one slice, and no labels in its test part.

    Args:
        folder: Where to.
        pairs: Patients.
        size: Voxels across; a third more along the beam.
        seed: As in `write_phantom`.
        mhd: Whether to write the older release.
        report: Is called with the number of patients done.
        options: Noise, artefacts, strength.
    """
    groups: dict[str, list[str]] = {"training": [], "validation": [], "testing": []}
    testing, validation = max(1, pairs // 5) if pairs > 2 else 0, 1 if pairs > 2 else 0
    for index in range(pairs):
        name = f"patient{index + 1:04d}"
        left = pairs - index
        group = "testing" if left <= testing else "validation" if left <= testing + validation else "training"
        groups[group].append(name)
        part = ("testing" if group == "testing" else "training") if mhd else "database_nifti"
        patient = folder / part / name
        patient.mkdir(parents=True)
        for number, view in enumerate(("2CH", "4CH")):
            pair = make_pair(
                (seed, index, number),
                shape=(size, size * 4 // 3),
                spacing=(0.9, 0.9),
                view=view,
                echo=True,
                **options,
            )
            frames = {"ED": (pair.moving, pair.moving_labels), "ES": (pair.fixed, pair.fixed_labels)}
            for phase, (image, labels) in frames.items():
                labelled = not (mhd and group == "testing")
                _write_echo(image, labels if labelled else None, patient / f"{name}_{view}_{phase}", mhd=mhd)
            lines = ["ED: 1", f"ES: {FRAMES}", f"NbFrame: {FRAMES}", "Sex: F", "Age: 56", "ImageQuality: Good"]
            lines += ["EF: 54", "FrameRate: 46.5"] if not mhd else ["LVef: 54.0"]
            write_text(patient / f"Info_{view}.cfg", "\n".join(lines) + "\n")
        report(index + 1)
    if not mhd:
        for group, names in groups.items():
            write_text(folder / "database_split" / f"subgroup_{group}.txt", "".join(f"{n}\n" for n in names))


def write_mnms(folder: Path, *, pairs: int, seed: int, report: Report = silent, **options: Any) -> None:
    """M&Ms: a folder for each code with a 4D image and 4D labels, and one table with the frames, from 0.

    Labels are 1 LV, 2 myocardium, 3 RV, in the ED and the ES frame alone.
    """
    rows = []
    testing, validation = max(1, pairs // 5) if pairs > 2 else 0, 1 if pairs > 2 else 0
    for index in range(pairs):
        pair = _stack(seed, index, options)
        left = pairs - index
        part = (
            "Testing" if left <= testing else "Validation" if left <= testing + validation else "Training/Labeled"
        )
        code = f"{'ABCDEF'[index % 6]}{index % 10}P{index // 10 % 10}T{index // 100 % 10}"
        patient = folder / part / code
        patient.mkdir(parents=True)
        images, labels = _series(pair)
        _write_4d(images, pair, patient / f"{code}_sa.nii.gz")
        _write_4d(labels, pair, patient / f"{code}_sa_gt.nii.gz")
        vendor, vendor_name, centre = VENDORS[index % 3]
        rows.append(
            {
                "External code": code,
                "VendorName": vendor_name,
                "Vendor": vendor,
                "Centre": centre,
                "ED": ED - 1,
                "ES": ES - 1,
                "Age": 50 + index % 30,
                "Pathology": "NOR",
                "Sex": "MF"[index % 2],
                "Height": 170,
                "Weight": 70,
            }
        )
        report(index + 1)
    write_text(folder / MNMS_TABLE, pd.DataFrame(rows).to_csv(lineterminator="\n"))


def write_learn2reg(folder: Path, *, pairs: int, seed: int, report: Report = silent, **options: Any) -> None:
    """A task of Learn2Reg: `Phantom_dataset.json`, `imagesTr/`, `labelsTr/`; the fixed image is modality 0000."""
    held: dict[str, list[dict[str, str]]] = {"training_paired_images": [], "registration_val": []}
    training = []
    for index in range(pairs):
        pair = _stack(seed, index, options)
        names = {}
        for role, modality in (("fixed", "0000"), ("moving", "0001")):
            name = f"Phantom_{index + 1:04d}_{modality}.nii.gz"
            for kind, image in (("images", getattr(pair, role)), ("labels", getattr(pair, f"{role}_labels"))):
                (folder / f"{kind}Tr").mkdir(parents=True, exist_ok=True)
                write_image(_whole(image, np.int16 if kind == "images" else np.uint8), folder / f"{kind}Tr" / name)
            names[role] = f"./imagesTr/{name}"
            training.append({"image": names[role], "label": f"./labelsTr/{name}"})
        last = pairs > 2 and index >= pairs - max(1, pairs // 5)
        held["registration_val" if last else "training_paired_images"].append(names)
        report(index + 1)
    about = {
        "name": "Phantom", "release": "1.0", "modality": {"0": "MR", "1": "MR"}, "tensorImageSize": "4D",
        "numTraining": len(training), "training": training,
        **{f"num{key[0].upper()}{key[1:]}": len(entries) for key, entries in held.items()}, **held,
    }  # fmt: skip
    write_text(folder / "Phantom_dataset.json", json.dumps(about, indent=4) + "\n")


LAYOUTS: dict[str, Callable[..., None]] = {
    "acdc": write_acdc, "camus": write_camus, "mnms": write_mnms, "learn2reg": write_learn2reg,
}  # fmt: skip


def _stack(seed: int, index: int, options: dict[str, Any]) -> PhantomPair:
    options = dict(options)
    size = options.pop("size")
    spacing = (IN_PLANE_MM * 96 / size, IN_PLANE_MM * 96 / size, SLICE_MM)  # the field of view stays 144 mm
    return make_pair((seed, index), shape=(size, size, SLICES), spacing=spacing, **options)


def _whole(image: Image, dtype: Any) -> Image:
    return image.with_array(np.clip(np.round(image.array), 0, None).astype(dtype))


def _exchanged(labels: Image) -> Image:
    """Labels 1 and 3 exchanged: from M&Ms' numbering to ACDC's."""
    return labels.with_array(np.array([0, 3, 2, 1], dtype=np.uint8)[labels.array])


def _write_echo(image: Image, labels: Image | None, stem: Path, *, mhd: bool) -> None:
    eight_bit = image.with_array(np.clip(np.round(image.array * (255 / 1000)), 0, 255).astype(np.uint8))
    for suffix, one in (("", eight_bit), ("_gt", labels)):
        if one is None:
            continue
        if mhd:
            _write_mhd(one, stem.with_name(f"{stem.name}{suffix}.mhd"))
        else:
            write_image(one, stem.with_name(f"{stem.name}{suffix}.nii.gz"))


def _write_mhd(image: Image, path: Path) -> None:
    """A header and its raw data beside it, which an atomic writer of one file cannot do; the folder is atomic."""
    raw = path.with_suffix(".raw")
    raw.write_bytes(np.ascontiguousarray(image.array.T, dtype=np.uint8).tobytes())
    x, y = image.array.shape
    sx, sy = image.grid.spacing
    lines = ["ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False"]
    lines += ["CompressedData = False", "TransformMatrix = 1 0 0 0 1 0 0 0 1", "Offset = 0 0 0"]
    lines += [f"ElementSpacing = {sx} {sy} 1", f"DimSize = {x} {y} 1", "ElementType = MET_UCHAR"]
    lines += [f"ElementDataFile = {raw.name}"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _series(pair: PhantomPair) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """A short series: the frames between are a blend, since nothing reads them."""
    ed, es = _whole(pair.moving, np.int16).array, _whole(pair.fixed, np.int16).array
    shape = (*ed.shape, FRAMES)
    images, labels = np.empty(shape, np.int16), np.zeros(shape, np.uint8)
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
