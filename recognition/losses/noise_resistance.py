"""Noise resistance loss NR (Zhong et al., Unequal-training, CVPR 2019): trusts the network's own choice a little.

In the form of the authors' released program, train_NR.py of
github.com/zhongyy/Unequal-Training-for-Deep-Face-Recognition-with-Long-Tailed-Noisy-Data, which fine-tunes a network
that ArcFace has trained (`--pretrained`). Leaving out images by a threshold is a step of its own there, and not here.
"""
from dataclasses import dataclass

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses.arcface import margin_head_logits
from arcface_mxnet.recognition.losses.common import (
    Term,
    centre_variable,
    classification_head,
    label_variable,
    objective,
)
from arcface_mxnet.recognition.losses.head import Head, LossSettings, Sizes, register
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.sections import setting


@dataclass(frozen=True)
class Trust:
    """How far the label is believed."""

    label: float = setting(0.9, "share rho of the label; the rest is the class the network chooses")

    def __post_init__(self) -> None:
        """Refuse a share that is none."""
        if not 0 <= self.label <= 1:
            raise InputError(f"label {self.label}: a share from 0 to 1")


def chosen_instead(logits: sym.Symbol, label: sym.Symbol) -> sym.Symbol:
    """Mean over the batch of z_y - z_c, c the class with the greatest logit, no gradient through the choice: (1,).

    Added (1 - rho) times to -log p_y it makes -rho log p_y - (1 - rho) log p_c, since z_y - z_c = log p_y - log p_c.
    """
    choice = sym.argmax(sym.BlockGrad(logits), axis=1)
    return sym.mean(sym.pick(logits, label, axis=1) - sym.pick(logits, choice, axis=1))


@register("noise_resistance", Trust,
          formula="−ρ log p_y − (1 − ρ) log p_c, p of the margin softmax, c its most probable class")
def noise_resistance(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """A margin softmax whose target is the label and, by the rest, the class chosen; the printed loss is -log p_y."""
    trust: Trust = settings.options
    label = label_variable()
    logits, statistics = margin_head_logits(embedding, centre_variable(settings, sizes), label, settings, sizes)
    term = objective(chosen_instead(logits, label) * (1.0 - trust.label), "choice")
    return classification_head(embedding, logits, label, settings, (*statistics, Term("objective:choice", term)))
