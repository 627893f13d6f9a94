"""Who lives where, and how they are pictured: disjoint identity numbers and ranges of circumstances per purpose."""
from typing import Dict, Tuple

from arcface_mxnet.datasets.faces.nuisance import FRONTAL, OLD, PROFILE, YOUNG, NuisanceRanges

import numpy as np

# First identity number of each purpose; a purpose has room for a million people, so no two ever share one.
FIRST_NUMBER: Dict[str, int] = {
    "train": 0, "lfw": 1_000_000, "cfp_fp": 2_000_000, "agedb_30": 3_000_000, "probes": 4_000_000,
    "distractors": 5_000_000, "templates": 6_000_000, "photographs": 7_000_000,
}
ROOM = 1_000_000

# Each purpose draws an image's ranges from these, by weight: training sees all poses and ages.
MIXTURES: Dict[str, Tuple[Tuple[float, NuisanceRanges], ...]] = {
    "train": ((0.46, NuisanceRanges()), (0.30, PROFILE), (0.12, YOUNG), (0.12, OLD)),
    "lfw": ((1.0, NuisanceRanges()),),
}
# The packs of two kinds of image: the first of a pair is drawn from one, the second from the other.
SIDES: Dict[str, Tuple[NuisanceRanges, NuisanceRanges]] = {
    "cfp_fp": (FRONTAL, PROFILE), "agedb_30": (YOUNG, OLD),
}


def ranges_of(purpose: str, seed: int, number: int, image: int) -> NuisanceRanges:
    """The ranges image `image` of person `number` is drawn from; depends on nothing else."""
    if purpose in SIDES:
        return SIDES[purpose][image % 2]
    mixture = MIXTURES.get(purpose, MIXTURES["train"])
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, number, 2, image])))
    chosen = int(np.searchsorted(np.cumsum([weight for weight, _ in mixture]), generator.random()))
    return mixture[min(chosen, len(mixture) - 1)][1]
