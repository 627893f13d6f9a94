"""What a run trains: the embedding network with its published names, and the training graph on it."""
from typing import Dict, NamedTuple, Tuple

from arcface_mxnet.engines.base import Program
from arcface_mxnet.graph.symbol import Symbol
from arcface_mxnet.recognition.losses import Head, LossSettings, attach
from arcface_mxnet.recognition.losses.common import unit_rows
from arcface_mxnet.recognition.networks import NetworkSettings, build


class Model(NamedTuple):
    """The embedding network as it is stored, and its training `head`. What an engine makes of them is its business.

    `original`: the published program's bits are wanted, where the engine has them.
    """

    embedding: Symbol
    head: Head
    original: bool = False


def compose(network: NetworkSettings, loss: LossSettings, num_classes: int, images_per_replica: int) -> Model:
    """Network and loss for a set of `num_classes` identities."""
    embedding = build(network)
    return Model(embedding, attach(embedding, loss, num_classes, images_per_replica, network.emb_size), loss.original)


def training_program(model: Model) -> Program:
    """The network with its head inside the graph."""
    head = model.head
    return Program(head.symbol, head.roles, head.states, head.symbol.attr_dict(), head.inputs, model.embedding.name,
                   model.original)


def backbone_program(model: Model) -> Program:
    """The network of `model` without its head: one output, the embeddings divided by their lengths, (B, E)."""
    return Program(unit_rows(model.embedding), ("embedding",), {}, model.head.symbol.attr_dict(), (),
                   model.embedding.name, model.original)


def parameter_shapes(model: Model, images_per_replica: int,
                     image_shape: Tuple[int, int, int]) -> Tuple[Dict[str, tuple], Dict[str, tuple]]:
    """Shapes of the stored parameters and statistics: (arguments, auxiliary), by name, in graph order."""
    height, width, channels = image_shape
    given = {name: value.shape for name, value in model.head.states.items()}
    given.update({name: (images_per_replica,) for name in model.head.inputs})
    given.update(data=(images_per_replica, channels, height, width), softmax_label=(images_per_replica,))
    symbol = model.head.symbol
    arguments, _, auxiliary = symbol.infer_shape(**given)
    fed = set(given)
    return ({name: shape for name, shape in zip(symbol.list_arguments(), arguments) if name not in fed},
            dict(zip(symbol.list_auxiliary_states(), auxiliary)))
