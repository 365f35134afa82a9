"""Names for files and folders from ids that may hold anything."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

LONGEST_NAME = 80  # bytes: file systems take 255, and temporary names are longer
DIGEST_DIGITS = 16
# Names of devices that Windows gives to no file.
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def folder_names(ids: Sequence[str], taken: Sequence[str] = ()) -> list[str]:
    """Return a name for each id that every file system takes, without collisions in one folder.

    An id of letters, digits, `-`, `_` and inner dots is its own name. In any other id the rest becomes `_` and a
    digest of the id is added, so that no two ids share a name, even where a file system ignores case.

    Args:
        ids: All different.
        taken: Names that lie in the folder already.
    """
    folded = Counter(_folded(name) for name in [*ids, *taken])
    return [name if _is_safe(name) and folded[_folded(name)] == 1 else _altered(name) for name in ids]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def _is_safe(name: str) -> bool:
    return (
        re.fullmatch(r"\w([\w.-]*[\w-])?", name) is not None
        and RESERVED.fullmatch(name) is None
        and re.search(rf"-[0-9a-f]{{{DIGEST_DIGITS}}}$", name, re.IGNORECASE)
        is None  # what only altered names end in
        and len(name.encode()) <= LONGEST_NAME
    )


def _altered(name: str) -> str:
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:DIGEST_DIGITS]
    plain = re.sub(r"[^\w-]+", "_", name).strip("_-")
    short = plain.encode()[: LONGEST_NAME - DIGEST_DIGITS - 1].decode(errors="ignore")
    return f"{short or 'pair'}-{digest}"
