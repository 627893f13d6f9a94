"""Shapes of everything in a graph, forwards: from the images to the outputs, each parameter from the operator that
takes it. A shape is a tuple of lengths of at least 1; what cannot be told is left out.
"""
import math
import re
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.graph.operators import OPERATORS, output_counts
from arcface_mxnet.graph.symbol_json import Entry, Node, held_graph, ordered

Shape = Tuple[int, ...]
Known = Optional[Shape]

_LARGEST = 2 ** 40  # values of one array: more is no network but a claim
_MOST_PASSES = 8  # labels take their shape from an operator far behind their first use; each pass carries it on


class ShapeError(ValueError):
    """A graph that cannot take the shapes it was given; says at which node and why."""


class Result(NamedTuple):
    """Shapes of a node's outputs, and of its inputs as the node needs them; None where they cannot be told."""

    outputs: Sequence[Known]
    inputs: Sequence[Known] = ()


Rule = Callable[[Mapping[str, Any], List[Known], Node], Result]


class ShapeInference:
    """The shapes of one graph for any images; attributes are read once."""

    def __init__(self, heads: Sequence[Entry]) -> None:
        self.nodes = list(ordered(heads))
        self._steps: List[Tuple[Node, Mapping[str, Any], Optional[Rule]]] = [
            (node, node.values() if node.op in OPERATORS else {}, _RULES.get(node.op))
            for node in self.nodes if not node.is_variable]
        self._noted = {id(node): _noted(node) for node in self.nodes if node.is_variable}

    def run(self, given: Mapping[str, Sequence[int]]) -> Dict[Tuple[int, int], Shape]:
        """Shapes by (id of the node, which output), for variables of the `given` shapes by name.

        Raises ShapeError when the graph cannot take them.
        """
        found: Dict[Tuple[int, int], Shape] = {}
        for node in self.nodes:
            if node.is_variable:
                shape = given.get(node.name)
                noted = tuple(shape) if shape is not None else self._noted[id(node)]
                if noted is not None:
                    found[id(node), 0] = noted
        for _ in range(_MOST_PASSES):
            before = len(found)
            for node, values, rule in self._steps:
                if rule is not None:
                    self._step(node, values, rule, found)
            if len(found) == before:
                break
        return found

    @staticmethod
    def _step(node: Node, values: Mapping[str, Any], rule: Rule, found: Dict[Tuple[int, int], Shape]) -> None:
        inputs: List[Known] = [found.get((id(source), which)) for source, which in node.inputs]
        if rule is _same:
            inputs.append(found.get((id(node), 0)))  # a parameter behind a cast takes its shape from what follows
        try:
            result = rule(values, inputs, node)
        except ValueError as error:
            raise ShapeError(f"node {node.name} ({node.op}): {error}") from None
        outputs = [((id(node), which), shape) for which, shape in enumerate(result.outputs)]
        needed = [((id(source), which), shape) for (source, which), shape in zip(node.inputs, result.inputs)]
        for key, shape in outputs + needed:
            if shape is None:
                continue
            if min(shape, default=1) < 1 or math.prod(shape) > _LARGEST:
                raise ShapeError(f"node {node.name} ({node.op}): it would have shape {shape}")
            if found.setdefault(key, shape) != shape:
                raise ShapeError(f"node {node.name} ({node.op}): an input has shape {found[key]}, it needs {shape}")


def _noted(node: Node) -> Known:
    """The whole shape a variable carries as a note, if it does."""
    text = node.attrs.get("__shape__")
    if text is None:
        return None
    shape = tuple(int(side) for side in re.findall(r"-?\d+", text))
    return shape if shape and min(shape) > 0 else None


def _axis(axis: int, count: int) -> int:
    if not -count <= axis < count:
        raise ValueError(f"axis {axis} of an array of {count} dimensions")
    return axis % count


def _agreed(shapes: Sequence[Known]) -> Known:
    """The one shape that those known have in common."""
    known = {shape for shape in shapes if shape is not None}
    if len(known) > 1:
        raise ValueError(f"its inputs have shapes {' and '.join(str(shape) for shape in sorted(known))}")
    return known.pop() if known else None


def _same(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    """Inputs and output have one shape; the last of `inputs` is what is known of the output."""
    shape = _agreed(inputs)
    return Result([shape], [shape] * len(inputs))


def _dropped(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    data = inputs[0]
    if data is not None and any(axis >= len(data) for axis in values["axes"]):
        raise ValueError(f"axes {values['axes']} of an input of shape {data}")
    return Result([data, None])


def _sorted(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    data = inputs[0]
    if data is not None and values["axis"] is not None:
        _axis(values["axis"], len(data))
    return Result([data if values["axis"] is not None or data is None else (math.prod(data),), None])


def _ranged(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    """Eight-bit integers and their two limits."""
    return Result([inputs[0], (1,), (1,)])


def _convolution(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    data, kernel, groups = inputs[0], values["kernel"], values["num_group"]
    if data is None:
        return Result([None])
    if values["layout"] not in (None, "NCW", "NCHW", "NCDHW"):
        raise ValueError(f"layout {values['layout']} is not supported")
    if len(data) != len(kernel) + 2 or data[1] % groups:
        raise ValueError(f"kernel {kernel} and {groups} groups do not fit an input of shape {data}")
    ones = (1,) * len(kernel)
    sides = [(side + 2 * pad - dilate * (window - 1) - 1) // stride + 1 for side, window, stride, dilate, pad in zip(
        data[2:], kernel, values["stride"] or ones, values["dilate"] or ones, values["pad"] or (0,) * len(kernel))]
    width = values["num_filter"]
    return Result([(data[0], width, *sides)], [data, (width, data[1] // groups, *kernel), (width,)][:len(inputs)])


def _dense(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    data, width = inputs[0], values["num_hidden"]
    if data is None:
        return Result([None])
    depth = math.prod(data[1:]) if values["flatten"] else data[-1]
    output = (data[0], width) if values["flatten"] else (*data[:-1], width)
    return Result([output], [data, (width, depth), (width,)][:len(inputs)])


def _norm(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    data = inputs[0]
    if data is None:
        return Result([None])
    channels = (data[_axis(values["axis"], len(data))],)
    return Result([data, channels, channels], [data, *[channels] * 4])


def _quantized_norm(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    plain = _norm(values, inputs, node)
    return Result([plain.outputs[0], (1,), (1,)], plain.inputs)


def _leaky(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    data = inputs[0]
    if len(inputs) == 1 or data is None:
        return Result([data])
    slope = inputs[1] or (data[1 if len(data) > 1 else 0],)
    if slope not in ((1,), (data[1 if len(data) > 1 else 0],)):
        raise ValueError(f"slopes of shape {slope} do not fit an input of shape {data}")
    return Result([data], [data, slope])


def _flatten(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    data = inputs[0]
    return Result([data and (data[0], math.prod(data[1:]))])


def _lengths(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    data = inputs[0]
    return Result([data, data and (data[0],) if values["mode"] == "instance" else None])


def _pooling(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    data, kernel = inputs[0], values["kernel"]
    if data is None:
        return Result([None])
    if values["layout"] not in (None, "NCW", "NCHW", "NCDHW"):
        raise ValueError(f"layout {values['layout']} is not supported")
    if len(data) < 3:
        raise ValueError(f"an input of shape {data} has no sides to pool over")
    if values["global_pool"]:
        sides = [1] * (len(data) - 2)
    elif len(data) != len(kernel) + 2:
        raise ValueError(f"kernel {kernel} does not fit an input of shape {data}")
    else:
        sides = [_pooled(values["pooling_convention"], *sizes) for sizes in zip(
            data[2:], kernel, values["stride"] or (1,) * len(kernel), values["pad"] or (0,) * len(kernel))]
    output = (*data[:2], *sides)
    return Result([output] * output_counts(node.op, node.attrs)[0])


def _pooled(convention: str, side: int, window: int, stride: int, pad: int) -> int:
    left = side + 2 * pad - window
    if left < 0:
        raise ValueError(f"a window of {window} is larger than a side of {side} padded by {pad}")
    return 1 + (-(-left // stride) if convention == "full" else left // stride)


def _reshape(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    data, wanted = inputs[0], values["shape"]
    if data is None:
        return Result([None])
    if values["target_shape"] or not wanted:
        raise ValueError("a Reshape without shape is not supported")
    if values["reverse"]:
        return Result([_reshaped(data[::-1], wanted[::-1])[::-1]])
    return Result([_reshaped(data, wanted)])


def _reshaped(data: Shape, wanted: Shape) -> Shape:
    """0 copies a side, -1 takes what is left, -2 copies all further sides, -3 multiplies two."""
    made: List[int] = []
    position = 0
    for code in wanted:
        taken = {0: 1, -2: len(data) - position, -3: 2}.get(code, 1)
        sides = data[position:position + taken]
        if code in (0, -3) and len(sides) < taken:
            raise ValueError(f"shape {wanted} does not fit an input of shape {data}")
        made.extend([math.prod(sides)] if code == -3 else sides if code in (0, -2) else [code])
        position += taken
    if made.count(-1) == 1:
        others = math.prod(side for side in made if side != -1)
        made[made.index(-1)] = math.prod(data) // others if others else 0
    if math.prod(made) != math.prod(data):
        raise ValueError(f"shape {wanted} does not fit an input of shape {data}")
    return tuple(made)


def _split(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    data, count = inputs[0], values["num_outputs"]
    if data is None:
        return Result([None] * count)
    axis = _axis(values["axis"], len(data))
    if data[axis] % count:
        raise ValueError(f"axis {axis} of shape {data} cannot be split into {count}")
    size = data[axis] // count
    if values["squeeze_axis"] and size != 1:
        raise ValueError(f"parts of length {size} cannot be squeezed")
    return Result([(*data[:axis], *(() if values["squeeze_axis"] else (size,)), *data[axis + 1:])] * count)


def _softmax_output(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    data, label = inputs
    if data is None:
        return Result([None])
    wanted = (data[0], *data[2:]) if values["multi_output"] else data[:1]
    if values["preserve_shape"]:
        wanted = data[:-1]
    if label not in (None, wanted, data):
        raise ValueError(f"labels of shape {label} for logits of shape {data}")
    return Result([data], [data, label or wanted])


def _concat(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    known = [shape for shape in inputs if shape is not None]
    if len(known) < len(inputs):
        return Result([None])
    axis = _axis(values["dim"], len(known[0]))
    _agreed([(*shape[:axis], *shape[axis + 1:]) for shape in known])
    return Result([(*known[0][:axis], sum(shape[axis] for shape in known), *known[0][axis + 1:])])


def _stack(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    shape = _agreed(inputs)
    if shape is None:
        return Result([None])
    axis = _axis(values["axis"], len(shape) + 1)
    return Result([(*shape[:axis], len(inputs), *shape[axis:])], [shape] * len(inputs))


def _numbered(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    data, axis = inputs[0], values["axis"]
    return Result([data if data is None or axis is None else (data[_axis(axis, len(data))],)])


def _reduced(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    data, axes = inputs[0], values["axis"]
    if data is None:
        return Result([None])
    if isinstance(axes, int):
        axes = (axes,)
    gone = {_axis(axis, len(data)) for axis in axes} if axes else set(range(len(data)))
    if axes and len(gone) < len(axes):
        raise ValueError(f"axis {axes} names one twice")
    if values.get("exclude") and axes:
        gone = set(range(len(data))) - gone
    if values["keepdims"]:
        return Result([tuple(1 if axis in gone else side for axis, side in enumerate(data))])
    return Result([tuple(side for axis, side in enumerate(data) if axis not in gone) or (1,)])


def _product(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    left, right = inputs
    if left is None or right is None:
        return Result([None])
    batch = 1 if node.op == "batch_dot" else 0
    if len(left) != 2 + batch or len(right) != 2 + batch or left[:batch] != right[:batch]:
        raise ValueError(f"its inputs have shapes {left} and {right}")
    rows, inner = left[batch:][::-1] if values["transpose_a"] else left[batch:]
    depth, columns = right[batch:][::-1] if values["transpose_b"] else right[batch:]
    if inner != depth:
        raise ValueError(f"its inputs have shapes {left} and {right}")
    return Result([(*left[:batch], rows, columns)])


def _broadcast(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    left, right = inputs
    if left is None or right is None:
        return Result([None])
    count = max(len(left), len(right))
    pairs = list(zip((1,) * (count - len(left)) + left, (1,) * (count - len(right)) + right))
    if any(one != other and 1 not in (one, other) for one, other in pairs):
        raise ValueError(f"its inputs have shapes {left} and {right}")
    return Result([tuple(max(pair) for pair in pairs)])


def _broadcast_like(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    left, right = inputs
    if left is None or right is None:
        return Result([None])
    if values["lhs_axes"] is not None or values["rhs_axes"] is not None:
        raise ValueError("lhs_axes and rhs_axes are not supported")
    return Result([_spread(left, right)])


def _broadcast_to(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    data, wanted = inputs[0], values["shape"]
    if data is None or len(data) != len(wanted):
        return Result([None if data is None else _spread(data, wanted)])
    return Result([_spread(data, tuple(side or old for side, old in zip(wanted, data)))])


def _spread(data: Shape, wanted: Shape) -> Shape:
    if len(data) != len(wanted) or any(old not in (1, new) for old, new in zip(data, wanted)):
        raise ValueError(f"shape {data} cannot be broadcast to {wanted}")
    return wanted


def _expanded(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    data = inputs[0]
    if data is None:
        return Result([None])
    axis = _axis(values["axis"], len(data) + 1)
    return Result([(*data[:axis], 1, *data[axis:])])


def _gathered(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    data, indices = inputs
    if data is None or indices is None:
        return Result([None])
    if len(indices) < 2 or indices[0] > len(data):
        raise ValueError(f"indices of shape {indices} for an array of shape {data}")
    return Result([indices[1:] + data[indices[0]:]])


def _one_hot(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    return Result([inputs[0] and (*inputs[0], values["depth"])])


def _picked(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    output = _reduced({**values, "exclude": False}, inputs, node).outputs[0]
    if output is None:
        return Result([None])
    data, index = inputs
    if data is None or values["axis"] is None:
        return Result([output])
    axis = _axis(values["axis"], len(data))
    without, kept = (*data[:axis], *data[axis + 1:]) or (1,), (*data[:axis], 1, *data[axis + 1:])
    if index not in (None, without, kept):
        raise ValueError(f"indices of shape {index} for an array of shape {data}")
    return Result([output], [data, index or without])


def _scattered(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    shape, (data, indices) = values["shape"], inputs
    if indices is not None and (len(indices) < 2 or indices[0] > len(shape)):
        raise ValueError(f"indices of shape {indices} for a result of shape {shape}")
    needed = None if indices is None else (*indices[1:], *shape[indices[0]:])
    if data not in (None, needed) and needed is not None:
        raise ValueError(f"values of shape {data}, indices of shape {indices} and a result of shape {shape}")
    return Result([shape], [needed, indices])


def _sliced(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    data = inputs[0]
    if data is None:
        return Result([None])
    axis = _axis(values["axis"], len(data))
    begin, end, _ = slice(values["begin"], values["end"]).indices(data[axis])
    if values["end"] is not None and values["end"] > data[axis] or end <= begin:
        raise ValueError(f"the part from {values['begin']} to {values['end']} of axis {axis} of shape {data}")
    return Result([(*data[:axis], end - begin, *data[axis + 1:])])


def _taken(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    data, indices = inputs
    if data is None or indices is None:
        return Result([None])
    axis = _axis(values["axis"], len(data))
    return Result([data[:axis] + indices + data[axis + 1:]])


def _topk(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    data, axis = inputs[0], values["axis"]
    every = output_counts(node.op, node.attrs)[0]
    if data is None or values["ret_typ"] == "mask":
        return Result([data] * every)
    place = 0 if axis is None else _axis(axis, len(data))
    size = math.prod(data) if axis is None else data[place]
    if values["k"] > size:
        raise ValueError(f"the first {values['k']} of {size}")
    count = values["k"] or size
    return Result([(count,) if axis is None else (*data[:place], count, *data[place + 1:])] * every)


def _chosen(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    shape = _agreed(inputs[1:])
    condition = inputs[0] or shape
    if shape is not None and condition not in (shape, shape[:1]):
        raise ValueError(f"a condition of shape {condition} for arrays of shape {shape}")
    return Result([shape], [condition, shape, shape])


def _fused(values: Mapping[str, Any], inputs: List[Known], node: Node) -> Result:
    """A fused operator: what the graph it holds says of the first inputs; the others are limits."""
    inner = _held(node)
    variables = [part for part in inner.nodes if part.is_variable]
    shapes = inner.run({part.name: shape for part, shape in zip(variables, inputs) if shape is not None})
    every = output_counts(node.op, node.attrs)[0]
    last = inner.nodes[-1]
    return Result([shapes.get((id(last), 0)), *[(1,)] * (every - 1)],
                  [shapes.get((id(part), 0)) for part in variables])


def _held(node: Node) -> ShapeInference:
    """The inference of the graph a fused operator holds; checked when the graph around it was read."""
    if "inference" not in node.__dict__:
        node.__dict__["inference"] = ShapeInference(held_graph(node))
    return node.__dict__["inference"]


_RULES: Dict[str, Rule] = {
    "BatchNorm": _norm, "Concat": _concat, "Convolution": _convolution, "Dropout": _dropped, "Flatten": _flatten,
    "FullyConnected": _dense, "L2Normalization": _lengths, "LeakyReLU": _leaky, "Pooling": _pooling,
    "Reshape": _reshape, "SliceChannel": _split, "SoftmaxOutput": _softmax_output, "_contrib_arange_like": _numbered,
    "_contrib_quantize_v2": _ranged, "_contrib_quantized_act": _ranged,
    "_contrib_quantized_batch_norm": _quantized_norm,
    "_contrib_quantized_flatten": lambda values, inputs, node: Result(
        [*_flatten(values, inputs, node).outputs, (1,), (1,)]),
    "_sg_mkldnn_conv": _fused, "_sg_mkldnn_fully_connected": _fused, "argmax": _reduced, "argmin": _reduced,
    "batch_dot": _product, "broadcast_like": _broadcast_like, "broadcast_to": _broadcast_to, "dot": _product,
    "expand_dims": _expanded, "gather_nd": _gathered, "max": _reduced, "mean": _reduced, "one_hot": _one_hot,
    "pick": _picked, "scatter_nd": _scattered, "slice_axis": _sliced, "sort": _sorted, "stack": _stack,
    "sum": _reduced, "take": _taken, "topk": _topk, "where": _chosen,
}
_RULES.update({op: _broadcast for op in OPERATORS if op.startswith("broadcast_") and op not in _RULES})
_RULES.update({op: _same for op in OPERATORS if op not in _RULES})  # elementwise: one shape for all
