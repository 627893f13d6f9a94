"""Range loss (Zhang et al., ICCV 2017) beside a softmax: the widest pairs of each person, the nearest two people.

Distances are squared Euclidean ones of embeddings as they are, not of unit length, as in the paper (arXiv 1611.08976).
"""
from dataclasses import dataclass

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses.common import Term, classification_head, label_variable, objective
from arcface_mxnet.recognition.losses.head import IDENTITY_ORDER, Head, LossSettings, Sizes, register
from arcface_mxnet.recognition.losses.softmax import softmax_logits
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.sections import check, setting

_SMALLEST = 1e-10  # added to a distance before it divides: two equal images are at distance 0


@dataclass(frozen=True)
class Ranges:
    """The constants of the paper."""

    intra: float = setting(1e-5, "weight alpha of each person's ranges")
    inter: float = setting(1e-4, "weight beta of the nearest two people")
    margin: float = setting(2e4, "margin M: squared distance of two people's centres up to which they repel")
    count: int = setting(2, "ranges k of a person: the k greatest distances between its images", least=1)

    def __post_init__(self) -> None:
        """Refuse a loss of no range."""
        check(self)


def later(places: sym.Symbol) -> sym.Symbol:
    """One where the second of two places comes after the first, (n,) -> (n, n): each pair once, none with itself."""
    return sym.broadcast_greater(sym.expand_dims(places, 0), sym.expand_dims(places, 1))


def between(rows: sym.Symbol, axis: int) -> sym.Symbol:
    """Squared distances between the rows along `axis`, the last but one: (..., n, E) -> (..., n, n)."""
    offset = sym.broadcast_sub(sym.expand_dims(rows, axis + 1), sym.expand_dims(rows, axis))
    return sym.sum(sym.square(offset), axis=axis + 2)


def ranges(groups: sym.Symbol, count: int) -> sym.Symbol:
    """Sum over people of the harmonic mean of their `count` greatest squared distances: (P, n, E) -> (1,)."""
    pairs = sym.broadcast_mul(between(groups, 1), sym.expand_dims(later(sym.contrib.arange_like(groups, axis=1)), 0))
    pairs = sym.reshape(pairs, shape=(0, -1))
    columns = sym.topk(sym.BlockGrad(pairs), k=count, axis=1)
    row_of = sym.broadcast_like(sym.expand_dims(sym.contrib.arange_like(columns, axis=0), 1), columns)
    widest = sym.gather_nd(pairs, sym.stack(row_of, columns))
    return sym.sum(count / sym.sum(1.0 / (widest + _SMALLEST), axis=1))


def nearest_centres(groups: sym.Symbol, margin: float) -> sym.Symbol:
    """max(0, margin - d), d the shortest squared distance of two people's mean embeddings: (P, n, E) -> (1,)."""
    centres = sym.mean(groups, axis=1)
    pairs = later(sym.contrib.arange_like(centres, axis=0))
    distance = sym.reshape(between(centres, 0) * pairs + margin * (1.0 - pairs), shape=(1, -1))
    return sym.relu(margin - sym.pick(distance, sym.argmin(sym.BlockGrad(distance), axis=1), axis=1))


def people_of(batch: int, images_per_identity: int, count: int) -> int:
    """The people of a batch; raises InputError where there are fewer than two, or too few images for `count` ranges."""
    people, left = divmod(batch, images_per_identity)
    if left or people < 2 or images_per_identity * (images_per_identity - 1) // 2 < count:
        raise InputError(f"--per-batch-size {batch} with {images_per_identity} images an identity: range loss needs "
                         f"a batch of two or more whole identities and {count} pairs of images in each")
    return people


@register("range", Ranges,
          formula="softmax + α Σ over people of the harmonic mean of their k widest ‖a−b‖² + β max(0, M − the least "
                  "‖c−d‖² of two people's mean embeddings)")
def range_loss(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """Softmax and range loss; batches hold whole groups of images of a person."""
    constants: Ranges = settings.options
    label, each = label_variable(), settings.images_per_identity
    people = people_of(sizes.batch, each, constants.count)
    groups = sym.reshape(embedding, shape=(people, each, sizes.embedding))
    terms = (Term("objective:intra", objective(ranges(groups, constants.count) * constants.intra, "intra")),
             Term("objective:inter", objective(nearest_centres(groups, constants.margin) * constants.inter, "inter")))
    return classification_head(embedding, softmax_logits(embedding, settings, sizes), label, settings, terms, None,
                               IDENTITY_ORDER, each)
