"""Five points -> an aligned crop: the least-squares similarity to the reference points, then one warp."""
from typing import Callable, Dict, Tuple

from arcface_mxnet.datasets.detection import Detector
from arcface_mxnet.datasets.landmarks import REFERENCES, similarity
from arcface_mxnet.runtime.errors import InputError, unknown
from arcface_mxnet.runtime.files import PathLike

import cv2
import numpy as np

DETECTORS = ("scrfd", "yunet", "mtcnn")


def align(image: np.ndarray, points: np.ndarray, size: Tuple[int, int] = (112, 112)) -> np.ndarray:
    """Crop a face so that its five points fall on the reference points.

    image: uint8 (h, w, 3) or (h, w), any channel order. points: float (5, 2), x and y in pixels: left eye, right eye,
    nose tip, left and right mouth corner. size: (height, width), (112, 112) or (112, 96). Returns uint8 of that size,
    bilinear, black outside the image. Raises InputError for another size, and for points that are not five or coincide.
    """
    if size not in REFERENCES:
        raise unknown("crop size", f"{size[0]}x{size[1]}", [f"{height}x{width}" for height, width in REFERENCES])
    points = np.asarray(points, np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise InputError(f"points of shape {points.shape}: a face needs five finite points (x, y); correct them")
    try:
        matrix = similarity(points, REFERENCES[size])
    except ValueError as error:
        raise InputError(f"{error}; correct the points") from None
    return cv2.warpAffine(image, matrix, (size[1], size[0]), flags=cv2.INTER_LINEAR)


def parse_size(text: str) -> Tuple[int, int]:
    """"112x112" or "112x96" (height x width) -> (height, width); raises InputError naming the known ones."""
    known = {f"{height}x{width}": (height, width) for height, width in REFERENCES}
    if text not in known:
        raise unknown("crop size", text, list(known))
    return known[text]


def open_detector(kind: str, model: PathLike) -> Detector:
    """A face detector by kind (scrfd, yunet: an .onnx file; mtcnn: a folder); raises InputError if it is none."""
    def scrfd() -> Detector:
        from arcface_mxnet.datasets.detect_onnx import Scrfd  # onnxruntime is loaded only where it is needed
        return Scrfd(model)

    def yunet() -> Detector:
        from arcface_mxnet.datasets.detect_onnx import YuNet
        return YuNet(model)

    def mtcnn() -> Detector:
        from arcface_mxnet.datasets.detect_mtcnn import Mtcnn  # and MXNet likewise
        return Mtcnn(model)

    openers: Dict[str, Callable[[], Detector]] = {"scrfd": scrfd, "yunet": yunet, "mtcnn": mtcnn}
    if kind not in openers:
        raise unknown("detector", kind, DETECTORS)
    return openers[kind]()
