"""The files of an uncompressed tar: their names and places, found by walking its headers.

Python's own reader believes a header's size and follows it, backwards too (a negative size makes it read one member for
ever). Here every size is compared with the file, every kind of member but files and folders is refused by name, and
nothing is read but headers. Read are ustar, GNU (long names, sizes in base 256) and pax.
"""
import os
from typing import BinaryIO, Dict, Iterator, NamedTuple, Tuple

from arcface_mxnet.runtime.reading import escaped, shown

BLOCK = 512
MOST_NAME = 1 << 16  # bytes of a long name or of a pax header
_KINDS = {b"1": "a hard link", b"2": "a link", b"3": "a device", b"4": "a device", b"6": "a pipe (FIFO)",
          b"7": "a contiguous file of another system", b"S": "a sparse file"}
_FILE, _FOLDER = (b"0", b"\0"), b"5"
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"


class BadArchive(ValueError):
    """The archive cannot be used; the message names the member and says why."""


class Member(NamedTuple):
    """A file of the archive: its name, where its bytes start, how many they are."""

    name: str
    start: int
    size: int


def tar_members(stream: BinaryIO) -> Iterator[Member]:
    """Every file of a tar in its order; raises BadArchive at the first header that is damaged, or of another kind."""
    end = stream.seek(0, 2)
    at, told = 0, ""  # `told`: the name that a header of its own gave the next member
    size_told = -1
    while at + BLOCK <= end:
        header = _read(stream, at, BLOCK)
        if not header.strip(b"\0"):
            return
        _check_sum(header, at)
        kind, size = header[156:157], _number(header[124:136], escaped(_name(header)))
        body = at + BLOCK
        if kind in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL):
            text = _body(stream, body, size, end)
            if kind == _LONG_NAME:
                told = _text(text.rstrip(b"\0"))
            elif kind == _PAX:
                records = _pax(text)
                told, size_told = records.get("path", told), int(records.get("size", size_told))
            at = _after(body, size)
            continue
        name = told or _name(header)
        size = size if size_told < 0 else size_told
        at = _after(body, size if kind in _FILE else 0)
        if kind not in (*_FILE, _FOLDER):
            raise BadArchive(f"{escaped(name)} is {_KINDS.get(kind, f'of the unknown kind {shown(kind)}')}, "
                             "which an archive of images has no need of")
        if kind in _FILE and not name.endswith("/"):
            if body + size > end:
                raise BadArchive(f"{escaped(name)} has {size} bytes by its header, {max(end - body, 0)} are left; "
                                 "it is cut off")
            yield Member(name, body, size)
        told, size_told = "", -1
    if at < end or not end:
        raise BadArchive("it is no uncompressed tar, or cut off")


def _after(body: int, size: int) -> int:
    return body + (size + BLOCK - 1) // BLOCK * BLOCK


def _read(stream: BinaryIO, at: int, count: int) -> bytes:
    return os.pread(stream.fileno(), count, at)


def _body(stream: BinaryIO, at: int, size: int, end: int) -> bytes:
    if size > MOST_NAME or at + size > end:
        raise BadArchive(f"a name of {size} bytes at byte {at}; at most {MOST_NAME} are read")
    return _read(stream, at, size)


def _check_sum(header: bytes, at: int) -> None:
    digits = header[148:156].strip(b" \0")
    told = int(digits, 8) if digits and not digits.strip(b"01234567") else -1
    if told != sum(header[:148]) + 8 * ord(" ") + sum(header[156:]):
        raise BadArchive(f"no header of a tar at byte {at}; it is no uncompressed tar, or damaged")


def _number(text: bytes, name: str) -> int:
    """The size of a member, octal or in GNU's base 256; never negative."""
    if text[0] & 0x80:
        value = int.from_bytes(bytes([text[0] & 0x7F]) + text[1:], "big")
        if text[0] & 0x40:
            raise BadArchive(f"{name} has a negative size")
        return value
    digits = text.strip(b" \0")
    if digits.strip(b"01234567"):
        raise BadArchive(f"{name} has the size {shown(digits, 20)}, which is no number")
    return int(digits or b"0", 8)


def _name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _text(name: bytes) -> str:
    if b"\0" in name:
        raise BadArchive(f"{shown(name)} holds a NUL, which no name does")
    return name.decode("utf-8", "surrogateescape")


def _pax(text: bytes) -> Dict[str, str]:
    """Records `length key=value LF` of a pax header."""
    records: Dict[str, str] = {}
    at = 0
    while at < len(text) and text[at:at + 1] != b"\0":
        length, key, value, at = _pax_record(text, at)
        if key.startswith("GNU.sparse"):
            raise BadArchive("it holds a sparse file, which an archive of images has no need of")
        if key == "size" and not (value.isascii() and value.isdigit() and len(value) <= 18):
            raise BadArchive(f"a size of {shown(value, 20)} in a pax header")
        if key in ("path", "size"):
            records[key] = value
    return records


def _pax_record(text: bytes, at: int) -> Tuple[int, str, str, int]:
    digits, blank, _ = text[at:at + 20].partition(b" ")
    length = int(digits) if digits.isdigit() and blank else 0
    record = text[at + len(digits) + 1:at + length]
    key, equals, value = record.partition(b"=")
    if not length or at + length > len(text) or not equals or not value.endswith(b"\n"):
        raise BadArchive("a damaged pax header")
    return length, _text(key), _text(value[:-1]), at + length
