"""Found faces: box, score and five points; how overlapping ones are thinned out and how one is chosen."""
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Protocol, Tuple

from arcface_mxnet.datasets.image_headers import MOST_PIXELS
from arcface_mxnet.graph.checkpoint import Checkpoint, load
from arcface_mxnet.runtime.errors import InputError, one_line
from arcface_mxnet.runtime.files import PathLike

import cv2
import numpy as np

TERMS = ("InsightFace's SCRFD files are for non-commercial research only, YuNet's file is under the MIT licence; "
         "see the terms of yours")
"""What a user must know of the published files before one is used; said wherever a file is requested."""


@dataclass(frozen=True)
class Face:
    """A face in a photograph: `box` float64 (4,) x1, y1, x2, y2 and `points` float64 (5, 2), in its pixels; `score`."""

    box: np.ndarray
    score: float
    points: np.ndarray


class Detector(Protocol):
    """Anything that finds faces."""

    def detect(self, bgr: np.ndarray) -> List[Face]:
        """Faces in a BGR uint8 (h, w, 3) image, the surest first."""


def suppress(faces: List[Face], overlap: float) -> List[Face]:
    """Keep the surest of faces whose boxes overlap by more than `overlap` (intersection over union), surest first."""
    if not faces:
        return []
    boxes = [(float(f.box[0]), float(f.box[1]), float(f.box[2] - f.box[0]), float(f.box[3] - f.box[1])) for f in faces]
    kept = cv2.dnn.NMSBoxes(boxes, [f.score for f in faces], 0.0, overlap)
    return [faces[int(index)] for index in np.asarray(kept).reshape(-1)]


def detect_with_margin(bgr: np.ndarray, detector: Detector) -> List[Face]:
    """The detector's faces in a BGR uint8 (h, w, 3) image, the surest first.

    A picture that shows little else than a face is looked at again with a grey border: detectors want some margin.
    """
    found = detector.detect(bgr)
    if found:
        return found
    border = max(bgr.shape[:2]) // 2
    if (bgr.shape[0] + 2 * border) * (bgr.shape[1] + 2 * border) > MOST_PIXELS:  # a panorama is no portrait
        return []
    roomy = cv2.copyMakeBorder(bgr, border, border, border, border, cv2.BORDER_CONSTANT, value=(127, 127, 127))
    shift = np.array([border, border], np.float64)
    return [Face(face.box - np.tile(shift, 2), face.score, face.points - shift) for face in detector.detect(roomy)]


def choose(faces: List[Face], height: int, width: int) -> Optional[Face]:
    """The face a picture of one person is of: the largest area less twice the squared distance from the middle.

    The rule of the original's pack builder (docs/original.md, section 1.7). None when there is no face.
    """
    def weight(face: Face) -> float:
        x1, y1, x2, y2 = face.box
        aside = ((x1 + x2) / 2 - width / 2) ** 2 + ((y1 + y2) / 2 - height / 2) ** 2
        return float((x2 - x1) * (y2 - y1) - 2.0 * aside)

    return max(faces, key=weight, default=None)


def letterbox(bgr: np.ndarray, size: Tuple[int, int]) -> Tuple[np.ndarray, float]:
    """The image scaled into the top left of a black (height, width) one, and the factor it was scaled by."""
    scale = min(size[0] / bgr.shape[0], size[1] / bgr.shape[1])
    fitted = cv2.resize(bgr, (max(1, round(bgr.shape[1] * scale)), max(1, round(bgr.shape[0] * scale))),
                        interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    canvas = np.zeros((size[0], size[1], 3), np.uint8)
    canvas[:fitted.shape[0], :fitted.shape[1]] = fitted
    return canvas, scale


# MTCNN on MXNet checkpoints: proposals over a pyramid (det1), refined (det2, det3), points found and refined (det4).
#
# Zhang et al. 2016; thresholds of the original's deploy script (docs/original.md, section 9.2).


THRESHOLDS = (0.6, 0.7, 0.8)
MIN_FACE = 40
_CELL, _STRIDE, _SHRINK = 12, 2, 0.709
_REFINE_AT_ONCE = 64
_UNLIKELY = 0.35  # det4's points farther than this from a patch's middle (in patch widths) are not believed


class _Stage:
    """One network, bound for each shape it meets: float32 (n, 3, h, w) in, its outputs out."""

    def __init__(self, prefix: Path) -> None:
        self._checkpoint: Checkpoint = load(str(prefix), 1)
        self._bound: Dict[Tuple[int, ...], Any] = {}

    def run(self, batch: np.ndarray) -> List[np.ndarray]:
        """Outputs in the order of the symbol."""
        from arcface_mxnet.engines.mxnet.executor import Bound  # MXNet loads only where it is used

        if batch.shape not in self._bound:
            self._bound = {batch.shape: Bound(self._checkpoint, {"data": batch.shape})}
        return self._bound[batch.shape].run({"data": batch})


def _prepare(images: List[np.ndarray]) -> np.ndarray:
    return ((np.stack(images).astype(np.float32) - 127.5) / 128.0).transpose(0, 3, 1, 2)


def _thin(boxes: np.ndarray, scores: np.ndarray, overlap: float, by_smaller: bool = False) -> np.ndarray:
    """Indices kept by non-maximum suppression; `by_smaller` measures overlap against the smaller box."""
    order, kept = np.argsort(-scores, kind="stable"), []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(best)
        low, high = np.maximum(boxes[best, :2], boxes[rest, :2]), np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.prod(np.maximum(high - low, 0.0), axis=1)
        whole = np.minimum(area[best], area[rest]) if by_smaller else area[best] + area[rest] - shared
        order = rest[shared <= overlap * whole]
    return np.array(kept, int)


def _calibrate(boxes: np.ndarray, shift: np.ndarray) -> np.ndarray:
    size = boxes[:, 2:] - boxes[:, :2]
    return boxes + shift * np.hstack([size, size])


def _square(boxes: np.ndarray) -> np.ndarray:
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.hstack([middle - half, middle + half])


def _cut(bgr: np.ndarray, boxes: np.ndarray, side: int) -> np.ndarray:
    """Square pieces of the image (black outside it), each `side` pixels, ready for a network."""
    pieces = []
    for x1, y1, x2, y2 in np.round(boxes).astype(int):
        width, height = max(1, x2 - x1), max(1, y2 - y1)
        piece = np.zeros((height, width, 3), np.uint8)
        left, top = max(0, -x1), max(0, -y1)
        inside = bgr[max(0, y1):max(0, y1 + height), max(0, x1):max(0, x1 + width)]
        piece[top:top + inside.shape[0], left:left + inside.shape[1]] = inside
        pieces.append(cv2.resize(piece, (side, side), interpolation=cv2.INTER_LINEAR))
    return _prepare(pieces)


class Mtcnn:
    """MTCNN from a folder with det1, det2 and det3 (-symbol.json and -0001.params).

    `min_face`: the smallest face sought, pixels; `thresholds`: of the three networks.
    """

    def __init__(self, folder: PathLike, min_face: int = MIN_FACE,
                 thresholds: Tuple[float, float, float] = THRESHOLDS) -> None:
        prefixes = [Path(folder) / f"det{stage}" for stage in (1, 2, 3)]
        for prefix in prefixes:
            if not prefix.with_name(f"{prefix.name}-symbol.json").exists():
                raise InputError(f"{prefix}-symbol.json: not found; give the folder of the MTCNN "
                                 "checkpoint (det1 to det3, and det4 if there is one)")
        self._propose, self._refine, self._finish = (_Stage(prefix) for prefix in prefixes)
        last = Path(folder) / "det4"
        self._place = _Stage(last) if last.with_name("det4-symbol.json").exists() else None
        self._min_face, self._thresholds = min_face, thresholds

    def detect(self, bgr: np.ndarray) -> List[Face]:
        """Faces in a BGR uint8 (h, w, 3) image, the surest first."""
        boxes = self._proposals(bgr)
        if not len(boxes):
            return []
        boxes = _square(boxes)
        shift, score = self._judge(self._refine, _cut(bgr, boxes, 24))
        sure = score > self._thresholds[1]
        boxes, shift, score = boxes[sure], shift[sure], score[sure]
        if not len(boxes):
            return []
        kept = _thin(boxes, score, 0.7)
        boxes = _square(_calibrate(boxes[kept], shift[kept]))
        points, shift, score = self._judge_points(_cut(bgr, boxes, 48))
        sure = score > self._thresholds[2]
        boxes, points, shift, score = boxes[sure], points[sure], shift[sure], score[sure]
        size = boxes[:, None, 2:] - boxes[:, None, :2]
        points = boxes[:, None, :2] + points.reshape(-1, 2, 5).transpose(0, 2, 1) * size
        boxes = _calibrate(boxes, shift)
        kept = _thin(boxes, score, 0.7, by_smaller=True)
        boxes, points, score = boxes[kept], points[kept], score[kept]
        if self._place is not None and len(boxes):
            points = self._placed(self._place, bgr, boxes, points)
        return [Face(*found) for found in zip(boxes, score.tolist(), points)]

    def _placed(self, stage: _Stage, bgr: np.ndarray, boxes: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Points (n, 5, 2) moved to where det4 sees them in a patch around each, a quarter of the face wide."""
        side = 2 * np.round((boxes[:, 2:] - boxes[:, :2]).max(axis=1) / 8)[:, None]
        corners = [np.round(points[:, k] - side / 2) for k in range(5)]
        patches = [_cut(bgr, np.hstack([corner, corner + side]), 24) for corner in corners]
        moved = np.stack(self._in_groups(stage, np.concatenate(patches, axis=1)), axis=1)
        moved = np.where(np.abs(moved - 0.5) > _UNLIKELY, 0.5, moved)
        return np.stack(corners, axis=1) + moved * side[:, None]

    def _proposals(self, bgr: np.ndarray) -> np.ndarray:
        height, width = bgr.shape[:2]
        scale, found, scores = _CELL / self._min_face, [np.empty((0, 4))], [np.empty(0)]
        while min(height, width) * scale >= _CELL:
            small = cv2.resize(bgr, (int(np.ceil(width * scale)), int(np.ceil(height * scale))),
                               interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
            shift, chance = self._propose.run(_prepare([small]))
            rows, columns = np.nonzero(chance[0, 1] > self._thresholds[0])
            corner = np.stack([columns, rows], 1) * _STRIDE
            boxes = np.hstack([corner, corner + _CELL]) / scale
            score = chance[0, 1, rows, columns]
            kept = _thin(boxes, score, 0.5)
            found.append(_calibrate(boxes[kept], shift[0, :, rows, columns][kept]))
            scores.append(score[kept])
            scale *= _SHRINK
        boxes, score = np.concatenate(found), np.concatenate(scores)
        return boxes[_thin(boxes, score, 0.7)]

    @staticmethod
    def _in_groups(stage: _Stage, batch: np.ndarray) -> List[np.ndarray]:
        """Run in groups of one size (the last one padded), so that a network is bound once."""
        groups = []
        for start in range(0, len(batch), _REFINE_AT_ONCE):
            group = batch[start:start + _REFINE_AT_ONCE]
            padded = np.zeros((_REFINE_AT_ONCE, *group.shape[1:]), np.float32)
            padded[:len(group)] = group
            groups.append([out[:len(group)] for out in stage.run(padded)])
        return [np.concatenate(parts) for parts in zip(*groups)]

    def _judge(self, stage: _Stage, batch: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        shift, chance = self._in_groups(stage, batch)
        return shift, chance[:, 1]

    def _judge_points(self, batch: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        points, shift, chance = self._in_groups(self._finish, batch)
        return points, shift, chance[:, 1]


# Detectors in ONNX files: SCRFD with five points (onnxruntime) and YuNet (OpenCV).


THRESHOLD = 0.5
OVERLAP = 0.4
_SIDE = 640  # input of an SCRFD file that leaves its size open, and the largest for YuNet
_STRIDES = (8, 16, 32)
_ANCHORS = 2
_DETECTOR_FILE, _YUNET_FILE = "give the detector's .onnx file", "give YuNet's .onnx file"


def open_session(path: PathLike) -> Any:
    """An ONNX file ready to run on the CPU; raises InputError naming the file when it is not one."""
    try:
        from arcface_mxnet.engines.onnx_check import checked  # only detectors in ONNX files need them

        import onnxruntime
    except ImportError:
        raise InputError(f"{path}: needs onnx and onnxruntime; pip install onnx onnxruntime") from None
    checked(Path(path), _DETECTOR_FILE)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise InputError(f"{path}: onnxruntime cannot run it ({one_line(error)}); {_DETECTOR_FILE}") from None


class Scrfd:
    """SCRFD with key points: three strides, two anchors a cell; scores, box distances and points for each."""

    def __init__(self, path: PathLike, threshold: float = THRESHOLD) -> None:
        self._session = open_session(path)
        self._threshold = threshold
        taken = self._session.get_inputs()[0]
        self._input = taken.name
        height, width = (side if isinstance(side, int) and side > 0 else _SIDE for side in taken.shape[-2:])
        self._size: Tuple[int, int] = (height, width)
        if len(self._session.get_outputs()) != 9:
            raise InputError(f"{path}: has {len(self._session.get_outputs())} outputs; an SCRFD model with five points "
                             "has 9 (its file name usually says kps)")

    def _outputs(self, blob: np.ndarray) -> Dict[Tuple[int, int], np.ndarray]:
        """Outputs by (number of rows, values a row): files name and order them differently."""
        found = (np.asarray(out) for out in self._session.run(None, {self._input: blob}))
        rows = [out.reshape(-1, out.shape[-1]) for out in found]
        return {(len(out), out.shape[1]): out for out in rows}

    def detect(self, bgr: np.ndarray) -> List[Face]:
        """Faces in a BGR uint8 (h, w, 3) image, the surest first."""
        fitted, scale = letterbox(bgr, self._size)
        blob = cv2.dnn.blobFromImage(fitted, 1.0 / 128, mean=(127.5, 127.5, 127.5), swapRB=True)
        outputs = self._outputs(blob)
        faces: List[Face] = []
        for stride in _STRIDES:
            down, across = self._size[0] // stride, self._size[1] // stride
            count = down * across * _ANCHORS
            score = outputs[count, 1][:, 0]
            for index in np.flatnonzero(score >= self._threshold):
                cell = int(index) // _ANCHORS
                at = np.array([cell % across, cell // across], np.float64) * stride
                reach = outputs[count, 4][index] * stride
                box = np.concatenate([at - reach[:2], at + reach[2:]])
                points = at + outputs[count, 10][index].reshape(5, 2) * stride
                faces.append(Face(box / scale, float(score[index]), points / scale))
        return suppress(faces, OVERLAP)


class YuNet:
    """OpenCV's own face detector on its .onnx file; it knows faces of 10 to 300 pixels, so photographs are scaled down.

    Its points are right eye, left eye, nose, right and left mouth corner of the person: left to right in the picture.
    """

    def __init__(self, path: PathLike, threshold: float = 0.7) -> None:
        try:
            from arcface_mxnet.engines.onnx_check import checked, require_known
        except ImportError:
            raise InputError(f"{path}: is checked with onnx before OpenCV reads it; pip install onnx") from None
        require_known(checked(Path(path), _YUNET_FILE), Path(path), "OpenCV", _YUNET_FILE)
        try:
            self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), threshold, 0.3, 500)
            self._net.detect(np.zeros((320, 320, 3), np.uint8))  # another model's file fails only here
        except cv2.error as error:
            raise InputError(f"{path}: OpenCV cannot read it ({error.err}); {_YUNET_FILE}") from None

    def detect(self, bgr: np.ndarray) -> List[Face]:
        """Faces in a BGR uint8 (h, w, 3) image, the surest first; a larger one than 640 is scaled down to it."""
        scale = min(1.0, _SIDE / max(bgr.shape[:2]))
        fitted = bgr if scale == 1.0 else letterbox(bgr, (_SIDE, _SIDE))[0]
        self._net.setInputSize((fitted.shape[1], fitted.shape[0]))
        rows = self._net.detect(fitted)[1]
        if rows is None:
            return []
        rows = rows.astype(np.float64)
        faces = [Face(np.array([r[0], r[1], r[0] + r[2], r[1] + r[3]]) / scale, float(r[14]),
                      r[4:14].reshape(5, 2) / scale) for r in rows]
        return sorted(faces, key=lambda face: -face.score)
