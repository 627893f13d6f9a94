"""Small classifiers trained by MXNet's own Module: features or images in, softmax out, SGD with momentum."""
from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from arcface_mxnet.engines.mxnet.convert import loss_to_mxnet, ndarrays, to_numpy
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.graph.params_file import Arrays
from arcface_mxnet.graph.symbol import Symbol

import numpy as np


class Schedule(NamedTuple):
    """SGD: the rate, a tenth of it after each of `drops` updates, momentum and weight decay; of `seed`.

    `repeated`: the one drop comes again after as many updates each time (MXNet's FactorScheduler).
    """

    rate: float
    drops: Tuple[int, ...]
    momentum: float
    decay: float
    seed: int
    repeated: bool = False


class Classifier:
    """A graph of `data` and `softmax_label`, bound for one batch size on the CPU."""

    def __init__(self, symbol: Symbol, shapes: Mapping[str, Tuple[int, ...]], schedule: Schedule,
                 xavier: Optional[Mapping[str, object]] = None, start: Optional[Tuple[Arrays, Arrays]] = None) -> None:
        """`xavier`: settings of MXNet's Xavier initializer; `start`: values to begin with in place of drawn ones."""
        mx.random.seed(schedule.seed)
        self._batch = shapes["data"][0]
        self._module = mx.mod.Module(loss_to_mxnet(symbol), context=mx.cpu(), label_names=["softmax_label"])
        self._module.bind([("data", shapes["data"])], [("softmax_label", (self._batch,))])
        self._module.init_params(mx.init.Xavier(**(xavier or {})))
        if start is not None:
            self._module.set_params(*(ndarrays(group) for group in start))
        self._module.init_optimizer(optimizer="sgd", optimizer_params={
            "learning_rate": schedule.rate, "momentum": schedule.momentum, "wd": schedule.decay, "rescale_grad": 1.0,
            "lr_scheduler": _scheduler(schedule)})

    def train(self, batches: Iterable[Tuple[np.ndarray, np.ndarray]]) -> None:
        """One update for each (data, label)."""
        for data, label in batches:
            self._module.forward_backward(mx.io.DataBatch([mx.nd.array(data)], [mx.nd.array(label)]))
            self._module.update()
        mx.nd.waitall()  # moving statistics are written by the backward pass, and no reader of them waits for it

    def outputs(self, data: np.ndarray) -> np.ndarray:
        """The first output for rows of any number, float32 (n, d)."""
        rows: List[np.ndarray] = []
        for start in range(0, len(data), self._batch):
            part = np.asarray(data[start:start + self._batch], np.float32)
            padded = np.concatenate([part, np.zeros((self._batch - len(part), *part.shape[1:]), np.float32)])
            label = mx.nd.zeros(self._batch)
            self._module.forward(mx.io.DataBatch([mx.nd.array(padded)], [label]), is_train=False)
            rows.append(self._module.get_outputs()[0].asnumpy()[:len(part)])
        return np.concatenate(rows)

    def parameters(self) -> Tuple[Arrays, Arrays]:
        """(arguments, auxiliary) as they are now."""
        arguments, auxiliary = self._module.get_params()
        return to_numpy(arguments), to_numpy(auxiliary)


def _scheduler(schedule: Schedule) -> "Optional[mx.lr_scheduler.LRScheduler]":
    settings: Dict[str, float] = {"factor": 0.1, "base_lr": schedule.rate}
    if not schedule.drops:
        return None
    if schedule.repeated:
        return mx.lr_scheduler.FactorScheduler(schedule.drops[0], **settings)
    return mx.lr_scheduler.MultiFactorScheduler(list(schedule.drops), **settings)
