"""Channels of one map brought to one range, for eight-bit integers: the same function, with less lost to rounding.

A map has one range in int8, a convolution's weights one for each output channel. Where channels differ (folded
BatchNorms make some a hundred times wider than others, and depthwise networks live on it) the narrow ones are rounded
away. Dividing channel c by s_c where it is made and multiplying by s_c where it is used changes nothing else, as long
as everything between commutes with positive factors: relu, sums, scalings by channel, hence PReLU.

s_c = a_c where only depthwise convolutions follow (their weights have ranges of their own), sqrt(a_c / w_c) where the
channels meet in one sum (a_c, w_c: largest activation and weight of the channel), which gives both the same spread:
Nagel et al., Data-Free Quantization (2019), section 4.1, with measured activations as in Xiao et al., SmoothQuant
(2023).
"""
from typing import Callable, Dict, List, Set

from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.editing import Editing
from arcface_mxnet.graph.fold import scale_inputs
from arcface_mxnet.graph.nodes import Node, Shape, output_shapes
from arcface_mxnet.graph.training import is_prelu

import numpy

_WIDEST = 1e3  # of s_c over the median one: a channel that never lit up on the images gets no absurd factor

Widest = Callable[[Checkpoint, numpy.ndarray, List[str]], Dict[str, numpy.ndarray]]


def equalised(checkpoint: Checkpoint, images: numpy.ndarray, widest_of: Widest) -> Checkpoint:
    """The same network with its channels' ranges evened out; `images` (n, c, h, w) 0..255 show the ranges.

    `widest_of` runs the graph: from images and the names of maps to the largest magnitude of each channel, (c,) by
    name. Takes the output of `inference_form`; the embeddings differ by float32 rounding only. Maps that touch an
    operator this pass does not know keep their ranges.
    """
    editing = Editing(checkpoint)
    shapes = output_shapes(checkpoint.symbol, (1,) + images.shape[1:])
    users = editing.graph.consumers()
    groups = [group for group in _groups(editing, shapes) if _changeable(editing, group, users)]
    if not groups:
        return checkpoint
    widest = widest_of(checkpoint, images, [node.name for group in groups for node in group])
    for group in groups:
        _scale(editing, group, users, numpy.max([widest[node.name] for node in group], axis=0))
    return editing.finish()


def _groups(editing: Editing, shapes: Dict[str, Shape]) -> List[List[Node]]:
    """Maps whose channels must share their factors, since operators between them only scale or add."""
    owner: Dict[int, List[Node]] = {}
    for node in editing.graph.nodes():
        if node.is_variable or len(shapes.get(node.name, ())) != 4:
            continue
        group = owner[id(node)] = [node]
        if not _passes_factors(node):
            continue
        for source, _ in node.inputs:
            other = owner.get(id(source))
            if other is not None and other is not group:
                other.extend(group)
                for member in group:
                    owner[id(member)] = other
                group = other
    return list({id(group): group for group in owner.values()}.values())


def _passes_factors(node: Node) -> bool:
    if node.op == "Activation":
        return node.attrs.get("act_type") == "relu"
    if is_prelu(node):
        return True
    return node.op == "elemwise_add" or (_depthwise(node) and node.flag("no_bias")
                                         and node.numbers("kernel", ()) == (1, 1))


def _depthwise(node: Node) -> bool:
    return node.op == "Convolution" and node.number("num_group", 1) == node.number("num_filter", 0) > 1


def _takers(editing: Editing, group: List[Node], users: Dict[int, List[Node]]) -> List[Node]:
    """Who uses the group's maps: each operator once, a dense layer in the place of the Flatten before it."""
    inside = {id(node) for node in group}
    takers: Dict[int, Node] = {}
    for node in group:
        for user in users.get(id(node), []):
            if user.op == "Flatten":
                user = editing.only_user(users, user) or user
            if id(user) not in inside:
                takers[id(user)] = user
    return list(takers.values())


def _made_here(node: Node, inside: Set[int]) -> bool:
    """Whether a map of the group gets its factors from the values of its own operator, not from another map."""
    return not _passes_factors(node) or not any(id(source) in inside for source, _ in node.inputs)


def _changeable(editing: Editing, group: List[Node], users: Dict[int, List[Node]]) -> bool:
    """Whether all who make and all who use a group of maps can take the factors into values of their own."""
    inside = {id(node) for node in group}

    def own(node: Node) -> bool:
        return all(len(users[id(source)]) == 1 for source, _ in node.inputs if source.is_variable)

    for node in group:
        if editing.graph.is_head(node):
            return False
        made_here = _made_here(node, inside)
        if made_here and (node.op not in ("Convolution", "BatchNorm") or not own(node)):
            return False
        if not made_here and any(not source.is_variable and id(source) not in inside for source, _ in node.inputs):
            return False
    return all(taker.op in ("Convolution", "BatchNorm", "FullyConnected") and own(taker)
               for taker in _takers(editing, group, users))


def _scale(editing: Editing, group: List[Node], users: Dict[int, List[Node]], widest: numpy.ndarray) -> None:
    takers = _takers(editing, group, users)
    factor = _factors(editing, takers, widest)
    inside = {id(node) for node in group}
    for node in group:
        if _made_here(node, inside):
            for source, _ in node.inputs[1:3]:  # weight and bias, or gamma and beta
                value = editing.value(source)
                editing.set_value(source, value / factor.reshape((-1,) + (1,) * (value.ndim - 1)))
    for taker in takers:
        if taker.op == "Convolution":
            scale_inputs(editing, taker, factor)
        elif taker.op == "FullyConnected":
            weight = taker.inputs[1][0]
            value = editing.value(weight)
            editing.set_value(weight, value * numpy.repeat(factor, value.shape[1] // len(factor)))
        else:
            gamma, mean = taker.inputs[1][0], taker.inputs[3][0]
            editing.set_value(gamma, editing.value(gamma) * factor)
            editing.set_value(mean, editing.value(mean) / factor)


def _factors(editing: Editing, takers: List[Node], widest: numpy.ndarray) -> numpy.ndarray:
    """What each channel is divided by, given its largest activation."""
    mixing = [taker for taker in takers if taker.op != "BatchNorm" and not _depthwise(taker)]
    factor = widest
    if mixing:
        weights = [numpy.abs(editing.value(taker.inputs[1][0])) for taker in mixing]
        by_channel = [value.reshape(len(value), len(widest), -1).max(axis=(0, 2)) for value in weights]
        factor = numpy.sqrt(widest / numpy.maximum(numpy.max(by_channel, axis=0), numpy.finfo("float32").tiny))
    if not (factor > 0).any():
        return numpy.ones_like(factor)
    middle = numpy.median(factor[factor > 0])
    return numpy.clip(factor / middle, 1 / _WIDEST, _WIDEST)
