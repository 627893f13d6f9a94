"""The fast form of a checkpoint: the same embeddings from fewer operators."""
import warnings
from typing import Dict, List, Sequence

from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.editing import Editing
from arcface_mxnet.graph.fold import (
    drop_training_only,
    fold_batch_norms,
    fold_input_scale,
    fold_norms_into_dense,
    rewrite_prelus,
)
from arcface_mxnet.graph.nodes import Graph, Node, Shape, output_shapes
from arcface_mxnet.graph.symbol import Symbol
from arcface_mxnet.graph.training import IMAGE
from arcface_mxnet.runtime.errors import Notice

_KNOWN = frozenset((
    "Activation", "BatchNorm", "BlockGrad", "Concat", "Convolution", "Dropout", "Flatten", "FullyConnected",
    "L2Normalization", "LeakyReLU", "Pooling", "SoftmaxActivation", "SoftmaxOutput", "_copy", "_minus_scalar",
    "_mul_scalar", "amp_cast", "broadcast_div", "broadcast_mul", "elemwise_add", "elemwise_mul", "identity",
    "make_loss", "mean", "null", "sqrt", "square", "sum"))
_REDUCED = ("_contrib_quantize", "_contrib_dequantize", "_contrib_requantize", "_sg_mkldnn")


def left_alone(symbol: Symbol) -> List[str]:
    """Operators of a graph that no pass here was written for, by type; every pass leaves them as they are."""
    return sorted({node.op for node in Graph.of(symbol).nodes()
                   if node.op not in _KNOWN and not node.op.startswith(_REDUCED)})


def inference_form(checkpoint: Checkpoint, input_shape: Sequence[int] = IMAGE, move: bool = True) -> Checkpoint:
    """Rewrite a checkpoint for speed at inference; embeddings differ by rounding only (below 1e-5, relatively).

    Works on any symbol: what a pass does not know stays as it is, and a `Notice` names it. `input_shape` is
    (1, c, h, w). The given checkpoint is not changed. The result has other parameters than the published names and is
    meant to be run, not to be trained. `move` False keeps the activations at their own size (graph.fold), for
    eight-bit ranges.
    """
    shapes = output_shapes(checkpoint.symbol, input_shape)
    editing = _folded(checkpoint, shapes)
    rewrite_prelus(editing, shapes, move)
    _flatten_before_dense(editing.graph, output_shapes(editing.graph.symbol(), input_shape))
    return editing.finish()


def folded_form(checkpoint: Checkpoint, input_shape: Sequence[int] = IMAGE) -> Checkpoint:
    """The same with PReLUs left alone: for engines whose own PReLU is fast."""
    return _folded(checkpoint, output_shapes(checkpoint.symbol, input_shape)).finish()


def _folded(checkpoint: Checkpoint, shapes: Dict[str, Shape]) -> Editing:
    """A checkpoint without what only training needs, its normalisations folded into the layers beside them."""
    foreign = left_alone(checkpoint.symbol)
    if foreign:
        warnings.warn(f"{', '.join(foreign)}: operators the rewriting of graphs does not know; they are left as they "
                      "are (--exact leaves the whole graph so)", Notice, stacklevel=3)
    editing = Editing(checkpoint)
    drop_training_only(editing)
    fold_norms_into_dense(editing, shapes)
    fold_batch_norms(editing)
    fold_input_scale(editing)
    return editing


def exact_form(checkpoint: Checkpoint, input_shape: Sequence[int] = IMAGE) -> Checkpoint:
    """The stored graph, bit for bit, in a form that can be run more than once (see `_flatten_before_dense`)."""
    graph = Graph.of(checkpoint.symbol)
    _flatten_before_dense(graph, output_shapes(checkpoint.symbol, input_shape))
    return Checkpoint(graph.symbol(), checkpoint.args, checkpoint.aux)


def _flatten_before_dense(graph: Graph, shapes: Dict[str, Shape]) -> None:
    """Say outright that a dense layer flattens the map before it, which it does anyhow.

    Without this, MXNet's subgraph backend fails on the second forward pass of a depthwise network bound for inference
    ("We can't generate TBlob for MKLDNN data"): the dense layer would take oneDNN's layout from a grouped convolution.
    Turning the backend off is the other remedy, and costs other networks speed.
    """
    for node in list(graph.nodes()):
        if node.op == "FullyConnected" and node.flag("flatten", True):
            source = node.inputs[0]
            if source[0].op != "Flatten" and len(shapes.get(source[0].name, ())) == 4:
                node.inputs[0] = (Node("Flatten", f"{node.name}_flat", {}, [source]), 0)
