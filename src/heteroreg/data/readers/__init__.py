"""Public data sets as they are downloaded, one module each.

A module `NAME` of this folder is a data set for `heteroreg import NAME`. It defines `read_NAME(source)`, which
finds the pairs below the path `source` and returns them as a list of `Pair`. It may take these keyword arguments:

- `folder`: the folder of the cohort, for files that cannot be referred to where they are;
- `frames` and `label`: which frames are end-diastole and end-systole;
- `show`: True to show the progress;
- `left_out`: a `LeftOut`, to note files that are not used, and why.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, cast

from heteroreg.system.errors import UserError
from heteroreg.system.references import import_object, is_import_path

if TYPE_CHECKING:
    from heteroreg.data.cohort import Pair


def reader_names() -> list[str]:
    """Return the names of the data sets, without importing their modules."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def find_reader(kind: str) -> Callable[..., list[Pair]]:
    """Return the function `read_NAME` of a data set, or one of your own, given as `package.module:name`.

    Raises:
        UserError: There is no such data set, or the function cannot be imported.
    """
    if is_import_path(kind):
        reader = import_object(kind, "kind")
    elif kind in reader_names():
        reader = getattr(import_module(f"{__name__}.{kind}"), f"read_{kind}")
    else:
        raise UserError(
            f"kind: '{kind}' is not a known data set; use {', '.join(reader_names())}, or a reader of your own as "
            "package.module:name",
            argument="kind",
        )
    return cast("Callable[..., list[Pair]]", reader)
