"""DP-softmax (Zhu et al., IJCV 2019): each step weighs only the batch's identities and those that look like them.

Its recipe for two images a person and very many identities (classification, verification, classification) is
`arcface_mxnet.recognition.cvc`.
"""
from dataclasses import dataclass
from typing import Tuple

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses.arcface import check_margins, margin_logits
from arcface_mxnet.recognition.losses.common import (
    CENTRES,
    FIRST_CENTRES,
    Term,
    centre_variable,
    cross_entropy,
    label_variable,
    make_head,
    statistic,
    unit_rows,
)
from arcface_mxnet.recognition.losses.head import Head, LossSettings, Sizes, register
from arcface_mxnet.runtime.sections import check, setting

import numpy as np

STATE = "dominant_identities"
_ABSENT = 1e4  # taken off a logit or cosine that must not count


@dataclass(frozen=True)
class Queue:
    """The dominant identities of an identity."""

    length: int = setting(20, "identities kept as dominant for each identity", least=1)

    def __post_init__(self) -> None:
        """Refuse an empty queue."""
        check(self)


def first_queues(classes: int, length: int) -> np.ndarray:
    """The queues before anything is known: the identities that follow in number, (C, Q) float32."""
    return ((np.arange(classes)[:, None] + 1 + np.arange(length)[None, :]) % classes).astype(np.float32)


def selected_identities(queues: sym.Symbol, label: sym.Symbol) -> Tuple[sym.Symbol, sym.Symbol]:
    """The batch's identities, then the dominant ones of each: (M,), and (M,) one where an earlier entry is the same."""
    chosen = sym.concat(label, sym.reshape(sym.take(queues, label), shape=(-1,)), dim=0)
    equal = sym.broadcast_equal(sym.expand_dims(chosen, 1), sym.expand_dims(chosen, 0))
    position = sym.contrib.arange_like(chosen)
    first = sym.argmax(equal, axis=1)
    return chosen, first < position


def next_queues(queues: sym.Symbol, chosen: sym.Symbol, repeated: sym.Symbol, centres: sym.Symbol, label: sym.Symbol,
                length: int, sizes: Sizes) -> sym.Symbol:
    """The queues with those of the batch's identities renewed by the most similar centres of this step, (C, Q)."""
    own_centres = sym.slice_axis(centres, axis=0, begin=0, end=sizes.batch)
    similarity = sym.dot(own_centres, centres, transpose_b=True)
    own = sym.broadcast_equal(sym.expand_dims(label, 1), sym.expand_dims(chosen, 0))
    similarity = sym.broadcast_sub(similarity - own * _ABSENT, sym.expand_dims(repeated, 0) * _ABSENT)
    nearest = sym.take(chosen, sym.topk(similarity, k=length, axis=1))
    place = sym.expand_dims(label, 0)
    renewed = sym.scatter_nd(nearest, place, shape=(sizes.classes, length))
    seen = sym.scatter_nd(sym.ones_like(nearest), place, shape=(sizes.classes, length))
    return sym.BlockGrad(sym.where(seen, renewed, queues))


@register("dominant", Queue, formula="margin softmax over the batch's identities and the 20 most like each")
def dominant(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """Margin softmax over the selected identities; its probabilities are theirs, role "probability:selected"."""
    check_margins(settings)
    queue: Queue = settings.options
    length = min(queue.length, sizes.classes - 1)
    label, queues = label_variable(), sym.Variable(STATE, shape=(sizes.classes, length))
    chosen, repeated = selected_identities(queues, label)
    columns = sizes.batch * (1 + length)
    centres = unit_rows(sym.take(centre_variable(settings, sizes), chosen))
    logits = sym.FullyConnected(unit_rows(embedding, name="fc1n") * settings.loss_s, weight=centres, no_bias=True,
                                   num_hidden=columns, name="fc7")
    column = sym.argmax(sym.broadcast_equal(sym.expand_dims(label, 1), sym.expand_dims(chosen, 0)), axis=1)
    logits, extra = margin_logits(logits, column, settings, Sizes(columns, sizes.batch, sizes.embedding))
    logits = sym.broadcast_sub(logits, sym.expand_dims(repeated, 0) * _ABSENT)
    softmax = sym.SoftmaxOutput(logits, label=column, name="softmax", normalization="valid")
    following = next_queues(queues, chosen, repeated, sym.BlockGrad(centres), label, length, sizes)
    outputs = [Term("embedding", statistic(embedding, "blockgrad0")), Term("probability:selected", softmax),
               Term("loss", statistic(cross_entropy(softmax, column), "blockgrad1")), *extra,
               Term(f"state:{STATE}", statistic(following, "queues"))]
    return make_head(outputs, {CENTRES: FIRST_CENTRES}, {STATE: first_queues(sizes.classes, length)})


def imprint(embeddings: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Centres for the last stage from features: the mean of each identity's unit embeddings, unit length.

    embeddings: (n, E) float; labels: (n,) int in [0, classes). Returns (classes, E) float32; identities without an
    image get zeros.
    """
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    sums = np.zeros((classes, embeddings.shape[1]))
    np.add.at(sums, labels, unit)
    return (sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)).astype(np.float32)
