"""Operations of a graph by the original's counter (facts, section 2.8), so that figures compare with published ones."""
import ast
import json
from typing import Any, Dict, List, Sequence, Tuple

from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.mx import mx

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
