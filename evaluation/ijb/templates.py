"""Images to templates: the mean of each media's images, the sum of a template's media, L2-normalised."""
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Tuple

from arcface_mxnet.datasets.align import align
from arcface_mxnet.datasets.images import decode_bgr
from arcface_mxnet.evaluation.extraction import About, complete_embeddings
from arcface_mxnet.evaluation.features import normalise
from arcface_mxnet.evaluation.ijb.metadata import Faces
from arcface_mxnet.evaluation.paper import PAPER_MODE
from arcface_mxnet.evaluation.sources import FileSource
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike

import cv2
import numpy as np
import scipy.sparse

IMAGES_AT_ONCE = 1 << 15


@dataclass(frozen=True)
class Templates:
    """`ids` int64 (t,) ascending, `features` float64 (t, d) unit rows (zero where a template's images cancel out)."""

    ids: np.ndarray
    features: np.ndarray

    def rows_of(self, wanted: np.ndarray, what: str) -> np.ndarray:
        """The row of each wanted template id; raises InputError naming `what` for an id that has no image."""
        rows = np.searchsorted(self.ids, wanted).clip(0, len(self.ids) - 1)
        unknown = self.ids[rows] != wanted
        if unknown.any():
            raise InputError(f"{what}: template {wanted[np.argmax(unknown)]} has no image in face_tid_mid; "
                             "the two files do not belong together")
        return rows


def pool(features: Callable[[slice], np.ndarray], templates: np.ndarray, media: np.ndarray) -> Templates:
    """Templates of n images: `features(rows)` gives (m, d) features of a slice, `templates` and `media` are (n,) ids.

    A weighted sum in one sparse product a block of images: image i counts 1 / (images of its media in its template).
    """
    if len(templates) != len(media) or not len(templates):
        raise InputError(f"{len(templates)} template ids and {len(media)} media ids; one of each per image is needed")
    ids, row = np.unique(templates, return_inverse=True)
    _, kind = np.unique(media, return_inverse=True)
    _, group, size = np.unique(row.astype(np.int64) * (kind.max() + 1) + kind, return_inverse=True, return_counts=True)
    weights = 1.0 / size[group]
    total = np.zeros((0, 0))
    for start in range(0, len(row), IMAGES_AT_ONCE):
        part = slice(start, min(start + IMAGES_AT_ONCE, len(row)))
        block = features(part).astype(np.float64)
        if not total.size:
            total = np.zeros((len(ids), block.shape[1]))
        touched, place = np.unique(row[part], return_inverse=True)
        gather = scipy.sparse.csr_matrix((weights[part], (place, np.arange(len(block)))),
                                         shape=(len(touched), len(block)))
        total[touched] += gather @ block
    return Templates(ids, normalise(total, copy=False))


# How image features are made comparable before pooling: N0/N1, D0/D1, F0/F1/F2 (docs/original.md, section 7.2).


LATER_MODE = "N1D1F2"
"""The mode that most later tables use."""


@dataclass(frozen=True)
class Mode:
    """`keep_norm` N1, else each image feature is L2-normalised (N0); `detector` D1: times the detector's score;
    `flip` F0: the image alone, F1: image and mirror image joined, F2: their sum.
    """

    keep_norm: bool
    detector: bool
    flip: int

    @classmethod
    def parse(cls, text: str) -> "Mode":
        """Read "N1D1F2" and the like; raises InputError."""
        found = re.fullmatch(r"N([01])D([01])F([012])", text)
        if not found:
            raise InputError(f"--mode {text}: expected N0 or N1, D0 or D1, F0, F1 or F2, for example {PAPER_MODE}")
        return cls(found[1] == "1", found[2] == "1", int(found[3]))

    @property
    def needs_flipped(self) -> bool:
        """Whether the mirror images' features are needed."""
        return self.flip > 0

    def apply(self, features: np.ndarray, flipped: Optional[np.ndarray], scores: Optional[np.ndarray]) -> np.ndarray:
        """Image features (n, d) and, as the mode asks, (n, d) of the mirror images and (n,) detector scores: float32.

        (n, d), or (n, 2 d) for F1. In the scripts' order: flip, norm, detector score.
        """
        made = np.array(features, np.float32)
        if self.flip and flipped is None:
            raise InputError(f"F{self.flip} needs --flipped-features, the features of the mirror images")
        if self.flip == 1:
            made = np.concatenate([made, np.asarray(flipped, np.float32)], axis=1)
        elif self.flip == 2:
            made += np.asarray(flipped, np.float32)
        if not self.keep_norm:
            normalise(made, copy=False)
        if self.detector:
            if scores is None:
                raise InputError("D1 needs detector scores: the file name_5pts_score.txt of the meta folder")
            made *= np.asarray(scores, np.float32)[:, None]
        return made


# The published crops to features: align by the given points, run the network on the face and its mirror image.


class AlignedCrops(FileSource):
    """The faces of a target as a source of aligned crops: DIR/NAME warped to 112x112 by its own five points."""

    def __init__(self, folder: str, faces: Faces) -> None:
        super().__init__(folder, Path(folder), list(faces.names))
        self._points = faces.points

    def read(self, row: int) -> bytes:
        """The aligned face of a row, as lossless PNG; raises NoImage or OSError where the crop cannot be read."""
        aligned = align(decode_bgr(super().read(row)), self._points[row])
        _, encoded = cv2.imencode(".png", aligned, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        return encoded.tobytes()


def features_of_crops(images: str, faces: Faces, embed: Callable[[np.ndarray], np.ndarray], folder: PathLike,
                      settings: Dict[str, Any], about: About = dict) -> Tuple[np.ndarray, np.ndarray]:
    """Features (n, d) of the crops and of their mirror images, kept in `folder` so that a stopped run goes on.

    `embed`: uint8 (n, 3, 112, 112) RGB to float32 (n, d). Raises InputError when a crop cannot be read.
    """
    def both(batch: np.ndarray) -> np.ndarray:
        return np.concatenate([embed(batch), embed(np.ascontiguousarray(batch[..., ::-1]))], axis=1)

    features = complete_embeddings(AlignedCrops(images, faces), both, folder, settings, about=about)
    return features[:, :features.shape[1] // 2], features[:, features.shape[1] // 2:]


# How many images, templates and pairs the published lists hold, so that a cut list does not pass for the whole one.
#
# Sources: docs/original.md, section 7.1. No source was found for the sizes of IJB-B's galleries: not compared.


PUBLISHED_SIZES: Dict[str, Dict[str, int]] = {
    "ijbb": {"images": 227_630, "templates": 12_115, "pairs": 8_010_270, "genuine pairs": 10_270,
             "probe templates": 10_270},
    "ijbc": {"images": 469_375, "templates": 23_124, "pairs": 15_658_489, "genuine pairs": 19_557,
             "probe templates": 19_593, "templates of gallery 1": 1_772, "templates of gallery 2": 1_759},
}


class Lists(NamedTuple):
    """The lists of a target and, in words, how their counts differ from the published ones ("" where they do not)."""

    target: str
    differences: str

    @property
    def as_published(self) -> bool:
        """Whether every known count is the published one."""
        return not self.differences

    @property
    def title(self) -> str:
        """The target as tables name it."""
        return self.target if self.as_published else f"{self.target} (not the published lists)"


def compare(target: str, found: Mapping[str, int]) -> Lists:
    """Set the counts of these lists beside the published ones of a target."""
    known = PUBLISHED_SIZES[target]
    return Lists(target, ", ".join(f"{count:,} {name} instead of {known[name]:,}" for name, count in found.items()
                                   if count != known.get(name, count)))
