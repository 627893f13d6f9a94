"""Centre loss with its own centre update (Wen et al., ECCV 2016)."""
from dataclasses import dataclass
from typing import Tuple

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses.common import Term, classification_head, label_variable, objective, statistic
from arcface_mxnet.recognition.losses.head import Head, LossSettings, Sizes, register
from arcface_mxnet.recognition.losses.softmax import softmax_logits
from arcface_mxnet.recognition.losses.triplet import same_identity
from arcface_mxnet.runtime.sections import setting

import numpy as np

STATE = "identity_centres"


@dataclass(frozen=True)
class Constants:
    """The constants of the paper."""

    weight: float = setting(0.003, "weight lambda of the term; 0.008 in the released example")
    alpha: float = setting(0.5, "rate alpha of the centres")


def next_centres(centres: sym.Symbol, embedding: sym.Symbol, label: sym.Symbol, alpha: float,
                 sizes: Sizes) -> sym.Symbol:
    """c_j - alpha * sum [y_i = j](c_j - x_i) / (1 + sum [y_i = j]): (C, E), without a gradient."""
    same = same_identity(label)  # adds up over the images of one identity, so equal rows are written to one place
    offset = sym.dot(same, sym.take(centres, label) - embedding)
    step = sym.broadcast_div(offset, 1.0 + sym.sum(same, axis=1, keepdims=True)) * alpha
    place = sym.expand_dims(label, 0)
    return sym.BlockGrad(centres - sym.scatter_nd(step, place, shape=(sizes.classes, sizes.embedding)))


def centre_term(embedding: sym.Symbol, label: sym.Symbol, constants: Constants, sizes: Sizes) -> Tuple[Term, Term]:
    """lambda / 2 * mean |x_i - c_{y_i}|^2, whose gradient reaches only x, and the centres for the next step."""
    centres = sym.Variable(STATE, shape=(sizes.classes, sizes.embedding))
    offset = embedding - sym.BlockGrad(sym.take(centres, label))
    value = sym.mean(sym.sum(sym.square(offset), axis=1)) * (constants.weight / 2)
    following = next_centres(centres, embedding, label, constants.alpha, sizes)
    return Term("objective:centre", objective(value, "centre")), Term(f"state:{STATE}", statistic(following, "centres"))


@register("centre", Constants, formula="softmax + λ/2 mean ‖x − c_y‖²; c_j moves by α Σ(x − c_j) / (1 + n_j)")
def centre(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """Softmax and centre loss."""
    label = label_variable()
    terms = centre_term(embedding, label, settings.options, sizes)
    states = {STATE: np.zeros((sizes.classes, sizes.embedding), np.float32)}
    return classification_head(embedding, softmax_logits(embedding, settings, sizes), label, settings, terms, states)
