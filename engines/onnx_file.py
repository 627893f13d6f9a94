"""A network that came as an ONNX file: embeddings from it, whoever wrote it."""
from pathlib import Path
from typing import Any, List, Mapping, NamedTuple, Optional, Set, Tuple

from arcface_mxnet.engines.base import Place
from arcface_mxnet.engines.int8_saturation import adds_in_16_bits, saturating_layers
from arcface_mxnet.engines.onnx_check import REMEDY, checked
from arcface_mxnet.runtime.errors import InputError, notice, one_line
from arcface_mxnet.runtime.reading import escaped

import numpy as np
import onnx

_SCALED = np.float32(127.5)
_EIGHT_BITS = ("QuantizeLinear", "DynamicQuantizeLinear")
_PASSED = ("Identity", "Cast")
_SCALES = ("Sub", "Add", "Mul", "Div", "BatchNormalization")


class Wanted(NamedTuple):
    """What the input takes: its name, the batch (None for any) and (channels, height, width), None for any."""

    name: str
    batch: Optional[int]
    image: Tuple[Optional[int], ...]


class OnnxFile:
    """Embeddings from an ONNX file; its first output is the embedding.

    `where`: an engine that runs ONNX (its module has `run_file`) and its devices. A graph that does not scale its input
    itself is fed (x - 127.5) / 127.5, the form in which InsightFace's and PyTorch's users store networks. `quantised`:
    maps pass through it in eight bits.
    """

    def __init__(self, path: Path, where: Place) -> None:
        model = checked(path)
        self._run, self._engine = where.engine.run_file(path, where.devices, model), where.engine.NAME
        graph = model.graph
        self.path, self.wanted = path, input_of(graph, path)
        self._scales_itself = scales_itself(graph)
        self.quantised = any(node.op_type in _EIGHT_BITS for node in graph.node)
        if adds_in_16_bits() and not where.engine.on_gpu(where.devices):
            _warn_of_saturation(model, path)

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
                found = np.asarray(self._run(batch), dtype=np.float32)
            except Exception as error:  # runtimes raise kinds of their own, from C++
                raise InputError(f"{self.path}: {self._engine} fails on it ({one_line(error)})") from None
            if not found.ndim or len(found) != len(batch):
                raise InputError(f"{self.path}: its first output is {found.shape} for {len(batch)} images; {REMEDY}")
            rows.append(found.reshape(len(batch), -1)[:short])
        return np.concatenate(rows)

    def update(self, arguments: Mapping[str, np.ndarray], auxiliary: Mapping[str, np.ndarray]) -> None:
        """An ONNX file has its own values; raises ValueError."""
        raise ValueError(f"{self.path}: an ONNX file takes no other parameters")


def _warn_of_saturation(model: onnx.ModelProto, path: Path) -> None:
    layers, of = saturating_layers(model, path)
    if layers:
        notice(f"{path}: this processor has no VNNI and adds products of eight bits in 16, where sums of {len(layers)} "
               f"of {of} layers in eight bits ({escaped(layers[0], 80)} first) can saturate: rows can be wrong; take "
               "the file in float32, or one by 'export.py int8', whose weights are small enough")


def input_of(graph: onnx.GraphProto, path: Path) -> Wanted:
    """What the one input of a graph takes; raises InputError for a graph that does not take images."""
    constants = {value.name for value in graph.initializer}
    inputs = [one for one in graph.input if one.name not in constants]
    sides = [[side.dim_value or None for side in one.type.tensor_type.shape.dim] for one in inputs]
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT or len(sides[0]) != 4:
        found = ", ".join(f"{escaped(one.name, 80)} {_kind(one)} {shape}" for one, shape in zip(inputs, sides))
        raise InputError(f"{path}: takes {found or 'nothing'}, not images in float (n, c, h, w); {REMEDY}")
    batch, *image = sides[0]
    return Wanted(inputs[0].name, batch, tuple(image))


def _kind(value: Any) -> str:
    kinds, kind = onnx.TensorProto.DataType, value.type.tensor_type.elem_type
    return str(kinds.Name(kind)).lower() if kind in kinds.values() else f"of unknown type {kind}"


def scales_itself(graph: onnx.GraphProto) -> bool:
    """Whether a graph begins by scaling its input (a subtraction, product or normalisation)."""
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
