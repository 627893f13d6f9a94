"""Where the centres of a class-parallel head live: `ShardedCentres` splits them over the contexts of a process."""
from typing import Dict, List, Mapping, NamedTuple, Sequence

from arcface_mxnet.recognition.engine.class_block import ClassBlock, split
from arcface_mxnet.recognition.engine.sgd import MomentumSGD
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.mx import mx

import numpy as np

WEIGHT = "fc7_weight"
Arrays = Dict[str, "mx.nd.NDArray"]


class HeadSizes(NamedTuple):
    """What a head is built for: identities, centres of each, images of the global batch, length of an embedding."""

    classes: int
    per_class: int
    batch: int
    embedding: int


class ShardedCentres:
    """Shard i of the classes is block i, on context i. The whole matrix exists only in what is saved and loaded."""

    def __init__(self, sizes: HeadSizes, scale: float, contexts: Sequence["mx.Context"]) -> None:
        if sizes.classes < len(contexts):
            raise InputError(f"{sizes.classes} identities do not fill {len(contexts)} shards; use fewer contexts")
        self.sizes, self.contexts = sizes, list(contexts)
        self.shards = split(sizes.classes, len(contexts))
        self.weights = [mx.nd.zeros(((last - first) * sizes.per_class, sizes.embedding), ctx=context)
                        for (first, last), context in zip(self.shards, contexts)]
        self._optimizers: List[MomentumSGD] = []
        self.blocks = self._make_blocks(scale)

    def _make_blocks(self, scale: float) -> List[ClassBlock]:
        return [ClassBlock(weight, last - first, self.sizes.batch, scale)
                for weight, (first, last) in zip(self.weights, self.shards)]

    def begin(self, labels: np.ndarray) -> List[np.ndarray]:
        """Make the blocks ready for a batch of identities `labels` (B,); the place of each in every block, or -1."""
        return [np.where((labels >= first) & (labels < last), labels - first, -1) for first, last in self.shards]

    def update(self, rate: float) -> None:
        """One SGD step with the gradients of the blocks."""
        for optimizer, weight, block in zip(self._optimizers, self.weights, self.blocks):
            optimizer.update({WEIGHT: weight}, {WEIGHT: block.gradient}, rate)

    def set_optimizer(self, momentum: float, decay: float, rescale: float,
                      attributes: Mapping[str, Mapping[str, str]], policy: str) -> None:
        """Fresh momentum."""
        self._optimizers = [MomentumSGD({WEIGHT: weight}, momentum, decay, rescale, attributes, policy)
                            for weight in self.weights]

    def load(self, weight: "mx.nd.NDArray") -> None:
        """Take the whole matrix, (C * K, E) on the CPU, each context its rows."""
        scatter(weight, self.weights)

    def restart_arrays(self) -> Arrays:
        """The whole matrix and its momentum on the CPU, under the names the plain head gives them."""
        name = f"momentum:{WEIGHT}"
        return {f"arg:{WEIGHT}": gather(self.weights),
                name: gather([optimizer.state[name] for optimizer in self._optimizers])}

    def restart(self, saved: Mapping[str, "mx.nd.NDArray"]) -> None:
        """Take a restart point of any number of contexts, of the plain head too."""
        self.load(saved[f"arg:{WEIGHT}"])
        name = f"momentum:{WEIGHT}"
        scatter(saved[name], [optimizer.state[name] for optimizer in self._optimizers])


def gather(parts: Sequence["mx.nd.NDArray"]) -> "mx.nd.NDArray":
    """Shards to the whole matrix on the CPU."""
    copies = [part.as_in_context(mx.cpu()) for part in parts]
    return copies[0].copy() if len(copies) == 1 else mx.nd.concat(*copies, dim=0)


def scatter(whole: "mx.nd.NDArray", parts: Sequence["mx.nd.NDArray"]) -> None:
    """The whole matrix to its shards, in place."""
    first = 0
    for part in parts:
        whole[first:first + part.shape[0]].copyto(part)
        first += part.shape[0]
