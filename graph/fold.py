"""Passes that take out what inference does not need: training-only operators, normalisations a neighbour can do.

Each pass changes an `Editing` in place and returns how many operators it took out. All are exact up to the rounding of
the folded values, computed in float64; where they would not be (a shift before zero padding), they do nothing.
"""
from typing import Dict, List, Optional, Tuple

from arcface_mxnet.graph.editing import Editing
from arcface_mxnet.graph.nodes import Entry, Node, Shape
from arcface_mxnet.graph.training import is_prelu

import numpy

_IDENTITIES = ("Dropout", "_copy", "BlockGrad", "identity", "make_loss")
_WEIGHTED = ("Convolution", "FullyConnected")


def drop_training_only(editing: Editing) -> int:
    """Take out operators that do nothing at inference: Dropout, copies, gradient stops."""
    return editing.graph.replace(lambda node: node.inputs[0] if node.op in _IDENTITIES else None)


def fold_batch_norms(editing: Editing) -> int:
    """Fold each BatchNorm into the convolution or dense layer whose only user it is."""
    users = editing.graph.consumers()

    def fold(node: Node) -> Optional[Entry]:
        source = node.inputs[0][0] if node.inputs else node
        if not _plain_norm(node) or not _weighted(source) or editing.only_user(users, source) is None:
            return None
        if len(users[id(source.inputs[1][0])]) > 1:
            return None
        scale, shift = affine(editing, node)
        weight = source.inputs[1][0]
        value = editing.value(weight)
        editing.set_value(weight, value * scale.reshape((-1,) + (1,) * (value.ndim - 1)))
        _set_bias(editing, source, shift + scale * _bias(editing, source))
        if editing.graph.is_head(node):
            source.name = node.name  # an embedding stays fc1_output
        return (source, 0)

    return editing.graph.replace(fold)


def fold_norms_into_dense(editing: Editing, shapes: "dict[str, Shape]") -> int:
    """Fold each BatchNorm into the dense layer that alone follows it; `shapes` are the outputs of all nodes."""
    users = editing.graph.consumers()

    def fold(node: Node) -> Optional[Entry]:
        if not _plain_norm(node) or node.name not in shapes:
            return None
        dense = editing.only_user(users, node)
        if dense is None or dense.op != "FullyConnected" or dense.inputs[0][0] is not node or not _flattens(dense):
            return None
        if len(users[id(dense.inputs[1][0])]) > 1:
            return None
        scale, shift = affine(editing, node)
        weight = dense.inputs[1][0]
        value = editing.value(weight)
        each = int(numpy.prod(shapes[node.name][2:], dtype=int))  # positions of one channel lie side by side
        _set_bias(editing, dense, _bias(editing, dense) + value @ numpy.repeat(shift, each))
        editing.set_value(weight, value * numpy.repeat(scale, each))
        return node.inputs[0]

    return editing.graph.replace(fold)


def fold_input_scale(editing: Editing) -> int:
    """Fold the multiplication by a constant before a convolution into its weights (zero padding stays zero)."""
    users = editing.graph.consumers()

    def fold(node: Node) -> Optional[Entry]:
        if node.op != "_mul_scalar":
            return None
        taker = editing.only_user(users, node)
        if taker is None or not _weighted(taker) or taker.inputs[0][0] is not node:
            return None
        weight = taker.inputs[1][0]
        if len(users[id(weight)]) > 1:
            return None
        editing.set_value(weight, editing.value(weight) * node.number("scalar", 1.0))
        return node.inputs[0]

    return editing.graph.replace(fold)


def affine(editing: Editing, norm: Node) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """(scale, shift) by channel of a BatchNorm at inference: y = scale x + shift. Float64; fix_gamma means gamma 1."""
    gamma, beta, mean, variance = (editing.value(source) for source, _ in norm.inputs[1:5])
    if norm.flag("fix_gamma", True):
        gamma = numpy.ones_like(gamma)
    scale = gamma / numpy.sqrt(variance + norm.number("eps", 1e-3))
    return scale, beta - mean * scale


def scale_inputs(editing: Editing, taker: Node, factor: numpy.ndarray) -> None:
    """Multiply input channel c of a convolution's weights by `factor[c]`, groups included."""
    weight = taker.inputs[1][0]
    value = editing.value(weight)
    groups = int(taker.number("num_group", 1))
    by_group = numpy.repeat(factor.reshape(groups, 1, -1), value.shape[0] // groups, axis=1)
    editing.set_value(weight, value * by_group.reshape(value.shape[0], -1, *([1] * (value.ndim - 2))))


def _plain_norm(node: Node) -> bool:
    return node.op == "BatchNorm" and node.number("axis", 1) == 1 and not node.flag("output_mean_var")


def _weighted(node: Node) -> bool:
    if node.op == "Convolution":
        return node.attrs.get("layout", "None") in ("None", "NCHW")
    return node.op == "FullyConnected" and _flattens(node)


def _flattens(node: Node) -> bool:
    return node.flag("flatten", True)


def _bias(editing: Editing, node: Node) -> numpy.ndarray:
    if node.flag("no_bias"):
        return numpy.zeros(editing.value(node.inputs[1][0]).shape[0])
    return editing.value(node.inputs[2][0])


def _set_bias(editing: Editing, node: Node, value: numpy.ndarray) -> None:
    """Give a layer a bias, its own variable even where it had none."""
    bias = editing.variable(f"{node.name}_bias", value)
    node.inputs = node.inputs[:2] + [(bias, 0)]
    node.attrs["no_bias"] = "False"


# PReLU at inference, as operators that oneDNN accelerates and MXNet's subgraph backend fuses.
#
# prelu(z) = g z + (1 - g) relu(z) = (1 - g) (relu(z) + k z) with k = g / (1 - g). The factor 1 - g moves into the
# weights of the convolutions that follow; k z is a 1x1 depthwise convolution, which the backend fuses with the sum.
# Where the factor cannot move (g near 1 for any channel, or something other than convolutions follows) it is a
# depthwise convolution too. A slope above 1 makes 1 - g negative, which is as exact as any other factor. The same with
# BatchNorm in place of the depthwise convolution, as in training, was slower on every network measured.


_NEAREST_TO_ONE = 1e-4
"""How near to 1 a slope may come whose factor moves.

No digit depends on it: z (1 + k) for z > 0 is z / (1 - g), and the rounding of k z and of the sum is |g| times that of
the result at the most, just as that of g z + (1 - g) z is. It bounds the activations, which grow by 1 / |1 - g|.
"""


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
        takers = _movable(editing, users, node) if move and (numpy.abs(1.0 - slope) >= _NEAREST_TO_ONE).all() else None
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
