"""Intra-loss (L5) and inter-loss (L6) of the paper, on norm-softmax or on any margin; inter-loss is a case of MHE.

The paper's formulas have no weights; beside a softmax over cosines times 64 their gradients, at most 1 / pi a radian,
are small. The authors' program has one weight, to be given, and another inter-loss, which --original gives
(docs/original.md, section 3.10).
"""
import math
from dataclasses import dataclass

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses.arcface import (
    check_margins,
    margin_head_logits,
    original_logits,
    target_angle,
)
from arcface_mxnet.recognition.losses.common import (
    Term,
    centre_variable,
    classification_head,
    inside,
    label_variable,
    objective,
    target_mask,
    unit_logits,
    unit_rows,
)
from arcface_mxnet.recognition.losses.head import Head, LossSettings, Sizes, register
from arcface_mxnet.runtime.sections import setting


@dataclass(frozen=True)
class Weights:
    """Weights of the two terms (--margin-b of the authors' program); the paper's formulas are weight 1 each."""

    intra: float = setting(0.0, "weight of the intra-loss L5")
    inter: float = setting(0.0, "weight of the inter-loss L6")


def intra_angle(embedding: sym.Symbol, centres: sym.Symbol, label: sym.Symbol) -> sym.Symbol:
    """L5: mean over the batch of theta(x_i, W_{y_i}) / pi, as (1,); pulls embeddings to their own centres."""
    own = sym.take(unit_rows(centres), label)
    cosine = sym.sum(unit_rows(embedding) * own, axis=1)
    return sym.mean(sym.arccos(inside(cosine))) / math.pi


def inter_angle(centres: sym.Symbol, label: sym.Symbol, sizes: Sizes) -> sym.Symbol:
    """L6: minus the mean of theta(W_{y_i}, W_j) / pi over the batch and all j != y_i, as (1,); spreads centres."""
    unit = unit_rows(centres)
    cosine = sym.FullyConnected(sym.take(unit, label), weight=unit, no_bias=True, num_hidden=sizes.classes)
    others = inside(cosine * (1.0 - target_mask(label, sizes)))  # the own class: cosine 0, angle pi / 2, taken off
    total = sym.sum(sym.arccos(others)) - sizes.batch * math.pi / 2
    return total * (-1.0 / (math.pi * sizes.batch * (sizes.classes - 1)))


@register("intra_inter", Weights,
          formula="margin softmax + mean t_y / π (intra) − mean over j ≠ y of angle(W_y, W_j) / π (inter)")
def intra_inter(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """The margin softmax of the settings plus the weighted intra and inter terms."""
    weights: Weights = settings.options
    label = label_variable()
    centres = centre_variable(settings, sizes)
    if settings.original:
        return original_head(embedding, centres, label, settings, sizes)
    logits, extra = margin_head_logits(embedding, centres, label, settings, sizes)
    if weights.intra:
        term = objective(intra_angle(embedding, centres, label) * weights.intra, "intra")
        extra = (*extra, Term("objective:intra", term))
    if weights.inter:
        term = objective(inter_angle(centres, label, sizes) * weights.inter, "inter")
        extra = (*extra, Term("objective:inter", term))
    return classification_head(embedding, logits, label, settings, extra)


def original_head(embedding: sym.Symbol, centres: sym.Symbol, label: sym.Symbol, settings: LossSettings,
                  sizes: Sizes) -> Head:
    """The authors' two terms: the intra-angle without a clip, and the mean cosine of W_{y_i} with all W_j, j = y_i too.

    Each weight is the gradient scale of an output that shows the term itself.
    """
    check_margins(settings)
    weights: Weights = settings.options
    unit = unit_rows(centres)
    logits = unit_logits(embedding, unit, settings.loss_s, sizes.classes)
    own, extra = target_angle(logits, label, settings.loss_s), []
    if weights.intra:
        value = sym.mean(own[1] / math.pi)
        extra.append(Term("objective:intra", sym.MakeLoss(value, grad_scale=weights.intra, name="intra")))
    if weights.inter:
        cosines = sym.dot(sym.take(unit, label, axis=0), unit, transpose_b=True)
        value = sym.mean(cosines)
        extra.append(Term("objective:inter", sym.MakeLoss(value, grad_scale=weights.inter, name="inter")))
    logits = original_logits(logits, label, settings, sizes, own)
    return classification_head(embedding, logits, label, settings, tuple(extra))
