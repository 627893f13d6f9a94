"""FaceNet's triplets with semi-hard negatives found inside the batch (Schroff et al., CVPR 2015)."""
from typing import Any

from recognition.losses.base import IDENTITY_ORDER, Head, LossSettings, Sizes, register
from recognition.losses.blocks import Term, label_variable, make_head, objective, statistic, unit_rows
from runtime.mx import mx

_FAR = 10.0  # above every squared distance of unit vectors (0..4)


def same_identity(label: Any) -> Any:
    """One where two images of the batch have one identity, (B,) -> (B, B)."""
    return mx.sym.broadcast_equal(mx.sym.expand_dims(label, 1), mx.sym.expand_dims(label, 0))


def squared_distances(features: Any) -> Any:
    """Squared Euclidean distances between all unit rows, (B, E) -> (B, B), 0..4."""
    return 2.0 - 2.0 * mx.sym.dot(features, features, transpose_b=True)


def semi_hard(distance: Any, same: Any) -> Any:
    """Column of the negative of every (anchor, positive), (B, B): the nearest one farther than the positive.

    Where no negative is farther, the farthest there is: a harder one would pull everything to one point (FaceNet,
    section 3.2). No gradient flows through the choice.
    """
    to_negative = mx.sym.BlockGrad(distance) - _FAR * same  # own identity falls far below every negative
    farther = mx.sym.broadcast_greater(mx.sym.expand_dims(to_negative, 1), mx.sym.expand_dims(distance, 2))
    candidates = mx.sym.broadcast_add((1.0 - farther) * (3 * _FAR), mx.sym.expand_dims(to_negative, 1))
    nearest = mx.sym.argmin(candidates, axis=2)
    farthest = mx.sym.expand_dims(mx.sym.argmax(to_negative, axis=1), 1)
    return mx.sym.where(mx.sym.max(farther, axis=2), nearest, mx.sym.broadcast_like(farthest, nearest))


def semi_hard_triplet(embedding: Any, label: Any, alpha: float) -> Any:
    """Mean over all anchor-positive pairs of relu(|a - p|^2 - |a - n|^2 + alpha), n semi-hard, as (1,)."""
    features = unit_rows(embedding)
    distance = squared_distances(features)
    rows = mx.sym.contrib.arange_like(label)
    same = same_identity(label)
    pairs = mx.sym.broadcast_lesser(mx.sym.expand_dims(rows, 1), mx.sym.expand_dims(rows, 0)) * same
    pairs = pairs + mx.sym.transpose(pairs)  # both directions, never an image with itself
    columns = semi_hard(distance, same)
    row_of = mx.sym.broadcast_like(mx.sym.expand_dims(rows, 1), columns)
    negative = mx.sym.gather_nd(distance, mx.sym.stack(row_of, columns))
    hinge = mx.sym.relu(distance - negative + alpha) * pairs
    return mx.sym.sum(hinge) / mx.sym.maximum(mx.sym.sum(pairs), 1.0)


@register("facenet")
def facenet(embedding: Any, settings: LossSettings, sizes: Sizes) -> Head:
    """In-batch semi-hard triplets alone."""
    label = label_variable()
    loss = objective(semi_hard_triplet(embedding, label, settings.triplet_alpha), "makeloss0")
    outputs = [Term("embedding", statistic(embedding, "blockgrad0")), Term("label", statistic(label, "blockgrad1")),
               Term("loss", loss)]
    return make_head(outputs, {}, None, IDENTITY_ORDER, settings.images_per_identity)
