"""Sub-centre ArcFace (L7): K centres an identity, the nearest counts; its drop step is `recognition.drop`.

With it what the later text compares it with, both as in SoftTriple (Qian et al., ICCV 2019, arXiv 1909.05235): a
softmax in place of the maximum, and a term that draws the centres of an identity together. That text gives no
constants, so they are SoftTriple's.
"""
from dataclasses import dataclass
from typing import Tuple

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses.arcface import changed_logits, check_margins
from arcface_mxnet.recognition.losses.common import (
    Term,
    centre_variable,
    classification_head,
    cosine_logits,
    label_variable,
    objective,
    row_norms,
    unit_rows,
)
from arcface_mxnet.recognition.losses.head import Head, LossSettings, Sizes, register
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.sections import setting

SUBCENTRES = ("subcentre", "subcentre_softmax", "subcentre_compact")
"""The families whose fc7_weight is (C * K, E), the K rows of an identity adjacent."""


@dataclass(frozen=True)
class Softness:
    """The constant of softmax pooling."""

    gamma: float = setting(0.1, "temperature gamma: the cosines' weights are softmax(cosine / gamma)")

    def __post_init__(self) -> None:
        """Refuse a temperature that divides by nothing."""
        if not self.gamma > 0:
            raise InputError(f"gamma {self.gamma}: must be above 0")


@dataclass(frozen=True)
class Compactness:
    """The constant of the regulariser."""

    tau: float = setting(0.2, "weight tau of the distances between the centres of an identity")


def every_logit(embedding: sym.Symbol, centres: sym.Symbol, settings: LossSettings, sizes: Sizes) -> sym.Symbol:
    """s * cosine with each of the K centres of each class: (B, E), (C * K, E) -> (B, C, K)."""
    logits = cosine_logits(embedding, centres, settings.loss_s, sizes.classes * settings.loss_K)
    return sym.reshape(logits, shape=(-1, sizes.classes, settings.loss_K))


def soft_maximum(every: sym.Symbol, scale: float, gamma: float) -> sym.Symbol:
    """Sum over K of p_k s cos_k, p the softmax of cos_k / gamma: (B, C, K) of s * cosine -> (B, C)."""
    nearest = sym.BlockGrad(sym.max(every, axis=2, keepdims=True))  # taken off, so that exp cannot overflow
    raised = sym.exp(sym.broadcast_sub(every, nearest) * (1.0 / (scale * gamma)))
    return sym.sum(raised * every, axis=2) / sym.sum(raised, axis=2)


def spread(centres: sym.Symbol, sizes: Sizes, count: int) -> sym.Symbol:
    """Sum over classes and pairs of their unit centres of |w_s - w_t|, by C K (K - 1): (C * K, E) -> (1,)."""
    of_class = sym.reshape(unit_rows(centres), shape=(sizes.classes, count, sizes.embedding))
    each = [sym.reshape(sym.slice_axis(of_class, axis=1, begin=k, end=k + 1), shape=(-1, sizes.embedding))
            for k in range(count)]
    pairs = [sym.sum(row_norms(each[s] - each[t])) for s in range(count) for t in range(s)]
    total = pairs[0]
    for one in pairs[1:]:
        total = total + one
    return total / float(sizes.classes * count * (count - 1))


def _head(embedding: sym.Symbol, pooled: sym.Symbol, label: sym.Symbol, settings: LossSettings, sizes: Sizes,
          extra: Tuple[Term, ...] = ()) -> Head:
    logits, statistics = changed_logits(pooled, label, settings, sizes)
    return classification_head(embedding, logits, label, settings, (*statistics, *extra))


def check_centres(settings: LossSettings, least: int = 1) -> None:
    """Raise InputError for margins without a falling logit and for fewer than `least` centres."""
    check_margins(settings)
    if settings.loss_K < least:
        raise InputError(f"loss_K {settings.loss_K}: an identity needs at least {least} "
                         f"centre{'s' if least > 1 else ''}")


@register("subcentre", formula="margin softmax with cos t_j = max over K centres of class j")
def subcentre(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """Margin softmax over the maximum of K cosines; fc7_weight is (C * K, E), the K rows of an identity adjacent."""
    check_centres(settings)
    label = label_variable()
    centres = centre_variable(settings, sizes, settings.loss_K)
    nearest = sym.max(every_logit(embedding, centres, settings, sizes), axis=2)
    return _head(embedding, nearest, label, settings, sizes)


@register("subcentre_softmax", Softness,
          formula="margin softmax with cos t_j = Σ p_k cos_jk over the K centres of class j, p = softmax(cos_j / γ)")
def subcentre_softmax(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """Margin softmax over a weighted mean of K cosines: SoftTriple's relaxed similarity."""
    check_centres(settings)
    softness: Softness = settings.options
    every = every_logit(embedding, centre_variable(settings, sizes, settings.loss_K), settings, sizes)
    pooled = soft_maximum(every, settings.loss_s, softness.gamma)
    return _head(embedding, pooled, label_variable(), settings, sizes)


@register("subcentre_compact", Compactness,
          formula="margin softmax with cos t_j = max over K centres of class j + τ Σ ‖w_js − w_jt‖ / (C K (K − 1))")
def subcentre_compact(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """Sub-centres with SoftTriple's regulariser, which draws the centres of an identity together."""
    check_centres(settings, 2)
    compactness: Compactness = settings.options
    centres = centre_variable(settings, sizes, settings.loss_K)
    nearest = sym.max(every_logit(embedding, centres, settings, sizes), axis=2)
    term = objective(spread(centres, sizes, settings.loss_K) * compactness.tau, "compactness")
    return _head(embedding, nearest, label_variable(), settings, sizes, (Term("objective:compactness", term),))
