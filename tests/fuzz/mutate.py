"""Ways to spoil a file, whatever it holds. Everything random comes from the generator that is given."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable

Mutation = Callable[[bytes, random.Random], bytes]

BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF, 0x0A, 0x22, 0x2C)
INTEGERS = (0, 1, -1, 2, 127, 128, 255, 256, 32767, -32768, 65535, 2**31 - 1, -(2**31), 2**32 - 1, 2**40, 2**63 - 1)
FLOATS = (0.0, -0.0, -1.0, 1e-45, 1e-30, 1e30, 3.4e38, -3.4e38, float("nan"), float("inf"), float("-inf"), 0.5)
NUMBERS = (
    "0", "-1", "1", "-0", "65536", "4294967296", "1000000", "99999999999999999999", "1e308", "-1e308", "1e-308",
    "1e999", "nan", "NaN", "inf", "-inf", ".inf", ".nan", "0x7fffffff", "1_000", "1.5.2", "", " ", "٣", "²",
    "9" * 5000, "true", "null", "None", "[]", "{}", "1:59:59", "2020-99-99", "-9223372036854775809",
)  # fmt: skip
WORDS = (
    "", " ", "\t", "a" * 300, "é", "漢字", "\u202e", "\x00", "\x1b[31m", "\x7f", "\ufeff", "..", "../../x",
    "/etc/passwd", "~",
    "/dev/zero", "file:///etc/passwd", "%s%s%s%n", "%d", "{{ 7*7 }}", "${HOME}", "$(id)", "`id`",
    "<script>alert(1)</script>",
    "=1+1", "'", '"', "\\", "\\N", ",", ";", "\r", "\r\n", "\u2028", "\x85", "!!python/object/apply:os.system [id]",
    "!!python/name:os.system", "!!binary x", "!!timestamp x", "!!int x", "!!set {a}", "&a [*a]", "*a", "<<: *a",
    "? [a]: b",
    "NaN", "Infinity", "LOCAL", "LIST", "con", "CON:", ".",
)  # fmt: skip


def binary(content: bytes, rng: random.Random) -> bytes:
    """One to four of the blind changes."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        content = rng.choice(BLIND)(content, rng)
    return content


def flip(content: bytes, rng: random.Random) -> bytes:
    """Some bits turned over."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def flip_early(content: bytes, rng: random.Random) -> bytes:
    """Some bits turned over near the beginning, where headers are."""
    early = min(len(content), 400)
    return flip(content[:early], rng) + content[early:]


def overwrite(content: bytes, rng: random.Random) -> bytes:
    """A run of bytes set to one telling value."""
    if not content:
        return content
    start, length = rng.randrange(len(content)), rng.choice((1, 1, 2, 4, 16, 200))
    return (
        content[:start] + bytes([rng.choice(BYTES)]) * min(length, len(content) - start) + content[start + length :]
    )


def number(content: bytes, rng: random.Random) -> bytes:
    """An integer or float of any width and byte order set to a telling value, more often near the beginning."""
    if len(content) < 8:
        return content
    start = rng.randrange(min(len(content), 400) if rng.random() < 0.7 else len(content))
    return put(content, start, rng.choice("<>") + rng.choice("bhiqfd"), rng)


def put(content: bytes, start: int, kind: str, rng: random.Random) -> bytes:
    """A telling value of a `struct` kind at an offset."""
    size = struct.calcsize(kind)
    if start + size > len(content):
        return content
    if kind[-1] in "fd":
        packed = struct.pack(kind, rng.choice(FLOATS))
    else:
        value = rng.choice(INTEGERS) % 2 ** (8 * size)
        packed = value.to_bytes(size, "little" if kind[0] == "<" else "big")
    return content[:start] + packed + content[start + size :]


def truncate(content: bytes, rng: random.Random) -> bytes:
    """The end cut off, anywhere or by a little."""
    keep = rng.randrange(len(content) + 1) if rng.random() < 0.6 else max(0, len(content) - rng.randrange(1, 20))
    return content[:keep]


def delete(content: bytes, rng: random.Random) -> bytes:
    """A block taken out."""
    start = rng.randrange(len(content) + 1)
    return content[:start] + content[start + rng.choice((1, 1, 2, 4, 7, 64, 512)) :]


def insert(content: bytes, rng: random.Random) -> bytes:
    """A block of random or equal bytes put in."""
    start, length = rng.randrange(len(content) + 1), rng.choice((1, 2, 4, 64, 512))
    block = rng.randbytes(length) if rng.random() < 0.5 else bytes([rng.choice(BYTES)]) * length
    return content[:start] + block + content[start:]


def duplicate(content: bytes, rng: random.Random) -> bytes:
    """A block repeated."""
    start, length = rng.randrange(len(content) + 1), rng.choice((1, 4, 16, 100, 1000))
    block = content[start : start + length]
    return content[:start] + block * rng.choice((2, 2, 3, 20)) + content[start + length :]


def exchange(content: bytes, rng: random.Random) -> bytes:
    """Two blocks in each other's place."""
    length = rng.choice((1, 2, 4, 16, 64))
    if len(content) < 2 * length + 1:
        return content
    first = rng.randrange(len(content) - 2 * length)
    second = rng.randrange(first + length, len(content) - length + 1)
    return (
        content[:first]
        + content[second : second + length]
        + content[first + length : second]
        + content[first : first + length]
        + content[second + length :]
    )


BLIND: tuple[Mutation, ...] = (
    flip, flip, flip_early, flip_early, overwrite, number, number, number, truncate, delete, insert, duplicate,
    exchange,
)  # fmt: skip

TOKEN = re.compile(r"[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?|\w+|[^\w\s]", re.IGNORECASE)
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?", re.IGNORECASE)
LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 12))
MERGED = "a0: &a0 {x: 1}\n" + "".join(
    f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 9)}]}}\n" for k in range(1, 12)
)


def text(content: bytes, rng: random.Random) -> bytes:
    """One to three changes as a person, a spreadsheet or an enemy makes them; now and then a blind one."""
    if rng.random() < 0.15:
        return binary(content, rng)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if len(content) < 500_000:  # large enough to show what there is, small enough to search for tokens
            content = rng.choice(WRITTEN)(content, rng)
    return content


def _words(content: bytes) -> str:
    return content.decode("utf-8", errors="replace")


def replace_token(content: bytes, rng: random.Random) -> bytes:
    """A word, number or sign replaced by a telling one."""
    return _replace(content, rng, TOKEN, (*NUMBERS, *WORDS))


def replace_number(content: bytes, rng: random.Random) -> bytes:
    """A number replaced by a telling one."""
    return _replace(content, rng, NUMBER, NUMBERS)


def _replace(content: bytes, rng: random.Random, pattern: re.Pattern[str], choices: tuple[str, ...]) -> bytes:
    words = _words(content)
    found = list(pattern.finditer(words))
    if not found:
        return content
    match = rng.choice(found)
    return (words[: match.start()] + rng.choice(choices) + words[match.end() :]).encode()


def swap_tokens(content: bytes, rng: random.Random) -> bytes:
    """Two words in each other's place."""
    words = _words(content)
    found = list(TOKEN.finditer(words))
    if len(found) < 2:
        return content
    first, second = sorted(rng.sample(found, 2), key=lambda match: match.start())
    return (
        words[: first.start()]
        + second.group()
        + words[first.end() : second.start()]
        + first.group()
        + words[second.end() :]
    ).encode()


def lines(content: bytes, rng: random.Random) -> bytes:
    """A line removed, repeated, moved, cut, or made very long."""
    rows = content.split(b"\n")
    index, what = rng.randrange(len(rows)), rng.randrange(5)
    if what == 0:
        del rows[index]
    elif what == 1:
        rows[index:index] = [rows[index]] * rng.choice((1, 2, 1000))
    elif what == 2:
        rows.insert(rng.randrange(len(rows) + 1), rows.pop(index))
    elif what == 3:
        rows[index] = rows[index][: rng.randrange(len(rows[index]) + 1)]
    else:
        rows[index] += rng.choice((b"a", b"9", b",", b" ", b"[", b"\xc3\xa9")) * rng.choice((300, 5000, 200_000))
    return b"\n".join(rows)


def encode(content: bytes, rng: random.Random) -> bytes:
    """Another encoding, or bytes of one in the midst of another."""
    words, what = _words(content), rng.randrange(5)
    if what == 0:
        return words.encode("utf-16")
    if what == 1:
        return words.encode("latin-1", errors="replace")
    if what == 2:
        return b"\xef\xbb\xbf" + content
    start = rng.randrange(len(content) + 1)
    return (
        content[:start]
        + rng.choice((b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\x00", b"\xf4\x90"))
        + content[start:]
    )


def nest(content: bytes, rng: random.Random) -> bytes:
    """Brackets in brackets, by the thousand, in place of a token or of all."""
    depth = rng.choice((20, 1000, 20_000))
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}"), ("{a: ", "}"), ("- ", ""), ("(", ")"), ('"', '"')))
    nested = opening * depth + "1" + (closing * depth if rng.random() < 0.5 else "")
    if rng.random() < 0.3:
        return nested.encode()
    return _replace(content, rng, TOKEN, (nested,))


def laugh(content: bytes, rng: random.Random) -> bytes:
    """References to references: small as text, without end once they are followed."""
    bomb = rng.choice((LAUGHS, MERGED))
    words = _words(content)
    keys = re.findall(r"^(\w+):", words, re.MULTILINE)
    if keys and rng.random() < 0.7:
        key = rng.choice(keys)
        words = re.sub(rf"^{key}:.*$", f"{key}: *a11", words, flags=re.MULTILINE)
    return (bomb + words).encode()


WRITTEN: tuple[Mutation, ...] = (
    replace_token, replace_token, replace_token, replace_number, replace_number, replace_number, swap_tokens,
    swap_tokens, lines, lines, encode, nest, laugh, truncate,
)  # fmt: skip
