"""Marginal loss (Deng et al., CVPR Workshops 2017): one threshold for all pairs of a batch, beside a softmax."""
from dataclasses import dataclass

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses.common import Term, classification_head, label_variable, objective
from arcface_mxnet.recognition.losses.head import IDENTITY_ORDER, Head, LossSettings, Sizes, register
from arcface_mxnet.recognition.losses.softmax import softmax_logits
from arcface_mxnet.recognition.losses.triplet import distances, other_images, same_identity
from arcface_mxnet.runtime.sections import setting


@dataclass(frozen=True)
class Threshold:
    """The constants of the paper; distances are squared ones of unit embeddings, 0 to 4."""

    weight: float = setting(1.0, "weight lambda of the pairs beside the softmax")
    theta: float = setting(1.2, "threshold theta: distance that separates one person from two")
    xi: float = setting(0.3, "error margin xi on each side of the threshold")


def pair_term(embedding: sym.Symbol, label: sym.Symbol, threshold: Threshold) -> sym.Symbol:
    """Mean over all ordered pairs of images of max(0, xi - y (theta - d)), as (1,).

    y is 1 for one person and -1 for two, d the squared Euclidean distance of unit embeddings.
    """
    sign = 2.0 * same_identity(label) - 1.0
    others = other_images(label)
    hinge = sym.relu(threshold.xi - sign * (threshold.theta - distances(embedding, angular=False)))
    return sym.sum(hinge * others) / sym.sum(others)


@register("marginal", Threshold,
          formula="softmax + λ mean over pairs of max(0, ξ − y (θ − ‖a−b‖²)), y = ±1, unit embeddings")
def marginal(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """Softmax and marginal loss; batches hold whole groups of images of a person, so that each has pairs of one."""
    threshold: Threshold = settings.options
    label = label_variable()
    term = objective(pair_term(embedding, label, threshold) * threshold.weight, "marginal")
    return classification_head(embedding, softmax_logits(embedding, settings, sizes), label, settings,
                               (Term("objective:marginal", term),), None, IDENTITY_ORDER, settings.images_per_identity)
