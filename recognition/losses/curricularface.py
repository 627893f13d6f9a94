"""CurricularFace (Huang et al., CVPR 2020): hard negatives weigh more as training goes on."""
from dataclasses import dataclass

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses.arcface import check_margins, margin_cosine
from arcface_mxnet.recognition.losses.common import (
    Term,
    add_to_targets,
    centre_variable,
    classification_head,
    cosine_logits,
    hard_negatives,
    label_variable,
    statistic,
)
from arcface_mxnet.recognition.losses.head import Head, LossSettings, Sizes, register
from arcface_mxnet.runtime.sections import setting

import numpy as np

STATE = "curricular_t"


@dataclass(frozen=True)
class Curriculum:
    """How hard negatives gain weight."""

    rate: float = setting(0.01, "share of a batch's mean target cosine in the running t")


@register("curricular", Curriculum, formula="hard j: z_j = s cos t_j (T + cos t_j), T running mean of cos t_y")
def curricular(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """Hard negatives become s cos (t + cos), t the running mean of the target cosines, renewed before its use."""
    check_margins(settings)
    label, running = label_variable(), sym.Variable(STATE, shape=(1,))
    curriculum: Curriculum = settings.options
    rate = curriculum.rate
    cosine = cosine_logits(embedding, centre_variable(settings, sizes), 1.0, sizes.classes)
    target = sym.pick(cosine, label, axis=1)
    changed = margin_cosine(target, settings.loss_m1, settings.loss_m2, settings.loss_m3)
    t = sym.BlockGrad(running * (1.0 - rate) + sym.mean(target) * rate)
    hard = hard_negatives(cosine, changed, label, sizes)
    others = sym.where(hard, cosine * sym.broadcast_add(cosine, sym.reshape(t, shape=(1, 1))), cosine)
    logits = add_to_targets(others, changed - target, label, sizes) * settings.loss_s
    return classification_head(embedding, logits, label, settings, (Term(f"state:{STATE}", statistic(t, "t")),),
                               {STATE: np.zeros(1, np.float32)})
