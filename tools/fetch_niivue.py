"""Fetches NiiVue, the viewer of volumes, into the package: `python tools/fetch_niivue.py`; every build runs it.

Nothing of it is in the repository: the built file comes from the npm registry at a fixed version, checked against a
fixed digest, together with its licence and those of what is built into it. `NPM_CONFIG_REGISTRY` names a mirror.
Without a registry the build goes on: the page then shows volumes slice by slice.
"""

import base64
import hashlib
import io
import os
import tarfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

VENDOR = Path(__file__).resolve().parents[1] / "src/heteroreg/report/vendor"
SCRIPT, LICENCE, STAMP = "niivue.umd.js", "LICENSE.niivue", "VERSION"
REGISTRY = "https://registry.npmjs.org"
SECONDS = 30


@dataclass(frozen=True)
class Package:
    """A package of the npm registry: its file is trusted only with this SHA-512."""

    name: str
    version: str
    sha512: str

    def member(self, path: str) -> bytes:
        """One file of the package."""
        registry = os.environ.get("NPM_CONFIG_REGISTRY", REGISTRY).rstrip("/")
        if not registry.startswith("https://"):
            raise OSError(f"the registry {registry} is no https address")
        address = f"{registry}/{self.name}/-/{self.name.rpartition('/')[2]}-{self.version}.tgz"
        with urllib.request.urlopen(address, timeout=SECONDS) as answer:  # noqa: S310 - https, see above
            content = answer.read()
        if base64.b64encode(hashlib.sha512(content).digest()).decode("ascii") != self.sha512:
            raise OSError(f"{address} is not the file that was expected")
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            found = archive.extractfile(path)
            if found is None:
                raise OSError(f"{address} holds no {path}")
            return found.read()


NIIVUE = Package(
    "@niivue/niivue",
    "0.69.0",
    "YMjQvJgD1W2b7DuoxkwlC4VxbrgIePRJ5qyQzXKxi2v2MBVg285P/CIQyg46oDDGDIcaNlbd+MhtO/edMbXJkA==",
)
# The package has been published without its licence file since; this is the text in its repository still.
LICENSED = Package(
    "@niivue/niivue",
    "0.44.2",
    "ddShcApln/xJQa1dIo7DPpcRPoabBA6n7Wy8gtwA1S6srhZn2PdaPep1VEqdS82ufbFier0SRFE4lVzt7/ZDKw==",
)
# What is built into NiiVue's file, and where each keeps its licence.
WITHIN: list[tuple[Package, str]] = [
    (
        Package(
            "@lukeed/uuid",
            "2.0.1",
            "qC72D4+CDdjGqJvkFMMEAtancHUQ7/d/tAiHf64z8MopFDmcrtbcJuerDtFceuAfQJ2pDSfCKCtbqoGBNnwg0w==",
        ),
        "package/license",
    ),
    (
        Package(
            "@ungap/structured-clone",
            "1.3.0",
            "WmoN8qaIAo7WTYWbAZuG8PYEhn5fkz7dZrqTBZ7dtt//lL2Gwms1IcnQ5yHqjDfX8Ft5j4YzDM23f87zBfDe9g==",
        ),
        "package/LICENSE",
    ),
    (
        Package(
            "array-equal",
            "1.0.2",
            "gUHx76KtnhEgB3HOuFYiCm3FIdEs6ocM2asHvNTkfu/Y09qQVrrVVaOKENmS2KkSaGoxgXNqC+ZVtR/n0MOkSA==",
        ),
        "package/LICENSE",
    ),
    (
        Package(
            "fflate",
            "0.8.2",
            "cPJU47OaAoCbg0pBvzsgpTPhmhqI5eJjh/JIu8tPj5q+T7iLvW/JAYUqmE7KOB4R1ZyEhzBaIQpQpardBF5z8A==",
        ),
        "package/LICENSE",
    ),
    (
        Package(
            "gl-matrix",
            "3.4.3",
            "wcCp8vu8FT22BnvKVPjXa/ICBWRq/zjFfdofZy1WSpQZpphblv12/bOQLBC1rMM7SGOFS9ltVmKOHil5+Ml7gA==",
        ),
        "package/LICENSE.md",
    ),
    (
        Package(
            "nifti-reader-js",
            "0.8.0",
            "iO1iIhQDfKniy+l/86HfOPte7So+SxBmBiMSiUB2VXU7z4hSewMTlE3h0fCgfzfXvMUa+ilzLTJ2ZHmtFw6EWw==",
        ),
        "package/LICENSE",
    ),
    (
        Package(
            "zarrita",
            "0.5.4",
            "i88iN2+HqIQ+uiCEWLfhjbYNXAJD7IrM4h3lFwFclfqEOOhxp10amRWtqmgN5jbuy3+h0LwdyLVVzk4y9rTLgg==",
        ),
        "package/LICENSE",
    ),
    (
        Package(
            "numcodecs",
            "0.3.2",
            "6YSPnmZgg0P87jnNhi3s+FVLOcIn3y+1CTIgUulA3IdASzK9fJM87sUFkpyA+be9GibGRaST2wCgkD+6U+fWKw==",
        ),
        "package/LICENSE",
    ),
]


def fetch(folder: Path = VENDOR) -> None:
    """Writes NiiVue's file and the licences into a folder, unless they are there at this version.

    Raises:
        OSError: The registry cannot be reached, or gives something else.
    """
    stamp = folder / STAMP
    if stamp.is_file() and stamp.read_text(encoding="ascii") == NIIVUE.version:
        return
    script = NIIVUE.member("package/dist/niivue.umd.js")
    texts = [(NIIVUE.name, LICENSED.member("package/LICENSE"))]
    texts += [(package.name, package.member(path)) for package, path in WITHIN]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SCRIPT).write_bytes(script)
    rule = "\n\n" + "-" * 80 + "\n\n"
    licences = rule.join(f"{name}\n\n{text.decode('utf-8').strip()}" for name, text in texts)
    (folder / LICENCE).write_text(licences + "\n", encoding="utf-8")
    stamp.write_text(NIIVUE.version, encoding="ascii")


if __name__ == "__main__":
    fetch()
