"""Figures that need no training: target logits (4b), decision margins (5), the room in feature space (12)."""
import math
from typing import Dict, List, Sequence, Union

from arcface_mxnet.recognition.losses.margin import margin_cosine
from arcface_mxnet.recognition.losses.sphereface import Annealing, psi
from arcface_mxnet.recognition.presets import LOSSES
from arcface_mxnet.runtime.mx import mx

import numpy as np
from scipy import integrate, special

FIGURE_4B_LOSSES = ("softmax", "sphereface", "sphereface135", "arcface", "cosface", "cm1", "cm2")
IDENTITIES_12 = np.logspace(4, 8, 41)
DIMENSIONS_12 = (128, 256, 512)


def target_logits(loss: str, degrees: Union[Sequence[float], np.ndarray]) -> np.ndarray:
    """Target logit / s (or / |x|) of a preset at the given angles, computed by the loss's own graph: float64 (n,).

    The published SphereFace is drawn at its final lambda. Raises KeyError for a preset without a target curve.
    """
    cosine = mx.sym.Variable("cosine")
    preset = LOSSES[loss]
    if loss == "softmax":
        curve = cosine * 1.0
    elif preset.loss_name == "sphereface":
        lowest = Annealing().lowest
        curve = (cosine * lowest + psi(cosine, int(preset.loss_m1))) / (1.0 + lowest)
    else:
        curve = margin_cosine(cosine, preset.get("loss_m1", 1.0), preset.get("loss_m2", 0.0),
                              preset.get("loss_m3", 0.0)) * 1.0
    given = mx.nd.array(np.cos(np.radians(np.asarray(degrees, np.float64))), dtype=np.float64)
    return curve.bind(mx.cpu(), {"cosine": given}).forward()[0].asnumpy()


def decision_boundaries(first: np.ndarray) -> Dict[str, List[np.ndarray]]:
    """Figure 5: for theta_1 (radians) theta_2 on the boundary of class 1, then of class 2, by loss; NaN where none.

    Class 1 is decided below the first line; between the lines lies the margin. SphereFace with m = 4 (its own paper),
    CosFace 0.35, ArcFace 0.5.
    """
    def arccos(cosine: np.ndarray) -> np.ndarray:
        return np.arccos(np.where(np.abs(cosine) <= 1, cosine, np.nan))

    cosine = np.cos(first)
    return {
        "Softmax": [first, first],
        "SphereFace": [4 * first, first / 4],
        "CosFace": [arccos(cosine - 0.35), arccos(cosine + 0.35)],
        "ArcFace": [first + 0.5, first - 0.5],
    }


def paper_formula(identities: np.ndarray, dimensions: int) -> np.ndarray:
    """Figure 12 as the paper has it, in degrees: the small-angle limit of the smallest angle of all pairs."""
    d = dimensions
    constant = special.gammaln(d / 2) - special.gammaln((d - 1) / 2) - math.log(2 * math.sqrt(math.pi) * (d - 1))
    logarithm = -2 / (d - 1) * np.log(identities) + special.gammaln(1 + 1 / (d - 1)) - constant / (d - 1)
    return np.degrees(np.exp(logarithm))


def log_farther(angle: np.ndarray, dimensions: int) -> np.ndarray:
    """log P(two random unit vectors are farther apart than `angle` radians in [0, pi/2])."""
    near = 0.5 * special.betainc((dimensions - 1) / 2, 0.5, np.sin(angle) ** 2)
    return np.log1p(-near)


def expected_smallest(samples: float, dimensions: int) -> float:
    """Mean of the smallest of `samples` independent angles between random unit vectors, in degrees, by quadrature."""
    below, _ = integrate.quad(lambda angle: math.exp(samples * float(log_farther(np.array(angle), dimensions))),
                              0.0, math.pi / 2, limit=400, points=[0.5, 0.8, 1.0, 1.2, 1.35, 1.45])
    return math.degrees(below)


def smallest_of_all_pairs(identities: float, dimensions: int) -> float:
    """Exact mean of the smallest angle of all n (n - 1) / 2 pairs (taken as independent), in degrees."""
    return expected_smallest(identities * (identities - 1) / 2, dimensions)


def nearest_neighbour(identities: float, dimensions: int) -> float:
    """Exact mean angle of a random centre to the nearest of the n - 1 others, in degrees."""
    return expected_smallest(identities - 1, dimensions)
