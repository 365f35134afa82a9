"""The patient of a pair, from the names of its files and folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from heteroreg.data.cohort import Pair
from heteroreg.system.errors import UserError

# Words that name a visit, a view or a time rather than a patient. What begins with one is not part of the name.
OF_A_VISIT = re.compile(
    r"(visit|ses|session|scan|exam|study|series|view|frame|slice|time|tp|day|week|month|year|baseline|followup|fu"
    r"|v|t|[2345]ch|a[2345]c|ap[2345]|sax|lax|sa|la|psax|plax|cine|pre|post)\d*",
    re.IGNORECASE,
)
# Digits are part of the token: patient0001 is one, and so is p1.
SEPARATORS = re.compile(r"[_\-. ]+")


def stem(name: str) -> str:
    """Return the part of a name that is likely to be the patient's.

    It ends after the first word with a digit, or before the first word for a visit or a view. If nothing would
    be left, it is the whole name.

    Args:
        name: Such as the id of a pair.

    Examples:
        >>> stem("patient0001_2CH"), stem("sub-01_ses-02"), stem("anna_visit2"), stem("ben")
        ('patient0001', 'sub-01', 'anna', 'ben')
    """
    end = 0
    for word in re.finditer(r"[^_\-. ]+", name):
        if OF_A_VISIT.fullmatch(word[0]):
            break
        end = word.end()
        if any(character.isdigit() for character in word[0]):
            break
    return name[:end] or name


def guess_patients(names: Sequence[str]) -> list[str]:
    """Return the patient of each pair, guessed from its name; the names themselves if all would be one patient."""
    stems = [stem(name) for name in names]
    return list(names) if len(set(stems)) < 2 else stems


def patients_by_pattern(pairs: Sequence[Pair], pattern: str, source: Path) -> list[Pair]:
    """Take the patient of each pair from the path of its moving image below the data set's folder.

    Args:
        pairs: The pairs.
        pattern: A regular expression; its first group, or else the whole match, is the patient. Case does not
            matter.
        source: The folder of the data set. For images that are elsewhere, the id of the pair is searched.

    Raises:
        UserError: The pattern is not a regular expression, or is not found in a path.
    """
    try:
        expression = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise UserError(
            f"patient {pattern}: is not a regular expression ({error}); write one such as 'patient\\d+'",
            argument="patient",
        ) from error
    found = []
    for pair in pairs:
        below = pair.moving.is_relative_to(source)
        place = pair.moving.relative_to(source).as_posix() if below else pair.id
        match = expression.search(place)
        name = match and (match[1] if expression.groups else match[0])
        if not name:
            raise UserError(
                f"patient {pattern}: is not found in {place}; give a pattern that every pair's path holds",
                argument="patient",
            )
        found.append(replace(pair, patient=name))
    return found


def grouping_in_words(pairs: Sequence[Pair]) -> str:
    """Describe which pairs are of one patient; empty if each pair is a patient of its own."""
    by_patient: dict[str, list[str]] = {}
    for pair in pairs:
        by_patient.setdefault(pair.patient, []).append(pair.id)
    several = next((name for name, ids in by_patient.items() if len(ids) > 1), None)
    if several is None:
        return ""
    ids = by_patient[several]
    shown = ", ".join(ids[:3]) + (", …" if len(ids) > 3 else "")
    return f"{len(by_patient)} patients, such as {several}: {shown}; if that is wrong, give `patient`"
