"""MXNet's step behind the interface of engines.base.Step, for comparison."""
from arcface_mxnet.recognition.engine import data_parallel
from arcface_mxnet.runtime.mx import mx
from tests.engines import step_lab as lab


class MXNetStep:
    """DataParallel on CPU contexts, NumPy in and out."""

    def __init__(self, program, replicas):
        given = data_parallel.Program(mx.sym.load_json(program.graph), program.roles, {}, program.states,
                                      program.attributes)
        self._step = data_parallel.DataParallel(given, [mx.cpu(index) for index in range(replicas)], lab.BATCH,
                                                (lab.SIDE, lab.SIDE, 3))
        arguments, auxiliary = ({name: mx.nd.array(value) for name, value in part.items()} for part in lab.first())
        self._step.set_parameters(arguments, auxiliary)
        self._step.set_optimizer(0.9, 5e-4, "uniform")

    def seed(self, number):
        mx.random.seed(number)

    def forward_backward(self, data, label):
        found = self._step.forward_backward(mx.nd.array(data), mx.nd.array(label))
        return found._replace(losses=[value.asscalar() for value in found.losses])

    def update(self, rate):
        return self._step.update(rate)

    def restart_arrays(self):
        return {name: value.asnumpy() for name, value in self._step.restart_arrays().items()}

    def restart(self, saved):
        self._step.restart({name: mx.nd.array(value) for name, value in saved.items()})
