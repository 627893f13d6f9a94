"""PReLU at inference, as operators that oneDNN accelerates and MXNet's subgraph backend fuses.

prelu(z) = g z + (1 - g) relu(z) = (1 - g) (relu(z) + k z) with k = g / (1 - g). The factor 1 - g moves into the weights
of the convolutions that follow; k z is a 1x1 depthwise convolution, which the backend fuses with the sum. Where the
factor cannot move (g near or above 1, or something other than convolutions follows) it is a depthwise convolution too.
The same with BatchNorm in place of the depthwise convolution, as in training, was slower on every network measured.
"""
from typing import Dict, List, Optional

from arcface_mxnet.graph.editing import Editing
from arcface_mxnet.graph.fold import scale_inputs
from arcface_mxnet.graph.nodes import Entry, Node
from arcface_mxnet.graph.shapes import Shape
from arcface_mxnet.graph.training import is_prelu

import numpy

_HIGHEST_SLOPE = 0.9  # above it, g / (1 - g) would cost digits


def rewrite_prelus(editing: Editing, shapes: Dict[str, Shape], move: bool = True) -> int:
    """Replace every PReLU on a map (n, c, h, w); returns how many. Others stay as they are.

    `move` False moves no factor, so that activations keep their size: eight-bit ranges need that.
    """
    users = editing.graph.consumers()

    def rewritten(node: Node) -> Optional[Entry]:
        if not is_prelu(node) or len(shapes.get(node.name, ())) != 4:
            return None
        channels = shapes[node.name][1]
        slope = numpy.broadcast_to(editing.value(node.inputs[1][0]), (channels,))
        takers = _movable(editing, users, node) if move and slope.max() < _HIGHEST_SLOPE else None
        value = node.inputs[0]
        positive: Entry = (Node("Activation", f"{node.name}_positive", {"act_type": "relu"}, [value]), 0)
        if takers is None:
            factor = slope
            positive = _depthwise(editing, f"{node.name}_risen", positive, 1.0 - slope)
        else:
            factor = slope / (1.0 - slope)
            for taker in takers:
                scale_inputs(editing, taker, 1.0 - slope)
        sloped = _depthwise(editing, f"{node.name}_sloped", value, factor)
        return (Node("elemwise_add", node.name, {}, [sloped, positive]), 0)

    return editing.graph.replace(rewritten)


def _movable(editing: Editing, users: Dict[int, List[Node]], node: Node) -> Optional[List[Node]]:
    """The convolutions that alone take this node's output, each with weights of its own; None when it is otherwise."""
    takers = users.get(id(node), [])
    if not takers or editing.graph.is_head(node) or len({id(taker) for taker in takers}) != len(takers):
        return None
    for taker in takers:
        if taker.op != "Convolution" or taker.inputs[0][0] is not node or len(users[id(taker.inputs[1][0])]) > 1:
            return None
    return takers


def _depthwise(editing: Editing, name: str, value: Entry, factor: numpy.ndarray) -> Entry:
    """factor[c] * value[:, c] as a 1x1 convolution with one group a channel."""
    weight = editing.variable(f"{name}_weight", factor.reshape(-1, 1, 1, 1))
    attrs = {"kernel": "(1, 1)", "num_filter": str(factor.size), "num_group": str(factor.size), "no_bias": "True"}
    return (Node("Convolution", name, attrs, [value, (weight, 0)]), 0)
