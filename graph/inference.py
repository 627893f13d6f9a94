"""The fast form of a checkpoint: the same embeddings from fewer operators."""
from typing import Dict, Sequence

from graph.checkpoint import Checkpoint
from graph.editing import Editing
from graph.fold import drop_training_only, fold_batch_norms, fold_input_scale, fold_norms_into_dense
from graph.nodes import Graph, Node, output_shapes
from graph.prelu import rewrite_prelus
from graph.shapes import Shape
from graph.training import IMAGE


def inference_form(checkpoint: Checkpoint, input_shape: Sequence[int] = IMAGE, move: bool = True) -> Checkpoint:
    """Rewrite a checkpoint for speed at inference; embeddings differ by rounding only (below 1e-5, relatively).

    Works on any symbol: what a pass does not know stays as it is. `input_shape` is (1, c, h, w). The given checkpoint
    is not changed. The result has other parameters than the published names and is meant to be run, not to be trained.
    `move` False keeps the activations at their own size (graph.prelu), for eight-bit ranges.
    """
    shapes = output_shapes(checkpoint.symbol, input_shape)
    editing = Editing(checkpoint)
    drop_training_only(editing)
    fold_norms_into_dense(editing, shapes)
    fold_batch_norms(editing)
    fold_input_scale(editing)
    rewrite_prelus(editing, shapes, move)
    _flatten_before_dense(editing.graph, output_shapes(editing.graph.symbol(), input_shape))
    return editing.finish()


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
