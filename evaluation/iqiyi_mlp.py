"""The classifier on video features of the iQIYI-VID challenge (paper_tables.md, section 3.8).

FC 1024, BN, PReLU twice, the second with a skip connection (equal sizes), FC over persons and noise, softmax; Xavier;
SGD 0.2, momentum 0.9, weight decay 5e-4, bias rate doubled, batch 1,024, 40 epochs, a tenth from epochs 30 and 35.
"""
from dataclasses import dataclass
from typing import Tuple

from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.mx import mx
from arcface_mxnet.runtime.progress import progress

import numpy as np


@dataclass(frozen=True)
class MlpSettings:
    """How the classifier is trained; the defaults are the paper's."""

    hidden: int = 1024
    epochs: int = 40
    steps: Tuple[int, ...] = (30, 35)
    rate: float = 0.2
    momentum: float = 0.9
    decay: float = 5e-4
    batch: int = 1024
    seed: int = 0


def network(inputs: int, classes: int, hidden: int) -> "mx.sym.Symbol":
    """The classifier as a symbol of (b, inputs) features and (b,) labels; its output is the softmax (b, classes)."""
    layer = mx.sym.Variable("data")
    width = inputs
    for number in (1, 2):
        made = _linear(layer, f"fc{number}", hidden)
        made = mx.sym.BatchNorm(made, name=f"bn{number}", fix_gamma=False, eps=2e-5, momentum=0.9)
        made = mx.sym.LeakyReLU(made, name=f"relu{number}", act_type="prelu")
        layer = made + layer if width == hidden else made
        width = hidden
    return mx.sym.SoftmaxOutput(_linear(layer, "fc3", classes), name="softmax", normalization="batch")


class Classifier:
    """A trained classifier; `scores` gives the softmax of videos."""

    def __init__(self, module: "mx.mod.Module", batch: int) -> None:
        self._module, self._batch = module, batch

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Softmax float32 (v, classes) of (v, d) video features."""
        rows = [np.zeros((0, 0), np.float32)][:0]
        for start in range(0, len(features), self._batch):
            part = np.asarray(features[start:start + self._batch], np.float32)
            padded = np.concatenate([part, np.zeros((self._batch - len(part), part.shape[1]), np.float32)])
            self._module.forward(mx.io.DataBatch([mx.nd.array(padded)], None), is_train=False)
            rows.append(self._module.get_outputs()[0].asnumpy()[:len(part)])
        return np.concatenate(rows)


def train(features: np.ndarray, labels: np.ndarray, classes: int, settings: MlpSettings) -> Classifier:
    """Train on (v, d) video features and class numbers (v,) below `classes`; repeatable by `settings.seed`.

    Raises InputError when labels and features differ in number or a label is out of range.
    """
    if len(features) != len(labels) or not len(labels):
        raise InputError(f"{len(features)} training videos and {len(labels)} labels; one label per video is needed")
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(f"training labels {labels.min()}..{labels.max()}: outside 0..{classes - 1}")
    batch = min(settings.batch, len(features))
    per_epoch = -(-len(features) // batch)
    generator = np.random.RandomState(settings.seed)
    module = _bound(features.shape[1], classes, batch, settings, per_epoch)
    for _ in progress(range(settings.epochs), label="MLP", unit="epochs"):
        order = generator.permutation(len(features))
        order = np.r_[order, order[:per_epoch * batch - len(order)]]
        for rows in order.reshape(per_epoch, batch):
            data = mx.nd.array(np.asarray(features[rows], np.float32))
            module.forward_backward(mx.io.DataBatch([data], [mx.nd.array(labels[rows])]))
            module.update()
    return Classifier(module, batch)


def _bound(inputs: int, classes: int, batch: int, settings: MlpSettings, per_epoch: int) -> "mx.mod.Module":
    module = mx.mod.Module(network(inputs, classes, settings.hidden), context=mx.cpu())
    module.bind([("data", (batch, inputs))], [("softmax_label", (batch,))])
    mx.random.seed(settings.seed)
    module.init_params(mx.init.Xavier())
    steps = [step * per_epoch for step in settings.steps if step < settings.epochs]
    schedule = mx.lr_scheduler.MultiFactorScheduler(steps, 0.1) if steps else None
    module.init_optimizer(optimizer="sgd", optimizer_params={
        "learning_rate": settings.rate, "momentum": settings.momentum, "wd": settings.decay,
        "rescale_grad": 1.0, "lr_scheduler": schedule})
    return module


def _linear(data: "mx.sym.Symbol", name: str, size: int) -> "mx.sym.Symbol":
    bias = mx.sym.Variable(f"{name}_bias", lr_mult=2.0)
    return mx.sym.FullyConnected(data, bias=bias, num_hidden=size, name=name)
