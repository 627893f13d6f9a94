"""The restricted reader of pickles: what a verification pack needs, and nothing else, is taken from its bytes.

A pickle is a program. First every instruction of it is walked over, here and without running any: only those on a
list, no length beyond the file, no place in the memo that the file could not fill. Then it is run with stand-ins for
the few names that packs of Python 2 and 3 use; NumPy's own unpickling code is not reached.
"""
import mmap
import pickle
import struct
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Tuple, Union

from arcface_mxnet.runtime.reading import open_file, shown

import numpy as np

_REMEDY = "make a pack with `python datasets/prepare.py pairs`"
MOST_PROTOCOL = 5
_MOST_LINE, _MOST_DIGITS = 256, 32
# By opcode: bytes of its argument; struct of the count before it; most characters of each line that follows.
_FIXED = {ord(code): count for codes, count in ((b"(])t\x85\x86\x87lae\x88\x89N\x94\x93Rb021", 0), (b"Kqh\x80", 1),
                                                (b"M", 2),
                                                (b"Jrj", 4), (b"G", 8))
          for code in (codes[place:place + 1] for place in range(len(codes)))}
_COUNTED = {ord(code): form for code, form in (("C", "<B"), ("U", "<B"), ("\x8c", "<B"), ("\x8a", "<B"), ("B", "<I"),
                                               ("T", "<i"), ("X", "<I"), ("\x8e", "<Q"), ("\x8d", "<Q"),
                                               ("\x96", "<Q"))}
_LINES = {ord("I"): (_MOST_DIGITS,), ord("L"): (_MOST_DIGITS,), ord("F"): (_MOST_DIGITS,), ord("p"): (_MOST_DIGITS,),
          ord("g"): (_MOST_DIGITS,), ord("c"): (_MOST_LINE, _MOST_LINE), ord("S"): (1 << 31,), ord("V"): (1 << 31,)}
_STOP, _FRAME, _PROTO, _LONG = ord("."), 0x95, 0x80, 0x8A
_MEMO = {ord("q"): "<B", ord("r"): "<I"}
_PUT = ord("p")
_IMAGE_KINDS = ("u1", "i1", "b1", "O8", "O4")
_KINDS = (*_IMAGE_KINDS, "i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8")
_LONG_NAMES = {"uint8": "u1", "int8": "i1", "bool": "b1", "object": "O8"}
Buffer = Union[bytes, mmap.mmap]


class PackArray:
    """A NumPy array as a pickle describes it: `value`, a numeric array or (of objects) a list, filled by its state."""

    def __init__(self) -> None:
        self.value: Any = np.empty(0, dtype=np.uint8)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Kind):
            raise pickle.UnpicklingError("an array without the state of one")
        _, shape, kind, columns, data = state
        self.value = _values(_checked_shape(shape), kind, bool(columns), data)


class _Kind:
    """A NumPy dtype as a pickle describes it: numbers, truth values, and lists of Python objects."""

    def __init__(self, code: Any, *_: Any) -> None:
        text = code.decode("ascii", "replace") if isinstance(code, bytes) else str(code)
        plain = _LONG_NAMES.get(text, text.lstrip("|<>="))
        if plain not in _KINDS:
            raise pickle.UnpicklingError(f"an array of {shown(text, 20)}, which no pack needs")
        self.code, self.order = plain, text[0] if text[:1] in "<>" else "<"

    def __setstate__(self, state: Any) -> None:
        """The state of a dtype; its second item is the byte order."""
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "|"
        order = order.decode("ascii", "replace") if isinstance(order, bytes) else order
        if order in ("<", ">"):
            self.order = order

    @property
    def dtype(self) -> "np.dtype[Any]":
        """The type of a number; raises UnpicklingError for objects."""
        if self.code.startswith("O"):
            raise pickle.UnpicklingError("a Python object where a number belongs")
        return np.dtype(self.order + self.code)


class _Marker:
    """Stands where a pickle names the class of an array; never made into one."""


def _checked_shape(shape: Any) -> Tuple[int, ...]:
    if not isinstance(shape,
                      tuple) or len(shape) > 2 or not all(type(size) is int and 0 <= size < 1 << 40 for size in shape):
        raise pickle.UnpicklingError("an array of a shape that no pack needs")
    return shape


def _values(shape: Tuple[int, ...], kind: _Kind, columns: bool, data: Any) -> Any:
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if kind.code.startswith("O"):
        if not isinstance(data, list) or len(data) != count or len(shape) != 1:
            raise pickle.UnpicklingError("an array of objects that is no list of them")
        return data
    if not isinstance(data, (bytes, bytearray)) or len(data) != count * kind.dtype.itemsize:
        raise pickle.UnpicklingError(f"an array of {shape} without its bytes")
    return np.frombuffer(data, dtype=kind.dtype).reshape(shape, order="F" if columns else "C")


def _array(*_: Any) -> PackArray:
    return PackArray()


def _array_from_buffer(data: Any, kind: Any, shape: Any, order: Any = "C", *_: Any) -> PackArray:
    made = PackArray()
    made.__setstate__((1, shape, kind, order == "F", data))
    return made


def _scalar(kind: Any, data: Any) -> Union[bool, int, float]:
    if not isinstance(kind, _Kind):
        raise pickle.UnpicklingError("a number without its type")
    return _values((), kind, False, data).item()


def _no_bytes() -> bytes:
    return b""


def _bytearray(data: Any = b"", *_: Any) -> bytes:
    if not isinstance(data, (bytes, bytearray)):
        raise pickle.UnpicklingError("a bytearray that is not made of bytes")
    return data if isinstance(data, bytes) else bytes(data)


_ADMITTED: Dict[str, Callable[..., Any]] = {"__builtin__.bytes": _no_bytes, "builtins.bytearray": _bytearray,
                                            "__builtin__.bytearray": _bytearray, "numpy.ndarray": _Marker,
                                            "numpy.dtype": _Kind}
for _home in ("numpy.core", "numpy._core"):
    _ADMITTED[f"{_home}.multiarray._reconstruct"] = _array
    _ADMITTED[f"{_home}.multiarray.scalar"] = _scalar
    _ADMITTED[f"{_home}.numeric._frombuffer"] = _array_from_buffer


class _PackUnpickler(pickle.Unpickler):
    """Runs a pickle whose instructions were checked; refuses any name but those a pack needs."""

    def __init__(self, stream: Any, size: int) -> None:
        super().__init__(stream, encoding="bytes")
        self._left = size

    def find_class(self, module: str, name: str) -> Any:
        dotted = f"{module}.{name}"
        if dotted == "_codecs.encode":
            return self._encode
        if dotted not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {shown(dotted, 80)[1:-1]}, which no pack needs")
        return _ADMITTED[dotted]

    def _encode(self, text: Any, encoding: Any = "latin1") -> bytes:
        """The bytes that Python 3 wrote as text for Python 2, each once: together they are no more than the file."""
        if encoding not in ("latin1", b"latin1") or not isinstance(text, str):
            raise pickle.UnpicklingError(f"text in {shown(encoding, 20)}")
        self._left -= len(text)
        if self._left < 0:
            raise pickle.UnpicklingError("it repeats its contents beyond its size")
        return text.encode("latin1")


def load_pickle(path: Path) -> Any:
    """What the pickle of a pack describes, arrays as `PackArray`.

    Raises InputError where there is no such file, and whatever a damaged one makes the machine stumble over.
    """
    with open_file(path, _REMEDY) as stream:
        size = stream.seek(0, 2)
        if not size:
            raise pickle.UnpicklingError("it is empty")
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            check_opcodes(data)
        stream.seek(0)
        return _PackUnpickler(stream, size).load()


def check_opcodes(data: Buffer) -> None:
    """Walk a pickle's instructions; raises UnpicklingError for one that no pack needs, or beyond the file."""
    at, size, done = 0, len(data), 0
    while True:
        if at >= size:
            raise pickle.UnpicklingError("it is cut off")
        code, at, done = data[at], at + 1, done + 1
        if code in _FIXED:
            at = _fixed(data, code, at, size, done)
        elif code in _COUNTED:
            at = _counted(data, code, at, size)
        elif code == _STOP:
            return
        elif code == _FRAME:
            if _unpacked(data, "<Q", at, size) > size - at - 8:
                raise pickle.UnpicklingError("it is cut off (a frame longer than the file)")
            at += 8
        elif code in _LINES:
            at = _lines(data, code, at, done)
        else:
            raise pickle.UnpicklingError(f"the instruction {shown(bytes([code]))} at byte {at - 1}, "
                                         "which no pack needs")


def _unpacked(data: Buffer, form: str, at: int, size: int) -> int:
    if at + struct.calcsize(form) > size:
        raise pickle.UnpicklingError("it is cut off")
    return struct.unpack_from(form, data, at)[0]


def _fixed(data: Buffer, code: int, at: int, size: int, done: int) -> int:
    if code in _MEMO:
        _check_memo(_unpacked(data, _MEMO[code], at, size), done)
    elif code == _PROTO and _unpacked(data, "<B", at, size) > MOST_PROTOCOL:
        raise pickle.UnpicklingError(f"a pickle of protocol {data[at]}")
    return at + _FIXED[code]


def _counted(data: Buffer, code: int, at: int, size: int) -> int:
    count = _unpacked(data, _COUNTED[code], at, size)
    at += struct.calcsize(_COUNTED[code])
    if code == _LONG and count > 8:
        raise pickle.UnpicklingError(f"a number of {count} bytes")
    if not 0 <= count <= size - at:
        raise pickle.UnpicklingError(f"it is cut off (it announces {count} bytes where {size - at} are left)")
    return at + count


def _lines(data: Buffer, code: int, at: int, done: int) -> int:
    for most in _LINES[code]:
        end = data.find(b"\n", at, at + most + 1)
        if end < 0:
            raise pickle.UnpicklingError("it is cut off, or holds a longer number or name than any pack")
        if code == _PUT:
            text = bytes(data[at:end])
            _check_memo(int(text) if text.isdigit() else -1, done)
        at = end + 1
    return at


def _check_memo(place: int, done: int) -> None:
    """A pickler counts what it remembers, so that no place is beyond the number of instructions."""
    if not 0 <= place <= done:
        raise pickle.UnpicklingError(f"it remembers something at place {place} after {done} instructions")


def as_images(images: Sequence[Any]) -> List[bytes]:
    """Encoded images as bytes, each stored object converted once; raises UnpicklingError naming what is none."""
    known: Dict[int, bytes] = {}
    made: List[bytes] = []
    for number, image in enumerate(images):
        if isinstance(image, bytes):
            made.append(image)
            continue
        if id(image) not in known:
            known[id(image)] = _image_bytes(image, number)
        made.append(known[id(image)])
    return made


def _image_bytes(image: Any, number: int) -> bytes:
    if isinstance(image, bytearray):
        return bytes(image)
    if isinstance(image, PackArray):
        value = image.value
        if isinstance(value, np.ndarray) and value.dtype.itemsize == 1:
            return value.tobytes()
        kind = value.dtype if isinstance(value, np.ndarray) else "objects"
        raise pickle.UnpicklingError(f"image {number} is an array of {kind}, not of bytes")
    raise pickle.UnpicklingError(f"image {number} is a {type(image).__name__}, not bytes")


def as_truth(same: Union[Sequence[Any], np.ndarray]) -> np.ndarray:
    """Truth values as bool (n,); raises UnpicklingError naming a pair whose value is not 0, 1, True or False."""
    if isinstance(same, np.ndarray):
        if same.ndim != 1:
            raise pickle.UnpicklingError(f"truth values of shape {same.shape}, not one for each pair")
        wrong = np.flatnonzero(~np.isin(same, (0, 1)))
        if wrong.size:
            raise _no_truth(int(wrong[0]), same[wrong[0]].item())
        return same.astype(bool)
    for number, value in enumerate(same):
        if not isinstance(value, (bool, int, float)) or value not in (0, 1):
            raise _no_truth(number, value)
    return np.array([bool(value) for value in same], dtype=bool)


def _no_truth(number: int, value: Any) -> pickle.UnpicklingError:
    return pickle.UnpicklingError(f"the truth value of pair {number} is {_said(value)}; 0, 1, True and False are read")


def _said(value: Any) -> str:
    if isinstance(value, (str, bytes)):
        return f"the text {shown(value, 20)}"
    return shown(value, 20).strip("'") if isinstance(value, (bool, int, float)) else f"a {type(value).__name__}"
