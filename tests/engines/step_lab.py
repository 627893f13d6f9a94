"""One training run on every engine: a small network with dropout off and BatchNorm, from a state that MXNet trained."""
from typing import Dict, NamedTuple, Tuple

from arcface_mxnet.engines.base import FLOAT32, Centres, Numerics, Program
from arcface_mxnet.graph import symbol as sym

import numpy as np

CLASSES, BATCH, SIZE, SIDE = 12, 12, 16, 12
Arrays = Dict[str, np.ndarray]


def embedding(dropped: float = 0.0) -> sym.Symbol:
    """Convolution, BatchNorm, PReLU, a residual unit, dropout, dense layer, BatchNorm with a fixed scale."""
    with sym.NameManager():
        data = (sym.Variable("data") - 127.5) * 0.0078125
        body = sym.Convolution(data, kernel=(3, 3), num_filter=8, no_bias=True, name="conv0")
        body = sym.BatchNorm(body, fix_gamma=False, eps=2e-5, momentum=0.9, name="bn0")
        body = sym.LeakyReLU(body, act_type="prelu", name="relu0")
        unit = sym.Convolution(body, kernel=(3, 3), pad=(1, 1), num_filter=8, num_group=8, no_bias=True, name="conv1")
        unit = sym.BatchNorm(unit, fix_gamma=False, eps=2e-5, momentum=0.9, name="bn1")
        body = sym.Dropout(body + unit, p=dropped)
        body = sym.FullyConnected(body, num_hidden=SIZE, name="pre_fc1")
        return sym.BatchNorm(body, fix_gamma=True, eps=2e-5, momentum=0.9, name="fc1")


class Task(NamedTuple):
    """A program, and the parameters MXNet had after some steps."""

    program: Program
    arguments: Arrays
    auxiliary: Arrays


def program(share: int, dropped: float = 0.0) -> Program:
    """Norm-softmax on the embedding, for shares of `share` images."""
    network = embedding(dropped)
    with sym.NameManager():
        weight = sym.L2Normalization(sym.Variable("fc7_weight", shape=(CLASSES, SIZE)), mode="instance")
        logits = sym.FullyConnected(sym.L2Normalization(network, mode="instance") * 8.0, weight, no_bias=True,
                                    num_hidden=CLASSES, name="fc7")
        label = sym.Variable("softmax_label", shape=(share,))
        softmax = sym.SoftmaxOutput(logits, label, normalization="valid", name="softmax")
        target = sym.pick(sym.BlockGrad(softmax), label, axis=1)
        loss = sym.BlockGrad(0.0 - sym.mean(sym.log(sym.maximum(target, 1e-37))))
        head = sym.Group([sym.BlockGrad(network), softmax, loss])
    return Program(head, ("embedding", "probability", "loss"), {}, head.attr_dict(), (), "fc1")


def backbone(dropped: float = 0.0) -> Program:
    """The same network with embeddings of length 1 as its output."""
    whole = sym.L2Normalization(embedding(dropped), mode="instance")
    return Program(whole, ("embedding",), {}, whole.attr_dict(), (), "fc1")


def first(seed: int = 0) -> Tuple[Arrays, Arrays]:
    """Parameters and statistics to start from."""
    chance = np.random.RandomState(seed)
    shapes = {"conv0_weight": (8, 3, 3, 3), "conv1_weight": (8, 1, 3, 3), "pre_fc1_weight": (SIZE, 800),
              "fc7_weight": (CLASSES, SIZE)}
    arguments = {name: (chance.randn(*shape) * 0.1).astype(np.float32) for name, shape in shapes.items()}
    arguments.update(relu0_gamma=np.full(8, 0.25, np.float32), pre_fc1_bias=np.zeros(SIZE, np.float32))
    auxiliary: Arrays = {}
    for name, size in (("bn0", 8), ("bn1", 8), ("fc1", SIZE)):
        arguments.update({f"{name}_gamma": np.ones(size, np.float32), f"{name}_beta": np.zeros(size, np.float32)})
        auxiliary.update({f"{name}_moving_mean": np.zeros(size, np.float32),
                          f"{name}_moving_var": np.ones(size, np.float32)})
    return arguments, auxiliary


def batch(number: int) -> Tuple[np.ndarray, np.ndarray]:
    """Images of blocks that tell their class, with noise; float32."""
    chance = np.random.RandomState(50 + number)
    label = chance.randint(0, CLASSES, BATCH)
    signs = np.random.RandomState(1).rand(CLASSES, 3, 3, 3)[label]
    images = np.kron(signs, np.ones((4, 4))) * 180 + chance.rand(BATCH, 3, SIDE, SIDE) * 60
    return images.astype(np.float32), label.astype(np.float32)


def torch_step(replicas: int = 1, numerics: Numerics = FLOAT32, centres: bool = False, sample=None, group=None,
               dropped: float = 0.0, images: int = BATCH, fresh: bool = True):
    """A step of the PyTorch engine with first values (if `fresh`) and momentum."""
    from arcface_mxnet.engines.torch.class_parallel import ClassParallel
    from arcface_mxnet.engines.torch.devices import Where
    from arcface_mxnet.engines.torch.step import DataParallel

    import torch  # the rest of this module serves where PyTorch is not installed

    place = Where(torch.device("cpu"), replicas)
    given = backbone(dropped) if centres else program(images // replicas, dropped)
    step = DataParallel(given, place, images, (SIDE, SIDE, 3), numerics, group)
    if centres:
        step = ClassParallel(step, Centres(CLASSES, 1, SIZE, 8.0, 1e-37, None, sample))
    if fresh:
        step.set_parameters(*first())
    step.set_optimizer(0.9, 5e-4, "uniform")
    return step


def run(step, numbers, rate: float = 0.05):
    """Steps on the batches `numbers`; the printed losses."""
    losses = []
    for number in numbers:
        step.seed(number)
        outcome = step.forward_backward(*batch(number))
        step.update(rate)
        losses.append(np.mean([float(value) for value in outcome.losses]))
    return losses


def apart(left: Arrays, right: Arrays, kind: str) -> float:
    """The l2 difference of all arrays of a kind, relative to their l2 length."""
    names = [name for name in right if name.startswith(kind)]
    assert names and set(names) <= set(left)
    difference = sum(np.square(left[name].astype(np.float64) - right[name]).sum() for name in names)
    return float(np.sqrt(difference / sum(np.square(right[name].astype(np.float64)).sum() for name in names)))
