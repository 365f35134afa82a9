"""The fields of a registered cohort, as Learn2Reg takes them in."""

from __future__ import annotations

import re
from pathlib import Path

from heteroreg.data.io.displacement import read_displacement
from heteroreg.data.io.learn2reg import write_learn2reg_field
from heteroreg.registration.cohort import TABLE
from heteroreg.system.errors import UserError
from heteroreg.system.files import atomic_folder
from heteroreg.system.progress import progress, reported
from heteroreg.system.text import read_table

ID = re.compile(r"\d+_\d+(_\d+_\d+)?")


def write_submission(registered: str | Path, out: str | Path) -> int:
    """Writes `disp_<id>.nii.gz` for each pair of a registered cohort.

    The ids are those that `import learn2reg` gives: `<fixed>_<moving>`, with the modalities where they are needed.

    Args:
        registered: A folder that `register_cohort` wrote.
        out: The folder to write, whole or not at all.

    Returns:
        How many fields there are.

    Raises:
        UserError: `registered` is no such folder, a pair failed, an id is none of Learn2Reg's, a field is not 3D,
            or `out` holds something else.
    """
    table, out = Path(registered) / TABLE, Path(out)
    if not table.is_file():
        raise UserError(f"{registered}: holds no {TABLE}; name a folder that `heteroreg register COHORT` wrote")
    _, rows = read_table(table, ("id", "folder", "error"))
    if not rows:
        raise UserError(f"{table}: lists no pairs")
    for _, row in rows:
        if row["error"]:
            raise UserError(f"{table}: the pair {row['id']} failed ({row['error']}); register it first")
        if not ID.fullmatch(row["id"]):
            raise UserError(
                f"{table}: '{row['id']}' is no id of Learn2Reg, such as 0001_0002; import the task with "
                "`heteroreg import learn2reg`"
            )
    names = [f"disp_{row['id']}.nii.gz" for _, row in rows]
    with atomic_folder(out, marker=names[0]) as folder, progress("writing the fields", len(names)) as report:
        for (_, row), name in zip(rows, reported(names, report), strict=True):
            displacement, grid = read_displacement(table.parent / row["folder"] / "displacement.nii.gz")
            write_learn2reg_field(displacement, grid, folder / name)
    return len(names)
