"""Products of eight bits added in 16: on which processors that is done, and which layers can leave 16 bits.

Without VNNI a processor adds two products of an input (0 to 255) and a weight in 16 bits, and a larger sum saturates:
another number, and nothing says so (oneDNN, "Nuances of int8 computations",
https://uxlfoundation.github.io/oneDNN/dev_guide_int8_computations.html).
"""
import platform
import re
from pathlib import Path
from typing import List, Tuple

from arcface_mxnet.engines.onnx_check import REMEDY
from arcface_mxnet.runtime.errors import InputError, one_line
from arcface_mxnet.runtime.reading import escaped

import numpy as np
import onnx
from onnx import numpy_helper

_WIDE = {"avx512_vnni", "avx_vnni", "amx_int8"}
_X86 = ("x86_64", "amd64")
_LARGEST_SUM = 32767 // 255  # of two weights
_WEIGHTS = {"Conv": 1, "Gemm": 1, "MatMul": 1, "ConvInteger": 1, "MatMulInteger": 1, "QLinearConv": 3,
            "QLinearMatMul": 3}
"""By operator, which input the weights are."""


def adds_in_16_bits(said: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this is an x86 processor without VNNI; False where the system does not say what it has."""
    found = re.search(r"^flags\s*:(.*)$", said.read_text(encoding="utf-8"), re.MULTILINE) if said.exists() else None
    return found is not None and platform.machine().lower() in _X86 and not _WIDE & set(found[1].split())


def largest_pair(weights: np.ndarray, groups: int) -> np.ndarray:
    """For each output channel the largest sum of two weights that are added, (o,), of (o, i) or (o, i, kh, kw).

    Runtimes put the input channels of one place of a kernel side by side and add neighbours, 0 and 1, 2 and 3. Where
    the channels are odd, or the layer is dense, other weights are neighbours: any two of one sign. A depthwise
    convolution adds no two products in 16 bits.
    """
    outputs, inputs = weights.shape[:2]
    parts = np.stack([np.maximum(weights, 0), np.maximum(-weights, 0)])
    largest = parts.reshape(2, outputs, -1).max(axis=(0, 2))
    if inputs == 1 and groups == outputs:
        return largest
    if weights.ndim == 4 and inputs % 2 == 0:
        return (parts[:, :, ::2] + parts[:, :, 1::2]).max(axis=(0, 2, 3, 4))
    return 2 * largest


def saturating_layers(model: onnx.ModelProto, path: Path) -> Tuple[List[str], int]:
    """The layers with eight-bit weights of which two can leave 16 bits, by name, and how many have such weights.

    `path`: the file of the model; values may lie in others beside it. Weights from 0 to 255 are added wider. Raises
    InputError for weights that do not fill their shape.
    """
    stored = {one.name: one for one in model.graph.initializer if one.data_type == onnx.TensorProto.INT8}
    whole = {made: given for node in model.graph.node if node.op_type == "DequantizeLinear"
             for made, given in zip(node.output[:1], node.input[:1]) if given in stored}
    found: List[Tuple[str, bool]] = []
    for node in model.graph.node:
        place = _WEIGHTS.get(node.op_type, len(node.input))
        name = node.input[place] if place < len(node.input) else ""
        tensor = stored.get(whole.get(name, name))
        if tensor is not None:
            found.append((node.name or ", ".join(node.output), _saturates(node, _values(tensor, path))))
    return [name for name, over in found if over], len(found)


def _values(tensor: onnx.TensorProto, path: Path) -> np.ndarray:
    try:
        return numpy_helper.to_array(tensor, str(path.parent))
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"{path}: values of {escaped(tensor.name, 80)} ({one_line(error)}); {REMEDY}") from None


def _saturates(node: onnx.NodeProto, weights: np.ndarray) -> bool:
    number = {one.name: one.i for one in node.attribute}
    if weights.ndim < 2 or not weights.size:
        return False
    if "Conv" not in node.op_type and not number.get("transB"):
        weights = np.moveaxis(weights, -1, 0)  # (i, o), of a product of matrices
    return bool(largest_pair(weights.astype(np.int64), number.get("group", 1)).max() > _LARGEST_SUM)
