"""SphereFace (Liu et al., CVPR 2017): integer m, free embedding norms, annealed lambda; SphereFace+ (NeurIPS 2018)."""
import math
from dataclasses import dataclass
from typing import Tuple

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses.common import (
    Term,
    add_to_targets,
    centre_variable,
    classification_head,
    inside,
    label_variable,
    objective,
    row_norms,
    statistic,
    target_mask,
    unit_rows,
)
from arcface_mxnet.recognition.losses.head import Head, LossSettings, Sizes, register
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.sections import setting

import numpy as np

STATE = "sphereface_iteration"


@dataclass(frozen=True)
class Annealing:
    """lambda = max(lowest, base / (1 + gamma * iteration)): the released setting, 5 from iteration 1,660 on."""

    lowest: float = setting(5.0, "lowest lambda")
    base: float = setting(1000.0, "lambda at iteration 0")
    gamma: float = setting(0.12, "how fast lambda falls")
    energy: float = setting(0.0, "weight of the centres' hyperspherical energy; SphereFace+ has 1")


def psi(cosine: sym.Symbol, m: int) -> sym.Symbol:
    """(-1)^k cos(m theta) - 2k with k = floor(m theta / pi), elementwise, by Chebyshev's recursion: no arccos."""
    before, multiple = sym.ones_like(cosine), cosine
    for _ in range(m - 1):
        before, multiple = multiple, 2.0 * cosine * multiple - before
    k = sym.zeros_like(cosine)
    for j in range(1, m):
        k = k + (cosine <= math.cos(j * math.pi / m))
    sign = 1.0 - 2.0 * sym.BlockGrad(k - 2.0 * sym.floor(k / 2.0))
    return sign * multiple - 2.0 * k


def energy(centres: sym.Symbol, label: sym.Symbol, sizes: Sizes) -> sym.Symbol:
    """Mean over the batch and all j != y of 1 / |W_y - W_j|^2, centres of length 1, as (1,): MHE with s = 2.

    Liu et al., Learning towards Minimum Hyperspherical Energy (NeurIPS 2018), equation 5.
    """
    unit = unit_rows(centres)
    cosine = sym.FullyConnected(sym.take(unit, label), weight=unit, no_bias=True, num_hidden=sizes.classes)
    near = (1.0 - target_mask(label, sizes)) / (2.0 - 2.0 * inside(cosine))
    return sym.sum(near) * (1.0 / (sizes.batch * (sizes.classes - 1)))


@register("sphereface", Annealing,
          formula="z_y = ‖x‖ (λ cos t + ψ(t)) / (1 + λ), ψ = (−1)^k cos(m t) − 2k, λ from 1000 to 5; SphereFace+ "
                  "adds the energy of the centres, mean 1/‖W_y − W_j‖²")
def sphereface(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """Target |x| (lambda cos + psi) / (1 + lambda), other logits |x| cos; loss_m1 is the integer m.

    With `energy` (SphereFace+) the centres repel one another.
    """
    m = int(settings.loss_m1)
    if m != settings.loss_m1 or m < 1:
        raise InputError(f"loss_m1 {settings.loss_m1}: SphereFace as published takes 1, 2, 3, 4 ...; "
                         "for other values use the margin_softmax family")
    annealing: Annealing = settings.options
    iteration, label = sym.Variable(STATE, shape=(1,)), label_variable()
    weight = sym.maximum(annealing.base / (1.0 + annealing.gamma * iteration), annealing.lowest)
    centres = centre_variable(settings, sizes)
    logits = sym.FullyConnected(embedding, weight=unit_rows(centres), no_bias=True, num_hidden=sizes.classes,
                                name="fc7")
    target, norm = sym.pick(logits, label, axis=1), row_norms(embedding)
    moved = sym.broadcast_div(sym.broadcast_mul(weight, target) + norm * psi(target / norm, m), 1.0 + weight)
    extra: Tuple[Term, ...] = (Term(f"state:{STATE}", statistic(iteration + 1.0, "iteration")),)
    if annealing.energy:
        extra += (Term("objective:energy", objective(energy(centres, label, sizes) * annealing.energy, "energy")),)
    return classification_head(embedding, add_to_targets(logits, moved - target, label, sizes), label, settings,
                               extra, {STATE: np.zeros(1, np.float32)})
