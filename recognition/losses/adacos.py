"""AdaCos (Zhang et al., CVPR 2019): the scale from the number of identities, fixed or following the batch."""
import math
from dataclasses import dataclass

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses.common import (
    Term,
    add_to_targets,
    centre_variable,
    classification_head,
    cosine_logits,
    inside,
    label_variable,
    statistic,
)
from arcface_mxnet.recognition.losses.head import Head, LossSettings, Sizes, register
from arcface_mxnet.runtime.sections import setting

import numpy as np

STATE = "adacos_scale"


@dataclass(frozen=True)
class Scaling:
    """The paper has no lowest value; with few identities B_avg can fall below 1 and its logarithm below 0."""

    dynamic: bool = setting(True, "the scale follows the batch")
    lowest: float = setting(1.0, "lowest value of the scale")


def fixed_scale(classes: int) -> float:
    """sqrt(2) * log(C - 1), never below 1 (2 or 3 identities)."""
    return max(1.0, math.sqrt(2.0) * math.log(max(classes - 1, 1)))


def median(values: sym.Symbol, count: int) -> sym.Symbol:
    """Median of (count,) values as (1,): the middle one, or the mean of the middle two."""
    low, high = (count - 1) // 2, count // 2 + 1
    return sym.mean(sym.slice_axis(sym.sort(values), axis=0, begin=low, end=high))


def next_scale(cosine: sym.Symbol, label: sym.Symbol, scale: sym.Symbol, lowest: float, sizes: Sizes) -> sym.Symbol:
    """log(B_avg) / cos(min(pi / 4, median target angle)), B_avg with the scale before; (1,), without a gradient."""
    cosine = sym.BlockGrad(cosine)
    target = sym.pick(cosine, label, axis=1)
    spread = sym.exp(sym.broadcast_mul(cosine, sym.reshape(scale, shape=(1, 1))))
    spread = add_to_targets(spread, 0.0 - sym.pick(spread, label, axis=1), label, sizes)
    average = sym.mean(sym.sum(spread, axis=1))
    angle = sym.minimum(median(sym.arccos(inside(target)), sizes.batch), math.pi / 4)
    return sym.BlockGrad(sym.maximum(sym.log(average) / sym.cos(angle), lowest))


@register("adacos", Scaling,
          formula="z_j = s cos t_j, s = √2 log(C − 1), dynamic: log B_avg / cos(min(π/4, median t_y))")
def adacos(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """Norm-softmax whose scale is AdaCos's; loss_s is not read. The dynamic scale is renewed before its use."""
    scaling: Scaling = settings.options
    label = label_variable()
    cosine = cosine_logits(embedding, centre_variable(settings, sizes), 1.0, sizes.classes)
    if not scaling.dynamic:
        return classification_head(embedding, cosine * fixed_scale(sizes.classes), label, settings)
    scale = next_scale(cosine, label, sym.Variable(STATE, shape=(1,)), scaling.lowest, sizes)
    logits = sym.broadcast_mul(cosine, sym.reshape(scale, shape=(1, 1)))
    return classification_head(embedding, logits, label, settings, (Term(f"state:{STATE}", statistic(scale, "scale")),),
                               {STATE: np.array([fixed_scale(sizes.classes)], np.float32)})
