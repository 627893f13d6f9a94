"""Passes that take out what inference does not need: training-only operators, normalisations a neighbour can do.

Each pass changes an `Editing` in place and returns how many operators it took out. All are exact up to the rounding of
the folded values, computed in float64; where they would not be (a shift before zero padding), they do nothing.
"""
from typing import Optional, Tuple

from arcface_mxnet.graph.editing import Editing
from arcface_mxnet.graph.nodes import Entry, Node
from arcface_mxnet.graph.shapes import Shape

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
