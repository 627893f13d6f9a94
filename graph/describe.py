"""What a checkpoint takes and gives, in words and numbers: for file metadata and model cards."""
import ast
import json
from typing import Any, Dict, List, Optional, Sequence, Tuple

from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.nodes import Graph, Node, Shape, fitting_image
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.mx import mx

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


# Operations of a graph by the original's counter (docs/original.md, section 2.10), comparable with its figures.


_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K"))


def count_flops(symbol: "mx.sym.Symbol", input_shape: Sequence[int]) -> int:
    """Floating-point operations of one forward pass; `input_shape` is that of `data`, (1, c, h, w).

    Two for each multiply-add of a convolution, less one an output where there is no bias, divided by the groups and cut
    to a whole number; two for each weight of a dense layer, less the outputs where there is no bias. All other
    operators count nothing. Raises InputError when the graph cannot take that shape.
    """
    internals = symbol.get_internals()
    try:
        _, shapes, _ = internals.infer_shape(data=tuple(input_shape))
    except mx.base.MXNetError:
        raise InputError(f"the graph cannot take images of shape {tuple(input_shape)}") from None
    known: Dict[str, Tuple[int, ...]] = dict(zip(internals.list_outputs(), shapes))
    nodes: List[Dict[str, Any]] = json.loads(symbol.tojson())["nodes"]
    total = 0
    for node in nodes:
        if node["op"] in ("Convolution", "FullyConnected"):
            total += _node_flops(node, nodes, known)
    return total


def _node_flops(node: Dict[str, Any], nodes: List[Dict[str, Any]], known: Dict[str, Tuple[int, ...]]) -> int:
    attributes = node.get("attrs", {})
    no_bias = attributes.get("no_bias", "False") in ("True", "1")
    source = nodes[node["inputs"][0][0]]
    inner = known[source["name"] if source["op"] == "null" else f"{source['name']}_output"]
    if node["op"] == "FullyConnected":
        outputs = int(attributes["num_hidden"])
        width = 1
        for side in inner[1:]:
            width *= side
        return 2 * width * outputs - (outputs if no_bias else 0)
    kernel = ast.literal_eval(attributes["kernel"])
    _, outputs, height, width = known[f"{node['name']}_output"]
    each = 2 * inner[1] * kernel[0] * kernel[1] - (1 if no_bias else 0)
    return int(each * height * width * outputs / int(attributes.get("num_group", 1)))


def format_flops(flops: int) -> str:
    """As the original prints it: 439821056 gives "439.8M"."""
    for size, unit in _UNITS:
        if flops >= size:
            return f"{flops / size:.1f}{unit}"
    return f"{flops:.1f}"
