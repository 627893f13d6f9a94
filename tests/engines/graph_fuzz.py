"""Damaged graphs that the reader takes, run by MXNet: `python tests/engines/graph_fuzz.py SEED COUNT`.

Each of COUNT graphs that the reader and shape inference accept after random changes is bound and run in a process of
its own, on values of which some are far outside what they stand for: indices without end, NaN. Prints how many ran, how
many were refused, and how many processes died; status 1 where one did.
"""
import collections
import json
import os
import random
import resource
import sys
from typing import Any, Dict, Iterator, Sequence, Tuple

from arcface_mxnet.engines.mxnet.convert import ndarrays, to_mxnet
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.operators import OPERATORS
from arcface_mxnet.graph.shape_inference import ShapeError
from arcface_mxnet.graph.symbol_json import read_json
from arcface_mxnet.runtime.errors import InputError

import numpy as np

TEXTS = ("0", "-1", "1", "2", "3", "7", "100", "1000000", "2147483647", "True", "False", "None", "(1, 1)", "(3, 3)",
         "(0, 0)", "(2,)", "()", "(-1, 2)", "(100, 100)", "(4000, 4000)", "(1, 1, 1)", "nan", "1e30", "max", "lp",
         "full", "channel", "spatial", "float16", "int8", "prelu", "elu", "NHWC", "both", "mask", "wrap", "(0, -1)")
NAMES = sorted(name for name in OPERATORS if not OPERATORS[name].subgraph)
DATA = (2, 3, 16, 16)
MOST_BYTES, MOST_SECONDS = 24 << 30, 20
HOSTILE = np.array([-1, -0.5, 7, 100, 1e5, -1e5, 1e9, -1e9, 3e38, np.inf, -np.inf, np.nan], np.float32)


def graph() -> Dict[str, Any]:
    """Operators of every kind on images of 16x16."""
    with sym.NameManager():
        body = sym.Convolution((sym.Variable("data") - 127.5) * 0.0078, num_filter=4, kernel=(3, 3), stride=(2, 2),
                               pad=(1, 1), name="c")
        body = sym.LeakyReLU(sym.BatchNorm(body, fix_gamma=False, name="bn"), act_type="prelu", name="r")
        grouped = sym.Convolution(body, num_filter=4, kernel=(1, 1), num_group=2, no_bias=True, name="g")
        pools = [sym.Pooling(one, kernel=(2, 2), stride=(2, 2), pool_type=kind)
                 for one, kind in ((body, "max"), (grouped, "avg"))]
        first, second = sym.split(sym.concat(*pools, dim=1), num_outputs=2, axis=1)
        weight = sym.Activation(sym.Pooling(second, global_pool=True, kernel=(7, 7), pool_type="avg"),
                                act_type="sigmoid")
        body = sym.Dropout(sym.Flatten(sym.broadcast_mul(first, weight)), p=0.4)
        rows = sym.L2Normalization(sym.BatchNorm(sym.FullyConnected(body, num_hidden=6, name="f"), name="fc1"))
        label = sym.Variable("label", shape=(2,))
        picked = sym.pick(rows, label, axis=1)
        places = sym.stack(sym.contrib.arange_like(label), sym.clip(label, 0, 5))
        return json.loads(sym.Group([
            rows, picked, sym.take(rows, label), sym.topk(rows, k=2, axis=1), sym.sort(rows),
            sym.one_hot(label, depth=6), sym.dot(rows, rows, transpose_b=True),
            sym.max(sym.reshape(sym.slice_axis(rows, axis=1, begin=0, end=4), shape=(0, 2, -1)), axis=2),
            sym.gather_nd(rows, places),
            sym.where(rows > 0, rows, sym.zeros_like(rows)), sym.argmax(rows, axis=1), sym.mean(rows),
            sym.broadcast_like(sym.expand_dims(picked, 1), rows), sym.SoftmaxOutput(rows, label)]).tojson())


def damaged(chance: random.Random) -> Dict[str, Any]:
    """The graph with one to three changes: an attribute, an input, an operator, a noted shape, an output."""
    made = graph()
    nodes = made["nodes"]
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        node = chance.choice([one for one in nodes if one["op"] != "null"])
        kind = chance.random()
        if kind < 0.5 and OPERATORS[node["op"]].attributes:
            node.setdefault("attrs", {})[chance.choice(list(OPERATORS[node["op"]].attributes))] = chance.choice(TEXTS)
        elif kind < 0.7:
            place = chance.randrange(len(node["inputs"]))
            node["inputs"][place] = [chance.randrange(nodes.index(node)), chance.choice((0, 0, 0, 1, 2)), 0]
        elif kind < 0.85:
            node["op"] = chance.choice(NAMES)
        elif kind < 0.93:
            variable = chance.choice([one for one in nodes if one["op"] == "null"])
            variable.setdefault("attrs", {})["__shape__"] = chance.choice(("(1,)", "(2,)", "(0,)", "(100, 100)", "()"))
        else:
            made["heads"].append([chance.randrange(len(nodes)), chance.choice((0, 0, 1)), 0])
    return made


def accepted(seed: int, count: int) -> Iterator[Tuple[sym.Symbol, Any]]:
    """`count` damaged graphs that the reader takes, with their shapes."""
    chance = random.Random(seed)
    while count:
        try:
            symbol = sym.Symbol(read_json(json.dumps(damaged(chance)), "the graph"))
            shapes = symbol.infer_shape(data=DATA)
        except (InputError, ShapeError):
            continue
        count -= 1
        yield symbol, shapes


def some(name: str, shape: Tuple[int, ...], chance: np.random.RandomState) -> np.ndarray:
    """Values for a variable: labels are hostile, of the others some."""
    if name == "label" or chance.random_sample() < 0.2:
        return chance.choice(HOSTILE, shape)
    return chance.standard_normal(shape).astype(np.float32)


def run(symbol: sym.Symbol, shapes: Any, seed: Sequence[int]) -> str:
    """What became of a graph in a process of its own: "ran", "refused", "another shape" or "died"."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
        chance = np.random.RandomState(seed)
        values = [{name: some(name, shape, chance) for name, shape in zip(names, group)} for names, group in (
            (symbol.list_arguments(), shapes[0]), (symbol.list_auxiliary_states(), shapes[2]))]
        try:
            bound = to_mxnet(symbol).bind(mx.cpu(), ndarrays(values[0]), aux_states=ndarrays(values[1]),
                                          grad_req="null")
            same = [output.asnumpy().shape for output in bound.forward(is_train=False)] == shapes[1]
            os.write(writer, b"ran" if same else b"another shape")
        except Exception:  # whatever Python can still say is no crash
            os.write(writer, b"refused")
        os._exit(0)
    os.close(writer)
    said = os.read(reader, 100).decode()
    os.close(reader)
    os.waitpid(child, 0)
    return said or "died"  # MXNet ends a process that it brought down with a status, not a signal


def main(seed: int, count: int) -> Dict[str, int]:
    """How often each thing happened."""
    return collections.Counter(run(*one, [seed, number]) for number, one in enumerate(accepted(seed, count)))


if __name__ == "__main__":
    found = main(int(sys.argv[1]), int(sys.argv[2]))
    sys.stdout.write(f"{dict(found)}\n")
    sys.exit(1 if found.get("died") else 0)
