"""The library: from photographs to comparisons. `import arcface_mxnet as arcface` has these names too.

NumPy in and out. A picture is a path, the bytes of an image file, or an array uint8 (h, w, 3) in RGB (or (h, w), grey);
crops come back in RGB; embeddings are rows of length 1, so that the cosine of two is their dot product.
"""
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple, Union

from arcface_mxnet.datasets import align as alignment
from arcface_mxnet.datasets.align import open_detector
from arcface_mxnet.datasets.detect import Detector, Face, choose, detect_with_margin
from arcface_mxnet.datasets.images import NoImage, decode_rgb, read_image
from arcface_mxnet.evaluation.embedder import BATCH, Embedder, place_for
from arcface_mxnet.evaluation.features import normalise, pair_cosines
from arcface_mxnet.evaluation.search import Neighbours, search
from arcface_mxnet.evaluation.sources import folder_source
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.reading import file_status

import numpy as np

__all__ = ["Comparison", "Embedder", "Face", "Identities", "Neighbours", "Picture", "align", "compare", "detect",
           "embed", "identities", "load", "open_detector", "read", "search"]

_REMEDY = "give an image file, JPEG, PNG or another"
Picture = Union[str, "os.PathLike[str]", bytes, np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """How alike two faces are: the cosine of their embeddings (-1 to 1), and the angle between them in degrees."""

    cosine: float
    angle: float


@dataclass(frozen=True)
class Identities:
    """People of a folder: `names` (n), and `embeddings` float32 (n, d), rows of length 1, to search in."""

    names: Tuple[str, ...]
    embeddings: np.ndarray


def read(picture: Picture) -> np.ndarray:
    """Pixels of a picture: RGB uint8 (h, w, 3). Raises InputError for a file, bytes or an array that is none."""
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or picture.shape[2:] not in ((), (3,)) \
                or not picture.size:
            raise InputError(f"an array {picture.dtype} {picture.shape}: a picture is uint8 (h, w, 3), RGB, or (h, w)")
        return picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2)
    if not isinstance(picture, bytes):
        file_status(picture, _REMEDY)
    try:
        return decode_rgb(picture if isinstance(picture, bytes) else read_image(picture))
    except (NoImage, OSError) as error:
        raise InputError(f"{_name(picture)}: {error}; {_REMEDY}") from None


def detect(picture: Picture, detector: Detector) -> List[Face]:
    """Faces of a picture, the surest first: boxes, scores and five points in its pixels (see `open_detector`)."""
    return detect_with_margin(read(picture)[:, :, ::-1], detector)


def align(picture: Picture, face: Union[Face, np.ndarray, Detector], size: Tuple[int, int] = (112, 112)) -> np.ndarray:
    """The aligned crop of a face: RGB uint8 of `size` (height, width), (112, 112) or (112, 96).

    `face`: a detected face, five points (5, 2), or a detector, which takes the face that the picture is of (the
    largest near the middle). Raises InputError where no face is found.
    """
    pixels = read(picture)
    points = face
    if not isinstance(face, (Face, np.ndarray)):
        chosen = choose(detect(pixels, face), *pixels.shape[:2])
        if chosen is None:
            raise InputError(f"{_name(picture)}: no face found; give another picture, or the face's five points")
        points = chosen.points
    elif isinstance(face, Face):
        points = face.points
    return alignment.align(pixels, np.asarray(points), size)


def load(model: str, engine: Optional[str] = None, devices: Optional[str] = None, batch_size: int = BATCH) -> Embedder:
    """A network from "PREFIX,EPOCH", ready to embed; several joined by "|" are concatenated.

    `engine` and `devices` as --engine and --gpus: None takes the first engine that is installed, on every GPU, else
    on the CPU. Raises InputError for files that are missing or wrong.
    """
    return Embedder.load(model, place_for(model, engine, devices), batch_size)


def embed(model: Embedder, pictures: Union[Picture, Sequence[Picture]], detector: Optional[Detector] = None,
          flip: str = "none") -> np.ndarray:
    """Embeddings float32 (n, d) of aligned crops, or with `detector` of the faces that photographs are of.

    Rows have length 1. `flip`: "sum" adds the mirror image's embedding, "concatenate" appends it (2 d). Raises
    InputError for a crop of another size than the network's: it is not squeezed.
    """
    several = [pictures] if isinstance(pictures, (str, os.PathLike, bytes, np.ndarray)) else list(pictures)
    if not several:
        raise InputError("no pictures to embed")
    size = model.image_size
    crops = [_crop(picture, detector, size) for picture in several]
    return normalise(model.embed(np.stack(crops).transpose(0, 3, 1, 2), flip), copy=False)


def compare(one: Picture, other: Picture, model: Embedder, detector: Optional[Detector] = None,
            flip: str = "none") -> Comparison:
    """Two faces: aligned crops of the network's size, or with `detector` photographs.

    Where "the same person" begins depends on the network; `evaluate verification` prints its best threshold.
    """
    rows = embed(model, [one, other], detector, flip)
    cosine = float(pair_cosines(rows, np.array([0]), rows, np.array([1]))[0])
    return Comparison(cosine, float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))))


def identities(folder: Union[str, "os.PathLike[str]"], model: Embedder, detector: Optional[Detector] = None,
               flip: str = "none") -> Identities:
    """The people of a folder: a subfolder each, or a picture each where the pictures lie in the folder itself.

    A person's embedding is the mean of those of the pictures. Raises InputError for a picture that cannot be used.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{root}: not found; give a folder with a subfolder of pictures for each person")
    people: Dict[str, List[str]] = {}
    for name in folder_source(root).names:
        people.setdefault(os.path.dirname(name) or os.path.splitext(name)[0], []).append(name)
    means = [normalise(embed(model, [root / name for name in names], detector, flip).mean(axis=0, keepdims=True))[0]
             for names in people.values()]
    return Identities(tuple(people), np.stack(means))


def _crop(picture: Picture, detector: Optional[Detector], size: Tuple[int, int]) -> np.ndarray:
    if detector is not None:
        return align(picture, detector, size)
    pixels = read(picture)
    height, width = pixels.shape[:2]
    if (height, width) != size:
        raise InputError(f"{_name(picture)}: is {height}x{width}, the network takes aligned crops of "
                         f"{size[0]}x{size[1]}; align it, or give a detector")
    return pixels


def _name(picture: Picture) -> str:
    return os.fspath(picture) if isinstance(picture, (str, os.PathLike)) else "the picture given"
