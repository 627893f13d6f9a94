"""AdaFace (Kim et al., CVPR 2022): the margin follows the length of the embedding, as a measure of image quality."""
from dataclasses import dataclass
from typing import Tuple

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses.common import (
    Term,
    add_to_targets,
    centre_variable,
    classification_head,
    cosine_logits,
    inside,
    label_variable,
    row_norms,
    statistic,
)
from arcface_mxnet.recognition.losses.head import Head, LossSettings, Sizes, register
from arcface_mxnet.runtime.sections import setting

import numpy as np

MEAN_STATE, DEVIATION_STATE = "adaface_mean", "adaface_deviation"
_EDGE = 1e-3  # AdaFace keeps angles this far (radians) from 0 and pi, and lengths above it


@dataclass(frozen=True)
class Quality:
    """How the margin follows the length."""

    margin: float = setting(0.4, "margin m")
    concentration: float = setting(0.333, "concentration h")
    rate: float = setting(0.01, "share of a batch in the running mean and deviation of the lengths")


def length_score(embedding: sym.Symbol, rule: Quality, sizes: Sizes) -> Tuple[sym.Symbol, sym.Symbol, sym.Symbol]:
    """How long each embedding is for its time, (B,) in [-1, 1], and the renewed running mean and deviation (1,)."""
    length = sym.BlockGrad(sym.clip(row_norms(embedding), _EDGE, 100.0))
    average = sym.mean(length)
    squares = sym.sum(sym.square(sym.broadcast_sub(length, average)))
    deviation = sym.sqrt(squares / max(sizes.batch - 1, 1))
    mean = sym.Variable(MEAN_STATE, shape=(1,)) * (1.0 - rule.rate) + average * rule.rate
    spread = sym.Variable(DEVIATION_STATE, shape=(1,)) * (1.0 - rule.rate) + deviation * rule.rate
    score = sym.broadcast_div(sym.broadcast_sub(length, mean), spread + _EDGE) * rule.concentration
    return sym.clip(score, -1.0, 1.0), mean, spread


@register("adaface", Quality, formula="z_y = s (cos(t_y − m q) − m (1 + q)), q = normalised ‖x‖ in [−1, 1]")
def adaface(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """Target s (cos(theta - m z) - (m + m z)), z the length score: long embeddings get the angle, short the shift."""
    rule: Quality = settings.options
    label = label_variable()
    score, mean, spread = length_score(embedding, rule, sizes)
    cosine = cosine_logits(embedding, centre_variable(settings, sizes), 1.0, sizes.classes)
    target = sym.pick(cosine, label, axis=1)
    theta = sym.clip(sym.arccos(inside(target)) - rule.margin * score, _EDGE, np.pi - _EDGE)
    changed = sym.cos(theta) - rule.margin * (1.0 + score)
    logits = add_to_targets(cosine, changed - target, label, sizes) * settings.loss_s
    following = (Term(f"state:{MEAN_STATE}", statistic(mean, "mean")),
                 Term(f"state:{DEVIATION_STATE}", statistic(spread, "deviation")))
    return classification_head(embedding, logits, label, settings, following,
                               {MEAN_STATE: np.array([20.0], np.float32),
                                DEVIATION_STATE: np.array([100.0], np.float32)})
