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
from typing import Dict, List, Sequence, Set

from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.editing import Editing
from arcface_mxnet.graph.fold import scale_inputs
from arcface_mxnet.graph.inference import inference_form
from arcface_mxnet.graph.nodes import Graph, Node, Shape, output_shapes
from arcface_mxnet.graph.training import IMAGE
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.mx import mx, subgraphs_off

import numpy

_WIDEST = 1e3  # of s_c over the median one: a channel that never lit up on the images gets no absurd factor
_BATCH = 8


def equalised(checkpoint: Checkpoint, images: numpy.ndarray) -> Checkpoint:
    """The same network with its channels' ranges evened out; `images` (n, c, h, w) 0..255 show the ranges.

    Takes the output of `inference_form`; the embeddings differ by float32 rounding only. Maps that touch an operator
    this pass does not know keep their ranges.
    """
    editing = Editing(checkpoint)
    shapes = output_shapes(checkpoint.symbol, (1,) + images.shape[1:])
    users = editing.graph.consumers()
    groups = [group for group in _groups(editing, shapes) if _changeable(editing, group, users)]
    if not groups:
        return checkpoint
    widest = _activations(checkpoint, images, [node.name for group in groups for node in group])
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


def _activations(checkpoint: Checkpoint, images: numpy.ndarray, names: List[str]) -> Dict[str, numpy.ndarray]:
    """Largest magnitude of each channel of the named maps over the images."""
    internals = checkpoint.symbol.get_internals()
    symbol = mx.sym.Group([internals[f"{name}_output"] for name in names])
    widest: Dict[str, numpy.ndarray] = {}
    for start in range(0, len(images), _BATCH):
        batch = mx.nd.array(images[start:start + _BATCH].astype("float32"))
        wanted = set(symbol.list_arguments())
        arguments = {name: value for name, value in checkpoint.args.items() if name in wanted}
        states = {name: checkpoint.aux[name] for name in symbol.list_auxiliary_states()}
        with subgraphs_off():
            executor = symbol.bind(mx.cpu(), {**arguments, "data": batch}, aux_states=states, grad_req="null")
        for name, output in zip(names, executor.forward(is_train=False)):
            seen = mx.nd.max(mx.nd.abs(output), axis=(0, 2, 3)).asnumpy().astype("float64")
            widest[name] = numpy.maximum(widest.get(name, 0), seen)
    return widest


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


# Reduced precision for the CPU, by MXNet's own quantization and AMP on the fast form of a checkpoint.
#
# Both results are ordinary checkpoints: they save, load with `mx.model.load_checkpoint`, and run wherever MXNet's
# oneDNN build does. int8 wants a processor with VNNI, bfloat16 one with AVX-512 BF16, to be faster; elsewhere they
# are slower.


_CALIBRATION_BATCH = 32


def int8_form(checkpoint: Checkpoint, images: numpy.ndarray) -> Checkpoint:
    """Eight-bit integers, ranges taken from `images` (n, c, h, w) 0..255; float32 in and out.

    Weights have a range for each output channel, activations one for each map: the extremes seen on the images, after
    the channels of a map were brought to like ranges (graph.quantise; without it the published y1 keeps a mean cosine
    of 0.77 to its float32 embeddings, with it 0.99). Raises InputError when fewer than one image is given.
    """
    from mxnet.contrib import quantization  # noqa: TID251  (a part of MXNet that `import mxnet` leaves out)

    if not len(images):
        raise InputError("int8 needs images to calibrate on")
    fast = equalised(inference_form(checkpoint, (1,) + images.shape[1:], move=False), images)
    batch = min(_CALIBRATION_BATCH, len(images))
    batches = mx.io.NDArrayIter(data=images.astype("float32"), batch_size=batch, last_batch_handle="discard")
    symbol, args, aux = quantization.quantize_model_mkldnn(
        fast.symbol, dict(fast.args), dict(fast.aux), label_names=None, calib_mode="naive", calib_data=batches,
        num_calib_examples=len(images) // batch * batch, quantized_dtype="auto",
        quantize_granularity="channel-wise")
    return Checkpoint(_named_as(fast, symbol), args, aux)


def bf16_form(checkpoint: Checkpoint, input_shape: Sequence[int] = IMAGE) -> Checkpoint:
    """bfloat16 in the convolutions and dense layers, float32 in and out."""
    from mxnet.contrib import amp  # noqa: TID251  (a part of MXNet that `import mxnet` leaves out)

    fast = inference_form(checkpoint, input_shape)
    symbol, args, aux = amp.convert_model(fast.symbol, dict(fast.args), dict(fast.aux), target_dtype="bfloat16")
    return Checkpoint(_named_as(fast, symbol), args, aux)


def _named_as(fast: Checkpoint, reduced: "mx.sym.Symbol") -> "mx.sym.Symbol":
    """Give the outputs the names they had, so that whoever asks for fc1_output gets the last operator, in float32."""
    graph = Graph.of(reduced)
    for (last, _), (wanted, _) in zip(graph.heads, Graph.of(fast.symbol).heads):
        for node in graph.nodes():
            if node.name == wanted.name:
                node.name = f"{wanted.name}_reduced"
        last.name = wanted.name
    return graph.symbol()
