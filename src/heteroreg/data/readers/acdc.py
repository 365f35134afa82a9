"""ACDC, as it is downloaded: cine MRI of 150 patients, short axis.

`patient001/` holds `Info.cfg` with the numbers of the ED and ES frame, `patient001_frame01.nii.gz` and
`patient001_frame01_gt.nii.gz`. Labels are 1 RV, 2 myocardium, 3 LV.
Bernard et al., IEEE Transactions on Medical Imaging 37, 2018.
"""

from __future__ import annotations

import re
from pathlib import Path

from heteroreg.data.cohort import Pair
from heteroreg.data.readers._files import folders_named, image_file, read_info
from heteroreg.data.readers._left_out import LeftOut
from heteroreg.data.splits import part_of
from heteroreg.system.errors import UserError

# Of files by their names.
UNUSED_OF_ACDC = {r".*_4d": "whole cines, whose ED and ES frames are files of their own"}


def read_acdc(source: Path, *, left_out: LeftOut | None = None) -> list[Pair]:
    """Find the pairs of ACDC: moving is end-diastole, fixed end-systole.

    Args:
        source: The folder with `training/` and `testing/`, another folder of patients, or a patient's folder.
        left_out: Notes images that are not used.

    Returns:
        A pair for each patient, with the split of its folder and a column `group` (diagnosis).

    Raises:
        UserError: There is no patient, or a patient lacks its `Info.cfg`, the number of a frame, or the frame.
    """
    source = Path(source).absolute()
    patients = folders_named(source, r"patient\d+")
    if not patients:
        raise UserError(f"{source}: contains no folders patient001, patient002, …; name the folder of ACDC")
    pairs = [_pair(folder, part_of(folder.relative_to(source))) for folder in patients]
    if left_out is not None:
        used = [path for pair in pairs for path in pair.files]
        left_out.add_unused(source, used, "images that are no patient's ED or ES frame", UNUSED_OF_ACDC)
    return pairs


def _pair(folder: Path, split: str | None) -> Pair:
    info_file = folder / "Info.cfg"
    if not info_file.is_file():
        raise UserError(f"{info_file}: is missing; it says which frames are ED and ES, download the patient again")
    info = read_info(info_file)
    files = {}
    for phase in ("ED", "ES"):
        number = info.get(phase.lower(), "")
        if not re.fullmatch(r"[0-9]{1,4}", number):
            raise UserError(f"{info_file}: has no frame number '{phase}: N'; download the patient again")
        stem = f"{folder.name}_frame{int(number):02d}"
        image = image_file(folder, stem)
        if image is None:
            raise UserError(f"{folder / stem}.nii.gz: is missing, the {phase} frame of {folder.name}")
        files[phase] = image, image_file(folder, f"{stem}_gt")
    return Pair(
        id=folder.name,
        patient=folder.name,
        moving=files["ED"][0],
        fixed=files["ES"][0],
        moving_labels=files["ED"][1],
        fixed_labels=files["ES"][1],
        split=split,
        extra={"group": info.get("group", "")},
    )
