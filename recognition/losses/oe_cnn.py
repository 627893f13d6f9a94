"""The age decomposition x = x_age * x_id: the embedding's length tells the age, its direction the person.

OE-CNN (Wang et al., ECCV 2018): an angular softmax on x / |x| plus a linear regression of the age on |x|.
"""
from dataclasses import dataclass, replace

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses.arcface import margin_head_logits
from arcface_mxnet.recognition.losses.common import (
    Term,
    centre_variable,
    classification_head,
    label_variable,
    objective,
    row_norms,
)
from arcface_mxnet.recognition.losses.head import Head, LossSettings, Sizes, register
from arcface_mxnet.runtime.sections import setting

AGES = "age_label"


@dataclass(frozen=True)
class Constants:
    """Our choice, ages being in years. At 0.0001 lengths did not follow ages at all."""

    weight: float = setting(0.01, "weight lambda of the age term")


def age_term(embedding: sym.Symbol, years: sym.Symbol, weight: float) -> sym.Symbol:
    """weight / (2M) * sum over images of known age of (k |x| + b - age)^2, as (1,).

    years: (B,), -1 where unknown; k and b are the trained `age_slope` and `age_bias`.
    """
    slope = sym.Variable("age_slope", shape=(1,), init=sym.Initial("one"))
    bias = sym.Variable("age_bias", shape=(1,), init=sym.Initial("zero"))
    known = years >= 0.0
    guess = sym.broadcast_add(sym.broadcast_mul(row_norms(embedding), slope), bias)
    square = sym.square(guess - years) * known
    return sym.sum(square) / sym.maximum(sym.sum(known), 1.0) * (weight / 2.0)


@register("age", Constants, formula="margin softmax + λ/2 mean (k ‖x‖ + b − age)²")
def age(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """Margin softmax on the direction, regression of the age on the length; ages are fed as `age_label`, in years."""
    label = label_variable()
    logits, extra = margin_head_logits(embedding, centre_variable(settings, sizes), label, settings, sizes)
    constants: Constants = settings.options
    years = sym.Variable(AGES, shape=(sizes.batch,))
    term = objective(age_term(embedding, years, constants.weight), "age")
    head = classification_head(embedding, logits, label, settings, (*extra, Term("objective:age", term)))
    head.initializers.update(age_slope=sym.Initial("one"), age_bias=sym.Initial("zero"))
    return replace(head, inputs=(AGES,))
