"""A checkpoint as an ONNX model, operator by operator, without MXNet.

Opset 13, IR version 7: what every runtime since 2020 reads. The model takes `data` (batch, channels, height, width)
float32 and gives the graph's first output; the batch is free, the image size that of the parameters. Parameters are
initializers, no inputs, so that a runtime may fold them. Where ONNX means something else than MXNet: slopes of PReLU
get shape (C, 1, 1); a BatchNorm with fix_gamma has gamma 1 whatever is stored; a dense layer flattens outright.
"""
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.describe import image_shape
from arcface_mxnet.graph.nodes import Graph, Node, Shape, output_shapes
from arcface_mxnet.runtime.errors import InputError

import numpy as np

OPSET, IR_VERSION = 13, 7
BATCH = "batch"


class _Writer:
    """Collects ONNX nodes and initializers; `names` maps a graph's node to the tensor that holds its output."""

    def __init__(self, checkpoint: Checkpoint, image: Shape, onnx: Any) -> None:
        self.onnx = onnx
        self.values = {**checkpoint.args, **checkpoint.aux}
        self.shapes: Dict[str, Shape] = output_shapes(checkpoint.symbol, (1, *image))
        self.nodes: List[Any] = []
        self.initializers: Dict[str, Any] = {}
        self.names: Dict[int, str] = {}

    def constant(self, name: str, value: np.ndarray) -> str:
        """The tensor of an initializer."""
        if name not in self.initializers:
            self.initializers[name] = self.onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def parameter(self, node: Node, position: int) -> np.ndarray:
        """The value of a node's input that is a parameter."""
        source = node.inputs[position][0]
        if not source.is_variable or source.name not in self.values:
            raise InputError(f"{node.name}: its input {source.name} is computed, where ONNX needs a parameter")
        return self.values[source.name].astype(np.float32)

    def input(self, node: Node, position: int = 0) -> str:
        """The tensor of a node's input."""
        source, which = node.inputs[position]
        if which:
            raise InputError(f"{node.name}: takes output {which} of {source.name}, which cannot be written as ONNX")
        if id(source) not in self.names:
            return self.constant(source.name, self.values[source.name].astype(np.float32))
        return self.names[id(source)]

    def rank(self, node: Node, position: int = 0) -> int:
        """How many axes a node's input has; raises InputError where it is not known."""
        name = node.inputs[position][0].name
        if name not in self.shapes:
            raise InputError(f"{node.name}: the shape of its input {name} is not known, it cannot be written as ONNX")
        return len(self.shapes[name])

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """One ONNX node; returns its output."""
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output


Write = Callable[[_Writer, Node, Mapping[str, Any]], str]
_WRITERS: Dict[str, Write] = {}


def _writes(*operators: str) -> Callable[[Write], Write]:
    def add(write: Write) -> Write:
        _WRITERS.update(dict.fromkeys(operators, write))
        return write
    return add


def onnx_model(checkpoint: Checkpoint, image: Optional[Shape] = None) -> Any:
    """The ModelProto of a checkpoint; raises InputError naming the operator or node that has no form in ONNX.

    `image`: (channels, height, width) the model is to take, by default the first common size the parameters fit.
    """
    import onnx  # only this format needs it

    channels, height, width = image or image_shape(checkpoint)
    writer = _Writer(checkpoint, (channels, height, width), onnx)
    graph = Graph.of(checkpoint.symbol)
    for node in graph.nodes():
        if node.is_variable:
            if node.name == "data":
                writer.names[id(node)] = "data"
        elif node.op not in _WRITERS:
            raise InputError(f"{node.name}: operator {node.op} has no form in ONNX here; the graph cannot be written")
        else:
            writer.names[id(node)] = _WRITERS[node.op](writer, node, node.values())
    last, _ = graph.heads[0]
    kind = onnx.TensorProto.FLOAT
    given = onnx.helper.make_tensor_value_info("data", kind, [BATCH, channels, height, width])
    made = onnx.helper.make_tensor_value_info(writer.names[id(last)], kind, [BATCH, *writer.shapes[last.name][1:]])
    body = onnx.helper.make_graph(writer.nodes, "embedding", [given], [made], list(writer.initializers.values()))
    return onnx.helper.make_model(body, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
                                  producer_name="arcface-mxnet")


def _windows(values: Mapping[str, Any], sides: int) -> Dict[str, List[int]]:
    pads = list(values["pad"] or (0,) * sides)
    return {"strides": list(values["stride"] or (1,) * sides), "pads": pads + pads}


@_writes("Convolution")
def _convolution(writer: _Writer, node: Node, values: Mapping[str, Any]) -> str:
    sides = len(values["kernel"])
    return writer.add("Conv", [writer.input(node, position) for position in range(len(node.inputs))], node.name,
                      kernel_shape=list(values["kernel"]), dilations=list(values["dilate"] or (1,) * sides),
                      group=values["num_group"], **_windows(values, sides))


@_writes("FullyConnected")
def _fully_connected(writer: _Writer, node: Node, values: Mapping[str, Any]) -> str:
    data = writer.input(node)
    if values["flatten"] and writer.rank(node) != 2:
        data = writer.add("Flatten", [data], f"{node.name}_flat", axis=1)
    elif writer.rank(node) != 2:
        raise InputError(f"{node.name}: a dense layer without flatten on {writer.rank(node)} axes has no form here")
    rest = [writer.input(node, position) for position in range(1, len(node.inputs))]
    return writer.add("Gemm", [data, *rest], node.name, transB=1)


@_writes("BatchNorm")
def _batch_norm(writer: _Writer, node: Node, values: Mapping[str, Any]) -> str:
    if values["axis"] != 1:
        raise InputError(f"{node.name}: a BatchNorm over axis {values['axis']} has no form in ONNX")
    gamma = writer.constant(f"{node.name}_one", np.ones_like(writer.parameter(node, 1))) if values["fix_gamma"] \
        else writer.input(node, 1)
    rest = [writer.input(node, position) for position in (2, 3, 4)]
    return writer.add("BatchNormalization", [writer.input(node), gamma, *rest], node.name, epsilon=values["eps"])


@_writes("LeakyReLU")
def _leaky(writer: _Writer, node: Node, values: Mapping[str, Any]) -> str:
    kind = values["act_type"]
    if kind == "prelu":
        slope = writer.parameter(node, 1)
        wide = slope.reshape(slope.shape + (1,) * (writer.rank(node) - 2)) if slope.size > 1 else slope
        return writer.add("PRelu", [writer.input(node), writer.constant(f"{node.name}_slope", wide)], node.name)
    if kind in ("leaky", "elu"):
        return writer.add({"leaky": "LeakyRelu", "elu": "Elu"}[kind], [writer.input(node)], node.name,
                          alpha=values["slope"])
    raise InputError(f"{node.name}: LeakyReLU of type {kind} has no form in ONNX here")


_ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softrelu": "Softplus", "softsign": "Softsign"}


@_writes("Activation")
def _activation(writer: _Writer, node: Node, values: Mapping[str, Any]) -> str:
    return writer.add(_ACTIVATIONS[values["act_type"]], [writer.input(node)], node.name)


@_writes("Pooling")
def _pooling(writer: _Writer, node: Node, values: Mapping[str, Any]) -> str:
    kind = values["pool_type"]
    if kind not in ("avg", "max"):
        raise InputError(f"{node.name}: pooling by {kind} has no form in ONNX here")
    if values["global_pool"]:
        return writer.add("GlobalAveragePool" if kind == "avg" else "GlobalMaxPool", [writer.input(node)], node.name)
    sides = len(values["kernel"])
    more: Dict[str, Any] = {"ceil_mode": int(values["pooling_convention"] == "full")}
    if kind == "avg":
        more["count_include_pad"] = int(values["count_include_pad"] is not False)
    return writer.add("AveragePool" if kind == "avg" else "MaxPool", [writer.input(node)], node.name,
                      kernel_shape=list(values["kernel"]), **_windows(values, sides), **more)


@_writes("Flatten")
def _flatten(writer: _Writer, node: Node, values: Mapping[str, Any]) -> str:
    return writer.add("Flatten", [writer.input(node)], node.name, axis=1)


@_writes("Dropout", "_copy", "identity", "BlockGrad", "make_loss", "MakeLoss", "amp_cast", "Cast")
def _passed(writer: _Writer, node: Node, values: Mapping[str, Any]) -> str:
    if node.op in ("amp_cast", "Cast") and values["dtype"] not in ("float16", "float32", "float64", "bfloat16"):
        raise InputError(f"{node.name}: a cast to {values['dtype']} has no form in ONNX here")
    return writer.input(node)  # everything is float32 at inference, and dropout does nothing


@_writes("Concat")
def _concat(writer: _Writer, node: Node, values: Mapping[str, Any]) -> str:
    return writer.add("Concat", [writer.input(node, place) for place in range(len(node.inputs))], node.name,
                      axis=values["dim"])


_PAIRS = {"elemwise_add": "Add", "broadcast_add": "Add", "elemwise_sub": "Sub", "broadcast_sub": "Sub",
          "elemwise_mul": "Mul", "broadcast_mul": "Mul", "elemwise_div": "Div", "broadcast_div": "Div",
          "_maximum": "Max", "_minimum": "Min"}


@_writes(*_PAIRS)
def _pair(writer: _Writer, node: Node, values: Mapping[str, Any]) -> str:
    return writer.add(_PAIRS[node.op], [writer.input(node, 0), writer.input(node, 1)], node.name)


_SCALARS = {"_plus_scalar": ("Add", False), "_minus_scalar": ("Sub", False), "_rminus_scalar": ("Sub", True),
            "_mul_scalar": ("Mul", False), "_div_scalar": ("Div", False), "_rdiv_scalar": ("Div", True),
            "_maximum_scalar": ("Max", False), "_minimum_scalar": ("Min", False)}


@_writes(*_SCALARS)
def _scalar(writer: _Writer, node: Node, values: Mapping[str, Any]) -> str:
    kind, swapped = _SCALARS[node.op]
    scalar = writer.constant(f"{node.name}_scalar", np.array(values["scalar"], np.float32))
    inputs = [writer.input(node), scalar]
    return writer.add(kind, inputs[::-1] if swapped else inputs, node.name)


_ELEMENTWISE = {"sqrt": "Sqrt", "exp": "Exp", "log": "Log", "relu": "Relu", "sigmoid": "Sigmoid", "negative": "Neg"}


@_writes(*_ELEMENTWISE)
def _elementwise(writer: _Writer, node: Node, values: Mapping[str, Any]) -> str:
    return writer.add(_ELEMENTWISE[node.op], [writer.input(node)], node.name)


@_writes("square")
def _square(writer: _Writer, node: Node, values: Mapping[str, Any]) -> str:
    return writer.add("Mul", [writer.input(node)] * 2, node.name)


@_writes("clip")
def _clip(writer: _Writer, node: Node, values: Mapping[str, Any]) -> str:
    limits = [writer.constant(f"{node.name}_{key}", np.array(values[key], np.float32)) for key in ("a_min", "a_max")]
    return writer.add("Clip", [writer.input(node), *limits], node.name)


@_writes("sum", "mean")
def _reduction(writer: _Writer, node: Node, values: Mapping[str, Any]) -> str:
    axes: Optional[Sequence[int]] = values["axis"]
    if values["exclude"]:
        axes = [axis for axis in range(writer.rank(node)) if axis not in (axes or ())]
    keep = int(values["keepdims"])
    if node.op == "mean":
        return writer.add("ReduceMean", [writer.input(node)], node.name, keepdims=keep,
                          **({"axes": list(axes)} if axes else {}))
    inputs = [writer.input(node)]
    if axes:
        inputs.append(writer.constant(f"{node.name}_axes", np.array(axes, np.int64)))
    return writer.add("ReduceSum", inputs, node.name, keepdims=keep)


@_writes("L2Normalization")
def _l2_normalization(writer: _Writer, node: Node, values: Mapping[str, Any]) -> str:
    if values["mode"] != "instance":
        raise InputError(f"{node.name}: L2Normalization over {values['mode']} has no form in ONNX here")
    axes = writer.constant(f"{node.name}_axes", np.arange(1, writer.rank(node), dtype=np.int64))
    squares = writer.add("Mul", [writer.input(node)] * 2, f"{node.name}_squares")
    total = writer.add("ReduceSum", [squares, axes], f"{node.name}_sum", keepdims=1)
    more = writer.add("Add", [total, writer.constant(f"{node.name}_eps", np.array(values["eps"], np.float32))],
                      f"{node.name}_shifted")
    return writer.add("Div", [writer.input(node), writer.add("Sqrt", [more], f"{node.name}_length")], node.name)


@_writes("SoftmaxActivation", "SoftmaxOutput")
def _softmax(writer: _Writer, node: Node, values: Mapping[str, Any]) -> str:
    channels = values.get("mode") == "channel" or values.get("multi_output")
    if not channels and writer.rank(node) != 2:  # MXNet is not as documented there: docs/original.md, section 2.13
        raise InputError(f"{node.name}: a softmax over all of {writer.rank(node)} axes has no form in ONNX here")
    return writer.add("Softmax", [writer.input(node)], node.name, axis=1 if channels else -1)


@_writes("Reshape")
def _reshape(writer: _Writer, node: Node, values: Mapping[str, Any]) -> str:
    shape = values["shape"]
    if values["reverse"] or any(side < -1 for side in shape):
        raise InputError(f"{node.name}: Reshape to {shape} has no form in ONNX here")
    return writer.add("Reshape", [writer.input(node), writer.constant(f"{node.name}_shape",
                                                                   np.array(shape, np.int64))], node.name)


@_writes("expand_dims")
def _expand_dims(writer: _Writer, node: Node, values: Mapping[str, Any]) -> str:
    axes = writer.constant(f"{node.name}_axes", np.array([values["axis"]], np.int64))
    return writer.add("Unsqueeze", [writer.input(node), axes], node.name)


@_writes("slice_axis")
def _slice_axis(writer: _Writer, node: Node, values: Mapping[str, Any]) -> str:
    end = np.iinfo(np.int64).max if values["end"] is None else values["end"]
    limits = [writer.constant(f"{node.name}_{key}", np.array([value], np.int64))
              for key, value in (("begin", values["begin"]), ("end", end), ("axis", values["axis"]))]
    return writer.add("Slice", [writer.input(node), *limits], node.name)
