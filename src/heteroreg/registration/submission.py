"""Submission of a registered cohort to Learn2Reg."""

from __future__ import annotations

import re
from pathlib import Path

from heteroreg.data.grid import Grid
from heteroreg.data.io.displacement import read_displacement
from heteroreg.data.io.learn2reg import write_learn2reg_field
from heteroreg.registration.cohort import SUMMARY, TABLE
from heteroreg.system.errors import UserError
from heteroreg.system.outputs import output_folder
from heteroreg.system.progress import progress, reported
from heteroreg.system.text import read_json, read_table

LEARN2REG_ID = re.compile(r"\d+_\d+(_\d+_\d+)?")


def write_submission(registered: str | Path, out: str | Path) -> int:
    """Write `disp_<id>.nii.gz` for each pair of a registered cohort.

    The ids are those of an imported Learn2Reg task: `<fixed>_<moving>`, with the modalities where they are needed.

    Args:
        registered: A folder that `register_cohort` wrote.
        out: The folder to write, atomically.

    Returns:
        The number of fields.

    Raises:
        UserError: `registered` is not such a folder, a pair failed, an id is not one of Learn2Reg's, a field is not
            3D, or `out` holds something else.
    """
    table, out = Path(registered) / TABLE, Path(out)
    if not table.is_file():
        raise UserError(f"{registered}: holds no {TABLE}; give a folder that `register_cohort` wrote")
    _, rows = read_table(table, ("id", "folder", "error"))
    if not rows:
        raise UserError(f"{table}: lists no pairs")
    for _, row in rows:
        if row["error"]:
            raise UserError(f"{table}: the pair {row['id']} failed ({row['error']}); register it first")
        if not LEARN2REG_ID.fullmatch(row["id"]):
            raise UserError(
                f"{table}: '{row['id']}' is not an id of Learn2Reg, such as 0001_0002; import the task with "
                "`import_cohort`"
            )
    names = [f"disp_{row['id']}.nii.gz" for _, row in rows]
    with (
        output_folder(out, "submission", [registered]) as folder,
        progress("writing the fields", len(names)) as report,
    ):
        for (_, row), name in zip(rows, reported(names, report), strict=True):
            registration = table.parent / row["folder"]
            displacement, grid = read_displacement(registration / "displacement.nii.gz")
            write_learn2reg_field(displacement, grid, folder / name, moving_grid(registration / SUMMARY))
    return len(names)


def moving_grid(summary: Path) -> Grid:
    """Return the grid of the moving image from the summary of a registration.

    Raises:
        UserError: The summary is missing or does not say.
    """
    try:
        found = read_json(summary)["moving_grid"]
        return Grid(*(tuple(found[name]) for name in ("shape", "spacing", "origin", "direction")))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{summary}: does not say on which grid the moving image lies, as those of earlier versions; register "
            "the pair again"
        ) from error
