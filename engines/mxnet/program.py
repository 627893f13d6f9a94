"""The form of a stored program that MXNet executes; needs no MXNet."""
from typing import List, Mapping, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.engines import base
from arcface_mxnet.engines.base import DATA, FLOAT32, LABEL, Numerics
from arcface_mxnet.engines.mxnet.mixed_precision import SCALE, bfloat16_form, scaled_gradient
from arcface_mxnet.graph.nodes import Entry, Graph, Node, output_shapes
from arcface_mxnet.graph.params_file import Arrays
from arcface_mxnet.graph.symbol import Symbol
from arcface_mxnet.graph.training import TrainingForm, training_form

import numpy as np


class Mask(NamedTuple):
    """The variable `name` that takes the place of the dropout node number `number`: a mask of `shape`, fed."""

    name: str
    number: int
    shape: Tuple[int, ...]
    dropped: float


class Program(NamedTuple):
    """What a step executes.

    `symbol` is the form that is run; `roles` names its outputs (recognition.losses.Head); `constants` are arrays of
    the run form that the stored form does not have; `states` are variables fed and replaced by the outputs
    "state:NAME" instead of being trained; `attributes` are the variables' attributes (multipliers); `inputs` are the
    variables fed with each batch beside its labels; `scaled` are the arguments whose gradients come multiplied by the
    constant `loss_scale`, where there is one; `masks` are fed in the place of MXNet's own dropout.
    """

    symbol: Symbol
    roles: Tuple[str, ...]
    constants: Arrays
    states: Mapping[str, np.ndarray]
    attributes: Mapping[str, Mapping[str, str]]
    inputs: Tuple[str, ...] = ()
    scaled: Tuple[str, ...] = ()
    masks: Tuple[Mask, ...] = ()

    @property
    def auxiliary(self) -> List[str]:
        """BatchNorm statistics that belong to the model."""
        return [name for name in self.symbol.list_auxiliary_states() if name not in self.constants]

    @property
    def trained(self) -> List[str]:
        """Arguments that SGD updates."""
        fed = {DATA, LABEL, *self.inputs, *self.constants, *self.states, *(mask.name for mask in self.masks)}
        return [name for name in self.symbol.list_arguments() if name not in fed]


def executed(program: base.Program, images: Sequence[int], numerics: Numerics = FLOAT32) -> Program:
    """The form of `program` that runs on shares of `images`, (n, c, h, w).

    PReLU is rewritten into operators with the right gradients (graph.training) unless the original's bits are wanted.
    bf16 and a loss scale reach up to the network's last node.
    """
    scaled: Tuple[str, ...] = ()
    masks: Tuple[Mask, ...] = ()
    rewritten = not program.original
    if numerics.shared_masks:
        program, masks = _masked(program, images)
    form = TrainingForm(program.symbol, {})
    if numerics.bf16 or numerics.loss_scale != 1.0:
        reduced = _reduced(_network(program), images, numerics, rewritten)
        form = reduced._replace(symbol=_spliced(program, reduced.symbol))
        if SCALE in reduced.constants:
            scaled = tuple(name for name in reduced.symbol.list_arguments() if name not in (DATA, *reduced.constants))
    elif rewritten:
        form = training_form(program.symbol, images)
    return Program(form.symbol, program.roles, form.constants, program.states, program.attributes, program.inputs,
                   scaled, masks)


def _masked(program: base.Program, images: Sequence[int]) -> Tuple[base.Program, Tuple[Mask, ...]]:
    """The program with a product with a fed mask in the place of each dropout, and what these masks are."""
    shapes, graph = output_shapes(program.symbol, images), Graph.of(program.symbol)
    masks: List[Mask] = []
    numbers = {node.name: number for number, node in enumerate(
        node for node in program.symbol.nodes() if node.op == "Dropout")}

    def product(node: Node) -> Optional[Entry]:
        if node.op != "Dropout":
            return None
        mask = Mask(f"{node.name}_mask", numbers[node.name], shapes[node.name], float(node.values()["p"]))
        masks.append(mask)
        return (Node("elemwise_mul", node.name, {}, [node.inputs[0], (Node("null", mask.name), 0)]), 0)

    graph.replace(product)
    return program._replace(symbol=graph.symbol()), tuple(masks)


def _network(program: base.Program) -> Symbol:
    return Symbol([next((node, 0) for node in program.symbol.nodes() if node.name == program.network)])


def _reduced(network: Symbol, images: Sequence[int], numerics: Numerics, rewritten: bool) -> TrainingForm:
    """The network in bfloat16, or with the gradient it gets from the head scaled."""
    form = training_form(network, images) if rewritten else TrainingForm(network, {})
    if numerics.bf16:
        return form._replace(symbol=bfloat16_form(form.symbol))
    scale = np.full((1, 1), numerics.loss_scale, np.float32)
    return TrainingForm(scaled_gradient(form.symbol), {**form.constants, SCALE: scale})


def _spliced(program: base.Program, network: Symbol) -> Symbol:
    """The program's graph with another network in the place of its own."""
    graph = Graph.of(program.symbol)
    graph.replace(lambda node: network.heads[0] if node.name == program.network else None)
    return graph.symbol()
