"""Fitting the small networks of evaluation (linkage, quality): values from our own generator, one plain loop."""
from typing import Any, Dict, Iterable, Mapping, Tuple

from arcface_mxnet.engines.mxnet.convert import to_mxnet, to_numpy
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.nodes import is_input
from arcface_mxnet.graph.symbol import Symbol

import numpy as np

Batches = Iterable[Tuple[float, Dict[str, np.ndarray]]]


def fit(symbol: Symbol, shapes: Mapping[str, Tuple[int, ...]], rng: np.random.Generator,
        optimizer: Tuple[str, Mapping[str, Any]], batches: Batches) -> Checkpoint:
    """One update per batch on the CPU; `symbol` with what was learned.

    `shapes` are those of the inputs (data*, *label); `optimizer` is one of MXNet's, by name and settings. A batch is
    the learning rate and the arrays of the inputs by name. Values start as `initialise` sets them.
    """
    requests = {name: "null" if is_input(name) else "write" for name in symbol.list_arguments()}
    executor = to_mxnet(symbol).simple_bind(mx.cpu(), grad_req=requests, **shapes)
    initialise(executor, rng)
    rule = mx.optimizer.create(optimizer[0], **optimizer[1])
    update = mx.optimizer.get_updater(rule)
    names = [name for name in executor.arg_dict if not is_input(name)]
    for rate, batch in batches:
        rule.lr = rate
        for name, value in batch.items():
            executor.arg_dict[name][:] = value
        executor.forward(is_train=True)
        executor.backward()
        for number, name in enumerate(names):
            update(number, executor.grad_dict[name], executor.arg_dict[name])
    mx.nd.waitall()  # a read of statistics alone does not wait for the backward pass that writes them
    learnt = {name: value for name, value in executor.arg_dict.items() if not is_input(name)}
    return Checkpoint(symbol, to_numpy(learnt), to_numpy(executor.aux_dict))


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
