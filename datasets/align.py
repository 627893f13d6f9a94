"""Five points -> an aligned crop: the least-squares similarity to the reference points, then one warp."""
from typing import Callable, Dict, List, Tuple

from arcface_mxnet.datasets.detect import Detector
from arcface_mxnet.runtime.errors import InputError, unknown
from arcface_mxnet.runtime.files import PathLike
from arcface_mxnet.runtime.reading import shown
from arcface_mxnet.runtime.text import is_real, iterate_lines, listed_path, real_number

import cv2
import numpy as np
from skimage.transform import SimilarityTransform

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


def known_crop(size: Tuple[int, int]) -> Tuple[int, int]:
    """(height, width) again, where five points are defined for it; raises InputError naming those there are."""
    if size not in REFERENCES:
        raise InputError(f"--size {size[0]},{size[1]}: crops are of "
                         + " or ".join(f"{height},{width}" for height, width in REFERENCES))
    return size


def open_detector(kind: str, model: PathLike) -> Detector:
    """A face detector by kind (scrfd, yunet: an .onnx file; mtcnn: a folder); raises InputError if it is none."""
    def scrfd() -> Detector:
        from arcface_mxnet.datasets.detect import Scrfd  # onnxruntime is loaded only where it is needed
        return Scrfd(model)

    def yunet() -> Detector:
        from arcface_mxnet.datasets.detect import YuNet
        return YuNet(model)

    def mtcnn() -> Detector:
        from arcface_mxnet.datasets.detect import Mtcnn  # and MXNet likewise
        return Mtcnn(model)

    openers: Dict[str, Callable[[], Detector]] = {"scrfd": scrfd, "yunet": yunet, "mtcnn": mtcnn}
    if kind not in openers:
        raise unknown("detector", kind, DETECTORS)
    return openers[kind]()


# The reference points faces are aligned to, in this one place, and the transform that takes a face there.


# Left eye, right eye, nose tip, left and right mouth corner (left and right of the image), pixels (x, y) of a crop
# 112 high and 96 wide: the original's five-point template.
REFERENCE_112X96 = np.array([[30.2946, 51.6963], [65.5318, 51.5014], [48.0252, 71.7366], [33.5493, 92.3655],
                                [62.7299, 92.2041]])
REFERENCE_112 = REFERENCE_112X96 + (8.0, 0.0)  # the same face in the middle of a crop 112 wide

REFERENCES: Dict[Tuple[int, int], np.ndarray] = {(112, 112): REFERENCE_112, (112, 96): REFERENCE_112X96}
POINT_NAMES = ("left eye", "right eye", "nose tip", "left mouth corner", "right mouth corner")


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The similarity transform that takes points to points with the least summed squared distance.

    source, target: float (n, 2), n >= 2. Returns float64 (2, 3) M with target ~ M[:, :2] @ source + M[:, 2]: rotation
    and one scale, never a reflection (Umeyama 1991, by scikit-image). Raises ValueError when the source points are one.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if hasattr(SimilarityTransform, "from_estimate"):  # scikit-image 0.26, which deprecates the other way
        fitted = found = SimilarityTransform.from_estimate(source, target)
    else:
        fitted = SimilarityTransform()
        found = fitted.estimate(source, target)
    if not np.ptp(source, axis=0).any() or not found:
        raise ValueError("the points coincide: no similarity transform is defined by them")
    return fitted.params[:2]


# Lists of five points: one picture a line, its path and then ten numbers, x and y of each point in turn.


_NUMBERS = 10


def _split(line: str) -> Tuple[str, List[str]]:
    """Path and numbers: separated by tabs, or by blanks (then the path ends where eleven or ten numbers begin)."""
    if "\t" in line:
        path, *numbers = line.split("\t")
        return path, numbers[:_NUMBERS]
    words = line.split()
    first = len(words) - _NUMBERS
    if first >= 2 and is_real(words[first - 1]):
        first -= 1  # the published IJB lists end in a detector score
    return " ".join(words[:first]), words[first:first + _NUMBERS]


def read_points(path: PathLike) -> Dict[str, np.ndarray]:
    """Picture -> points float64 (5, 2). Accepts tabs or blanks, and a score after the ten numbers (IJB's lists).

    Raises InputError naming the file and line where there are not ten numbers, or a picture comes twice.
    """
    found: Dict[str, np.ndarray] = {}
    for number, line in iterate_lines(path, "give a list of `path x1 y1 ... x5 y5`"):
        if not line.strip() or line.startswith("#"):
            continue
        where = f"{path}: line {number}"
        name, values = _split(line)
        if len(values) != _NUMBERS or not name.strip():
            raise InputError(f"{where}: expected a path and ten numbers, found {shown(line)}; correct or delete it")
        name = listed_path(name, where)
        if name in found:
            raise InputError(f"{where}: {name} comes twice; delete one of the two lines")
        found[name] = np.array([real_number(value, where) for value in values]).reshape(5, 2)
    if not found:
        raise InputError(f"{path}: no points in it; give a list of `path x1 y1 ... x5 y5`")
    return found


def rescale(points: np.ndarray, measured_width: float, width: int) -> np.ndarray:
    """Points (5, 2) measured in a picture of one width, in the same picture resized to another (pixel centres kept)."""
    return (points + 0.5) * (width / measured_width) - 0.5
