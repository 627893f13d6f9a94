"""What a checkpoint takes and gives, in words and numbers: for file metadata and model cards."""
import math
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.nodes import Graph, Node, Shape, ShapeError, fitting_image
from arcface_mxnet.graph.shape_inference import ShapeInference
from arcface_mxnet.graph.symbol import Symbol
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


def require_image(checkpoint: Checkpoint, image: Sequence[int]) -> None:
    """Raise InputError where the network cannot take images of shape (c, h, w); --size only where that helps."""
    given = {name: value.shape for name, value in {**checkpoint.args, **checkpoint.aux}.items()}
    try:
        ShapeInference(checkpoint.symbol.heads).run({**given, "data": (1, *image)})
        return
    except ShapeError as error:
        why = error
    made_for = fitting_image(checkpoint.symbol, given)
    if made_for is None:
        raise InputError(f"the network does not take images of shape {tuple(image)}: {why}")
    hint = f"it takes {made_for[0]} channel(s)" if made_for[0] != image[0] else (
        f"give --size as it was trained: {made_for[1]},{made_for[2]} fits")
    raise InputError(f"the network does not take images of shape {tuple(image)}; {hint}")


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
    length, = {size[-1] for size in checkpoint.symbol.infer_shape_partial(data=shape)[1][:1] if size} or {0}
    inside = normalisation(checkpoint)
    learnt, statistics = parameter_count(checkpoint)
    return {
        "input": f"float32 (n, {channels}, {height}, {width}), named data",
        "colour": "RGB" if channels == 3 else "grey",
        "range": "0 to 255" if outside is None else "-1 to 1",
        "normalisation": outside or (f"{inside}, inside the graph: feed raw pixels" if inside else "none in the graph"),
        "alignment": "five points to the 112x112 ArcFace template" if (height, width) == (112, 112) else "not known",
        "output": f"float32 (n, {length or 'unknown'}), {checkpoint.symbol.list_outputs()[0]}, not normalised; "
                  "compare by cosine",
        "parameters": f"{learnt} learnt, {statistics} statistics",
        "operations": f"{count_flops(checkpoint.symbol, shape)} a face (2 for each multiply-add)",
    }


# Operations of a graph by the original's counter (docs/original.md, section 2.10), comparable with its figures.


_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K"))


def count_flops(symbol: Symbol, input_shape: Sequence[int]) -> int:
    """Floating-point operations of one forward pass; `input_shape` is that of `data`, (1, c, h, w).

    Two for each multiply-add of a convolution, less one an output where there is no bias, divided by the groups and cut
    to a whole number; two for each weight of a dense layer, less the outputs where there is no bias. All other
    operators count nothing. Raises InputError when the graph cannot take that shape.
    """
    inference = ShapeInference(symbol.heads)
    try:
        shapes = inference.run({"data": input_shape})
    except ShapeError:
        raise InputError(f"the graph cannot take images of shape {tuple(input_shape)}") from None
    counted = [node for node in inference.nodes if node.op in ("Convolution", "FullyConnected")]
    if any((id(node), 0) not in shapes for node in counted):
        raise InputError("the shapes of this graph cannot be told; it has operators this program does not know")
    return sum(_node_flops(node, shapes) for node in counted)


def _node_flops(node: Node, shapes: Mapping[Tuple[int, int], Shape]) -> int:
    source, which = node.inputs[0]
    inner, outer, values = shapes[id(source), which], shapes[id(node), 0], node.values()
    if node.op == "FullyConnected":
        outputs = values["num_hidden"]
        return 2 * math.prod(inner[1:]) * outputs - (outputs if values["no_bias"] else 0)
    kernel = values["kernel"]
    each = 2 * inner[1] * kernel[0] * kernel[1] - (1 if values["no_bias"] else 0)
    return int(each * outer[2] * outer[3] * outer[1] / values["num_group"])


def format_flops(flops: int) -> str:
    """As the original prints it: 439821056 gives "439.8M"."""
    for size, unit in _UNITS:
        if flops >= size:
            return f"{flops / size:.1f}{unit}"
    return f"{flops:.1f}"
