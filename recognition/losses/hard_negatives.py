"""Hard negatives weighed: SV-Softmax and MV-Softmax (Wang et al.), CurricularFace (Huang et al., CVPR 2020)."""
from dataclasses import dataclass
from typing import Any

from arcface_mxnet.recognition.losses.base import Head, LossSettings, Sizes, read_options, register
from arcface_mxnet.recognition.losses.blocks import (
    Term,
    add_to_targets,
    centre_variable,
    classification_head,
    cosine_logits,
    label_variable,
    statistic,
    target_mask,
)
from arcface_mxnet.recognition.losses.margin import check_margins, margin_cosine
from arcface_mxnet.runtime.mx import mx

import numpy as np

STATE = "curricular_t"


@dataclass(frozen=True)
class Mining:
    """Emphasis t - 1 of SV-Softmax (MV-Softmax's t, 0.2) and whether a hard logit is raised by a fixed amount (1)."""

    emphasis: float = 0.2
    fixed: float = 0.0


@dataclass(frozen=True)
class Curriculum:
    """Share of a batch's mean target cosine in the running t."""

    rate: float = 0.01


def hard_negatives(cosine: Any, changed: Any, label: Any, sizes: Sizes) -> Any:
    """One where another identity's cosine is above the target's changed one, (B, C), without a gradient."""
    harder = mx.sym.broadcast_greater(mx.sym.BlockGrad(cosine), mx.sym.expand_dims(mx.sym.BlockGrad(changed), 1))
    return harder * (1.0 - target_mask(label, sizes))


@register("mv_softmax")
def mv_softmax(embedding: Any, settings: LossSettings, sizes: Sizes) -> Head:
    """Hard negatives become s ((1 + t) cos + t), or s (cos + t) when fixed; SV-Softmax is the first with t - 1."""
    check_margins(settings)
    mining, label = read_options(Mining, settings), label_variable()
    cosine = cosine_logits(embedding, centre_variable(settings, sizes), 1.0, sizes.classes)
    target = mx.sym.pick(cosine, label, axis=1)
    changed = margin_cosine(target, settings.loss_m1, settings.loss_m2, settings.loss_m3)
    hard = hard_negatives(cosine, changed, label, sizes)
    raised = mining.emphasis if mining.fixed else (cosine + 1.0) * mining.emphasis
    logits = add_to_targets(cosine + hard * raised, changed - target, label, sizes) * settings.loss_s
    return classification_head(embedding, logits, label, settings)


@register("curricular")
def curricular(embedding: Any, settings: LossSettings, sizes: Sizes) -> Head:
    """Hard negatives become s cos (t + cos), t the running mean of the target cosines, renewed before its use."""
    check_margins(settings)
    label, running = label_variable(), mx.sym.Variable(STATE, shape=(1,))
    rate = read_options(Curriculum, settings).rate
    cosine = cosine_logits(embedding, centre_variable(settings, sizes), 1.0, sizes.classes)
    target = mx.sym.pick(cosine, label, axis=1)
    changed = margin_cosine(target, settings.loss_m1, settings.loss_m2, settings.loss_m3)
    t = mx.sym.BlockGrad(running * (1.0 - rate) + mx.sym.mean(target) * rate)
    hard = hard_negatives(cosine, changed, label, sizes)
    others = mx.sym.where(hard, cosine * mx.sym.broadcast_add(cosine, mx.sym.reshape(t, shape=(1, 1))), cosine)
    logits = add_to_targets(others, changed - target, label, sizes) * settings.loss_s
    return classification_head(embedding, logits, label, settings, (Term(f"state:{STATE}", statistic(t, "t")),),
                               {STATE: np.zeros(1, np.float32)})
