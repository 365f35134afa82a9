"""M&Ms, as it is downloaded: cine MRI of 375 patients, short axis, from four vendors.

`A0S9V9/` holds the whole series `A0S9V9_sa.nii.gz` and `A0S9V9_sa_gt.nii.gz`, both 4D; one table says which
frames are ED and ES, from 0. Labels are 1 LV, 2 myocardium, 3 RV.
Campello et al., IEEE Transactions on Medical Imaging 40, 2021.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from heteroreg.data.cohort import Pair
from heteroreg.data.image import whole_labels
from heteroreg.data.io.nifti import read_nifti_header, read_nifti_voxels
from heteroreg.data.readers._left_out import LeftOut
from heteroreg.data.splits import part_of
from heteroreg.system.errors import UserError
from heteroreg.system.files import atomic_file
from heteroreg.system.limits import TABLE_BYTES
from heteroreg.system.progress import progress
from heteroreg.system.text import read_text

MNMS_COLUMNS = ("external code", "ed", "es")
MNMS_EXTRA_COLUMNS = ("vendor", "centre", "pathology")


def read_mnms(source: Path, *, folder: Path, left_out: LeftOut | None = None) -> list[Pair]:
    """Find the pairs of M&Ms and write their frames: moving is end-diastole, fixed end-systole.

    Args:
        source: The folder with `Training/`, `Validation/`, `Testing/` and the table.
        folder: The folder for the frames as 3D files. Reading one frame of a compressed 4D file would mean
            decompressing all of them.
        left_out: Notes series and images that are not used, and lines of the table without a series.

    Returns:
        A pair for each series with frames in the table, with the split of its folder and the columns `vendor`,
        `centre` and `pathology` if the table has them.

    Raises:
        UserError: There is no table or no series, or a series is damaged, is not in the table, or lacks a frame.
    """
    source = Path(source).absolute()
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; name the folder of M&Ms as it was downloaded")
    series = sorted(source.rglob("*_sa.nii.gz"))
    if not series:
        raise UserError(
            f"{source}: contains no series CODE_sa.nii.gz; name the folder of M&Ms as it was downloaded"
        )
    file, table = _read_table(source)
    left_out = LeftOut() if left_out is None else left_out
    pairs = []
    with progress("extracting the frames", len(series)) as report:
        for done, path in enumerate(series):
            report(done)
            code = path.name.removesuffix("_sa.nii.gz")
            if code not in table:
                raise UserError(f"{file}: has no line for '{code}' ({path}); add it")
            row = table[code]
            if not (row["ed"] and row["es"]):
                left_out.add("series without ED and ES frames in the table", path)
                continue
            pairs.append(_pair(path, code, row, part_of(path.relative_to(source)), folder, file))
        report(len(series))
    if not pairs:
        raise UserError(f"{file}: gives no ED and ES frame for any series; is it the table of the labelled data?")
    found = {path.name.removesuffix("_sa.nii.gz"): path for path in series}
    for code in sorted(table.keys() - found.keys()):
        left_out.add(f"lines of {file.name} without their series", Path(f"{code}_sa.nii.gz"))
    beside = [path.with_name(f"{code}_sa_gt.nii.gz") for code, path in found.items()]
    left_out.add_unused(source, [*series, *beside], "images that are no series CODE_sa.nii.gz")
    return pairs


def _read_table(source: Path) -> tuple[Path, dict[str, dict[str, str]]]:
    for file in [*sorted(source.glob("*.csv")), *sorted(source.glob("*/*.csv"))]:
        text = read_text(file, TABLE_BYTES)
        separator = max(",;\t", key=text.partition("\n")[0].count)
        try:
            table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, sep=separator)
        except ValueError as error:
            raise UserError(f"{file}: not a readable CSV table ({error}); repair or remove it") from error
        table.columns = [str(column).strip().lower() for column in table.columns]
        if set(MNMS_COLUMNS) <= set(table.columns):
            rows = [{str(k): str(v).strip() for k, v in row.items()} for row in table.to_dict("records")]
            return file, {row["external code"]: row for row in rows}
    raise UserError(
        f"{source}: contains no table with the columns 'External code', 'ED' and 'ES'; put the data set's CSV there"
    )


def _pair(path: Path, code: str, row: dict[str, str], split: str | None, folder: Path, table: Path) -> Pair:
    numbers = {}
    for phase in ("ED", "ES"):
        try:
            number = float(row[phase.lower()])  # some copies of the table write 9.0
        except ValueError:
            number = -1.0
        if not 0 <= number < 10_000 or number != int(number):
            raise UserError(
                f"{table}: '{row[phase.lower()]}' in the column {phase} of {code} is not a frame number"
            )
        numbers[phase] = int(number)
    images = _extract(path, numbers, folder, code, "", table)
    labels_path = path.with_name(f"{code}_sa_gt.nii.gz")
    labels = _extract(labels_path, numbers, folder, code, "_gt", table) if labels_path.is_file() else {}
    return Pair(
        id=code,
        patient=code,
        moving=images["ED"],
        fixed=images["ES"],
        moving_labels=labels.get("ED"),
        fixed_labels=labels.get("ES"),
        split=split,
        extra={column: row[column] for column in MNMS_EXTRA_COLUMNS if column in row},
    )


def _smallest(labels: NDArray[np.int32]) -> NDArray[Any]:
    """Return labels in the smallest type that holds them all."""
    kinds = (np.uint8, np.uint16, np.int32)
    return labels.astype(next(kind for kind in kinds if labels.max() <= np.iinfo(kind).max))


def _extract(
    path: Path, numbers: dict[str, int], folder: Path, code: str, suffix: str, table: Path
) -> dict[str, Path]:
    """Write the ED and ES frames of a 4D file as 3D files with the same grid."""
    voxels, header = read_nifti_voxels(path), read_nifti_header(path)
    if voxels.ndim != 4:
        raise UserError(f"{path}: has {voxels.ndim} axes; a series of M&Ms has 4")
    written = {}
    for phase, number in numbers.items():
        if number >= voxels.shape[3]:
            raise UserError(
                f"{path}: has {voxels.shape[3]} frames, but {table.name} names frame {number} as {phase}"
            )
        frame = np.ascontiguousarray(voxels[..., number])
        if suffix:
            frame = _smallest(whole_labels(frame, f"{path}#{number}"))
        elif np.issubdtype(frame.dtype, np.floating):
            frame = frame.astype(np.float32)
        image = nib.Nifti1Image(frame, header.get_best_affine(), header)
        image.set_data_dtype(frame.dtype)
        written[phase] = folder / f"{code}_{phase}{suffix}.nii.gz"
        with atomic_file(written[phase]) as temporary:
            nib.save(image, temporary)
    return written
