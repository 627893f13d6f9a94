"""Triplets, Euclidean (0.3) and angular (0.35), alone or added to a margin softmax (docs/original.md, section 3.6).

With triplet_bag_size the batch is what the original trains on, three equal thirds of anchors, positives and negatives
mined from a bag; with 0 the batch is identity-balanced and its semi-hard triplets are found in the graph.
"""
from dataclasses import dataclass
from typing import Tuple

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses.arcface import margin_head_logits
from arcface_mxnet.recognition.losses.common import (
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
from arcface_mxnet.recognition.losses.head import (
    IDENTITY_ORDER,
    TRIPLET_ORDER,
    Head,
    LossSettings,
    Sizes,
    register,
)
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.sections import setting


@dataclass(frozen=True)
class Added:
    """How the triplet term joins a margin softmax."""

    weight: float = setting(1.0, "weight of the triplet term")
    angular: bool = setting(True, "compare angles; otherwise squared distances")


def thirds(features: sym.Symbol, batch: int) -> Tuple[sym.Symbol, sym.Symbol, sym.Symbol]:
    """Anchors, positives and negatives of a batch arranged in three equal parts; raises InputError if it is not."""
    if batch % 3:
        nearest = batch - batch % 3 or 3
        raise InputError(f"--per-batch-size {batch}: triplets need a batch that 3 divides; take {nearest}")
    part = batch // 3
    anchor, positive, negative = (sym.slice_axis(features, axis=0, begin=i * part, end=(i + 1) * part)
                                  for i in range(3))
    return anchor, positive, negative


def thirds_triplets(embedding: sym.Symbol, alpha: float, angular: bool, batch: int,
                    original: bool = False) -> sym.Symbol:
    """Mean over a batch in thirds of relu(d(a, p) - d(a, n) + alpha), as (1,).

    d is the angle (alpha in radians) or the squared Euclidean distance of unit embeddings. `original`: the angle's
    cosine is not clipped, so two equal embeddings give an infinite gradient.
    """
    clipped = (lambda cosine: cosine) if original else inside
    anchor, positive, negative = thirds(unit_rows(embedding), batch)
    if angular:
        near = sym.arccos(clipped(sym.sum(anchor * positive, axis=1)))
        far = sym.arccos(clipped(sym.sum(anchor * negative, axis=1)))
    else:
        near = sym.sum(sym.square(anchor - positive), axis=1)
        far = sym.sum(sym.square(anchor - negative), axis=1)
    return sym.mean(sym.relu(near - far + alpha))


def triplet_value(embedding: sym.Symbol, label: sym.Symbol, settings: LossSettings, angular: bool,
                  sizes: Sizes) -> Tuple[sym.Symbol, str]:
    """The triplet loss of the settings as (1,), and the order of batches it works on."""
    if settings.triplet_bag_size:
        value = thirds_triplets(embedding, settings.triplet_alpha, angular, sizes.batch, settings.original)
        return value, TRIPLET_ORDER
    return semi_hard_triplets(embedding, label, settings.triplet_alpha, angular), IDENTITY_ORDER


def _alone(embedding: sym.Symbol, settings: LossSettings, angular: bool, sizes: Sizes) -> Head:
    label = label_variable()
    value, order = triplet_value(embedding, label, settings, angular, sizes)
    outputs = [Term("embedding", statistic(embedding, "blockgrad0")), Term("label", statistic(label, "blockgrad1")),
               Term("loss", objective(value, "makeloss0"))]
    return make_head(outputs, {}, None, order, settings.images_per_identity)


@register("triplet", formula="mean max(0, ‖a−p‖² − ‖a−n‖² + α), unit embeddings")
def triplet(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """Euclidean triplets alone."""
    return _alone(embedding, settings, False, sizes)


@register("atriplet", formula="mean max(0, angle(a, p) − angle(a, n) + α)")
def atriplet(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """Angular triplets alone."""
    return _alone(embedding, settings, True, sizes)


@register("margin_triplet", Added, formula="margin softmax + triplets")
def margin_triplet(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """A margin softmax over all images, and triplets over the same embeddings (ArcFace + Triplet)."""
    added: Added = settings.options
    label = label_variable()
    logits, extra = margin_head_logits(embedding, centre_variable(settings, sizes), label, settings, sizes)
    value, order = triplet_value(embedding, label, settings, added.angular, sizes)
    extra = (*extra, Term("objective:triplet", objective(value * added.weight, "triplet")))
    return classification_head(embedding, logits, label, settings, extra, None, order, settings.images_per_identity)


# Semi-hard triplets found inside the batch, in the graph: all anchor-positive pairs (FaceNet, CVPR 2015, section 3.2).
#
# Without a bag forwarded beforehand the order of a run stays a function of seed and step.


_FAR = 10.0  # above every squared distance of unit vectors (0..4) and every angle (0..pi)


def same_identity(label: sym.Symbol) -> sym.Symbol:
    """One where two images of the batch have one identity, (B,) -> (B, B)."""
    return sym.broadcast_equal(sym.expand_dims(label, 1), sym.expand_dims(label, 0))


def other_images(label: sym.Symbol) -> sym.Symbol:
    """One where two images of the batch are not the same one, (B,) -> (B, B)."""
    rows = sym.contrib.arange_like(label)
    return sym.broadcast_not_equal(sym.expand_dims(rows, 1), sym.expand_dims(rows, 0))


def distances(embedding: sym.Symbol, angular: bool) -> sym.Symbol:
    """Between all images of the batch, (B, E) -> (B, B): angles in radians, or squared distances of unit vectors."""
    features = unit_rows(embedding)
    cosine = sym.dot(features, features, transpose_b=True)
    return sym.arccos(inside(cosine)) if angular else 2.0 - 2.0 * cosine


def semi_hard(distance: sym.Symbol, same: sym.Symbol) -> sym.Symbol:
    """Column of the negative of every (anchor, positive), (B, B): the nearest one farther than the positive.

    Where no negative is farther, the farthest there is: a harder one would pull everything to one point (FaceNet,
    section 3.2). No gradient flows through the choice.
    """
    to_negative = sym.BlockGrad(distance) - _FAR * same  # own identity falls far below every negative
    farther = sym.broadcast_greater(sym.expand_dims(to_negative, 1), sym.expand_dims(distance, 2))
    candidates = sym.broadcast_add((1.0 - farther) * (3 * _FAR), sym.expand_dims(to_negative, 1))
    nearest = sym.argmin(candidates, axis=2)
    farthest = sym.expand_dims(sym.argmax(to_negative, axis=1), 1)
    return sym.where(sym.max(farther, axis=2), nearest, sym.broadcast_like(farthest, nearest))


def semi_hard_triplets(embedding: sym.Symbol, label: sym.Symbol, alpha: float, angular: bool) -> sym.Symbol:
    """Mean over all anchor-positive pairs of relu(d(a, p) - d(a, n) + alpha), n semi-hard, as (1,)."""
    distance = distances(embedding, angular)
    rows = sym.contrib.arange_like(label)
    same = same_identity(label)
    pairs = sym.broadcast_not_equal(sym.expand_dims(rows, 1), sym.expand_dims(rows, 0)) * same
    columns = semi_hard(distance, same)
    row_of = sym.broadcast_like(sym.expand_dims(rows, 1), columns)
    negative = sym.gather_nd(distance, sym.stack(row_of, columns))
    hinge = sym.relu(distance - negative + alpha) * pairs
    return sym.sum(hinge) / sym.maximum(sym.sum(pairs), 1.0)
