"""MXNet's .params files in NumPy: read without believing a length before it is checked, written as MXNet writes them.

The layout (little-endian; MXNet's src/ndarray/ndarray.cc, NDArray::Load and NDArray::Save): u64 0x112, u64 0, u64
count of arrays, the arrays; u64 count of names (0 or that of the arrays), for each u64 length and its bytes. An array
is u32 0xF993FAC9 (V2; 0xF993FACA is V3, the same for arrays that have values), i32 storage type (0 dense), i32 ndim,
i64 for each dimension, i32 device type, i32 device number, i32 value type, the values. V1 (0xF993FAC8) lacks the
storage type; the oldest form begins with u32 ndim and has u32 dimensions.

`read_arrays` gives every array by its stored name in its stored type; `split_kinds` parts them into parameters and
statistics; `as_float32` is for programs that compute in float32. `write_arrays` writes V2, as MXNet 1.9.1 does.
"""
import math
import os
import struct
from dataclasses import dataclass
from typing import BinaryIO, Collection, Dict, List, Mapping, Optional, Tuple

from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike
from arcface_mxnet.runtime.reading import open_file

import numpy

Arrays = Dict[str, numpy.ndarray]

_REMEDY = "give the parameter file of a checkpoint"
_LIST_MAGIC = 0x112
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_MOST_DIMENSIONS = 8
_DENSE = 0
_BFLOAT16 = 12
# mshadow's type flags; bfloat16 has no NumPy type and is widened to float32, which holds each of its values.
_TYPES: Mapping[int, str] = {0: "<f4", 1: "<f8", 2: "<f2", 3: "<u1", 4: "<i4", 5: "<i1", 6: "<i8", 7: "|b1", 8: "<i2",
                             9: "<u2", 10: "<u4", 11: "<u8", _BFLOAT16: "<u2"}
_FLAGS: Mapping[numpy.dtype, int] = {numpy.dtype(code): flag for flag, code in _TYPES.items() if flag != _BFLOAT16}
_SMALLEST_ARRAY = 20  # bytes: ndim, one dimension, device, type of the oldest form


@dataclass(frozen=True)
class _Stored:
    """Where one array lies in the file."""

    offset: int
    shape: Tuple[int, ...]
    flag: int

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * numpy.dtype(_TYPES[self.flag]).itemsize


class _Reader:
    """The bytes of a file, each length checked against what is left of it."""

    def __init__(self, stream: BinaryIO, path: PathLike) -> None:
        self.stream = stream
        self.path = os.fspath(path)
        self.left = os.fstat(stream.fileno()).st_size

    def fail(self, what: str) -> InputError:
        return InputError(f"{self.path}: {what}; use another copy")

    def take(self, size: int, what: str) -> bytes:
        """The next `size` bytes, which must be there."""
        self._claim(size, what)
        content = self.stream.read(size)
        if len(content) != size:
            raise self.fail(f"the file ends inside {what}")
        return content

    def skip(self, size: int, what: str) -> int:
        """Pass over `size` bytes, which must be there; returns where they begin."""
        self._claim(size, what)
        begin = self.stream.tell()
        self.stream.seek(size, os.SEEK_CUR)
        return begin

    def numbers(self, form: str, what: str) -> Tuple[int, ...]:
        """Little-endian numbers by struct's letters."""
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form), what))

    def count(self, smallest: int, what: str) -> int:
        """A u64 count of things of at least `smallest` bytes each."""
        number, = self.numbers("Q", f"the count of {what}")
        if number * smallest > self.left:
            raise self.fail(f"claims {number} {what}, for which its {self.left} remaining bytes are too few")
        return number

    def _claim(self, size: int, what: str) -> None:
        if size > self.left:
            raise self.fail(f"the file ends inside {what}: {size} bytes are claimed, {self.left} are left")
        self.left -= size


def read_arrays(path: PathLike, allow_nonfinite: bool = False) -> Arrays:
    """Every array of a parameter file by its stored name (as "arg:conv0_weight"), in its stored order and type.

    All lengths, types and names are checked against the file before the first value is read, and a file never takes
    more memory than its own size. bfloat16 comes as float32, other types as they are stored.
    Raises InputError naming the file (and array) when it is missing, a Git LFS pointer, of another kind, damaged, has
    sparse, empty or unnamed arrays or two of one name, or, unless `allow_nonfinite`, a value that is not finite.
    """
    with open_file(path, _REMEDY) as stream:
        reader = _Reader(stream, path)
        _check_start(reader)
        total = reader.count(_SMALLEST_ARRAY, "arrays")
        stored = [_array_header(reader, f"array {index + 1} of {total}") for index in range(total)]
        names = _names(reader, total)
        if reader.left:
            raise reader.fail(f"{reader.left} bytes follow the last name")
        return {name: _values(reader, name, entry, allow_nonfinite) for name, entry in zip(names, stored)}


def write_arrays(path: PathLike, arrays: Mapping[str, numpy.ndarray]) -> None:
    """Write arrays by name, byte for byte as MXNet 1.9.1's mx.nd.save writes the same arrays from CPU memory.

    The file is written in place: pass a temporary name (arcface_mxnet.runtime.files.atomic_path). Raises ValueError for
    a type or shape the format cannot hold, OSError when the disk does.
    """
    with open(path, "wb") as stream:
        stream.write(struct.pack("<QQQ", _LIST_MAGIC, 0, len(arrays)))
        for name, array in arrays.items():
            kind = array.dtype.newbyteorder("<") if array.dtype.itemsize > 1 else array.dtype
            if kind not in _FLAGS or not array.ndim or not array.size:
                raise ValueError(f"{name}: a .params file cannot hold {array.dtype} values of shape {array.shape}")
            stream.write(struct.pack(f"<Iii{array.ndim}qiii", _V2, _DENSE, array.ndim, *array.shape, 1, 0,
                                     _FLAGS[kind]))
            stream.write(numpy.ascontiguousarray(array, dtype=kind).data)
        stream.write(struct.pack("<Q", len(arrays)))
        for name in arrays:
            content = name.encode("utf-8")
            stream.write(struct.pack("<Q", len(content)) + content)


def split_kinds(arrays: Mapping[str, numpy.ndarray], states: Collection[str], origin: str) -> Tuple[Arrays, Arrays]:
    """(parameters, statistics) of a file by plain names.

    Names are "arg:NAME" and "aux:NAME"; where no name has either, the graph decides: `states` are the names of its
    auxiliary states. Raises InputError, naming `origin`, when some names have a kind and others not, or when one name
    comes twice.
    """
    named = [name for name in arrays if name.startswith(("arg:", "aux:"))]
    if named and len(named) != len(arrays):
        other = next(name for name in arrays if name not in named)
        raise InputError(f"{origin}: '{other}' is neither arg:NAME nor aux:NAME, as others are; "
                         "give a file saved with its symbol")
    args: Arrays = {}
    aux: Arrays = {}
    for key, value in arrays.items():
        kind, name = (key[:3], key[4:]) if named else ("aux" if key in states else "arg", key)
        if name in args or name in aux:
            raise InputError(f"{origin}: {name} is both a parameter and a statistic; use another copy")
        (args if kind == "arg" else aux)[name] = value
    return args, aux


def as_float32(array: numpy.ndarray, name: str, origin: str) -> numpy.ndarray:
    """The values as float32 (the array itself where they are); InputError when a wider type holds what does not fit."""
    if array.dtype == numpy.float32:
        return array
    with numpy.errstate(over="ignore"):
        narrowed = array.astype(numpy.float32)
    if array.dtype.kind == "f" and not numpy.array_equal(numpy.isfinite(narrowed), numpy.isfinite(array)):
        raise InputError(f"{origin}: {name} has values beyond float32's range")
    return narrowed


def _check_start(reader: _Reader) -> None:
    if reader.left < 16 or reader.numbers("QQ", "its head")[0] != _LIST_MAGIC:  # the second is reserved
        raise reader.fail("not an MXNet parameter file")


def _array_header(reader: _Reader, what: str) -> _Stored:
    first, = reader.numbers("I", what)
    if first in (_V2, _V3):
        storage, = reader.numbers("i", what)
        if storage != _DENSE:
            raise reader.fail(f"{what} has storage type {storage}; only dense arrays (0) are read")
    if first in (_V1, _V2, _V3):
        dimensions, = reader.numbers("i", what)
        letter = "q"
    else:
        dimensions, letter = first, "I"
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise reader.fail(f"{what} claims {dimensions} dimensions; 1 to {_MOST_DIMENSIONS} are possible")
    shape = reader.numbers(f"{dimensions}{letter}", what)
    if min(shape) < 1:
        raise reader.fail(f"{what} has shape {shape}; each side must be at least 1")
    _, _, flag = reader.numbers("iii", what)
    if flag not in _TYPES:
        raise reader.fail(f"{what} has value type {flag}, which is not one of MXNet's")
    size = _Stored(0, shape, flag).size
    return _Stored(reader.skip(size, f"{what}, shape {shape}"), shape, flag)


def _names(reader: _Reader, total: int) -> List[str]:
    count = reader.count(8, "names")
    if count == 0 < total:
        raise InputError(f"{reader.path}: holds arrays without names; give the file that belongs to the symbol")
    if count != total:
        raise reader.fail(f"{count} names for {total} arrays")
    names: Dict[str, None] = {}
    for index in range(total):
        what = f"name {index + 1} of {total}"
        length, = reader.numbers("Q", what)
        try:
            name = reader.take(length, what).decode("utf-8")
        except UnicodeDecodeError:
            raise reader.fail(f"{what} is not UTF-8 text") from None
        if not name.isprintable() or not name:
            raise reader.fail(f"{what} is {name[:80]!r}")
        if name in names:
            raise reader.fail(f"two arrays are named {name[:80]}")
        names[name] = None
    return list(names)


def _values(reader: _Reader, name: str, entry: _Stored, allow_nonfinite: bool) -> numpy.ndarray:
    reader.stream.seek(entry.offset)
    array = numpy.fromfile(reader.stream, _TYPES[entry.flag], math.prod(entry.shape))
    if array.size != math.prod(entry.shape):
        raise reader.fail(f"the file became shorter while {name} was read")
    array = array.reshape(entry.shape)
    if entry.flag == _BFLOAT16:
        array = (array.astype("<u4") << 16).view("<f4")
    if not allow_nonfinite and array.dtype.kind == "f":
        _check_finite(reader, name, array)
    return array


def _check_finite(reader: _Reader, name: str, array: numpy.ndarray) -> None:
    finite = numpy.isfinite(array)
    if not finite.all():
        position: Optional[Tuple[int, ...]] = tuple(int(index) for index in numpy.argwhere(~finite)[0])
        raise reader.fail(f"{name} has {int(array.size - finite.sum())} values that are not finite, the first at "
                          f"{position} (--allow-nonfinite takes them)")
