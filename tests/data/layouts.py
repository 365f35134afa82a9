"""Data sets in layouts that only the tests write: a Learn2Reg task, and the older release of CAMUS."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from heteroreg.data.image import Image, read_image, write_image
from heteroreg.data.phantom import write_phantom
from heteroreg.data.phantom.layouts import as_integers, make_stack

LOOK = {"noise": "gaussian", "artefacts": False, "strength": 1.0}


def write_learn2reg_task(folder: Path, *, pairs: int, size: int, seed: int) -> None:
    """Write `Phantom_dataset.json`, `imagesTr/` and `labelsTr/`; the fixed image is modality 0000."""
    held: dict[str, list[dict[str, str]]] = {"training_paired_images": [], "registration_val": []}
    training = []
    for index in range(pairs):
        pair = make_stack(seed, index, size=size, **LOOK)
        names = {}
        for role, modality in (("fixed", "0000"), ("moving", "0001")):
            name = f"Phantom_{index + 1:04d}_{modality}.nii.gz"
            write_image(as_integers(getattr(pair, role), np.int16), folder / "imagesTr" / name)
            write_image(getattr(pair, f"{role}_labels"), folder / "labelsTr" / name)
            names[role] = f"./imagesTr/{name}"
            training.append({"image": names[role], "label": f"./labelsTr/{name}"})
        last = pairs > 2 and index >= pairs - max(1, pairs // 5)
        held["registration_val" if last else "training_paired_images"].append(names)
    about = {
        "name": "Phantom", "release": "1.0", "modality": {"0": "MR", "1": "MR"}, "tensorImageSize": "4D",
        "numTraining": len(training), "training": training,
        **{f"num{key[0].upper()}{key[1:]}": len(entries) for key, entries in held.items()}, **held,
    }  # fmt: skip
    (folder / "Phantom_dataset.json").write_text(json.dumps(about, indent=4) + "\n")


def write_older_camus(folder: Path, *, pairs: int, size: int) -> None:
    """Write MetaImage files with one slice in `training/` and `testing/`, without labels in the latter."""
    newer = folder.with_name(f"{folder.name}-newer")
    write_phantom(newer, pairs=pairs, size=size, noise="speckle", layout="camus")
    tested = (newer / "database_split" / "subgroup_testing.txt").read_text().split()
    for patient in (newer / "database_nifti").iterdir():
        out = folder / ("testing" if patient.name in tested else "training") / patient.name
        out.mkdir(parents=True)
        for path in patient.glob("*.nii.gz"):
            stem = path.name.removesuffix(".nii.gz")
            if not (patient.name in tested and stem.endswith("_gt")):
                _write_mhd(read_image(path), out / f"{stem}.mhd")
        for path in patient.glob("*.cfg"):
            kept = [line for line in path.read_text().splitlines() if not line.startswith(("EF", "FrameRate"))]
            (out / path.name).write_text("\n".join([*kept, "LVef: 54.0"]) + "\n")
    shutil.rmtree(newer)


def _write_mhd(image: Image, path: Path) -> None:
    raw = path.with_suffix(".raw")
    raw.write_bytes(np.ascontiguousarray(image.array.T, dtype=np.uint8).tobytes())
    (x, y), (sx, sy) = image.array.shape, image.grid.spacing
    lines = ["ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False"]
    lines += ["CompressedData = False", "TransformMatrix = 1 0 0 0 1 0 0 0 1", "Offset = 0 0 0"]
    lines += [f"ElementSpacing = {sx} {sy} 1", f"DimSize = {x} {y} 1", "ElementType = MET_UCHAR"]
    path.write_text("\n".join([*lines, f"ElementDataFile = {raw.name}"]) + "\n", encoding="utf-8")
