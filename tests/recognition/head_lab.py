"""A small network under any head, and the bookkeeping of runs that must end with the same parameters."""
from typing import Dict, List, Optional, Tuple

from arcface_mxnet.engines.mxnet.class_centres import HeadSizes, ShardedCentres
from arcface_mxnet.engines.mxnet.data_parallel import DataParallel
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.engines.mxnet.program import executed
from arcface_mxnet.engines.mxnet.sharded_softmax import ClassParallel
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.engine import setup
from arcface_mxnet.recognition.engine.model import Model, backbone_program, training_program
from arcface_mxnet.recognition.engine.setup import centres_per_class
from arcface_mxnet.recognition.losses import LossSettings, attach

import numpy as np

CLASSES, BATCH, SIZE = 37, 12, 16
SHAPE = (4, 4, 3)


def model(loss: LossSettings, images: int, classes: int = CLASSES) -> Model:
    """A convolution and a dense layer that give 16 numbers, under `loss`."""
    body = sym.Convolution(sym.Variable("data"), num_filter=8, kernel=(3, 3), name="conv")
    embedding = sym.FullyConnected(body, num_hidden=SIZE, name="fc1")
    head = attach(embedding, loss, classes, images, SIZE)
    return Model(embedding, head, original=True)  # the graph as it is: it has no PReLU to be rewritten


def contexts(count: int) -> List[mx.Context]:
    return [mx.cpu(index) for index in range(count)]


def plain(loss: LossSettings, count: int = 1, classes: int = CLASSES) -> DataParallel:
    program = training_program(model(loss, BATCH // count, classes))
    return DataParallel(executed(program, images(count)), contexts(count), BATCH, SHAPE)


def class_parallel(loss: LossSettings, count: int = 1, classes: int = CLASSES, kind=ShardedCentres,
                   **options) -> ClassParallel:
    program = backbone_program(model(loss, BATCH // count, classes))
    network = DataParallel(executed(program, images(count)), contexts(count), BATCH, SHAPE)
    sizes = HeadSizes(classes, centres_per_class(loss), BATCH, SIZE)
    return beside(network, kind(sizes, loss.loss_s, contexts(count), **options), loss)


def images(count: int) -> Tuple[int, ...]:
    """The shape of the share of one of `count` contexts."""
    return (BATCH // count, SHAPE[2], SHAPE[0], SHAPE[1])


def beside(network: DataParallel, centres: ShardedCentres, loss: LossSettings) -> ClassParallel:
    """A step whose classes are in `centres`, beside a network that gives unit embeddings."""
    given = setup.centres_of(loss, centres.sizes.classes, centres.sizes.embedding, network.batch_size)
    return ClassParallel(network, centres, given.margin, given.scale, given.smallest)


def parameters(loss: LossSettings, classes: int = CLASSES) -> Dict[str, np.ndarray]:
    rng = np.random.RandomState(0)
    shapes = {name: array.shape for name, array in plain(loss, 1, classes).executors[0].arg_dict.items()}
    return {name: np.asarray(rng.randn(*shape) * 0.2, np.float32) for name, shape in shapes.items()
            if name not in ("data", "softmax_label")}


def start(engine, loss: LossSettings, classes: int = CLASSES):
    engine.set_parameters(parameters(loss, classes), {})
    engine.set_optimizer(0.9, 5e-4, "uniform")
    return engine


def batch(step: int, classes: int = CLASSES):
    rng = np.random.RandomState(100 + step)
    return rng.rand(BATCH, 3, 4, 4).astype(np.float32), rng.randint(0, classes, BATCH).astype(np.float32)


def run(engine, steps: int, first: int = 0, classes: int = CLASSES):
    """(mean loss, number of correct images) of each step."""
    seen = []
    for step in range(first, first + steps):
        outcome = engine.forward_backward(*batch(step, classes))
        seen.append((np.mean([float(value) for value in outcome.losses]),
                     sum(float(value) for value in outcome.correct)))
        engine.update(0.02)
    return seen


def assert_same(left, right, tolerance: float = 1e-4, only: Optional[str] = None) -> None:
    """Restart arrays alike, entries compared to the largest of their array."""
    left, right = left.restart_arrays(), right.restart_arrays()
    assert {name for name in left if ":step" not in name} == {name for name in right if ":step" not in name}
    for name in left:
        if ":step" not in name and (only is None or only in name):
            first, second = left[name], right[name]
            assert np.abs(first - second).max() <= tolerance * np.abs(first).max(), name
