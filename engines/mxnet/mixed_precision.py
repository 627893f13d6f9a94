"""Fewer bits in training: bfloat16 where oneDNN has it, and what keeps a float16 gradient from vanishing.

Both change only the graph that is run. Parameters, their gradients and momentum stay float32 under bfloat16, whose
range is that of float32; float16 ends at 65,504 and at 6e-8, so there the gradient that enters the network from the
head is multiplied by a scale, which the optimizer divides out again.
"""
from pathlib import Path
from typing import Any, Dict, Sequence, Set, Tuple

from arcface_mxnet.engines.loss_scale import SCALE
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.nodes import Entry, Graph, Node
from arcface_mxnet.runtime.errors import InputError

_LOW = ("Convolution",)
_EITHER = {"BatchNorm": 1, "Activation": 1, "elemwise_add": 2}  # inputs that decide; BatchNorm's others stay float32
_FLAG = "avx512_bf16"


def bfloat16_form(symbol: sym.Symbol) -> sym.Symbol:
    """Convolutions, and what stands between them, in bfloat16; arguments and outputs stay float32.

    An operator that can do either (BatchNorm, activations, sums) computes in bfloat16 where all its data come in it;
    every other one gets float32.
    """
    graph = Graph.of(symbol)
    low: Set[Entry] = set()
    casts: Dict[Tuple[Entry, bool], Entry] = {}

    def cast(entry: Entry, wanted: bool) -> Entry:
        if (entry in low) == wanted:
            return entry
        if (entry, wanted) not in casts:
            kind = "bfloat16" if wanted else "float32"
            node = Node("amp_cast", f"{entry[0].name}_{entry[1]}_{kind}", {"dtype": kind}, [entry])
            casts[entry, wanted] = (node, 0)
        return casts[entry, wanted]

    for node in [node for node in graph.nodes() if not node.is_variable]:
        deciding = _EITHER.get(node.op, 0)
        lowered = node.op in _LOW or bool(deciding) and all(entry in low for entry in node.inputs[:deciding])
        count = deciding if lowered and deciding else len(node.inputs)
        node.inputs[:count] = [cast(entry, lowered) for entry in node.inputs[:count]]
        if lowered:
            low.add((node, 0))
    graph.heads = [cast(entry, False) for entry in graph.heads]
    return graph.symbol()


def require_bfloat16(contexts: Sequence[Any], said: Path = Path("/proc/cpuinfo")) -> None:
    """Raise InputError where there is no bfloat16: on GPUs MXNet has none, other processors only imitate it, slowly."""
    if any(context.device_type != "cpu" for context in contexts):
        raise InputError("--bf16: MXNet 1.9.1 has it on CPUs only; take --fp16, or --gpus cpu")
    if not said.exists() or _FLAG not in said.read_text(encoding="utf-8").split():
        raise InputError(f"--bf16: this processor has no {_FLAG}; leave it out")


def scaled_gradient(symbol: sym.Symbol) -> sym.Symbol:
    """The same values, to the bit; the gradient that flows back is multiplied by the variable `loss_scale`, (1, 1).

    x + (s x - s x) with the first x and the last s x blocked: the difference is 0 and its gradient s. symbol: (B, E).
    """
    scaled = sym.broadcast_mul(symbol, sym.Variable(SCALE, shape=(1, 1)))
    return sym.BlockGrad(symbol) + (scaled - sym.BlockGrad(scaled))
