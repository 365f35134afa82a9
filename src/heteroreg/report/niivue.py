"""NiiVue, the viewer of volumes that the build puts beside this package, as the page carries it."""

from __future__ import annotations

import base64
import hashlib
import zlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

VENDOR = files("heteroreg.report") / "vendor"
SCRIPT, LICENCE = "niivue.umd.js", "LICENSE.niivue"


@dataclass(frozen=True)
class NiiVue:
    """NiiVue as text for a page.

    Attributes:
        packed: Its script, deflated, in base64: the page unpacks it only when a volume is looked at.
        digest: What a content security policy calls the script.
        licence: Its licence and those of what is built into it.
    """

    packed: str
    digest: str
    licence: str


@cache
def load_niivue() -> NiiVue | None:
    """NiiVue as it was fetched when this package was built; None where the build could not fetch it."""
    script, licence = VENDOR / SCRIPT, VENDOR / LICENCE
    if not (script.is_file() and licence.is_file()):
        return None
    code = script.read_bytes()
    packed = base64.b64encode(zlib.compress(code, 9)).decode("ascii")
    return NiiVue(packed, digest(code), licence.read_text(encoding="utf-8"))


def digest(script: bytes) -> str:
    """A script as a content security policy names it: `'sha256-…'`."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode('ascii')}'"
