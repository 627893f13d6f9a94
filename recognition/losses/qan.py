"""The quality branch for sets: QAN (Liu et al., CVPR 2017) learns from identities which images of a set to trust."""
from dataclasses import dataclass

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses.common import (
    Term,
    classification_head,
    label_variable,
    objective,
    statistic,
    unit_rows,
)
from arcface_mxnet.recognition.losses.head import IDENTITY_ORDER, Head, LossSettings, Sizes, register
from arcface_mxnet.recognition.losses.softmax import softmax_logits
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.sections import setting


@dataclass(frozen=True)
class Constants:
    """The triplets of sets."""

    weight: float = setting(1.0, "weight of the set triplets")
    delta: float = setting(0.3, "their margin, a squared distance")


def image_quality(embedding: sym.Symbol) -> sym.Symbol:
    """Quality of each image in (0, 1), (B, E) -> (B, 1): a sigmoid of one dense unit, node `quality`."""
    return sym.sigmoid(sym.FullyConnected(embedding, num_hidden=1, name="quality_fc"), name="quality")


def set_features(features: sym.Symbol, quality: sym.Symbol, sets: int) -> sym.Symbol:
    """Weighted mean of each set's rows, sum mu R / sum mu: (B, E), (B, 1) -> (sets, E); images of a set adjacent."""
    weighted = sym.sum(sym.reshape(sym.broadcast_mul(features, quality), shape=(sets, -1, 0), reverse=True),
                          axis=1)
    return sym.broadcast_div(weighted, sym.sum(sym.reshape(quality, shape=(sets, -1)), axis=1, keepdims=True))


def identities_in(batch: int, images_per_identity: int) -> int:
    """Identities of a batch whose images fall into two sets each; raises InputError when they do not come out even."""
    identities, left = divmod(batch, images_per_identity)
    if images_per_identity < 2 or images_per_identity % 2 or left or identities < 2:
        raise InputError(f"--per-batch-size {batch} with {images_per_identity} images an identity: sets need an even "
                         "number of images an identity and a batch of two or more identities")
    return identities


@register("quality", Constants, formula="softmax + triplets of sets, set = Σ μ x / Σ μ, μ = sigmoid(w·x + b)")
def quality(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """Softmax on each image, and triplets of sets: an identity's two halves against the next identity of the batch."""
    constants: Constants = settings.options
    label = label_variable()
    identities = identities_in(sizes.batch, settings.images_per_identity)
    weights = image_quality(embedding)
    sets = sym.reshape(set_features(unit_rows(embedding), weights, 2 * identities), shape=(identities, 2, -1))
    anchor, positive = (sym.reshape(sym.slice_axis(sets, axis=1, begin=i, end=i + 1), shape=(identities, -1))
                        for i in range(2))
    negative = sym.concat(sym.slice_axis(anchor, axis=0, begin=1, end=identities),
                             sym.slice_axis(anchor, axis=0, begin=0, end=1), dim=0)
    near = sym.sum(sym.square(anchor - positive), axis=1)
    far = sym.sum(sym.square(anchor - negative), axis=1)
    hinge = sym.mean(sym.relu(near - far + constants.delta)) * constants.weight
    extra = (Term("objective:sets", objective(hinge, "sets")), Term("quality", statistic(weights, "image_quality")))
    return classification_head(embedding, softmax_logits(embedding, settings, sizes), label, settings, extra, None,
                               IDENTITY_ORDER, settings.images_per_identity)
