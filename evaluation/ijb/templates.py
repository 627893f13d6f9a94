"""Images to templates: the mean of each media's images, the sum of a template's media, L2-normalised (3.5, 5 and 6)."""
from dataclasses import dataclass
from typing import Callable

from arcface_mxnet.evaluation.vectors import normalise
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import scipy.sparse

IMAGES_AT_ONCE = 1 << 15


@dataclass(frozen=True)
class Templates:
    """`ids` int64 (t,) ascending, `features` (t, d) unit rows (zero where a template's images cancel out)."""

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
    return Templates(ids, normalise(total, copy=False).astype(np.float32))
