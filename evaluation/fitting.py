"""Fitting the small networks of evaluation (linkage, quality): values from our own generator, one plain loop."""
from typing import Dict, Iterable, Tuple

from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.nodes import is_input
from arcface_mxnet.runtime.mx import mx

import numpy as np


def bind(symbol: "mx.sym.Symbol", shapes: Dict[str, Tuple[int, ...]], learn: bool) -> "mx.executor.Executor":
    """Bind a graph on the CPU; inputs (data*, *label) never get a gradient, parameters do where `learn`."""
    requests = {name: "write" if learn and not is_input(name) else "null" for name in symbol.list_arguments()}
    return symbol.simple_bind(mx.cpu(), grad_req=requests, **shapes)


def initialise(executor: "mx.executor.Executor", rng: np.random.Generator) -> None:
    """Glorot's uniform weights, zero biases, scales of 1, slopes (relu in the name) of 0.25, unit statistics."""
    for name, value in executor.arg_dict.items():
        if name.endswith("weight"):
            limit = np.sqrt(6.0 / sum(value.shape))
            value[:] = rng.uniform(-limit, limit, value.shape)
        elif name.endswith("gamma"):
            value[:] = 0.25 if "relu" in name else 1.0
        elif not is_input(name):
            value[:] = 0
    for name, value in executor.aux_dict.items():
        value[:] = 1 if name.endswith("var") else 0


def fit(executor: "mx.executor.Executor", optimizer: "mx.optimizer.Optimizer",
        batches: Iterable[Dict[str, np.ndarray]]) -> None:
    """One update per batch; a batch maps the names of inputs to arrays of the bound shapes."""
    update = mx.optimizer.get_updater(optimizer)
    names = [name for name in executor.arg_dict if not is_input(name)]
    for batch in batches:
        for name, value in batch.items():
            executor.arg_dict[name][:] = value
        executor.forward(is_train=True)
        executor.backward()
        for number, name in enumerate(names):
            update(number, executor.grad_dict[name], executor.arg_dict[name])
    mx.nd.waitall()  # moving statistics are written by the backward pass, and no reader of them waits for it


def checkpoint_of(executor: "mx.executor.Executor", symbol: "mx.sym.Symbol") -> Checkpoint:
    """What was learned, with `symbol` as its graph."""
    return Checkpoint(symbol, {name: value.copy() for name, value in executor.arg_dict.items() if not is_input(name)},
                      {name: value.copy() for name, value in executor.aux_dict.items()})
