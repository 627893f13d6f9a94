"""Detectors in ONNX files: SCRFD with five points (onnxruntime) and YuNet (OpenCV)."""
from typing import Dict, List, Tuple

from arcface_mxnet.datasets.detection import Face, letterbox, suppress
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike

import cv2
import numpy as np
import onnxruntime

THRESHOLD = 0.5
OVERLAP = 0.4
_SIDE = 640  # input of an SCRFD file that leaves its size open, and the largest for YuNet
_STRIDES = (8, 16, 32)
_ANCHORS = 2


def open_session(path: PathLike) -> onnxruntime.InferenceSession:
    """An ONNX file ready to run on the CPU; raises InputError naming the file when it is not one."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: onnxruntime cannot run it ({reason}); give the detector's .onnx file") from None


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
            self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), threshold, 0.3, 500)
            self._net.detect(np.zeros((320, 320, 3), np.uint8))  # another model's file fails only here
        except cv2.error as error:
            raise InputError(f"{path}: OpenCV cannot read it ({error.err}); give YuNet's .onnx file") from None

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
