"""MV-Softmax and SV-Softmax (Wang et al., AAAI 2020 and arXiv 1812.11317): misclassified negatives are emphasised."""
from dataclasses import dataclass

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses.arcface import check_margins, margin_cosine
from arcface_mxnet.recognition.losses.common import (
    add_to_targets,
    centre_variable,
    classification_head,
    cosine_logits,
    hard_negatives,
    label_variable,
)
from arcface_mxnet.recognition.losses.head import Head, LossSettings, Sizes, register
from arcface_mxnet.runtime.sections import setting


@dataclass(frozen=True)
class Mining:
    """How hard negatives are raised."""

    emphasis: float = setting(0.2, "emphasis: t - 1 of SV-Softmax, MV-Softmax's t")
    fixed: bool = setting(False, "raise a hard logit by a fixed amount")


@register("mv_softmax", Mining,
          formula="hard j (cos t_j above the target): z_j = s ((1 + t) cos t_j + t), fixed: s (cos t_j + t)")
def mv_softmax(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """Hard negatives become s ((1 + t) cos + t), or s (cos + t) when fixed; SV-Softmax is the first with t - 1."""
    check_margins(settings)
    mining: Mining = settings.options
    label = label_variable()
    cosine = cosine_logits(embedding, centre_variable(settings, sizes), 1.0, sizes.classes)
    target = sym.pick(cosine, label, axis=1)
    changed = margin_cosine(target, settings.loss_m1, settings.loss_m2, settings.loss_m3)
    hard = hard_negatives(cosine, changed, label, sizes)
    raised = mining.emphasis if mining.fixed else (cosine + 1.0) * mining.emphasis
    logits = add_to_targets(cosine + hard * raised, changed - target, label, sizes) * settings.loss_s
    return classification_head(embedding, logits, label, settings)
