"""The graph training runs: PReLU rewritten into operators with the same values and the right gradients, on any device.

MXNet's own PReLU cannot be trained: since version 1.3 the gradient with respect to its input may be written over the
gradient of its output, and the slope's gradient, computed afterwards from what stands there, comes out multiplied by
the slope wherever the memory planner shares the two (docs/original.md, section 2.12). It also costs MobileFaceNet four
fifths of its training time on a CPU, where oneDNN does not accelerate it. With n = relu(-z),

    prelu(z) = relu(z) - g n,    d prelu / d z = [z > 0] + g [z < 0],    d prelu / d g = - sum of n over the batch,

and relu, sums and scalings by a channel are all accelerated. A scaling by a channel is a BatchNorm with mean 0,
variance 1 and -1 or -g as its gamma, so the slope g stays one trainable parameter under its published name. One of the
two terms is always 0: value and gradient carry no rounding of g z + (1 - g) relu(z), whose slope gradient is the small
difference of two large sums (wrong in the third digit for y1). z itself must not enter a sum: bound for inference,
MXNet's subgraph backend would fuse that sum into the convolution before z although z has another user.

The stored graph and its names are untouched: this one is only run.
"""
from typing import Dict, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.graph.nodes import Entry, Graph, Node, Shape, output_shapes
from arcface_mxnet.graph.params_file import Arrays
from arcface_mxnet.graph.symbol import Symbol

import numpy

IMAGE = (1, 3, 112, 112)
# var + eps is 1 exactly in float32, and eps is above the 1e-5 that cuDNN demands.
UNIT_EPS = 2.0 ** -16
UNIT_VARIANCE = 1.0 - 2.0 ** -16


class TrainingForm(NamedTuple):
    """The graph to run, and the values of its states that are no parameters (never updated, never stored)."""

    symbol: Symbol
    constants: Arrays


def training_form(symbol: Symbol, input_shape: Sequence[int] = IMAGE) -> TrainingForm:
    """Rewrite every PReLU of `symbol`; arguments keep their names, shapes and order.

    `symbol` may be an embedding graph or a whole training graph. `input_shape` (1, c, h, w) is needed to know the
    channels; a PReLU whose channels cannot be inferred stays as it is. The result's further auxiliary states are in
    `constants` (and their variables carry the same initial values): bind with them, leave them out of checkpoints.
    """
    shapes = output_shapes(symbol, input_shape)
    graph = Graph.of(symbol)
    sizes: Dict[str, int] = {}
    graph.replace(lambda node: _accelerated(node, shapes, sizes))
    constants = {}
    for name, channels in sizes.items():
        constants[f"{name}_moving_mean"] = numpy.zeros(channels, "float32")
        constants[f"{name}_moving_var"] = numpy.full(channels, UNIT_VARIANCE, "float32")
    return TrainingForm(graph.symbol(), constants)


def is_prelu(node: Node) -> bool:
    """Whether a node is a PReLU with a learnt slope."""
    return node.op == "LeakyReLU" and node.attrs.get("act_type") == "prelu"


def has_prelu(symbol: Symbol) -> bool:
    """Whether a graph has a PReLU with a learnt slope."""
    return any(is_prelu(node) for node in Graph.of(symbol).nodes())


def _accelerated(node: Node, shapes: Dict[str, Shape], sizes: Dict[str, int]) -> Optional[Entry]:
    if not is_prelu(node) or node.name not in shapes or len(shapes[node.name]) != 4:
        return None
    channels = shapes[node.name][1]
    value, stored = node.inputs
    slope = _per_channel(node.name, stored, shapes.get(stored[0].name, (channels,)), channels)
    zero = (Node("zeros_like", f"{node.name}_zero", {}, [slope]), 0)
    minus = (Node("negative", f"{node.name}_minus_one", {}, [
        (Node("ones_like", f"{node.name}_one", {}, [slope]), 0)]), 0)
    mirrored = _scaled(f"{node.name}_mirrored", value, minus, zero, sizes, channels)
    negative = (Node("Activation", f"{node.name}_negative", {"act_type": "relu"}, [mirrored]), 0)
    falling = (Node("negative", f"{node.name}_falling", {}, [slope]), 0)
    sloped = _scaled(f"{node.name}_sloped", negative, falling, zero, sizes, channels)
    positive = (Node("Activation", f"{node.name}_positive", {"act_type": "relu"}, [value]), 0)
    return (Node("elemwise_add", node.name, {}, [sloped, positive]), 0)


def _per_channel(name: str, slope: Entry, shape: Shape, channels: int) -> Entry:
    """The slope as one value a channel: as it is, or one shared value broadcast (its gradient is then the sum)."""
    slope[0].attrs.setdefault("__shape__", str(shape))
    if shape == (channels,):
        return slope
    return (Node("broadcast_to", f"{name}_slope", {"shape": str((channels,))}, [slope]), 0)


def _scaled(name: str, value: Entry, gamma: Entry, beta: Entry, sizes: Dict[str, int], channels: int) -> Entry:
    """gamma * value, channel by channel, as a BatchNorm whose statistics are constants."""
    sizes[name] = channels
    mean = Node("null", f"{name}_moving_mean", {"__init__": '["zero", {}]'})
    variance = Node("null", f"{name}_moving_var", {"__init__": f'["constant", {{"value": {UNIT_VARIANCE!r}}}]'})
    attrs = {"eps": repr(UNIT_EPS), "fix_gamma": "False", "use_global_stats": "True"}
    inputs: Tuple[Entry, ...] = (value, gamma, beta, (mean, 0), (variance, 0))
    return (Node("BatchNorm", name, attrs, inputs), 0)
