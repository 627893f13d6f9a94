"""NumPy files: an `.npy` is mapped, an `.npz` read, both after their headers are checked; new ones have their space.

A header says what type, what shape and what order; here it is read by a pattern and never evaluated, and believed only
where the file has exactly the bytes it announces. Arrays hold plain numbers or text; Python objects and records are
refused.
"""
import contextlib
import math
import os
import re
import struct
import zipfile
from typing import Any, BinaryIO, Dict, NamedTuple, Tuple

from arcface_mxnet.runtime.errors import InputError, one_line
from arcface_mxnet.runtime.files import PathLike, naming
from arcface_mxnet.runtime.reading import ZIP_ERRORS, open_file, shown

import numpy as np

MAGIC = b"\x93NUMPY"
MOST_HEADER = 1 << 16  # bytes
MOST_DIMENSIONS = 32  # what NumPy 1 holds
MOST_NPZ = 1 << 34  # bytes of all arrays of one .npz, which are held in memory
_TYPE = re.compile(r"[<>|=]?([biufUS])([0-9]{1,5})")
_VALUE = r"(?:'[^'\n]{0,64}'|True|False|\([0-9L, ]{0,1024}\))"
_ENTRY = re.compile(rf"\s*['\"](descr|fortran_order|shape)['\"]\s*:\s*({_VALUE})\s*(?:,|$)")
_ITEM = re.compile(r"([0-9]{1,19})L?")


class _Header(NamedTuple):
    """What an .npy says about itself: element type, shape, whether columns stand together, where its values begin."""

    dtype: "np.dtype[np.generic]"
    shape: Tuple[int, ...]
    fortran: bool
    start: int

    @property
    def size(self) -> int:
        """Bytes of the whole file that such a header belongs to."""
        return self.start + math.prod(self.shape) * self.dtype.itemsize


class _Foreign(ValueError):
    """A stream that holds no such array; the message says why, without a name."""


def load_array(path: PathLike, remedy: str, mode: str = "r") -> np.ndarray:
    """The array of an .npy, mapped for reading; raises InputError, ending with `remedy`, where it is not whole.

    `mode`: "r", or "r+" to write into the file as well.
    """
    with open_file(path, remedy) as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        try:
            header = _header(stream)
            _check_size(header, size)
        except _Foreign as error:
            raise InputError(f"{path}: no whole .npy array ({error}); {remedy}") from None
    order = "F" if header.fortran else "C"
    if 0 in header.shape:
        return np.empty(header.shape, header.dtype, order)  # type: ignore[call-overload]
    return np.memmap(path, header.dtype, mode, header.start, header.shape, order)  # type: ignore[call-overload]


def load_arrays(path: PathLike, remedy: str, most: int = MOST_NPZ) -> Dict[str, np.ndarray]:
    """All arrays of an .npz by name; raises InputError, ending with `remedy`, naming one that is not whole."""
    with open_file(path, remedy) as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                members = archive.infolist()
                total = sum(member.file_size for member in members)
                if total > most:
                    raise _Foreign(f"its arrays take {total} bytes, more than the {most} that are read")
                return {member.filename[:-len(".npy")]: _member(archive, member) for member in members}
        except _Foreign as error:
            raise InputError(f"{path}: no whole .npz of arrays ({error}); {remedy}") from None
        except (*ZIP_ERRORS, OSError) as error:
            raise InputError(f"{path}: no whole .npz of arrays ({one_line(error)}); {remedy}") from None


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    name = member.filename
    if not name.endswith(".npy"):
        raise _Foreign(f"{shown(name)} is no .npy")
    try:
        with archive.open(member) as stream:
            header = _header(stream)  # type: ignore[arg-type]
            _check_size(header, member.file_size)
            data = bytearray(stream.read())
    except _Foreign as error:
        raise _Foreign(f"{shown(name)}: {error}") from None
    if len(data) != header.size - header.start:
        raise _Foreign(f"{shown(name)}: ends after {len(data)} bytes of its values")
    values = np.frombuffer(data, header.dtype, math.prod(header.shape))
    return values.reshape(header.shape, order="F" if header.fortran else "C")


def _header(stream: BinaryIO) -> _Header:
    """Read and check the header at the start of a stream; raises _Foreign."""
    start = stream.read(len(MAGIC) + 2)
    if not start.startswith(MAGIC) or len(start) < len(MAGIC) + 2:
        raise _Foreign("it does not begin as one" if start else "it is empty")
    version = start[-2], start[-1]
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise _Foreign(f"format {version[0]}.{version[1]}, which NumPy does not write")
    form = "<H" if version == (1, 0) else "<I"
    told = stream.read(struct.calcsize(form))
    if len(told) < struct.calcsize(form):
        raise _Foreign("it ends inside its header")
    length, = struct.unpack(form, told)
    if length > MOST_HEADER:
        raise _Foreign(f"a header of {length} bytes")
    text = stream.read(length)
    if len(text) < length:
        raise _Foreign("it ends inside its header")
    return _parsed(text.decode("latin-1"), len(start) + len(told) + length)


def _parsed(text: str, start: int) -> _Header:
    """The header's three entries, in any order."""
    plain = text.strip()
    if not plain.startswith("{") or not plain.endswith("}"):
        raise _Foreign(f"its header {shown(plain)} is damaged")
    rest, found = plain[1:-1].rstrip(), {}
    if re.search(r"descr['\"]\s*:\s*\[", rest):
        raise _Foreign("it holds records of several fields, not plain numbers")
    while rest:
        entry = _ENTRY.match(rest)
        if entry is None or entry[1] in found:
            raise _Foreign(f"its header {shown(plain)} is damaged")
        found[entry[1]] = entry[2]
        rest = rest[entry.end():].strip()
    if len(found) != 3 or found["fortran_order"] not in ("True", "False") or found["shape"][0] != "(":
        raise _Foreign(f"its header {shown(plain)} is damaged")
    return _Header(_dtype(found["descr"].strip("'\"")), _shape(found["shape"]), found["fortran_order"] == "True", start)


def _dtype(text: str) -> "np.dtype[np.generic]":
    if text.lstrip("|<>=")[:1] == "O":
        raise _Foreign("it holds Python objects, which are never read")
    known = _TYPE.fullmatch(text)
    try:
        if known is None:
            raise TypeError
        return np.dtype(text)
    except TypeError:
        raise _Foreign(f"its element type {shown(text)} is neither a number nor text") from None


def _shape(text: str) -> Tuple[int, ...]:
    parts = [part.strip() for part in text[1:-1].split(",")]
    if parts[-1] == "":  # (3,) and ()
        parts.pop()
    numbers = [_ITEM.fullmatch(part) for part in parts]
    if len(parts) > MOST_DIMENSIONS or not all(numbers):
        raise _Foreign(f"its shape {shown(text)} is none")
    return tuple(int(number[1]) for number in numbers if number)


def _check_size(header: _Header, size: int) -> None:
    if header.size != size:
        raise _Foreign(f"it has {size} bytes where {header.dtype} of shape {header.shape} takes {header.size}; "
                       "it is half written or damaged")


def create_array(path: PathLike, shape: Tuple[int, ...], dtype: Any = np.float32) -> "np.memmap[Any, Any]":
    """A new .npy file of `shape`, memory-mapped for writing, zeros; its space on the disk is claimed first.

    Without that a write to the map on a full disk is SIGBUS: the process ends without a word. Raises OSError (no space
    left) naming `path`, and leaves no file, where the disk is full.
    """
    kind = np.dtype(dtype)
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    try:
        with naming(path), open(path, "wb") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            start = stream.tell()
            stream.flush()
            size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
            if size:
                os.posix_fallocate(stream.fileno(), 0, start + size)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise
    return np.memmap(path, kind, "r+", start, shape)
