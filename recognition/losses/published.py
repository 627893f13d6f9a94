"""The margins as the published runs had them: HEAD's unclipped arccos (facts 3.3) and the 2018 cosine form (3.5)."""
import math
from typing import Any

from arcface_mxnet.recognition.losses.base import LossSettings, Sizes
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.mx import mx


def original_logits(logits: Any, label: Any, settings: LossSettings, sizes: Sizes) -> Any:
    """HEAD's graph: no clip, no guard past pi, the change spread by a one-hot product (`--original`).

    NaN when float32 rounding lifts a target cosine above 1, an infinite gradient at 1, a logit that rises again past
    theta + m2 = pi. Margins m2 and m3 count only when positive, as in the original.
    """
    s, m1, m2, m3 = settings.loss_s, settings.loss_m1, settings.loss_m2, settings.loss_m3
    if (m1, m2, m3) == (1.0, 0.0, 0.0):
        return logits
    if m1 == 1.0 and m2 == 0.0:
        return logits - mx.sym.one_hot(label, depth=sizes.classes, on_value=s * m3, off_value=0.0)
    target = mx.sym.pick(logits, label, axis=1)
    theta = mx.sym.arccos(target / s)
    if m1 != 1.0:
        theta = theta * m1
    if m2 > 0.0:
        theta = theta + m2
    changed = mx.sym.cos(theta)
    if m3 > 0.0:
        changed = changed - m3
    return _spread(logits, changed * s - target, label, sizes)


def head_2018_logits(logits: Any, label: Any, settings: LossSettings, sizes: Sizes) -> Any:
    """The head of the published r34 and y1 (loss_type 4): cos(theta + m) by the addition theorem, guarded past pi - m.

    Where cos(theta) > cos(pi - m2) the target becomes s (cos cos m2 - sin sin m2), elsewhere it is lowered by
    s m2 sin(pi - m2). Only for m1 = 1, m3 = 0; raises InputError otherwise.
    """
    s, m2 = settings.loss_s, settings.loss_m2
    if settings.loss_m1 != 1.0 or settings.loss_m3 != 0.0:
        raise InputError("--head-2018 is the ArcFace head of 2018; it knows no loss_m1 or loss_m3")
    target = mx.sym.pick(logits, label, axis=1)
    cosine = target / s
    sine = mx.sym.sqrt(1.0 - mx.sym.square(cosine))
    moved = s * (cosine * math.cos(m2) - sine * math.sin(m2))
    kept = target - s * m2 * math.sin(math.pi - m2)
    before_pi = mx.sym.relu(cosine - math.cos(math.pi - m2))
    return _spread(logits, mx.sym.where(before_pi, moved, kept) - target, label, sizes)


def _spread(logits: Any, change: Any, label: Any, sizes: Sizes) -> Any:
    one_hot = mx.sym.one_hot(label, depth=sizes.classes, on_value=1.0, off_value=0.0)
    return logits + mx.sym.broadcast_mul(one_hot, mx.sym.expand_dims(change, 1))
