"""Arrays in a .safetensors file, which model hubs and most other libraries read: a JSON header, then the bytes.

Nothing in a file is believed before it is checked: its header says where each array lies, and the places must follow
one another from the first byte to the last, each as long as its type and shape make it.
"""
import json
import math
import struct
from typing import Any, Dict, List, Mapping, Tuple

from arcface_mxnet.graph.params_file import Arrays
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike
from arcface_mxnet.runtime.reading import open_file, shown
from arcface_mxnet.runtime.text import parse_json

import numpy

SUFFIX = ".safetensors"
_REMEDY = "give a .safetensors file, such as `export safetensors` writes"
_MOST_HEADER = 1 << 26
_METADATA = "__metadata__"
_BFLOAT16 = "BF16"
_TYPES: Dict[str, str] = {"F64": "<f8", "F32": "<f4", "F16": "<f2", _BFLOAT16: "<u2", "I64": "<i8", "I32": "<i4",
                          "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"}
_NAMES = {numpy.dtype(code): name for name, code in _TYPES.items() if name != _BFLOAT16}

_Place = Tuple[str, Tuple[int, ...], int, int]
"""Type, shape, first byte and the one behind the last."""


def read_safetensors(path: PathLike, allow_nonfinite: bool = False) -> Arrays:
    """Every array by its name, in the file's order; bfloat16 comes as float32, other types as they are stored.

    Raises InputError naming the file (and array) when it is missing, of another kind, damaged, or, unless
    `allow_nonfinite`, holds a value that is not finite.
    """
    with open_file(path, _REMEDY) as stream:
        start = stream.read(8)
        total = stream.seek(0, 2) - 8
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(total, _MOST_HEADER):
            raise InputError(f"{path}: not a .safetensors file; {_REMEDY}")
        stream.seek(8)
        places = _places(_header(stream.read(length), path), total - length, path)
        arrays: Arrays = {}
        for name, (kind, shape, first, last) in places.items():
            stream.seek(8 + length + first)
            content = stream.read(last - first)
            if len(content) != last - first:
                raise InputError(f"{path}: became shorter while {shown(name)} was read; read it again")
            array = numpy.frombuffer(content, _TYPES[kind]).reshape(shape)
            if kind == _BFLOAT16:
                array = (array.astype("<u4") << 16).view("<f4")
            if not allow_nonfinite and array.dtype.kind == "f" and not numpy.isfinite(array).all():
                raise InputError(f"{path}: {shown(name)} has values that are not finite (--allow-nonfinite takes them)")
            arrays[name] = array
        return arrays


def write_safetensors(path: PathLike, arrays: Mapping[str, numpy.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays by name with texts beside them; raises ValueError for a type the format does not have.

    The file is written in place: pass a temporary name (arcface_mxnet.runtime.files.atomic_path).
    """
    header: Dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    end = 0
    for name, array in arrays.items():
        kind = array.dtype.newbyteorder("<")
        if kind not in _NAMES or name == _METADATA:
            raise ValueError(f"{name}: a .safetensors file cannot hold {array.dtype} under this name")
        header[name] = {"dtype": _NAMES[kind], "shape": list(array.shape), "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header).encode("utf-8")
    text += b" " * (-len(text) % 8)  # arrays begin at a multiple of 8
    with open(path, "wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            stream.write(numpy.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes())


def _header(text: bytes, path: PathLike) -> Dict[str, Any]:
    try:
        header = parse_json(text.decode("utf-8"), path, _REMEDY)
    except UnicodeDecodeError:
        raise InputError(f"{path}: its header is not UTF-8 text; {_REMEDY}") from None
    if not isinstance(header, dict):
        raise InputError(f"{path}: its header is no JSON object; {_REMEDY}")
    header.pop(_METADATA, None)
    return header


def _places(header: Mapping[str, Any], size: int, path: PathLike) -> Dict[str, _Place]:
    """Where each array lies; InputError unless they follow one another over all `size` bytes."""
    found = {name: _place(name, entry, path) for name, entry in header.items()}
    end = 0
    for name, (_, _, first, last) in sorted(found.items(), key=lambda item: item[1][2:]):
        if first != end or last > size:
            raise InputError(f"{path}: {shown(name)} claims bytes {first} to {last} of {size}, where {end} is next; "
                             "the file is damaged, give another copy")
        end = last
    if end != size:
        raise InputError(f"{path}: {size - end} bytes belong to no array; the file is damaged, give another copy")
    return found


def _place(name: str, entry: Any, path: PathLike) -> _Place:
    fields: Dict[str, Any] = entry if isinstance(entry, dict) else {}
    kind, shape, offsets = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    if not (isinstance(kind, str) and kind in _TYPES and isinstance(shape, list) and isinstance(offsets, list)
            and len(offsets) == 2 and _counts([*shape, *offsets])):
        raise InputError(f"{path}: {shown(name)} is described by {shown(entry)}; {_REMEDY}")
    first, last = offsets
    if last - first != math.prod(shape) * numpy.dtype(_TYPES[kind]).itemsize:
        raise InputError(f"{path}: {shown(name)} of type {kind} and shape {shape} in {last - first} bytes; the file is "
                         "damaged, give another copy")
    return kind, tuple(shape), first, last


def _counts(items: List[Any]) -> bool:
    """Whether these are whole numbers from 0, few and of a size that bytes can have."""
    return len(items) <= 32 and all(type(item) is int and 0 <= item < 1 << 62 for item in items)
