"""CAMUS, as it is downloaded: 2D echo of 500 patients, apical two- and four-chamber views.

`patient0001/` holds `patient0001_2CH_ED.nii.gz` and so on, with `_gt`, and `Info_2CH.cfg`; the older release
has `.mhd` and `.raw` files in `training/` and `testing/`. Labels are 1 LV, 2 myocardium, 3 left atrium.
Leclerc et al., IEEE Transactions on Medical Imaging 38, 2019.
"""

from __future__ import annotations

from pathlib import Path

from heteroreg.data.cohort import Pair
from heteroreg.data.readers._files import folders_named, image_file, read_info
from heteroreg.data.readers._left_out import LeftOut
from heteroreg.data.splits import SPLIT_OF_FOLDER, part_of
from heteroreg.system.errors import UserError
from heteroreg.system.text import read_text

CAMUS_VIEWS = ("2CH", "4CH")
CAMUS_ENDINGS = (".nii.gz", ".nii", ".mhd")
# Of files by their names.
UNUSED_OF_CAMUS = {r".*_(half_)?sequence(_gt)?": "sequences, whose ED and ES frames are files of their own"}


def read_camus(source: Path, *, left_out: LeftOut | None = None) -> list[Pair]:
    """Find the pairs of CAMUS: moving is end-diastole, fixed end-systole, with one pair for each view.

    Args:
        source: The folder with `database_nifti/` and `database_split/`, or with `training/` and `testing/`, or
            another folder of patients.
        left_out: Notes images that are not used.

    Returns:
        Two pairs for each patient, `patient0001_2CH` and `patient0001_4CH`, with the columns `view`, `quality`
        and, if the release has it, `ejection_fraction`. The split is that of the lists `subgroup_training.txt`, …
        or, without them, that of the folder.

    Raises:
        UserError: There is no patient, or a patient has no view or only one of its phases.
    """
    source = Path(source).absolute()
    patients = folders_named(source, r"patient\d+")
    if not patients:
        raise UserError(f"{source}: contains no folders patient0001, patient0002, …; name the folder of CAMUS")
    groups = _subgroups(source)
    pairs: dict[str, Pair] = {}
    for folder in patients:
        split = groups.get(folder.name.lower()) or part_of(folder.relative_to(source))
        found = [pair for view in CAMUS_VIEWS if (pair := _pair(folder, view, split))]
        if not found:
            raise UserError(f"{folder}: contains no {folder.name}_2CH_ED or _4CH_ED image (.nii.gz or .mhd)")
        for pair in found:
            if pair.id in pairs:
                raise UserError(f"{folder}: {pair.id} is also in {pairs[pair.id].moving.parent}; name one release")
            pairs[pair.id] = pair
    if left_out is not None:
        used = [path for pair in pairs.values() for path in pair.files]
        left_out.add_unused(source, used, "images that are no patient's ED or ES frame", UNUSED_OF_CAMUS)
    return list(pairs.values())


def _pair(folder: Path, view: str, split: str | None) -> Pair | None:
    stems = {phase: f"{folder.name}_{view}_{phase}" for phase in ("ED", "ES")}
    images = {phase: image_file(folder, stem, CAMUS_ENDINGS) for phase, stem in stems.items()}
    moving, fixed = images["ED"], images["ES"]
    if moving is None and fixed is None:
        return None
    if moving is None or fixed is None:
        lacking = stems["ED" if moving is None else "ES"]
        raise UserError(f"{folder / lacking}.nii.gz: is missing, while the other phase is there; download it again")
    info_file = folder / f"Info_{view}.cfg"
    info = read_info(info_file) if info_file.is_file() else {}
    return Pair(
        id=f"{folder.name}_{view}",
        patient=folder.name,
        moving=moving,
        fixed=fixed,
        moving_labels=image_file(folder, f"{stems['ED']}_gt", CAMUS_ENDINGS),
        fixed_labels=image_file(folder, f"{stems['ES']}_gt", CAMUS_ENDINGS),
        split=split,
        extra={
            "view": view,
            "quality": info.get("imagequality", ""),
            "ejection_fraction": info.get("ef") or info.get("lvef", ""),
        },
    )


def _subgroups(source: Path) -> dict[str, str]:
    """Return patient → split, from the official lists in the folder, below it, or beside it."""
    places = (source, source / "database_split", source.parent / "database_split")
    files = [file for place in places for file in sorted(place.glob("subgroup_*.txt"))]
    return {
        name.strip().lower(): SPLIT_OF_FOLDER[part]
        for file in files
        if (part := file.stem.removeprefix("subgroup_").lower()) in SPLIT_OF_FOLDER
        for name in read_text(file).splitlines()
        if name.strip()
    }
