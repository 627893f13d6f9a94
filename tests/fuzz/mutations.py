"""Damage: a list of small changes applied to the bytes of a sound file, the same for the suite and for the long run."""
import random
from typing import List, NamedTuple, Sequence

KINDS = ("flip", "byte", "number", "text", "cut", "drop", "repeat", "swap")
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1,
           1 << 63,
           (1 << 64) - 1)
TEXTS = (b"9" * 5000, b"-1", b"nan", b"inf", b"1e999", b"99999999999999999999", b"\0", b"\r", b"\n\n", b"\xff\xfe",
         b"\xef\xbb\xbf",
         b"\xe9", b"../../x", b"/etc/hostname", b"[" * 3000, b"{}", b"null", b'"', b"\\", b"\t\t", b",", b"0x10",
         b"\xc2\xb2", b" ",
         b"1_0", b"$x$", b"version https://git-lfs.github.com/spec/v1\n", b"\xe2\x80\xa8")


class Change(NamedTuple):
    """One change: its kind, where (a share of the file's length, below 1), and a number that it uses in its own way."""

    kind: str
    place: float
    value: int


def mutate(data: bytes, changes: Sequence[Change]) -> bytes:
    """The bytes with each change made in turn; a file never grows beyond three times its size and 20,000 bytes."""
    most = 3 * len(data) + 20000
    for kind, place, value in changes:
        at = int(place * len(data))
        if kind == "cut":
            data = data[:at]
        elif kind == "flip" and data:
            data = data[:at] + bytes([data[at] ^ 1 << value % 8]) + data[at + 1:]
        elif kind == "byte" and data:
            data = data[:at] + bytes([value % 256]) + data[at + 1:]
        elif kind == "number":
            width, order = (1, 2, 4, 8)[value % 4], ("little", "big")[value // 4 % 2]
            number = NUMBERS[value // 8 % len(NUMBERS)] & (1 << 8 * width) - 1
            data = data[:at] + number.to_bytes(width, order) + data[at + width:]
        elif kind == "text":
            data = data[:at] + TEXTS[value % len(TEXTS)] + data[at + value // len(TEXTS) % 4:]
        else:
            data = _moved(data, kind, at, value % 64 + 1)
        data = data[:most]
    return data


def _moved(data: bytes, kind: str, at: int, length: int) -> bytes:
    """A piece left out, said again, or changed for the one after it."""
    piece, rest = data[at:at + length], data[at + length:]
    if kind == "drop":
        return data[:at] + rest
    if kind == "repeat":
        return data[:at] + piece + piece + rest
    return data[:at] + rest[:length] + piece + rest[length:]


def drawn(source: random.Random) -> List[Change]:
    """A few changes by chance; half of the time near the start, where headers are."""
    near = source.random() < 0.5
    return [Change(source.choice(KINDS), source.random() ** (4 if near else 1) * 0.999999, source.randrange(1 << 16))
            for _ in range(source.choice((1, 1, 1, 2, 3, 6)))]
