"""Triplets of the original: Euclidean (0.3) and angular (0.35), alone or added to a margin softmax (facts 3.6)."""
from dataclasses import dataclass
from typing import Any, Tuple

from recognition.losses.base import TRIPLET_ORDER, Head, LossSettings, Sizes, read_options, register
from recognition.losses.blocks import (
    Term,
    centre_variable,
    classification_head,
    inside,
    label_variable,
    make_head,
    objective,
    statistic,
    unit_rows,
)
from recognition.losses.margin import margin_head_logits
from runtime.errors import InputError
from runtime.mx import mx


@dataclass(frozen=True)
class Added:
    """How the triplet term joins a margin softmax: its weight, and 1 for angles or 0 for squared distances."""

    weight: float = 1.0
    angular: float = 1.0


def thirds(features: Any, batch: int) -> Tuple[Any, Any, Any]:
    """Anchors, positives and negatives of a batch arranged in three equal parts; raises InputError if it is not."""
    if batch % 3:
        nearest = batch - batch % 3 or 3
        raise InputError(f"--per-batch-size {batch}: triplets need a batch that 3 divides; take {nearest}")
    part = batch // 3
    anchor, positive, negative = (mx.sym.slice_axis(features, axis=0, begin=i * part, end=(i + 1) * part)
                                  for i in range(3))
    return anchor, positive, negative


def euclidean_triplet(embedding: Any, alpha: float, batch: int) -> Any:
    """Mean of relu(|a - p|^2 - |a - n|^2 + alpha) over unit embeddings, as (1,); alpha is a squared distance."""
    anchor, positive, negative = thirds(unit_rows(embedding), batch)
    near = mx.sym.sum(mx.sym.square(anchor - positive), axis=1)
    far = mx.sym.sum(mx.sym.square(anchor - negative), axis=1)
    return mx.sym.mean(mx.sym.relu(near - far + alpha))


def angular_triplet(embedding: Any, alpha: float, batch: int) -> Any:
    """Mean of relu(theta(a, p) - theta(a, n) + alpha), as (1,); alpha in radians."""
    anchor, positive, negative = thirds(unit_rows(embedding), batch)
    near = mx.sym.arccos(inside(mx.sym.sum(anchor * positive, axis=1)))
    far = mx.sym.arccos(inside(mx.sym.sum(anchor * negative, axis=1)))
    return mx.sym.mean(mx.sym.relu(near - far + alpha))


def _alone(embedding: Any, value: Any, settings: LossSettings) -> Head:
    outputs = [Term("embedding", statistic(embedding, "blockgrad0")),
               Term("label", statistic(label_variable(), "blockgrad1")), Term("loss", objective(value, "makeloss0"))]
    return make_head(outputs, {}, None, TRIPLET_ORDER, settings.images_per_identity)


@register("triplet")
def triplet(embedding: Any, settings: LossSettings, sizes: Sizes) -> Head:
    """Euclidean triplets alone."""
    return _alone(embedding, euclidean_triplet(embedding, settings.triplet_alpha, sizes.batch), settings)


@register("atriplet")
def atriplet(embedding: Any, settings: LossSettings, sizes: Sizes) -> Head:
    """Angular triplets alone."""
    return _alone(embedding, angular_triplet(embedding, settings.triplet_alpha, sizes.batch), settings)


@register("margin_triplet")
def margin_triplet(embedding: Any, settings: LossSettings, sizes: Sizes) -> Head:
    """A margin softmax over all three thirds, and triplets over the same embeddings (ArcFace + Triplet)."""
    added = read_options(Added, settings)
    label = label_variable()
    logits, extra = margin_head_logits(embedding, centre_variable(settings, sizes), label, settings, sizes)
    hinge = angular_triplet if added.angular else euclidean_triplet
    term = objective(hinge(embedding, settings.triplet_alpha, sizes.batch) * added.weight, "triplet")
    return classification_head(embedding, logits, label, settings, (*extra, Term("objective:triplet", term)), None,
                               TRIPLET_ORDER, settings.images_per_identity)
