"""What a run trains: the stored graph with its published names, and the form of it that is executed."""
from typing import Dict, NamedTuple, Tuple

from graph.training import TrainingForm, training_form
from recognition.engine.parallel import Program
from recognition.losses import Head, attach
from recognition.losses.blocks import unit_rows
from recognition.networks import build
from recognition.settings import Settings
from runtime.mx import mx


class Model(NamedTuple):
    """The embedding network as it is stored (`embedding`), its training `head`, and the `program` that runs."""

    embedding: "mx.sym.Symbol"
    head: Head
    program: Program
    rewritten: bool


def compose(settings: Settings, num_classes: int, images_per_context: int, rewritten: bool = True) -> Model:
    """Network and loss of `settings` for a set of `num_classes` identities.

    `rewritten`: run the form whose PReLU oneDNN accelerates. On a GPU, where it has not been measured, the stored form
    is run as the original did.
    """
    with mx.name.NameManager():
        embedding = build(settings.network)
    head = attach(embedding, settings.loss, num_classes, images_per_context, settings.network.emb_size)
    form = TrainingForm(head.symbol, {})
    if rewritten:
        form = training_form(head.symbol, (images_per_context, *settings.network.input_shape[1:]))
    program = Program(form.symbol, head.roles, form.constants, head.states, head.symbol.attr_dict(), head.inputs)
    return Model(embedding, head, program, rewritten)


def backbone_program(model: Model) -> Program:
    """The network of `model` without its head: one output, the embeddings divided by their lengths, (B, E)."""
    form = TrainingForm(unit_rows(model.embedding), {})
    if model.rewritten:
        form = training_form(form.symbol)
    return Program(form.symbol, ("embedding",), form.constants, {}, model.head.symbol.attr_dict())


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
