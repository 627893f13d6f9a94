"""MagFace (Meng et al., CVPR 2021): the margin grows with the length of the embedding."""
from dataclasses import dataclass
from typing import Any

from arcface_mxnet.recognition.losses.arcface import add_angle
from arcface_mxnet.recognition.losses.common import (
    Term,
    add_to_targets,
    centre_variable,
    classification_head,
    cosine_logits,
    label_variable,
    objective,
    row_norms,
)
from arcface_mxnet.recognition.losses.head import Head, LossSettings, Sizes, read_options, register
from arcface_mxnet.runtime.mx import mx


@dataclass(frozen=True)
class Magnitude:
    """Lengths from `shortest` to `longest` take margins from `lowest` to `highest`; weight of the length's own term."""

    shortest: float = 10.0
    longest: float = 110.0
    lowest: float = 0.45
    highest: float = 0.8
    weight: float = 35.0


@register("magface")
def magface(embedding: Any, settings: LossSettings, sizes: Sizes) -> Head:
    """Target s cos(theta + m(a)), m linear in the length a, plus weight * mean(a / longest^2 + 1 / a)."""
    rule, label = read_options(Magnitude, settings), label_variable()
    length = mx.sym.clip(row_norms(embedding), rule.shortest, rule.longest)
    margin = (length - rule.shortest) * ((rule.highest - rule.lowest) / (rule.longest - rule.shortest)) + rule.lowest
    cosine = cosine_logits(embedding, centre_variable(settings, sizes), 1.0, sizes.classes)
    target = mx.sym.pick(cosine, label, axis=1)
    logits = add_to_targets(cosine, add_angle(target, margin) - target, label, sizes) * settings.loss_s
    pull = mx.sym.mean(length / rule.longest ** 2 + 1.0 / length) * rule.weight
    return classification_head(embedding, logits, label, settings,
                               (Term("objective:length", objective(pull, "length")),))
