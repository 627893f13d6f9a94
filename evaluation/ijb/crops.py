"""The published crops to features: align by the given points, run the network on the face and its mirror image."""
from pathlib import Path
from typing import Any, Callable, Dict, Tuple

from arcface_mxnet.datasets.align import align
from arcface_mxnet.datasets.images import decode_bgr
from arcface_mxnet.evaluation.complete import complete_embeddings
from arcface_mxnet.evaluation.ijb.meta import Faces
from arcface_mxnet.evaluation.sources import FileSource
from arcface_mxnet.runtime.files import PathLike

import cv2
import numpy as np


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
                      settings: Dict[str, Any]) -> Tuple[np.ndarray, np.ndarray]:
    """Features (n, d) of the crops and of their mirror images, kept in `folder` so that a stopped run goes on.

    `embed`: uint8 (n, 3, 112, 112) RGB to float32 (n, d). Raises InputError when a crop cannot be read.
    """
    def both(batch: np.ndarray) -> np.ndarray:
        return np.concatenate([embed(batch), embed(np.ascontiguousarray(batch[..., ::-1]))], axis=1)

    features = complete_embeddings(AlignedCrops(images, faces), both, folder, settings)
    return features[:, :features.shape[1] // 2], features[:, features.shape[1] // 2:]
