"""The text headers of MetaImage and NRRD files, checked before ITK believes them.

ITK's parsers of both take what they find: a number of axes beyond their arrays, a file name as a format for
`printf`, a line longer than their buffers ends the process. Here a header is read for the fields that matter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from heteroreg.system.errors import UserError
from heteroreg.system.limits import require_size

HEADER_BYTES = 64 * 1024
LONGEST_LINE = 1000
METAIMAGE, NRRD = (".mha", ".mhd"), (".nrrd", ".nhdr")

META_TYPES = {
    f"MET_{name}"
    for name in ("CHAR", "UCHAR", "SHORT", "USHORT", "INT", "UINT", "LONG", "ULONG", "LONG_LONG", "ULONG_LONG",
                 "FLOAT", "DOUBLE")
}  # fmt: skip
# How many numbers a field has: for n axes, n or n² or one.
META_VECTORS = {
    "DimSize": 1, "ElementSpacing": 1, "ElementSize": 1, "Offset": 1, "Position": 1, "Origin": 1,
    "CenterOfRotation": 1, "TransformMatrix": 2, "Rotation": 2, "Orientation": 2, "Color": None,
    "CompressedDataSize": 0, "HeaderSize": 0, "ElementNumberOfChannels": 0, "ElementMin": 0, "ElementMax": 0,
    "ID": 0, "ParentID": 0,
}  # fmt: skip
META_WORDS = {
    "ObjectType": r"Image", "BinaryData": r"True", "BinaryDataByteOrderMSB": r"True|False",
    "ElementByteOrderMSB": r"True|False", "CompressedData": r"True|False", "AnatomicalOrientation": r"[A-Z?]{1,4}",
    "ElementType": "|".join(f"{name}(_ARRAY)?" for name in META_TYPES),
}  # fmt: skip

NRRD_NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
NRRD_VECTOR = rf"\(\s*{NRRD_NUMBER}(\s*,\s*{NRRD_NUMBER})*\s*\)"
NRRD_FIELDS = {
    "type": r"(un)?signed char|u?char|u?int(8|16|32|64)(_t)?|((un)?signed )?(short|int|long long)( int)?"
    r"|u(short|int|longlong)|longlong|float|double",
    "dimension": r"[1-5]",
    "space dimension": r"[1-4]",
    "sizes": r"\d{1,10}( +\d{1,10})*",
    "encoding": r"raw|gz|gzip|ascii|text|txt",
    "endian": r"little|big",
    "space": r"[-\w]+",
    "space directions": rf"({NRRD_VECTOR}|none)(\s+({NRRD_VECTOR}|none))*",
    "space origin": NRRD_VECTOR,
    "spacings": rf"({NRRD_NUMBER}|nan)(\s+({NRRD_NUMBER}|nan))*",
    "thicknesses": rf"({NRRD_NUMBER}|nan)(\s+({NRRD_NUMBER}|nan))*",
    "axis mins": rf"({NRRD_NUMBER}|nan)(\s+({NRRD_NUMBER}|nan))*",
    "axis maxs": rf"({NRRD_NUMBER}|nan)(\s+({NRRD_NUMBER}|nan))*",
    "kinds": r"[-\w?]+( +[-\w?]+)*",
    "centers": r"[\w?]+( +[\w?]+)*",
    "centerings": r"[\w?]+( +[\w?]+)*",
    "labels": r'("[^"\\]*"\s*)+',
    "units": r'("[^"\\]*"\s*)+',
    "space units": r'("[^"\\]*"\s*)+',
    "measurement frame": rf"({NRRD_VECTOR}|none)(\s+({NRRD_VECTOR}|none))*",
    "content": r".*",
    "sample units": r".*",
    "byte skip": r"-1|\d{1,10}",
    "line skip": r"\d{1,6}",
    "min": NRRD_NUMBER, "max": NRRD_NUMBER, "old min": NRRD_NUMBER, "old max": NRRD_NUMBER,
    "data file": r"[^%\s][^%]*",
}  # fmt: skip
NRRD_ALIASES = {"byteskip": "byte skip", "lineskip": "line skip", "datafile": "data file", "axismins": "axis mins",
                "axismaxs": "axis maxs", "oldmin": "old min", "oldmax": "old max",
                "sampleunits": "sample units"}  # fmt: skip


@dataclass(frozen=True)
class TextHeader:
    """What a text header says of its data.

    Attributes:
        data: The file with the voxels: another one, or the file itself.
        compressed: Whether they are compressed, or written as text, so that bytes and voxels do not add up.
    """

    data: Path
    compressed: bool


def check_text_header(path: Path) -> TextHeader | None:
    """Checks the header of a MetaImage or NRRD file.

    Args:
        path: Any file; others than these, by their ending, have no text header.

    Returns:
        What it says of its data; None where there is no text header.

    Raises:
        UserError: A field has no sound value, one that is needed is missing, or the data lie in several files.
    """
    ending = path.suffix.lower()
    if ending not in (*METAIMAGE, *NRRD):
        return None
    with path.open("rb") as handle:
        start = handle.read(HEADER_BYTES)
    fields = _metaimage(path, start) if ending in METAIMAGE else _nrrd(path, start)
    name = fields.get("data", "")
    return TextHeader(path.parent / name if name else path, fields["compressed"] == "True")


def _bad(path: Path, what: str) -> UserError:
    return UserError(f"{path}: could not be read, since its header {what}; is the file whole, is it an image?")


def _lines(path: Path, start: bytes, end: re.Pattern[bytes]) -> list[str]:
    """The lines of a header up to the one that ends it."""
    match = end.search(start)
    head = start[: match.end()] if match else start
    if match is None and len(start) == HEADER_BYTES:
        raise _bad(path, f"does not end within {HEADER_BYTES} bytes")
    lines = head.decode("latin-1").replace("\r\n", "\n").split("\n")
    for line in lines:
        if len(line) > LONGEST_LINE or not all(c.isprintable() or c in "\t\xa0\xad" for c in line):
            raise _bad(path, f"has a line that is no text or too long ('{line[:40]}')")
    return [line.rstrip() for line in lines]


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) if re.fullmatch(NRRD_NUMBER, word) else math.nan for word in text.split()]
    except OverflowError:
        return [math.nan]


def _metaimage(path: Path, start: bytes) -> dict[str, str]:
    lines = _lines(path, start, re.compile(rb"(^|\n)ElementDataFile\s*=[^\n]*(\n|$)"))
    fields: dict[str, str] = {}
    for line in filter(None, lines):
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or key in fields:
            raise _bad(path, f"has the line '{line[:60]}'")
        fields[key] = value
    for key in ("NDims", "DimSize", "ElementType", "ElementDataFile"):
        if key not in fields:
            raise _bad(path, f"has no {key}")
    if not re.fullmatch("[1-5]", fields["NDims"]):
        raise _bad(path, f"says NDims = {fields['NDims'][:40]}")
    _check_meta_values(path, fields, int(fields["NDims"]))
    name = fields["ElementDataFile"]
    if name == "LIST" or "%" in name or not name:
        raise UserError(f"{path}: its voxels lie in a list of files ('{name[:60]}'); convert it to one file")
    return {
        "data": "" if name.upper() == "LOCAL" else name,
        "compressed": fields.get("CompressedData", "False"),
    }


def _check_meta_values(path: Path, fields: Mapping[str, str], dims: int) -> None:
    for key, value in fields.items():
        good = key not in META_WORDS or bool(re.fullmatch(META_WORDS[key], value))
        if key in META_VECTORS:
            numbers, power = _numbers(value), META_VECTORS[key]
            good = all(math.isfinite(number) for number in numbers)
            good = good and (power is None or len(numbers) == dims**power)
        if not good:
            raise _bad(path, f"says {key} = {value[:60]}")
    shape = _numbers(fields["DimSize"])
    if any(n != int(n) for n in shape):
        raise _bad(path, f"says DimSize = {fields['DimSize'][:60]}")
    require_size(path, [int(n) for n in shape])
    channels, skipped = fields.get("ElementNumberOfChannels", "1"), fields.get("HeaderSize", "0")
    if not re.fullmatch("[1-4]", channels):
        raise UserError(f"{path}: has {channels[:20]} values in each voxel; name a scalar image")
    if not re.fullmatch(r"-1|\d{1,10}", skipped):
        raise _bad(path, f"says HeaderSize = {skipped[:20]}")
    size = fields.get("CompressedDataSize", "0")
    if not re.fullmatch(r"\d{1,15}", size) or int(size) > _size_of_data(path, fields["ElementDataFile"]):
        raise _bad(path, f"promises {size[:20]} bytes of data, which are not there")


def _size_of_data(path: Path, name: str) -> int:
    data = path if name.upper() == "LOCAL" else path.parent / name
    try:
        return data.stat().st_size
    except (OSError, ValueError):
        return 2**62  # that it is missing is told when it is read


def _nrrd(path: Path, start: bytes) -> dict[str, str]:
    if not re.match(rb"NRRD000[1-5]\r?\n", start):
        raise _bad(path, "does not begin as that of a NRRD file")
    fields: dict[str, str] = {}
    for line in _lines(path, start, re.compile(rb"\n\r?\n"))[1:]:
        if not line or line.startswith("#") or ":=" in line:
            continue
        key, colon, value = (part.strip() for part in line.partition(":"))
        key = NRRD_ALIASES.get(key.lower(), key.lower())
        if not colon or key in fields or key not in NRRD_FIELDS:
            raise _bad(path, f"has the line '{line[:60]}'")
        if not re.fullmatch(NRRD_FIELDS[key], value, re.IGNORECASE) and key != "data file":
            raise _bad(path, f"says {key}: {value[:60]}")
        fields[key] = value
    for key in ("type", "dimension", "sizes", "encoding"):
        if key not in fields:
            raise _bad(path, f"has no {key}")
    name = fields.get("data file", "")
    if "data file" in fields and (name.startswith("LIST") or not re.fullmatch(NRRD_FIELDS["data file"], name)):
        raise UserError(f"{path}: its voxels lie in a list of files ('{name[:60]}'); convert it to one file")
    sizes, dims = [int(n) for n in fields["sizes"].split()], int(fields["dimension"])
    if len(sizes) != dims:
        raise _bad(path, f"has {len(sizes)} sizes for {dims} axes")
    require_size(path, sizes)
    plain = fields["encoding"].lower() == "raw"
    return {"data": name, "compressed": str(not plain)}
