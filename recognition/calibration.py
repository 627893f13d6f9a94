"""Images to calibrate eight-bit networks on: those the user gives, or the built-in faces."""
from itertools import islice
from typing import List, Optional

from arcface_mxnet.datasets.pairs import decode
from arcface_mxnet.datasets.synthetic import people
from arcface_mxnet.evaluation.sources import open_source
from arcface_mxnet.graph.shapes import Shape
from arcface_mxnet.runtime.errors import InputError

import cv2
import numpy

_EACH = 4


def calibration_images(image: Shape, path: Optional[str], count: int, seed: int = 0) -> numpy.ndarray:
    """`count` images float32 (n, c, h, w), RGB 0..255, sized to `image` (c, h, w).

    From `path` (a .bin, a .rec or a folder), spread evenly over it; without one, drawn faces. Raises InputError when
    there are none.
    """
    if count < 1:
        raise InputError(f"--count {count}: calibrate on at least 1 image, better 100")
    encoded = _drawn(count, seed) if path is None else _read(path, count)
    decoded = decode(encoded, path or "the built-in faces")
    channels, height, width = image
    rows = [cv2.resize(picture.transpose(1, 2, 0), (width, height)) for picture in decoded]
    stacked = numpy.stack(rows).transpose(0, 3, 1, 2).astype("float32")
    return stacked if channels == 3 else stacked.mean(1, keepdims=True)


def _read(path: str, count: int) -> List[bytes]:
    source = open_source(path)
    if not len(source):
        raise InputError(f"{path}: holds no images to calibrate on")
    rows = numpy.linspace(0, len(source) - 1, min(count, len(source))).astype(int)
    return [source.read(int(row)) for row in rows]


def _drawn(count: int, seed: int) -> List[bytes]:
    sittings = people("train", -(-count // _EACH), _EACH, seed)
    return list(islice((picture for sitting in sittings for picture in sitting.images), count))
