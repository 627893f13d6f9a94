"""Semi-hard triplets of a bag of embeddings, as the original selects them (facts, 3.6)."""
from typing import Iterator, Tuple

import numpy as np

NOTHING = np.empty((0, 3), dtype=np.int64)


def semi_hard_triplets(embeddings: np.ndarray, labels: np.ndarray, alpha: float, max_ap: float,
                       chance: np.random.Generator) -> np.ndarray:
    """Rows (anchor, positive, negative) of a bag, int64 (T, 3), in random order; T may be 0.

    embeddings: (n, E), of any length; labels: (n,), images of an identity side by side. Every pair of an identity is an
    anchor and, later in the bag, its positive. Its negative is any one image n of another identity with d_ap < d_an and
    d_an - d_ap < alpha, d the squared distance of unit embeddings; where there is none the pair is left out. max_ap: a
    pair farther apart than this is left out too; 0 for no limit. The choice is `chance`'s, pair after pair.
    """
    unit = embeddings.astype(np.float64)
    unit /= np.sqrt((unit ** 2).sum(axis=1, keepdims=True) + 1e-10)
    starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    found = [triplet for start, stop in zip(starts, np.r_[starts[1:], len(labels)])
             for triplet in _of_identity(unit, start, stop, alpha, max_ap, chance)]
    return np.array(found, dtype=np.int64)[chance.permutation(len(found))] if found else NOTHING


def _of_identity(unit: np.ndarray, start: int, stop: int, alpha: float, max_ap: float,
                 chance: np.random.Generator) -> Iterator[Tuple[int, int, int]]:
    """The triplets whose anchor and positive are images `start` to `stop` - 1."""
    distances = 2.0 - 2.0 * unit[start:stop] @ unit.T
    for row in range(stop - start - 1):
        to_own, to_others = distances[row, start:stop].copy(), distances[row]
        to_others[start:stop] = -1.0  # below every distance: never farther than a positive
        for place in range(row + 1, stop - start):
            near = to_own[place]
            if max_ap > 0 and near > max_ap:
                continue
            candidates = np.flatnonzero((to_others > near) & (to_others - near < alpha))
            if candidates.size:
                yield start + row, start + place, int(candidates[chance.integers(candidates.size)])


def in_thirds(triplets: np.ndarray, share: int) -> np.ndarray:
    """Triplets (T, 3) as the images of batches of `share`, each in thirds: anchors, positives, negatives; (n,).

    The triplets that fill no batch are left out.
    """
    part = share // 3
    whole = len(triplets) // part * part
    return triplets[:whole].reshape(-1, part, 3).transpose(0, 2, 1).reshape(-1)
