"""Text headers of MetaImage and NRRD files, checked before ITK parses them.

ITK's parsers do not check their input: too many axes overrun their arrays, a file name is used as a `printf`
format, and a line longer than their buffers crashes the process. The fields that matter are therefore checked here.
"""

from __future__ import annotations

import math
import re
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from heteroreg.system.errors import UserError
from heteroreg.system.limits import require_size

HEADER_BYTES = 64 * 1024
PIECE_BYTES = 1024**2
LONGEST_LINE = 1000
METAIMAGE_ENDINGS, NRRD_ENDINGS = (".mha", ".mhd"), (".nrrd", ".nhdr")

META_LOCAL = ("LOCAL", "Local", "local")  # MetaIO takes any other name as that of a file
META_TYPES = {
    f"MET_{name}"
    for name in ("CHAR", "UCHAR", "SHORT", "USHORT", "INT", "UINT", "LONG", "ULONG", "LONG_LONG", "ULONG_LONG",
                 "FLOAT", "DOUBLE")
}  # fmt: skip
# Power of n, the number of axes, that is the count of numbers in a field; None for any count.
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
    """The part of a text header that concerns its data.

    Attributes:
        data: The file with the voxels: another one, or the file itself.
        compressed: True if they are compressed or written as text, so that their size in bytes is unknown.
        offset: Bytes of a MetaImage's `data` before the voxels.
        length: Bytes of a MetaImage's compressed voxels; 0 if they go on to the end.
    """

    data: Path
    compressed: bool
    offset: int = 0
    length: int = 0


def check_text_header(path: Path) -> TextHeader | None:
    """Check the header of a MetaImage or NRRD file.

    Args:
        path: Any file; the ending shows if it has a text header.

    Returns:
        The header; None if the file has no text header.

    Raises:
        UserError: A field is invalid, a required field is missing, or the data are in several files.
    """
    ending = path.suffix.lower()
    if ending not in (*METAIMAGE_ENDINGS, *NRRD_ENDINGS):
        return None
    with path.open("rb") as handle:
        start = handle.read(HEADER_BYTES)
    fields = _metaimage(path, start) if ending in METAIMAGE_ENDINGS else _nrrd(path, start)
    name = fields.get("data", "")
    data = path.parent / name if name else path
    offset, length = int(fields.get("offset", "0")), int(fields.get("length", "0"))
    return TextHeader(data, fields["compressed"] == "True", offset, length)


def check_metaimage_data(path: Path, header: TextHeader, size: int) -> None:
    """Check that the voxels of a MetaImage are whole, which MetaIO would report on stderr alone.

    Args:
        path: The file, for messages.
        header: Its header.
        size: Bytes of the voxels.

    Raises:
        UserError: The data file is missing, or the voxels are damaged or cut short.
    """
    if not header.data.is_file():
        raise UserError(f"{path}: could not be read, since its data file {header.data.name} is missing; copy both")
    if not header.compressed:
        found = header.data.stat().st_size - header.offset
        wrong = found < size
    else:
        with header.data.open("rb") as handle:
            handle.seek(header.offset)
            try:
                found = _inflated(handle, header.length or sys.maxsize, size)
            except (EOFError, zlib.error) as error:
                raise UserError(
                    f"{path}: could not be read, since its compressed data are damaged ({error}); copy it again"
                ) from error
        wrong = found != size
    if wrong:
        raise UserError(f"{path}: holds {found} bytes of voxels but its header declares {size}; copy it again")


def _inflated(handle: IO[bytes], length: int, most: int) -> int:
    """Return the size of zlib or gzip data, decompressed in small pieces until it exceeds `most` bytes.

    Raises:
        EOFError: The data end before their checksum.
        zlib.error: They are damaged.
    """
    stream, size = zlib.decompressobj(32 + zlib.MAX_WBITS), 0
    while size <= most and not stream.eof:
        piece = stream.unconsumed_tail
        if not piece:
            piece = handle.read(min(PIECE_BYTES, length))
            length -= len(piece)
            if not piece:
                raise EOFError("they are cut short")
        size += len(stream.decompress(piece, PIECE_BYTES))
    return size


def _bad(path: Path, what: str) -> UserError:
    return UserError(f"{path}: could not be read, since its header {what}; is the file whole, is it an image?")


def _lines(path: Path, start: bytes, end: re.Pattern[bytes]) -> list[str]:
    """Return the lines of a header up to its last one."""
    match = end.search(start)
    head = start[: match.end()] if match else start
    if match is None and len(start) == HEADER_BYTES:
        raise _bad(path, f"does not end within {HEADER_BYTES} bytes")
    lines = head.decode("latin-1").replace("\r\n", "\n").split("\n")
    for line in lines:
        # Key/value pairs of NRRD hold no geometry; 3D Slicer writes thousands of characters into one.
        if (len(line) > LONGEST_LINE and not _is_key_value(line)) or not all(
            c.isprintable() or c in "\t\xa0\xad" for c in line
        ):
            raise _bad(path, f"has a line that is too long or not text ('{line[:40]}')")
    return [line.rstrip() for line in lines]


def _is_key_value(line: str) -> bool:
    """Return True for a line `key:=value` of NRRD; in a line `field: value`, := may stand in the value."""
    return line.partition(":")[2].startswith("=")


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) if re.fullmatch(NRRD_NUMBER, word) else math.nan for word in text.split()]
    except OverflowError:
        return [math.nan]


def _metaimage(path: Path, start: bytes) -> dict[str, str]:
    end = re.compile(rb"(^|\n)ElementDataFile\s*=[^\n]*(\n|$)")
    lines = _lines(path, start, end)
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
        raise _bad(path, f"declares NDims = {fields['NDims'][:40]}")
    _check_meta_values(path, fields, int(fields["NDims"]))
    name = fields["ElementDataFile"]
    if name == "LIST" or "%" in name or not name:
        raise UserError(f"{path}: its voxels are in a list of files ('{name[:60]}'); convert it to one file")
    local, skipped = name in META_LOCAL, int(fields.get("HeaderSize", "0"))
    # Without the size, MetaIO takes the header itself for the beginning of the compressed data.
    if local and fields.get("CompressedData") == "True" and int(fields.get("CompressedDataSize", "0")) == 0:
        raise _bad(path, "has no CompressedDataSize")
    match = end.search(start)
    return {
        "data": "" if local else name,
        "compressed": fields.get("CompressedData", "False"),
        "length": fields.get("CompressedDataSize", "0"),
        "offset": str(skipped if skipped > 0 else match.end() if match and local and skipped == 0 else 0),
    }


def _check_meta_values(path: Path, fields: Mapping[str, str], dims: int) -> None:
    for key, value in fields.items():
        good = key not in META_WORDS or bool(re.fullmatch(META_WORDS[key], value))
        if key in META_VECTORS:
            numbers, power = _numbers(value), META_VECTORS[key]
            good = all(math.isfinite(number) for number in numbers)
            good = good and (power is None or len(numbers) == dims**power)
        if not good:
            raise _bad(path, f"declares {key} = {value[:60]}")
    shape = _numbers(fields["DimSize"])
    if any(n != int(n) for n in shape):
        raise _bad(path, f"declares DimSize = {fields['DimSize'][:60]}")
    require_size(path, [int(n) for n in shape])
    channels, skipped = fields.get("ElementNumberOfChannels", "1"), fields.get("HeaderSize", "0")
    if not re.fullmatch("[1-4]", channels):
        raise UserError(f"{path}: has {channels[:20]} values in each voxel; name a scalar image")
    if not re.fullmatch(r"-1|\d{1,10}", skipped):
        raise _bad(path, f"declares HeaderSize = {skipped[:20]}")
    size = fields.get("CompressedDataSize", "0")
    if not re.fullmatch(r"\d{1,15}", size) or int(size) > _size_of_data(path, fields["ElementDataFile"]):
        raise _bad(path, f"declares {size[:20]} bytes of data, which the file does not have")


def _size_of_data(path: Path, name: str) -> int:
    data = path if name in META_LOCAL else path.parent / name
    try:
        return data.stat().st_size
    except (OSError, ValueError):
        return 2**62  # a missing file is reported when it is read


def _nrrd(path: Path, start: bytes) -> dict[str, str]:
    if not re.match(rb"NRRD000[1-5]\r?\n", start):
        raise _bad(path, "is not that of a NRRD file")
    fields: dict[str, str] = {}
    for line in _lines(path, start, re.compile(rb"\n\r?\n"))[1:]:
        if not line or line.startswith("#") or _is_key_value(line):
            continue
        key, colon, value = (part.strip() for part in line.partition(":"))
        key = NRRD_ALIASES.get(key.lower(), key.lower())
        if not colon or key in fields or key not in NRRD_FIELDS:
            raise _bad(path, f"has the line '{line[:60]}'")
        if not re.fullmatch(NRRD_FIELDS[key], value, re.IGNORECASE) and key != "data file":
            raise _bad(path, f"declares {key}: {value[:60]}")
        fields[key] = value
    for key in ("type", "dimension", "sizes", "encoding"):
        if key not in fields:
            raise _bad(path, f"has no {key}")
    name = fields.get("data file", "")
    if "data file" in fields and (name.startswith("LIST") or not re.fullmatch(NRRD_FIELDS["data file"], name)):
        raise UserError(f"{path}: its voxels are in a list of files ('{name[:60]}'); convert it to one file")
    sizes, dims = [int(n) for n in fields["sizes"].split()], int(fields["dimension"])
    if len(sizes) != dims:
        raise _bad(path, f"has {len(sizes)} sizes for {dims} axes")
    require_size(path, sizes)
    plain = fields["encoding"].lower() == "raw"
    return {"data": name, "compressed": str(not plain)}
