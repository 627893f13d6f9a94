"""The `.bin` verification packs: read without trusting them, written atomically, decoded batch by batch.

A pickle of `(images, same)`: 2P images (pair i is 2i and 2i + 1) and P truth values (docs/original.md, section 1.7).
Packs of Python 2, of Python 3 and with NumPy arrays as images all exist. `arcface_mxnet.datasets.pack_pickle` admits
what these need and nothing else.
"""
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from arcface_mxnet.datasets.images import NoImage, decode_rgb
from arcface_mxnet.datasets.pack_pickle import PackArray, as_images, as_truth, load_pickle
from arcface_mxnet.runtime.errors import InputError, one_line
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

    def distinct(self) -> Tuple[List[int], np.ndarray]:
        """Positions of the images without repeats, each at its first place, and for every image which of these it is.

        Official lists name an image in many pairs: 7,701 of LFW's 12,000 are distinct, 7,000 of CFP-FP's 14,000.
        """
        places: Dict[bytes, int] = {}
        which = np.array([places.setdefault(image, len(places)) for image in self.images], np.int64)
        return np.unique(which, return_index=True)[1].tolist(), which

    def decoded(self, batch_size: int = 256, positions: Optional[Sequence[int]] = None) -> Iterator[np.ndarray]:
        """Images, all in order or those at `positions`: uint8 (n, 3, h, w) RGB, `batch_size` or fewer at a time."""
        wanted = range(len(self.images)) if positions is None else positions
        for start in range(0, len(wanted), batch_size):
            part = wanted[start:start + batch_size]
            yield decode([self.images[position] for position in part], self.name, part)


def read_pack(path: PathLike) -> PairPack:
    """Read a pack of any era; raises InputError naming the file, and the object in it that is not admitted."""
    place = Path(path)
    try:
        images, same = _parts(load_pickle(place))
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{place}: damaged (it announces more than memory holds); use another copy") from None
    except Exception as error:  # whatever a damaged pickle makes the machine stumble over
        raise InputError(f"{place}: no verification pack ({one_line(error)}); use another copy") from None
    return PairPack(place.stem, images, same)


def write_pack(path: PathLike, images: Sequence[bytes], same: Sequence[bool]) -> None:
    """Write a pack that the original reads too, atomically; raises InputError where the counts do not fit."""
    encoded = [bytes(image) for image in images]
    truth = [bool(value) for value in same]
    if len(encoded) != 2 * len(truth) or not truth:
        raise InputError(f"{path}: {len(encoded)} images for {len(truth)} pairs; a pack has two images for each pair")
    with atomic_open(path) as stream:
        pickle.dump((encoded, truth), stream, protocol=PICKLE_PROTOCOL)


def decode(images: Sequence[bytes], name: str = "images", numbers: Optional[Sequence[int]] = None) -> np.ndarray:
    """Decode images of one size to uint8 (n, 3, h, w) RGB; raises InputError naming the pack and the image's number.

    `numbers` are those of the images in the pack, for the message; without them they count from 0.
    """
    pixels: List[np.ndarray] = []
    for number, encoded in zip(range(len(images)) if numbers is None else numbers, images):
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


def _parts(loaded: Any) -> Tuple[List[bytes], np.ndarray]:
    if isinstance(loaded, (tuple, list)) and len(loaded) == 2:
        images, same = (part.value if isinstance(part, PackArray) else part for part in loaded)
        if isinstance(images, (list, tuple)) and isinstance(same, (list, tuple, bytes, bytearray, np.ndarray)):
            encoded, truth = as_images(images), as_truth(same)
            if truth.size and len(encoded) == 2 * truth.size:
                return encoded, truth
            raise pickle.UnpicklingError(f"holds {len(encoded)} images for {truth.size} pairs, not two for each")
    raise pickle.UnpicklingError("not a pair of images and truth values")
