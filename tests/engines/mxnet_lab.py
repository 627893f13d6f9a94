"""MXNet's step for the runs of step_lab."""
from arcface_mxnet.engines.base import FLOAT32
from arcface_mxnet.engines.mxnet import engine
from tests.engines import step_lab as lab


def mxnet_step(replicas, dropped=0.0, numerics=FLOAT32):
    """A step with first values and momentum; the stored graph as it is."""
    program = lab.program(lab.BATCH // replicas, dropped)
    step = engine.step(program, engine.devices(f"cpu:{replicas}"), lab.BATCH, (lab.SIDE, lab.SIDE, 3),
                       numerics)
    step.set_parameters(*lab.first())
    step.set_optimizer(0.9, 5e-4, "uniform")
    return step
