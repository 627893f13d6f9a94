"""The `.bin` verification packs: read without trusting them, written atomically, decoded batch by batch.

A pickle of `(images, same)`: 2P images (pair i is 2i and 2i + 1) and P truth values (docs/original.md, section 1.7).
Packs of Python 2, of Python 3 and with NumPy arrays as images all exist. The reader below admits what these need and
nothing else; NumPy's own unpickling code is not run either: stand-ins take its place.
"""
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

from arcface_mxnet.datasets.images import NoImage, decode_rgb
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, atomic_open

import numpy as np

PICKLE_PROTOCOL = 4  # every Python 3 since 3.4; fixed, so that the same pack is the same bytes


@dataclass(frozen=True)
class PairPack:
    """A verification pack: its name (the file's), 2P encoded images, and bool (P,): whether pair i is one person."""

    name: str
    images: List[bytes]
    same: np.ndarray

    def __len__(self) -> int:
        return int(self.same.size)

    def decoded(self, batch_size: int = 256) -> Iterator[np.ndarray]:
        """All images in order, uint8 (n, 3, h, w) RGB, at most `batch_size` at a time: the memory of one batch."""
        for start in range(0, len(self.images), batch_size):
            yield decode(self.images[start:start + batch_size], self.name, start)


class _Array:
    """A NumPy array as a pickle describes it; `value` is filled by its state."""

    def __init__(self) -> None:
        self.value = np.empty(0, dtype=np.uint8)

    def __setstate__(self, state: Tuple[Any, ...]) -> None:
        _, shape, kind, _, data = state
        raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
        self.value = np.frombuffer(raw, dtype=kind.code).reshape(shape)


class _Kind:
    """A NumPy dtype as a pickle describes it: bytes and truth values only."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code.decode("ascii") if isinstance(code, bytes) else str(code)
        if self.code not in ("u1", "b1", "|u1", "|b1", "uint8", "bool"):
            raise pickle.UnpicklingError(f"an array of {self.code!r} where only uint8 and bool belong")

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like: nothing that matters to one-byte elements."""


def _array(*_: Any) -> _Array:
    return _Array()


def _array_from_buffer(data: Any, kind: _Kind, shape: Any, *_: Any) -> _Array:
    made = _Array()
    made.__setstate__((1, shape, kind, False, data))
    return made


def _scalar(kind: _Kind, data: Any) -> bool:
    raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
    return bool(np.frombuffer(raw, dtype=kind.code)[0])


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"text in {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


class _Marker:
    """Stands where a pickle names the class of an array; never made into one."""


_ADMITTED: Dict[str, Callable[..., Any]] = {"_codecs.encode": _encode, "__builtin__.bytes": _no_bytes,
                                            "numpy.ndarray": _Marker, "numpy.dtype": _Kind}
for _home in ("numpy.core", "numpy._core"):
    _ADMITTED[f"{_home}.multiarray._reconstruct"] = _array
    _ADMITTED[f"{_home}.multiarray.scalar"] = _scalar
    _ADMITTED[f"{_home}.numeric._frombuffer"] = _array_from_buffer


class _PackUnpickler(pickle.Unpickler):
    """Admits plain values, lists, tuples, bytes and one-byte NumPy arrays; refuses any other name."""

    def find_class(self, module: str, name: str) -> Any:
        dotted = f"{module}.{name}"
        if dotted not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {dotted}, which no pack needs")
        return _ADMITTED[dotted]


def read_pack(path: PathLike) -> PairPack:
    """Read a pack of any era; raises InputError naming the file, and what it asked for where that is not admitted."""
    place = Path(path)
    try:
        with open(place, "rb") as stream:
            loaded = _PackUnpickler(stream, encoding="bytes").load()
    except FileNotFoundError:
        raise InputError(f"{place}: not found; make a pack with `python datasets/prepare.py pairs`") from None
    except IsADirectoryError:
        raise InputError(f"{place}: is a folder; name the .bin file") from None
    except MemoryError:
        raise InputError(f"{place}: damaged (it announces more than memory holds); use another copy") from None
    except Exception as error:  # whatever a damaged pickle makes the machine stumble over
        raise InputError(f"{place}: no verification pack ({_one_line(error)}); use another copy") from None
    images, same = _parts(place, loaded)
    return PairPack(place.stem, images, same)


def write_pack(path: PathLike, images: Sequence[bytes], same: Sequence[bool]) -> None:
    """Write a pack that the original reads too, atomically; raises InputError where the counts do not fit."""
    encoded = [bytes(image) for image in images]
    truth = [bool(value) for value in same]
    if len(encoded) != 2 * len(truth) or not truth:
        raise InputError(f"{path}: {len(encoded)} images for {len(truth)} pairs; a pack has two images for each pair")
    with atomic_open(path) as stream:
        pickle.dump((encoded, truth), stream, protocol=PICKLE_PROTOCOL)


def decode(images: Sequence[bytes], name: str = "images", first: int = 0) -> np.ndarray:
    """Decode images of one size to uint8 (n, 3, h, w) RGB; raises InputError naming the pack and the image's number.

    `first` is the number of the first image, for the message.
    """
    pixels: List[np.ndarray] = []
    for number, encoded in enumerate(images, first):
        try:
            image = decode_rgb(encoded)
        except NoImage as error:
            raise InputError(f"{name}: image {number}: {error}; use another copy of the pack") from None
        if pixels and image.shape != pixels[0].shape:
            raise InputError(f"{name}: image {number} is {image.shape[0]}x{image.shape[1]}, those before it "
                             f"{pixels[0].shape[0]}x{pixels[0].shape[1]}; a pack holds one size, build it again")
        pixels.append(image)
    if not pixels:
        return np.empty((0, 3, 0, 0), dtype=np.uint8)
    return np.ascontiguousarray(np.stack(pixels).transpose(0, 3, 1, 2))


def _parts(place: Path, loaded: Any) -> Tuple[List[bytes], np.ndarray]:
    if isinstance(loaded, (tuple, list)) and len(loaded) == 2:
        images, same = ([part.value if isinstance(part, _Array) else part][0] for part in loaded)
        if isinstance(images, (list, tuple)) and isinstance(same, (list, tuple, np.ndarray)):
            encoded = [_as_bytes(place, number, image) for number, image in enumerate(images)]
            truth = np.array([bool(value) for value in same], dtype=bool)
            if truth.size and len(encoded) == 2 * truth.size:
                return encoded, truth
            raise InputError(f"{place}: holds {len(encoded)} images for {truth.size} pairs, not two for each; "
                             "it is incomplete, use another copy")
    raise InputError(f"{place}: no verification pack (not a pair of images and truth values); use another copy")


def _as_bytes(place: Path, number: int, image: Any) -> bytes:
    if isinstance(image, (bytes, bytearray)):
        return bytes(image)
    if isinstance(image, _Array):
        return image.value.tobytes()
    raise InputError(f"{place}: image {number} is a {type(image).__name__}, not bytes; use another copy")


def _one_line(error: Exception) -> str:
    return " ".join(f"{error or type(error).__name__}".split())[:160]
