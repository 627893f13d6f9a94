"""MXNet's step behind the interface of engines.base.Step, for comparison."""
from arcface_mxnet.engines.mxnet import data_parallel
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.graph.symbol import Symbol
from arcface_mxnet.graph.symbol_json import read_json
from tests.engines import step_lab as lab


class MXNetStep:
    """DataParallel on CPU contexts, NumPy in and out."""

    def __init__(self, program, replicas):
        symbol = Symbol(read_json(program.graph, "the program"))
        given = data_parallel.Program(symbol, program.roles, {}, program.states, program.attributes)
        self._step = data_parallel.DataParallel(given, [mx.cpu(index) for index in range(replicas)], lab.BATCH,
                                                (lab.SIDE, lab.SIDE, 3))
        self._step.set_parameters(*lab.first())
        self._step.set_optimizer(0.9, 5e-4, "uniform")

    def seed(self, number):
        self._step.seed(number)

    def forward_backward(self, data, label):
        return self._step.forward_backward(data, label)

    def update(self, rate):
        return self._step.update(rate)

    def restart_arrays(self):
        return self._step.restart_arrays()

    def restart(self, saved):
        self._step.restart(saved)
