"""Norm-softmax, SphereFace (m1), ArcFace (m2), CosFace (m3) and every combination: equation L4 by one function."""
import math
from typing import Optional, Tuple

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses.common import (
    Term,
    add_to_targets,
    centre_variable,
    classification_head,
    cosine_logits,
    inside,
    label_variable,
    mean_degrees,
    statistic,
)
from arcface_mxnet.recognition.losses.head import Head, LossSettings, Sizes, register
from arcface_mxnet.runtime.errors import InputError


def margin_cosine(cosine: sym.Symbol, m1: float, m2: float, m3: float) -> sym.Symbol:
    """cos(m1 * theta + m2) - m3 of a target cosine, elementwise, finite with its gradient from 0 to 180 degrees.

    Past m1 * theta + m2 = pi, where the cosine would rise again, it goes on as cos(theta) - d sin(d), d being the
    angle that is left there (d = m2 for m1 = 1, the published 2018 rule): lower than before, and falling with theta.
    """
    if m1 == 1.0 and m2 == 0.0:
        return cosine - m3 if m3 else cosine
    last = (math.pi - m2) / m1  # the angle at which m1 * theta + m2 reaches pi
    theta = sym.arccos(inside(cosine))
    moved = sym.cos(theta * m1 + m2)
    if last < math.pi:
        left = math.pi - last
        moved = sym.where(theta <= last, moved, cosine - left * math.sin(left))
    return moved - m3 if m3 else moved


def add_angle(cosine: sym.Symbol, margin: sym.Symbol) -> sym.Symbol:
    """cos(theta + margin) for a margin of its own in each row, (B,) and (B,); continued past pi as margin_cosine does.

    margin: symbol in radians, in [0, pi/2); gradients flow into both.
    """
    theta = sym.arccos(inside(cosine))
    return sym.where(theta + margin <= math.pi, sym.cos(theta + margin), cosine - margin * sym.sin(margin))


def has_margin(settings: LossSettings) -> bool:
    """Whether the target logit differs from the others at all."""
    return (settings.loss_m1, settings.loss_m2, settings.loss_m3) != (1.0, 0.0, 0.0)


def check_margins(settings: LossSettings) -> None:
    """Raise InputError for margins or a scale that give no falling target logit."""
    if settings.loss_s <= 0:
        raise InputError(f"loss_s {settings.loss_s}: the scale must be positive")
    if not 0 < settings.loss_m1 <= 2 or not 0 <= settings.loss_m2 < math.pi / 2 or settings.loss_m3 < 0:
        raise InputError(f"margins ({settings.loss_m1}, {settings.loss_m2}, {settings.loss_m3}): "
                         f"take 0 < loss_m1 <= 2, 0 <= loss_m2 < pi/2 and loss_m3 >= 0")


def margin_logits(logits: sym.Symbol, label: sym.Symbol, settings: LossSettings,
                  sizes: Sizes) -> Tuple[sym.Symbol, Tuple[Term, ...]]:
    """Scaled cosines (B, C) with the margin on each row's own class, and the mean target angle as a statistic."""
    if not has_margin(settings):
        return logits, ()
    target = sym.pick(logits, label, axis=1)
    cosine = target / settings.loss_s
    changed = margin_cosine(cosine, settings.loss_m1, settings.loss_m2, settings.loss_m3)
    angle = Term("stat:target_angle", statistic(mean_degrees(sym.BlockGrad(cosine)), "target_angle"))
    return add_to_targets(logits, changed * settings.loss_s - target, label, sizes), (angle,)


def margin_head_logits(embedding: sym.Symbol, centres: sym.Symbol, label: sym.Symbol, settings: LossSettings,
                       sizes: Sizes) -> Tuple[sym.Symbol, Tuple[Term, ...]]:
    """Logits of the margin softmax in the form the settings ask for, and its statistics; raises InputError."""
    check_margins(settings)
    return changed_logits(cosine_logits(embedding, centres, settings.loss_s, sizes.classes), label, settings, sizes)


def changed_logits(logits: sym.Symbol, label: sym.Symbol, settings: LossSettings,
                   sizes: Sizes) -> Tuple[sym.Symbol, Tuple[Term, ...]]:
    """Scaled cosines (B, C) with the margin in the form the settings ask for: today's, --original or --head-2018.

    With both switches the head is that of 2018; --original then means the rest of the program.
    """
    if settings.head_2018:
        return head_2018_logits(logits, label, settings, sizes), ()
    if settings.original:
        return original_logits(logits, label, settings, sizes), ()
    return margin_logits(logits, label, settings, sizes)


@register("margin_softmax", formula="z_y = s (cos(m1 t_y + m2) − m3), z_j = s cos t_j")
def margin_softmax(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """Softmax over s * cosines with margins (m1, m2, m3) on the target (L2, L3, L4)."""
    label = label_variable()
    logits, statistics = margin_head_logits(embedding, centre_variable(settings, sizes), label, settings, sizes)
    return classification_head(embedding, logits, label, settings, statistics)


def target_angle(logits: sym.Symbol, label: sym.Symbol, scale: float) -> Tuple[sym.Symbol, sym.Symbol]:
    """The logit of each row's own class and its angle, not clipped: nodes of the original's graph, (B,) each."""
    target = sym.pick(logits, label, axis=1)
    return target, sym.arccos(target / scale)


def original_logits(logits: sym.Symbol, label: sym.Symbol, settings: LossSettings, sizes: Sizes,
                    own: Optional[Tuple[sym.Symbol, sym.Symbol]] = None) -> sym.Symbol:
    """The original's graph: no clip, no guard past pi, the change spread by a one-hot product (`--original`).

    docs/original.md, section 3.3: NaN when float32 rounding lifts a target cosine above 1, an infinite gradient at 1, a
    logit that rises again past theta + m2 = pi. Margins m2 and m3 count only when positive, as in the original.
    `own`: `target_angle` of the logits, where the head has it already.
    """
    s, m1, m2, m3 = settings.loss_s, settings.loss_m1, settings.loss_m2, settings.loss_m3
    if (m1, m2, m3) == (1.0, 0.0, 0.0):
        return logits
    if m1 == 1.0 and m2 == 0.0:
        return logits - sym.one_hot(label, depth=sizes.classes, on_value=s * m3, off_value=0.0)
    target, theta = own or target_angle(logits, label, s)
    if m1 != 1.0:
        theta = theta * m1
    if m2 > 0.0:
        theta = theta + m2
    changed = sym.cos(theta)
    if m3 > 0.0:
        changed = changed - m3
    return _spread(logits, changed * s - target, label, sizes)


def head_2018_logits(logits: sym.Symbol, label: sym.Symbol, settings: LossSettings, sizes: Sizes) -> sym.Symbol:
    """The head of the published r34 and y1 (loss_type 4): cos(theta + m) by the addition theorem, guarded past pi - m.

    docs/original.md, section 3.5: where cos(theta) > cos(pi - m2) the target becomes s (cos cos m2 - sin sin m2),
    elsewhere it is lowered by s m2 sin(pi - m2). Only for m1 = 1, m3 = 0; raises InputError otherwise.
    """
    s, m2 = settings.loss_s, settings.loss_m2
    if settings.loss_m1 != 1.0 or settings.loss_m3 != 0.0:
        raise InputError("--head-2018 is the ArcFace head of 2018; it knows no loss_m1 or loss_m3")
    target = sym.pick(logits, label, axis=1)
    cosine = target / s
    before_pi = sym.relu(cosine - math.cos(math.pi - m2))
    sine = sym.sqrt(1.0 - cosine * cosine)  # the order of these lines decides the last bit of the gradient
    moved = (cosine * math.cos(m2) - sine * math.sin(m2)) * s
    kept = target - s * (m2 * math.sin(math.pi - m2))
    return _spread(logits, sym.where(before_pi, moved, kept) - target, label, sizes)


def _spread(logits: sym.Symbol, change: sym.Symbol, label: sym.Symbol, sizes: Sizes) -> sym.Symbol:
    one_hot = sym.one_hot(label, depth=sizes.classes, on_value=1.0, off_value=0.0)
    return logits + sym.broadcast_mul(one_hot, sym.expand_dims(change, 1))
