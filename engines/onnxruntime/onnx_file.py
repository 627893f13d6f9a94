"""A network that came as an ONNX file: embeddings from it, whoever wrote it."""
from pathlib import Path
from typing import Any, List, Mapping, NamedTuple, Optional, Set, Tuple

from arcface_mxnet.engines.onnxruntime.engine import devices, session
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.reading import file_status

import numpy as np
import onnx

_SCALED = np.float32(127.5)
_PASSED = ("Identity", "Cast")
_SCALES = ("Sub", "Add", "Mul", "Div", "BatchNormalization")
_REMEDY = "give the .onnx file of an embedding network"


class Wanted(NamedTuple):
    """What the input takes: its name, the batch (None for any) and (channels, height, width), None for any."""

    name: str
    batch: Optional[int]
    image: Tuple[Optional[int], ...]


class OnnxFile:
    """Embeddings from an ONNX file, by ONNX Runtime; its first output is the embedding.

    `place`: of engines.onnxruntime.engine.devices; None chooses. A graph that does not scale its input itself is fed
    (x - 127.5) / 127.5, the form in which InsightFace's and PyTorch's users store networks.
    """

    def __init__(self, path: Path, place: Any = None) -> None:
        file_status(path, _REMEDY)
        self._session = session(str(path), place or devices(), str(path))
        self.path, self.wanted = path, _wanted(self._session.get_inputs(), path)
        self._scales_itself = scales_itself(path)

    def check(self, image: Tuple[int, ...]) -> None:
        """Raise InputError where the network does not take images of this shape (c, h, w)."""
        if len(image) != 3 or any(side not in (None, given) for side, given in zip(self.wanted.image, image)):
            shape = "x".join("any" if side is None else str(side) for side in self.wanted.image)
            raise InputError(f"{self.path}: does not take images of shape {tuple(image)}; it takes {shape} (channels, "
                             "height, width); give --size accordingly")

    def embed(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        """Raw embeddings (n, d) float32 of images (n, c, h, w), uint8 or float32, 0..255."""
        size = self.wanted.batch or batch_size
        rows: List[np.ndarray] = []
        for start in range(0, len(images), size):
            batch = np.ascontiguousarray(images[start:start + size], dtype=np.float32)
            if not self._scales_itself:
                batch = (batch - _SCALED) / _SCALED
            short = len(batch)
            if self.wanted.batch:  # the file takes batches of one size alone
                batch = np.concatenate([batch, np.zeros((size - short, *batch.shape[1:]), np.float32)])
            try:
                found = np.asarray(self._session.run(None, {self.wanted.name: batch})[0], dtype=np.float32)
            except Exception as error:  # ONNX Runtime raises kinds of its own, from C++
                reason = " ".join(str(error).split())[:200]
                raise InputError(f"{self.path}: ONNX Runtime fails on it ({reason})") from None
            if not found.ndim or len(found) != len(batch):
                raise InputError(f"{self.path}: its first output is {found.shape} for {len(batch)} images; {_REMEDY}")
            rows.append(found.reshape(len(batch), -1)[:short])
        return np.concatenate(rows)

    def update(self, arguments: Mapping[str, np.ndarray], auxiliary: Mapping[str, np.ndarray]) -> None:
        """An ONNX file has its own values; raises ValueError."""
        raise ValueError(f"{self.path}: an ONNX file takes no other parameters")


def _wanted(inputs: Any, path: Path) -> Wanted:
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
        found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
        raise InputError(f"{path}: takes {found or 'nothing'}, not images in float (n, c, h, w); {_REMEDY}")
    batch, *image = (side if isinstance(side, int) and side > 0 else None for side in inputs[0].shape)
    return Wanted(inputs[0].name, batch, tuple(image))


def scales_itself(path: Path) -> bool:
    """Whether the graph in an ONNX file begins by scaling its input (a subtraction, product or normalisation)."""
    graph = onnx.load(str(path), load_external_data=False).graph
    constants: Set[str] = {value.name for value in graph.initializer}
    names = {value.name for value in graph.input} - constants
    for node in graph.node:  # in order of computation
        if not names.intersection(node.input):
            continue
        if node.op_type in _PASSED:
            names.update(node.output)
        else:
            return node.op_type in _SCALES
    return False
