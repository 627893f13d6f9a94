"""What a checkpoint takes and gives, in words and numbers: for file metadata and model cards."""
from typing import Dict, List, Optional, Tuple

from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.flops import count_flops
from arcface_mxnet.graph.nodes import Graph, Node
from arcface_mxnet.graph.shapes import Shape, fitting_image
from arcface_mxnet.runtime.errors import InputError

import numpy

_PASSED = ("_copy", "identity", "Cast")


def image_shape(checkpoint: Checkpoint) -> Shape:
    """(channels, height, width) of the images the parameters fit; raises InputError when no common size fits."""
    values = {**checkpoint.args, **checkpoint.aux}
    found = fitting_image(checkpoint.symbol, {name: value.shape for name, value in values.items()})
    if found is None:
        raise InputError("no image size fits this graph; it must have one input named data")
    return found


def parameter_count(checkpoint: Checkpoint) -> Tuple[int, int]:
    """(learnt values, values of statistics)."""
    return (sum(int(numpy.prod(value.shape)) for value in checkpoint.args.values()),
            sum(int(numpy.prod(value.shape)) for value in checkpoint.aux.values()))


def normalisation(checkpoint: Checkpoint) -> Optional[str]:
    """How the graph itself scales its input, as "(x - 127.5) * 0.0078125"; None when it takes it as it is."""
    users = Graph.of(checkpoint.symbol).consumers()
    node = next((source for takers in users.values() for taker in takers for source, _ in taker.inputs
                 if source.is_variable and source.name == "data"), None)
    text: Optional[str] = None
    while node is not None:
        takers: List[Node] = users.get(id(node), [])
        node = takers[0] if len(takers) == 1 else None
        if node is None or node.op in _PASSED:
            continue
        if node.op == "_minus_scalar":
            text = f"({text or 'x'} - {node.number('scalar', 0.0):g})"
        elif node.op == "_mul_scalar":
            text = f"{text or 'x'} * {node.number('scalar', 1.0):.10g}"
        elif node.op == "BatchNorm" and text is None:
            return "a BatchNorm on the image"
        else:
            break
    return text


def description(checkpoint: Checkpoint, outside: Optional[str] = None) -> Dict[str, str]:
    """Input and output of an embedding network, by name; every value is text.

    `outside` says what the user must do to raw pixels when the file at hand does not hold the graph's own scaling.
    """
    channels, height, width = image_shape(checkpoint)
    shape = (1, channels, height, width)
    sizes = checkpoint.symbol.infer_shape_partial(data=shape)[1]
    inside = normalisation(checkpoint)
    learnt, statistics = parameter_count(checkpoint)
    return {
        "input": f"float32 (n, {channels}, {height}, {width}), named data",
        "colour": "RGB" if channels == 3 else "grey",
        "range": "0 to 255" if outside is None else "-1 to 1",
        "normalisation": outside or (f"{inside}, inside the graph: feed raw pixels" if inside else "none in the graph"),
        "alignment": "five points to the 112x112 ArcFace template" if (height, width) == (112, 112) else "not known",
        "output": f"float32 (n, {sizes[0][-1]}), {checkpoint.symbol.list_outputs()[0]}, not normalised; "
                  "compare by cosine",
        "parameters": f"{learnt} learnt, {statistics} statistics",
        "operations": f"{count_flops(checkpoint.symbol, shape)} a face (2 for each multiply-add)",
    }
