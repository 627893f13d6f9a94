"""What a run trains: the stored graph with its published names, and the form of it that is executed."""
from typing import Dict, NamedTuple, Optional, Tuple

from arcface_mxnet.engines.mxnet.mixed_precision import SCALE, bfloat16_form, scaled_gradient
from arcface_mxnet.engines.mxnet.program import Program
from arcface_mxnet.graph.symbol import Symbol
from arcface_mxnet.graph.training import TrainingForm, training_form
from arcface_mxnet.recognition.losses import Head, LossSettings, attach
from arcface_mxnet.recognition.losses.common import unit_rows
from arcface_mxnet.recognition.networks import NetworkSettings, build
from arcface_mxnet.recognition.settings import PrecisionSettings

import numpy as np


class Model(NamedTuple):
    """The embedding network as it is stored (`embedding`), its training `head`, and the `program` that runs.

    `rewritten`: whether PReLUs are (graph/training.py). `reduced`: the network as it is run under --bf16 or with a loss
    scale, None where that differs by `rewritten` alone.
    """

    embedding: Symbol
    head: Head
    program: Program
    rewritten: bool
    reduced: Optional[TrainingForm] = None


def compose(network: NetworkSettings, loss: LossSettings, precision: PrecisionSettings, num_classes: int,
            images_per_context: int) -> Model:
    """Network and loss for a set of `num_classes` identities.

    On every device the form is run whose PReLU has the right gradients; --original runs the stored one, bit for bit
    what the original does under MXNet 1.9.1, wrong gradients of slopes included (docs/original.md, section 2.12).
    """
    rewritten = not loss.original
    embedding = build(network)
    head = attach(embedding, loss, num_classes, images_per_context, network.emb_size)
    form, shape = TrainingForm(head.symbol, {}), (images_per_context, *network.input_shape[1:])
    reduced = reduced_form(embedding, precision, precision.first_scale(loss.original), rewritten, shape)
    if reduced is not None:
        above = attach(reduced.symbol, loss, num_classes, images_per_context, network.emb_size)
        form = reduced._replace(symbol=above.symbol)
    elif rewritten:
        form = training_form(head.symbol, shape)
    program = Program(form.symbol, head.roles, form.constants, head.states, head.symbol.attr_dict(), head.inputs,
                      _scaled(reduced))
    return Model(embedding, head, program, rewritten, reduced)


def reduced_form(embedding: Symbol, precision: PrecisionSettings, first_scale: float, rewritten: bool,
                 shape: Tuple[int, int, int, int]) -> Optional[TrainingForm]:
    """The network in bfloat16, or with the gradient it gets from the head scaled; None where neither is requested."""
    form = TrainingForm(embedding, {})
    if not precision.bf16 and first_scale == 1.0:
        return None
    if rewritten:
        form = training_form(embedding, shape)
    if precision.bf16:
        return form._replace(symbol=bfloat16_form(form.symbol))
    scale = np.full((1, 1), first_scale, np.float32)
    return TrainingForm(scaled_gradient(form.symbol), {**form.constants, SCALE: scale})


def _scaled(reduced: Optional[TrainingForm]) -> Tuple[str, ...]:
    """The parameters whose gradients come multiplied by the loss scale: those of the network, not of the head."""
    if reduced is None or SCALE not in reduced.constants:
        return ()
    return tuple(name for name in reduced.symbol.list_arguments() if name not in ("data", *reduced.constants))


def backbone_program(model: Model) -> Program:
    """The network of `model` without its head: one output, the embeddings divided by their lengths, (B, E)."""
    form = TrainingForm(unit_rows(model.embedding), {})
    if model.reduced is not None:
        form = model.reduced._replace(symbol=unit_rows(model.reduced.symbol))
    elif model.rewritten:
        form = training_form(form.symbol)
    return Program(form.symbol, ("embedding",), form.constants, {}, model.head.symbol.attr_dict(),
                   scaled=_scaled(model.reduced))


def parameter_shapes(model: Model, images_per_context: int,
                     image_shape: Tuple[int, int, int]) -> Tuple[Dict[str, tuple], Dict[str, tuple]]:
    """Shapes of the stored parameters and statistics: (arguments, auxiliary), by name, in graph order."""
    height, width, channels = image_shape
    given = {name: value.shape for name, value in model.head.states.items()}
    given.update({name: (images_per_context,) for name in model.head.inputs})
    given.update(data=(images_per_context, channels, height, width), softmax_label=(images_per_context,))
    symbol = model.head.symbol
    arguments, _, auxiliary = symbol.infer_shape(**given)
    fed = set(given)
    return ({name: shape for name, shape in zip(symbol.list_arguments(), arguments) if name not in fed},
            dict(zip(symbol.list_auxiliary_states(), auxiliary)))
