"""Ways to spoil a file that know its format: fields of headers, checksums put right, bombs."""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import struct
import zipfile
import zlib

from tests.fuzz import mutate
from tests.fuzz.mutate import FLOATS, INTEGERS, NUMBERS, WORDS, put

# Offset → kind, of the fields that a reader believes.
NIFTI = {0: "i", 68: "h", 70: "h", 72: "h", 108: "f", 112: "f", 116: "f", 120: "h", 252: "h", 254: "h", 344: "i",
          348: "i", 352: "i", 356: "i",
          **{40 + 2 * k: "h" for k in range(8)}, **{76 + 4 * k: "f" for k in range(8)},
          **{256 + 4 * k: "f" for k in range(18)}}  # fmt: skip


def nifti(content: bytes, rng: random.Random) -> bytes:
    """Fields of the header set to telling values, in the byte order of the file."""
    order = ">" if content[:2] == b"\x00\x00" else "<"
    for _ in range(rng.choice((1, 1, 2, 3))):
        start = rng.choice(list(NIFTI))
        content = put(content, start, order + NIFTI[start], rng)
    return content


def compressed(content: bytes, rng: random.Random) -> bytes:
    """A NIfTI file spoiled inside and compressed again, or with a bomb behind its voxels."""
    try:
        inner = gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        return content
    what = rng.random()
    if what < 0.6:
        inner = nifti(inner, rng)
    elif what < 0.9:
        inner = mutate.binary(inner, rng)
    else:
        inner += bytes(rng.choice((1000, 10**6, 3 * 10**8 if rng.random() < 0.1 else 10**7)))
    return gzip.compress(inner, compresslevel=1, mtime=0)


LINES = (
    "ElementDataFile = LIST", "ElementDataFile = ../../../etc/passwd", "ElementDataFile = /dev/zero",
    "ElementDataFile = %s%s%s%n.raw 1 6 1", "ElementDataFile = a%99999999d.raw 1 6 1",
    "ElementDataFile = a%d.raw 1 999999999 1",
    "CompressedDataSize = 99999999999", "CompressedData = True", "BinaryData = False", "HeaderSize = -1",
    "HeaderSize = 9999999999", "ElementNumberOfChannels = 1000000000", "NDims = 100", "NDims = -1",
    "DimSize = 99999 99999 99999",
    "ElementType = MET_LONG_LONG_ARRAY", "ElementType = MET_STRING", "ObjectType = Scene",
    "ObjectSubType = " + "x" * 5000,
    "data file: LIST", "data file: ../../../etc/passwd", "data file: /dev/zero", "data file: a%99999999d.raw 0 5 1",
    "data file: %s%s%n 0 5 1", "line skip: 999999999", "byte skip: -1", "byte skip: 999999999", "encoding: bzip2",
    "encoding: hex",
    "encoding: text", "encoding: gzip", "dimension: 16", "dimension: 999", "sizes: 99999 99999 99999",
    "type: block",
    "block size: 1000000000", "space dimension: 8", "space: scanner-xyz-time", "kinds: vector domain domain",
    "kinds: 3D-matrix domain domain", "centers: cell cell cell", "measurement frame: (nan,0,0) (0,0,0) (0,0,0)",
    "space directions: none (0,0,0) (nan,nan,nan)", "space origin: (inf,nan,1e300)",
)  # fmt: skip


def written(content: bytes, rng: random.Random) -> bytes:
    """The text header of a MetaImage or NRRD file with other values, or with lines more."""
    split = re.search(rb"ElementDataFile[^\n]*\n|\n\r?\n", content)
    head, data = (content[: split.end()], content[split.end() :]) if split else (content, b"")
    rows = head.decode("latin-1").split("\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        index = rng.randrange(len(rows))
        what = rng.random()
        if what < 0.45:
            numbers = list(mutate.NUMBER.finditer(rows[index]))
            if numbers:
                match = rng.choice(numbers)
                value = rng.choice(NUMBERS).encode().decode("latin-1")
                rows[index] = rows[index][: match.start()] + value + rows[index][match.end() :]
        elif what < 0.75:
            line = rng.choice(LINES)
            key = re.split("[:=]", line)[0].strip()
            same = [k for k, row in enumerate(rows) if row.startswith(key)]
            if same:
                rows[same[0]] = line
            else:
                rows.insert(min(index, max(len(rows) - 3, 0)), line)
        elif what < 0.9:
            rows[index] = re.sub(r"([:=]\s*).*", lambda m: m[1] + rng.choice(WORDS), rows[index], count=1)
            rows[index] = rows[index].encode().decode("latin-1")
        else:
            rows[index] = mutate.lines(rows[index].encode(), rng).decode("latin-1")
    return "\n".join(rows).encode("latin-1") + data


def png(content: bytes, rng: random.Random) -> bytes:
    """Chunks spoiled, doubled, dropped or exchanged, with their checksums put right; pictures declared huge."""
    start, chunks = 8, []
    while start + 12 <= len(content):
        (length,) = struct.unpack(">I", content[start : start + 4])
        chunks.append((content[start + 4 : start + 8], content[start + 8 : start + 8 + length]))
        start += 12 + length
    if not chunks:
        return content
    what, index = rng.random(), rng.randrange(len(chunks))
    kind, data = chunks[index]
    if what < 0.35:
        at = rng.choice((0, 4, 8, 9, 10, 11, 12))
        chunks[0] = (b"IHDR", put(chunks[0][1], at, ">i" if at < 8 else ">b", rng))
    elif what < 0.55:
        chunks[index] = (kind, mutate.binary(data, rng))
    elif what < 0.7:
        raw = b"".join(data for kind, data in chunks if kind == b"IDAT")
        try:
            raw = mutate.binary(zlib.decompress(raw), rng)
        except zlib.error:
            raw = b""
        chunks = [chunks[0], (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    elif what < 0.8:
        chunks[index : index + 1] = rng.choice(([], [chunks[index]] * 2, [chunks[index]] * 500))
    elif what < 0.9:
        size = rng.choice((1000, 60_000, 2**31 - 1))
        chunks[0] = (b"IHDR", struct.pack(">II", size, size) + chunks[0][1][8:])
    else:
        text = (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(rng.choice((1000, 3 * 10**7)))))
        chunks.insert(
            1, rng.choice((text, (b"iCCP", b"p\0\0" + text[1][9:]), (b"gAMA", b"\0\0\0\0"), (b"tRNS", b"\0")))
        )
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return content[:8] + body


# Group, element → values as DICOM writes them.
TAGS = {
    (0x0028, 0x0010): "H", (0x0028, 0x0011): "H", (0x0028, 0x0100): "H", (0x0028, 0x0101): "H", (0x0028,
    0x0102): "H",
    (0x0028, 0x0103): "H", (0x0028, 0x0002): "H", (0x0028, 0x0004): "S", (0x0028, 0x0030): "S", (0x0020,
    0x0032): "S",
    (0x0020, 0x0037): "S", (0x0020, 0x000E): "S", (0x0020, 0x0013): "S", (0x0008, 0x0016): "S", (0x0002,
    0x0010): "S",
    (0x0002, 0x0000): "I", (0x0018, 0x0050): "S", (0x7FE0, 0x0010): "P",
}  # fmt: skip
SYNTAXES = (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.5",
)  # fmt: skip
SHORT = (b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF")


def dicom(content: bytes, rng: random.Random) -> bytes:
    """Values, lengths and representations of the elements that an image is made from."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        (group, element), kind = rng.choice(list(TAGS.items()))
        found = content.find(struct.pack("<HH", group, element), 128)
        if found < 0:
            continue
        long = content[found + 4 : found + 6] in SHORT
        where, width = (found + 8, 4) if long else (found + 6, 2)
        length = int.from_bytes(content[where : where + width], "little")
        start = where + width
        what = rng.random()
        if what < 0.25:
            content = put(content, where, "<i" if long else "<h", rng)
        elif what < 0.35:
            other = rng.choice((b"OB", b"OW", b"SQ", b"UN", b"US", b"DS", b"UI", b"??"))
            content = content[: found + 4] + other + content[found + 6 :]
        elif kind == "H":
            content = put(content, start, "<h", rng)
        elif kind == "I":
            content = put(content, start, "<i", rng)
        elif kind == "P":
            content = content[:start] + mutate.binary(content[start:], rng)
        else:
            values = (
                SYNTAXES if (group, element) == (2, 0x10) else (*NUMBERS, *WORDS, "0\\0\\0\\0\\0\\0", "1\\nan\\inf")
            )
            value = rng.choice(values).encode()[:60_000]
            value += b" " * (len(value) % 2)
            content = content[:where] + len(value).to_bytes(width, "little") + value + content[start + length :]
    if rng.random() < 0.05:  # many frames that are not there
        frames = b"\x28\x00\x08\x00IS\x06\x00999999"
        found = content.find(b"\x28\x00\x10\x00")
        content = content[:found] + frames + content[found:]
    return content


def safetensors(content: bytes, rng: random.Random) -> bytes:
    """The length of the header, or one of its names, types, shapes and offsets."""
    length = int.from_bytes(content[:8], "little")
    head, data = content[8 : 8 + length], content[8 + length :]
    if rng.random() < 0.15:
        return put(content, 0, "<q", rng)
    if rng.random() < 0.2:
        return content[: 8 + length] + mutate.binary(data, rng)
    try:
        table = json.loads(head)
    except ValueError:
        return content
    name = rng.choice(list(table))
    entry = table[name]
    what = rng.randrange(6)
    if what == 0 and "dtype" in entry:
        entry["dtype"] = rng.choice(("F64", "I64", "U8", "BOOL", "BF16", "F8_E4M3", "C64", "X", "", None, 3))
    elif what == 1 and "shape" in entry:
        entry["shape"] = rng.choice(
            ([], [0], [2**62, 4], [-1], [1] * 70, [1e3], None, list(reversed(entry["shape"])))
        )
    elif what == 2 and "data_offsets" in entry:
        entry["data_offsets"] = rng.choice(([0, 0], [5, 1], [-1, 4], [0, 2**63], [0, len(data)], None))
    elif what == 3:
        table[rng.choice((*WORDS, "network.", "optimizer.displacement.x.step", "random"))] = table.pop(name)
    elif what == 4:
        del table[name]
    else:
        head = mutate.text(head, rng)
        return len(head).to_bytes(8, "little") + head + data
    head = json.dumps(table).encode()
    return len(head).to_bytes(8, "little") + head + data


def npz(content: bytes, rng: random.Random) -> bytes:
    """The arrays of a gallery case spoiled inside and zipped again: shapes, types, names, pickles, bombs."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error, NotImplementedError, RuntimeError):
        return content
    name = rng.choice(list(members))
    data, what = members[name], rng.random()
    if what < 0.5:
        size = int.from_bytes(data[8:10], "little")
        head = data[10 : 10 + size].decode("latin-1").rstrip()
        value = rng.choice((
            "(1000000000, 1000000000)", "(0,)", "(-1, 4)", "()", "(3,)", "(2, 2, 2)", "(1e3,)", "(99999999,)",
            "(" * 500, "__import__('os')",
        ))  # fmt: skip
        if rng.random() < 0.5:
            head = re.sub(r"\([^)]*\)", value, head, count=1)
        else:
            kind = rng.choice(
                ("|O", "<f8", "<c16", ">i2", "|b1", "|S5", "<U7", "<M8[s]", "[('a', 'O')]", "|V9", "x")
            )
            head = re.sub(r"'descr': '[^']*'", f"'descr': '{kind}'", head)
        head += " " * (-(len(head) + 11) % 64) + "\n"
        members[name] = data[:8] + len(head).to_bytes(2, "little") + head.encode("latin-1") + data[10 + size :]
    elif what < 0.7:
        members[name] = mutate.binary(data, rng)
    elif what < 0.8:
        members[rng.choice((*WORDS, "id.npy", "more.npy", "slice.npy")) or "x"] = members.pop(name)
    elif what < 0.9:
        del members[name]
    else:
        members[name] = data + bytes(rng.choice((1000, 10**7, 3 * 10**8 if rng.random() < 0.1 else 10**6)))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for member, content_ in members.items():
            archive.writestr(zipfile.ZipInfo(member.replace("\x00", "") or "x"), content_, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def spoil(name: str, content: bytes, rng: random.Random) -> bytes:
    """A file spoiled as its name asks for: half of the time by one who knows the format."""
    lower = name.lower()
    if lower.endswith((".csv", ".yaml", ".json", ".cfg", ".txt")):
        return mutate.text(content, rng)
    knowing = {
        ".nii": nifti, ".nii.gz": compressed, ".mha": written, ".mhd": written, ".nrrd": written, ".nhdr": written,
        ".png": png, ".dcm": dicom, ".safetensors": safetensors, ".npz": npz,
    }  # fmt: skip
    for ending in sorted(knowing, key=len, reverse=True):
        if lower.endswith(ending):
            return (knowing[ending] if rng.random() < 0.6 else mutate.binary)(content, rng)
    return mutate.binary(content, rng)


__all__ = ["FLOATS", "INTEGERS", "spoil"]
