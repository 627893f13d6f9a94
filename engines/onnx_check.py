"""An ONNX file before a runtime sees it: parsed, and the files that its values lie in checked."""
from pathlib import Path
from typing import Any, Iterator, List, Tuple

from arcface_mxnet.runtime.errors import InputError, one_line
from arcface_mxnet.runtime.reading import escaped, file_status

import onnx

REMEDY = "give the .onnx file of an embedding network"
_BESIDE = "save the model as one file, or put the file of its values beside it"
KNOWN = frozenset((
    "Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Celu Clip Concat Constant ConstantOfShape Conv "
    "ConvTranspose Cos CumSum DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp "
    "Expand Flatten Floor Gather Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization "
    "HardSigmoid HardSwish Identity InstanceNormalization LRN LayerNormalization LeakyRelu Less LessOrEqual Log "
    "LogSoftmax LpNormalization MatMul Max MaxPool Mean Min Mish Mod Mul Neg Not Or PRelu Pad Pow QLinearConv "
    "QLinearMatMul QuantizeLinear Range Reciprocal ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin "
    "ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round Selu Shape Sigmoid Sign Sin Size Slice Softmax "
    "Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh ThresholdedRelu Tile Transpose Unsqueeze Upsample "
    "Where Xor").split())
"""Of networks for images. Of those that index by values only Gather, where OpenVINO keeps inside the tensor."""


def checked(path: Path, remedy: str = REMEDY) -> onnx.ModelProto:
    """The model of a file, values in other files left there.

    Raises InputError, with `remedy`, for what is no ONNX file, and for values in a file that is not beside the model,
    is not there, or is shorter than they are: a model from a stranger must not show what is in the user's other files.
    """
    file_status(path, remedy)
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf raises kinds of its own
        raise InputError(f"{path}: no ONNX file ({one_line(error)}); {remedy}") from None
    if not _all_text(model):
        raise InputError(f"{path}: holds a name that is no UTF-8 text; {remedy}")
    for tensor in tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _require_beside(path, tensor)
    return model


def _all_text(model: onnx.ModelProto) -> bool:
    """Whether all text is text: protobuf hands over what is no UTF-8 as bytes."""
    waiting: List[Any] = [model]
    while waiting:
        for field, value in waiting.pop().ListFields():
            if field.type in (field.TYPE_STRING, field.TYPE_MESSAGE):
                values = [value] if isinstance(value, (str, bytes)) or hasattr(value, "ListFields") else value
                if field.type == field.TYPE_MESSAGE:
                    waiting.extend(values)
                elif any(isinstance(one, bytes) for one in values):
                    return False
    return True


def require_known(model: onnx.ModelProto, path: Path, runtime: str, remedy: str) -> None:
    """For a runtime that may not check indices: raises InputError, naming node and operator, for any not in KNOWN.

    OpenVINO 2026.4 reads outside a tensor by GatherND with an index out of range; ONNX Runtime checks.
    """
    for inside, graph in graphs(model):
        for node in graph.node:
            if node.op_type not in KNOWN or node.domain not in ("", "ai.onnx") or inside:
                name = ".".join(part for part in (node.domain, node.op_type) if part)
                raise InputError(f"{path}: node {escaped(node.name or '-', 80)} ({escaped(name, 80)}"
                                 f"{f' inside {escaped(inside, 40)}' if inside else ''}): not run by {runtime} from a "
                                 f"file, where it may not check indices; {remedy}")


def graphs(model: onnx.ModelProto) -> Iterator[Tuple[str, onnx.GraphProto]]:
    """The graph and all graphs inside nodes, each with the name of its node; functions as well."""
    waiting = [("", model.graph), *((function.name, function) for function in model.functions)]
    while waiting:
        name, graph = waiting.pop()
        yield name, graph
        for node in graph.node:
            waiting += [(node.name or node.op_type, inner) for one in node.attribute
                        for inner in (*one.graphs, *([one.g] if one.HasField("g") else []))]


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All values of a model."""
    for _, graph in graphs(model):
        for node in graph.node:
            for one in node.attribute:
                yield from (one.t, *one.tensors)
                for sparse in (one.sparse_tensor, *one.sparse_tensors):
                    yield from (sparse.values, sparse.indices)
        if isinstance(graph, onnx.GraphProto):
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)


def _require_beside(path: Path, tensor: onnx.TensorProto) -> None:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    name = entries.get("location", "")
    where = f"{path}: the values of {tensor.name[:80]!r} lie in {name[:200]!r}"
    if not name or name in (".", "..") or any(mark in name for mark in "/\\\0:"):
        raise InputError(f"{where}, not beside the model; {_BESIDE}")
    size = file_status(path.with_name(name), _BESIDE).st_size
    offset, length = (entries.get(key, "0") for key in ("offset", "length"))
    if not (offset.isdigit() and length.isdigit()) or int(offset) + int(length) > size:
        raise InputError(f"{where} at {offset[:20]}, {length[:20]} bytes, beyond its end ({size} bytes); {_BESIDE}")
