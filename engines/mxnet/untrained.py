"""An untrained checkpoint of any graph with plausible values: to measure speed, and to compare rewritten graphs."""
from typing import Sequence

from arcface_mxnet.engines.mxnet.convert import to_mxnet, to_numpy
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.nodes import Graph, is_input
from arcface_mxnet.graph.symbol import Symbol
from arcface_mxnet.graph.training import training_form

import numpy


def untrained(symbol: Symbol, input_shape: Sequence[int], seed: int = 0, images: int = 4) -> Checkpoint:
    """Random parameters, and statistics that fit them, so that every activation has the size of a trained network's.

    Weights are normal with variance 2 / fan-in, scales lie in 0.8 to 1.2, slopes in 0.1 to 0.4. The moving statistics
    are those of one batch of `images` noise images; `input_shape` is (1, c, h, w). Same seed, same values.
    """
    random = numpy.random.RandomState(seed)
    form = training_form(symbol, input_shape)  # several times faster than the stored graph
    requests = {name: "write" if name == "data" else "null" for name in symbol.list_arguments()}
    executor = to_mxnet(_forgetful(form.symbol)).simple_bind(mx.cpu(), data=(images, *input_shape[1:]),
                                                             grad_req=requests)
    for name, constant in form.constants.items():
        executor.aux_dict[name][:] = constant
    args = {}
    for name, value in executor.arg_dict.items():
        value[:] = _draw(name, value.shape, random)
        if not is_input(name):
            args[name] = value
    outputs = executor.forward(is_train=True)
    executor.backward([mx.nd.ones(output.shape) for output in outputs])  # MXNet moves the statistics in backward
    mx.nd.waitall()  # a read of statistics alone does not wait for the backward pass that writes them
    states = {name: executor.aux_dict[name] for name in symbol.list_auxiliary_states()}
    return Checkpoint(symbol, to_numpy(args), to_numpy(states))


def _forgetful(symbol: Symbol) -> Symbol:
    """The same graph whose statistics are those of the last batch alone, nothing of it dropped by MXNet's own draws."""
    graph = Graph.of(symbol)
    for node in graph.nodes():
        if node.op == "BatchNorm":
            node.attrs["momentum"] = "0"
        if node.op == "Dropout":
            node.attrs["p"] = "0"
    return graph.symbol()


def _draw(name: str, shape: Sequence[int], random: numpy.random.RandomState) -> numpy.ndarray:
    if is_input(name):
        return random.randint(0, 256, shape).astype("float32")
    if len(shape) > 1:
        fan_in = int(numpy.prod(shape[1:]))
        return random.normal(0.0, numpy.sqrt(2.0 / fan_in), shape).astype("float32")
    if "relu" in name or "act" in name or name.endswith("alpha"):
        return random.uniform(0.1, 0.4, shape).astype("float32")
    if name.endswith("gamma"):
        return random.uniform(0.8, 1.2, shape).astype("float32")
    return random.normal(0.0, 0.1, shape).astype("float32")
