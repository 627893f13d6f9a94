"""The parts heads are built of: label, centres, scaled cosines, changed target logits, softmax and its report."""
import math
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses.head import CLASSIFICATION_ORDER, Head, LossSettings, Sizes

import numpy as np

LABEL = "softmax_label"
CENTRES = "fc7_weight"
FIRST_CENTRES = sym.Initial("normal", {"sigma": 0.01})
COSINE_LIMIT = 1.0 - 1e-6  # float32 dot products of unit vectors reach 1.0000014; arccos has no slope at 1
SMALLEST_PROBABILITY = 1e-37  # near the smallest normal float32: log stays finite when a probability underflows
_NORM_EPSILON = 1e-10  # L2Normalization's own


class Term(NamedTuple):
    """One more output of a head: its role (see Head.roles) and its symbol."""

    role: str
    symbol: sym.Symbol


def label_variable() -> sym.Symbol:
    """The identities of the batch, (B,) float."""
    return sym.Variable(LABEL)


def centre_variable(settings: LossSettings, sizes: Sizes, per_class: int = 1) -> sym.Symbol:
    """The trained class centres, (C * per_class, E), initial values Normal(0.01) as in the original."""
    return sym.Variable(CENTRES, shape=(sizes.classes * per_class, sizes.embedding),
                        lr_mult=settings.fc7_lr_mult, wd_mult=settings.fc7_wd_mult, init=FIRST_CENTRES)


def unit_rows(matrix: sym.Symbol, name: Optional[str] = None) -> sym.Symbol:
    """Each row divided by its length: x / sqrt(sum x^2 + 1e-10), any (rows, E)."""
    return sym.L2Normalization(matrix, mode="instance", eps=_NORM_EPSILON, name=name)


def row_norms(matrix: sym.Symbol) -> sym.Symbol:
    """The length of each row, (rows, E) -> (rows,), with a gradient that is finite at zero."""
    return sym.sqrt(sym.sum(sym.square(matrix), axis=1) + _NORM_EPSILON)


def cosine_logits(embedding: sym.Symbol, centres: sym.Symbol, scale: float, rows: int) -> sym.Symbol:
    """Cosines of each embedding with each centre times `scale`: (B, E), (rows, E) -> (B, rows), node `fc7`."""
    return unit_logits(embedding, unit_rows(centres), scale, rows)


def unit_logits(embedding: sym.Symbol, unit_centres: sym.Symbol, scale: float, rows: int) -> sym.Symbol:
    """`cosine_logits` for centres of length 1 already, for a head that uses these once more."""
    features = unit_rows(embedding, name="fc1n") * scale
    return sym.FullyConnected(features, weight=unit_centres, no_bias=True, num_hidden=rows, name="fc7")


def inside(cosine: sym.Symbol) -> sym.Symbol:
    """The cosine clipped inside (-1, 1), so that arccos has a finite value and slope everywhere."""
    return sym.clip(cosine, -COSINE_LIMIT, COSINE_LIMIT)


def target_indices(label: sym.Symbol, classes: int) -> sym.Symbol:
    """Positions (row, label) of the target entries of a (B, C) matrix, as (2, B) for gather_nd and scatter_nd."""
    columns = sym.clip(label, 0, classes - 1)
    return sym.stack(sym.contrib.arange_like(label), columns)


def add_to_targets(logits: sym.Symbol, change: sym.Symbol, label: sym.Symbol, sizes: Sizes) -> sym.Symbol:
    """`logits` (B, C) with change[i] added at (i, label[i]); no (B, C) one-hot, no product with one."""
    shape = (sizes.batch, sizes.classes)
    return logits + sym.scatter_nd(change, target_indices(label, sizes.classes), shape=shape)


def target_mask(label: sym.Symbol, sizes: Sizes) -> sym.Symbol:
    """One at each row's own class, zero elsewhere: (B,) -> (B, C), for heads that treat the other classes apart."""
    shape = (sizes.batch, sizes.classes)
    return sym.scatter_nd(sym.ones_like(label), target_indices(label, sizes.classes), shape=shape)


def cross_entropy(probability: sym.Symbol, label: sym.Symbol) -> sym.Symbol:
    """Mean of -log p[label] as (1,); p is picked first and kept from 0, so that no whole matrix goes through log."""
    target = sym.pick(sym.BlockGrad(probability), label, axis=1)
    return 0.0 - sym.mean(sym.log(sym.maximum(target, SMALLEST_PROBABILITY)))


def original_cross_entropy(logits: sym.Symbol, label: sym.Symbol) -> sym.Symbol:
    """The loss the original prints, (1,), to the bit: a whole matrix of logarithms times a one-hot of -1.

    docs/original.md, section 3.4: it is NaN as soon as the probability of any class of any image underflows.
    """
    columns = sym.contrib.arange_like(logits, axis=1)
    one_hot = sym.broadcast_equal(sym.expand_dims(label, 1), sym.expand_dims(columns, 0))
    total = sym.sum(sym.log(sym.SoftmaxActivation(logits)) * (one_hot * -1.0))
    return sym.broadcast_div(total, sym.sum(sym.ones_like(label)))


def objective(value: sym.Symbol, name: Optional[str] = None) -> sym.Symbol:
    """A term of the loss as an output whose gradient is one; `value` is already a mean over the batch."""
    return sym.MakeLoss(value, name=name)


def statistic(value: sym.Symbol, name: Optional[str] = None) -> sym.Symbol:
    """A number to report: an output that sends no gradient back."""
    return sym.BlockGrad(value, name=name)


def mean_degrees(cosine: sym.Symbol) -> sym.Symbol:
    """Mean angle in degrees of a vector of cosines, (B,) -> (1,)."""
    return sym.mean(sym.arccos(inside(cosine))) * (180.0 / math.pi)


def classification_head(embedding: sym.Symbol, logits: sym.Symbol, label: sym.Symbol, settings: LossSettings,
                        extra: Tuple[Term, ...] = (), states: Optional[Dict[str, np.ndarray]] = None,
                        order: str = CLASSIFICATION_ORDER, images_per_identity: int = 1) -> Head:
    """The head of a loss that is a softmax over `logits` (B, C), with further terms, states and statistics.

    Outputs as in the original: blocked embedding, `softmax`, blocked cross-entropy (with `ce_loss`), then `extra`.
    The softmax's gradient is (p - y) / n, n the labels of the device's batch that are not -1.
    """
    softmax = sym.SoftmaxOutput(logits, label=label, name="softmax", normalization="valid")
    outputs: List[Term] = [Term("embedding", statistic(embedding, "blockgrad0")), Term("probability", softmax)]
    if settings.ce_loss:
        printed = original_cross_entropy(logits, label) if settings.original else cross_entropy(softmax, label)
        outputs.append(Term("loss", statistic(printed, "blockgrad1")))
    return make_head(outputs + list(extra), {CENTRES: FIRST_CENTRES}, states, order, images_per_identity)


def make_head(outputs: List[Term], initializers: Dict[str, Any], states: Optional[Dict[str, np.ndarray]] = None,
              order: str = CLASSIFICATION_ORDER, images_per_identity: int = 1) -> Head:
    """A Head from its outputs in order."""
    symbol = sym.Group([term.symbol for term in outputs])
    return Head(symbol, tuple(term.role for term in outputs), initializers, states or {}, order, images_per_identity)


def hard_negatives(cosine: sym.Symbol, changed: sym.Symbol, label: sym.Symbol, sizes: Sizes) -> sym.Symbol:
    """One where another identity's cosine is above the target's changed one, (B, C), without a gradient."""
    harder = sym.broadcast_greater(sym.BlockGrad(cosine), sym.expand_dims(sym.BlockGrad(changed), 1))
    return harder * (1.0 - target_mask(label, sizes))
