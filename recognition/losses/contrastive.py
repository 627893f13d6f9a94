"""Contrastive loss (Hadsell et al., CVPR 2006) over all pairs of a batch beside a softmax, as in DeepID2 (2014)."""
from dataclasses import dataclass

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses.common import Term, classification_head, label_variable, objective
from arcface_mxnet.recognition.losses.head import IDENTITY_ORDER, Head, LossSettings, Sizes, register
from arcface_mxnet.recognition.losses.softmax import softmax_logits
from arcface_mxnet.recognition.losses.triplet import distances, other_images, same_identity
from arcface_mxnet.runtime.sections import setting

_SMALLEST = 1e-10  # squared distance below which the root would have no slope


@dataclass(frozen=True)
class Pairs:
    """The constants of the pairs."""

    weight: float = setting(1.0, "weight of the pairs beside the softmax")
    margin: float = setting(1.0, "distance of unit embeddings up to which two people repel one another")


def pair_term(embedding: sym.Symbol, label: sym.Symbol, margin: float) -> sym.Symbol:
    """Mean over all ordered pairs of images of d^2 / 2 for one person and max(0, margin - d)^2 / 2 for two, as (1,).

    d is the Euclidean distance of unit embeddings, 0 to 2.
    """
    squared = sym.relu(distances(embedding, angular=False)) + _SMALLEST
    others = other_images(label)
    same = same_identity(label)
    apart = sym.square(sym.relu(margin - sym.sqrt(squared)))
    value = (same * squared + (1.0 - same) * apart) * others * 0.5
    return sym.sum(value) / sym.sum(others)


@register("contrastive", Pairs,
          formula="softmax + mean of ‖a−b‖²/2 (one person), max(0, m − ‖a−b‖)²/2 (two), unit embeddings")
def contrastive(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """Softmax and contrastive loss; batches hold whole groups of images of a person."""
    pairs: Pairs = settings.options
    label = label_variable()
    term = objective(pair_term(embedding, label, pairs.margin) * pairs.weight, "contrastive")
    return classification_head(embedding, softmax_logits(embedding, settings, sizes), label, settings,
                               (Term("objective:contrastive", term),), None, IDENTITY_ORDER,
                               settings.images_per_identity)
