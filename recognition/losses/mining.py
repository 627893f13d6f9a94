"""Semi-hard triplets found inside the batch, in the graph: all anchor-positive pairs (FaceNet, CVPR 2015, section 3.2).

Without a bag forwarded beforehand the order of a run stays a function of seed and step.
"""
from typing import Any

from arcface_mxnet.recognition.losses.blocks import inside, unit_rows
from arcface_mxnet.runtime.mx import mx

_FAR = 10.0  # above every squared distance of unit vectors (0..4) and every angle (0..pi)


def same_identity(label: Any) -> Any:
    """One where two images of the batch have one identity, (B,) -> (B, B)."""
    return mx.sym.broadcast_equal(mx.sym.expand_dims(label, 1), mx.sym.expand_dims(label, 0))


def distances(embedding: Any, angular: bool) -> Any:
    """Between all images of the batch, (B, E) -> (B, B): angles in radians, or squared distances of unit vectors."""
    features = unit_rows(embedding)
    cosine = mx.sym.dot(features, features, transpose_b=True)
    return mx.sym.arccos(inside(cosine)) if angular else 2.0 - 2.0 * cosine


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


def semi_hard_triplets(embedding: Any, label: Any, alpha: float, angular: bool) -> Any:
    """Mean over all anchor-positive pairs of relu(d(a, p) - d(a, n) + alpha), n semi-hard, as (1,)."""
    distance = distances(embedding, angular)
    rows = mx.sym.contrib.arange_like(label)
    same = same_identity(label)
    pairs = mx.sym.broadcast_not_equal(mx.sym.expand_dims(rows, 1), mx.sym.expand_dims(rows, 0)) * same
    columns = semi_hard(distance, same)
    row_of = mx.sym.broadcast_like(mx.sym.expand_dims(rows, 1), columns)
    negative = mx.sym.gather_nd(distance, mx.sym.stack(row_of, columns))
    hinge = mx.sym.relu(distance - negative + alpha) * pairs
    return mx.sym.sum(hinge) / mx.sym.maximum(mx.sym.sum(pairs), 1.0)
