"""Which classes live where, and which of them a step sees: shards, and Partial FC's sample (An et al., 2020)."""
from typing import List, NamedTuple, Tuple

import numpy as np


def split(classes: int, parts: int) -> List[Tuple[int, int]]:
    """First and last + 1 class of each of `parts` shards of sizes that differ by one at most."""
    edges = [classes * index // parts for index in range(parts + 1)]
    return list(zip(edges, edges[1:]))


class Rule(NamedTuple):
    """What decides the classes of a step: the run's seed and the share of the classes."""

    seed: int
    rate: float

    def size(self, classes: int, batch: int) -> int:
        """How many of `classes` a step sees: the share, but never fewer than the images of the global batch."""
        return max(int(classes * self.rate), min(classes, batch))

    def choose(self, labels: np.ndarray, first: int, last: int, batch: int, step: int) -> np.ndarray:
        """Classes of the shard [first, last) that step number `step` sees, sorted, int64 (count,), counted from first.

        Those of the batch always; the others drawn without replacement, uniformly, by a generator of (seed, step,
        first) alone, so that a resumed run draws them again.
        """
        classes, count = last - first, self.size(last - first, batch)
        if count == classes:
            return np.arange(classes)
        positive = np.unique(labels[(labels >= first) & (labels < last)]) - first
        drawn = np.random.default_rng([self.seed, step, first]).choice(classes, count, replace=False)
        others = drawn[~np.isin(drawn, positive)][:count - positive.size]
        return np.sort(np.concatenate([positive, others]))


def places_of(labels: np.ndarray, chosen: np.ndarray, first: int) -> np.ndarray:
    """Where each label stands in `chosen`, -1 where it does not."""
    found = np.minimum(np.searchsorted(chosen, labels - first), chosen.size - 1)
    return np.where(chosen[found] == labels - first, found, -1)


def rows_of(chosen: np.ndarray, per_class: int) -> np.ndarray:
    """Rows of the centre matrix of some classes, K adjacent ones each."""
    return (chosen[:, None] * per_class + np.arange(per_class)).reshape(-1)
