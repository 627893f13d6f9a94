"""Who a face is: a vector of independent traits, and the names and ranges of its components."""
from dataclasses import dataclass
from typing import Dict, Tuple

from arcface_mxnet.datasets.faces.nuisance import FRONTAL, OLD, PROFILE, YOUNG, NuisanceRanges

import numpy as np

# Trait -> (middle, spread): a component z, uniform in [-1, 1], becomes middle + spread * z. Lengths are fractions of
# the half head: 1 is half the head's width (across) or half its height (down); angles are in radians; the rest are
# amounts between 0 and 1.
TRAITS: Dict[str, Tuple[float, float]] = {
    "head_width": (1.0, 0.09), "head_height": (1.5, 0.10), "head_depth": (1.22, 0.06), "squareness": (2.45, 0.30),
    "jaw_width": (-0.01, 0.09), "jaw_height": (0.60, 0.06), "chin_length": (0.02, 0.04), "chin_width": (0.34, 0.09),
    "cheekbone": (0.02, 0.05), "fullness": (0.0, 0.06), "forehead": (0.0, 0.04), "brow_ridge": (0.02, 0.022),
    "skin_tone": (0.5, 0.5), "skin_red": (0.0, 1.0), "skin_yellow": (0.0, 1.0), "cheek_red": (0.45, 0.45),
    "eye_distance": (0.40, 0.055), "eye_level": (0.0, 0.025), "eye_width": (0.155, 0.035), "eye_open": (0.058, 0.024),
    "eye_tilt": (0.05, 0.20), "eye_round": (0.55, 0.30), "eye_depth": (0.035, 0.025), "lid_fold": (0.5, 0.5),
    "lash": (0.5, 0.5), "iris_size": (0.052, 0.010), "iris_colour": (0.5, 0.5), "eye_bags": (0.3, 0.3),
    "brow_height": (0.150, 0.040), "brow_length": (0.20, 0.045), "brow_thickness": (0.030, 0.017),
    "brow_arch": (0.028, 0.030), "brow_tilt": (0.0, 0.17), "brow_gap": (0.03, 0.05), "brow_density": (0.7, 0.3),
    "nose_length": (0.355, 0.055), "nose_width": (0.150, 0.050), "nose_bridge": (0.085, 0.030),
    "nose_height": (0.20, 0.070), "nose_hump": (0.0, 0.030), "nose_tip": (0.085, 0.030), "nostril": (0.5, 0.4),
    "mouth_level": (0.605, 0.035), "mouth_width": (0.30, 0.070), "upper_lip": (0.036, 0.019),
    "lower_lip": (0.046, 0.024), "cupid_bow": (0.5, 0.5), "mouth_curve": (0.0, 0.018), "lip_colour": (0.5, 0.5),
    "lip_depth": (0.03, 0.02), "hairline": (-0.60, 0.13), "hair_peak": (0.0, 0.09), "hair_temple": (0.0, 0.12),
    "hair_side": (1.15, 0.18), "hair_volume": (0.085, 0.055), "hair_length": (0.45, 0.65), "hair_dark": (0.5, 0.5),
    "hair_red": (0.5, 0.5), "hair_curl": (0.5, 0.5), "fringe": (0.0, 1.0), "beard": (-0.15, 0.85),
    "moustache": (-0.15, 0.85), "freckles": (-0.2, 0.9), "ear_size": (0.09, 0.035), "birth_age": (33.0, 9.0),
}
MARKS = 3  # moles and scars a face may have
_MARK_COLUMNS = 4  # where across, where down, how large, how dark


@dataclass(frozen=True)
class Identity:
    """One person: `code` float64 (traits + 4 a mark,) uniform in [-1, 1], and `texture_seed` for hair and freckles."""

    code: np.ndarray
    texture_seed: int

    def traits(self) -> Dict[str, float]:
        """The named traits as plain numbers (units: see TRAITS)."""
        return {name: middle + spread * float(z) for (name, (middle, spread)), z in zip(TRAITS.items(), self.code)}

    def marks(self) -> np.ndarray:
        """Marks on the skin as float64 (MARKS, 4): across, down, size, darkness, each in [-1, 1]."""
        return self.code[len(TRAITS):].reshape(MARKS, _MARK_COLUMNS)


def draw_identity(seed: int, number: int) -> Identity:
    """The person with this number in the world of this seed; the same two integers give the same person anywhere."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, number, 0])))
    code = generator.uniform(-1.0, 1.0, len(TRAITS) + MARKS * _MARK_COLUMNS)
    return Identity(code, int(generator.integers(1 << 31)))


# Who lives where, and how they are pictured: disjoint identity numbers and ranges of circumstances per purpose.


# First identity number of each purpose; each purpose has a million numbers, so no two ever share one.
FIRST_NUMBER: Dict[str, int] = {
    "train": 0, "lfw": 1_000_000, "cfp_fp": 2_000_000, "agedb_30": 3_000_000, "probes": 4_000_000,
    "distractors": 5_000_000, "templates": 6_000_000, "photographs": 7_000_000,
}
PURPOSE_SIZE = 1_000_000

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
