"""MagFace (Meng et al., CVPR 2021): the margin grows with the length of the embedding."""
from dataclasses import dataclass

from arcface_mxnet.graph import symbol as sym
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
from arcface_mxnet.recognition.losses.head import Head, LossSettings, Sizes, register
from arcface_mxnet.runtime.sections import setting


@dataclass(frozen=True)
class Magnitude:
    """How the margin grows with the length."""

    shortest: float = setting(10.0, "length from which on the margin grows")
    longest: float = setting(110.0, "length up to which it grows")
    lowest: float = setting(0.45, "margin of the shortest")
    highest: float = setting(0.8, "margin of the longest")
    weight: float = setting(35.0, "weight of the length's own term")


@register("magface", Magnitude, formula="z_y = s cos(t_y + m(‖x‖)) + 35 mean(‖x‖ / 110² + 1 / ‖x‖)")
def magface(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """Target s cos(theta + m(a)), m linear in the length a, plus weight * mean(a / longest^2 + 1 / a)."""
    rule: Magnitude = settings.options
    label = label_variable()
    length = sym.clip(row_norms(embedding), rule.shortest, rule.longest)
    margin = (length - rule.shortest) * ((rule.highest - rule.lowest) / (rule.longest - rule.shortest)) + rule.lowest
    cosine = cosine_logits(embedding, centre_variable(settings, sizes), 1.0, sizes.classes)
    target = sym.pick(cosine, label, axis=1)
    logits = add_to_targets(cosine, add_angle(target, margin) - target, label, sizes) * settings.loss_s
    pull = sym.mean(length / rule.longest ** 2 + 1.0 / length) * rule.weight
    return classification_head(embedding, logits, label, settings,
                               (Term("objective:length", objective(pull, "length")),))
