"""Partial FC: a step sees the classes of its batch and a sample of the others (docs/original.md, section 3.9)."""
from typing import List, Mapping, Sequence

from arcface_mxnet.engines.multipliers import decay_multiplier, rate_multiplier
from arcface_mxnet.engines.mxnet.class_centres import (
    WEIGHT,
    ClassBlock,
    HeadSizes,
    ShardedCentres,
    gather,
    scatter,
)
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.engines.sampling import Rule, places_of, rows_of
from arcface_mxnet.graph.params_file import Arrays

import numpy as np

STEP = "sampler:step"


class SampledCentres(ShardedCentres):
    """Shards as in ShardedCentres; the blocks hold copies of the rows of a step.

    Rows that a step does not see keep their value and their momentum, and do not decay. Seen rows take the same SGD
    step as in the full head (MXNet's lazy update of a row-sparse gradient).
    """

    def __init__(self, sizes: HeadSizes, scale: float, contexts: Sequence["mx.Context"], rule: Rule) -> None:
        self.rule, self._step = rule, 0
        super().__init__(sizes, scale, contexts)
        self._momenta = [mx.nd.zeros(weight.shape, ctx=weight.context) for weight in self.weights]
        self._rows: List[mx.nd.NDArray] = []
        self._factors = (0.0, 0.0, 0.0, 1.0)  # momentum, decay, rescale, multiplier of the rate

    def _make_blocks(self, scale: float) -> List[ClassBlock]:
        blocks = []
        for (first, last), context in zip(self.shards, self.contexts):
            count = self.rule.size(last - first, self.sizes.batch)
            rows = mx.nd.zeros((count * self.sizes.per_class, self.sizes.embedding), ctx=context)
            blocks.append(ClassBlock(rows, count, self.sizes.batch, scale))
        return blocks

    def begin(self, labels: np.ndarray) -> List[np.ndarray]:
        """Choose the classes of the next step and copy their centres into the blocks."""
        self._step += 1
        self._rows, places = [], []
        for (first, last), weight, block in zip(self.shards, self.weights, self.blocks):
            chosen = self.rule.choose(labels, first, last, self.sizes.batch, self._step)
            rows = mx.nd.array(rows_of(chosen, self.sizes.per_class), ctx=weight.context, dtype="int64")
            mx.nd.take(weight, rows, out=block.weight)
            self._rows.append(rows)
            places.append(places_of(labels, chosen, first))
        return places

    def update(self, rate: float) -> None:
        """One SGD step of the rows that the last `begin` chose."""
        momentum, decay, rescale, multiplier = self._factors
        for weight, state, block, rows in zip(self.weights, self._momenta, self.blocks, self._rows):
            gradient = mx.nd.sparse.row_sparse_array((block.gradient, rows), shape=weight.shape, ctx=weight.context)
            mx.nd.sgd_mom_update(weight, gradient, state, out=weight, lr=rate * multiplier, momentum=momentum, wd=decay,
                                 rescale_grad=rescale, lazy_update=True)

    def set_optimizer(self, momentum: float, decay: float, rescale: float,
                      attributes: Mapping[str, Mapping[str, str]], policy: str) -> None:
        """Fresh momentum."""
        own = attributes.get(WEIGHT, {})
        self._factors = (momentum, decay * decay_multiplier(WEIGHT, own, policy), rescale, rate_multiplier(own, policy))
        for state in self._momenta:
            state[:] = 0

    def restart_arrays(self) -> Arrays:
        """The whole matrix and its momentum under the plain head's names, and the number of the last step."""
        return {f"arg:{WEIGHT}": gather(self.weights), f"momentum:{WEIGHT}": gather(self._momenta),
                STEP: np.array([self._step], np.int64)}

    def restart(self, saved: Mapping[str, np.ndarray]) -> None:
        """Take a restart point of any head; one that was not sampled starts the sequence of samples."""
        self.load(saved[f"arg:{WEIGHT}"])
        scatter(saved[f"momentum:{WEIGHT}"], self._momenta)
        self._step = int(saved[STEP][0]) if STEP in saved else 0
