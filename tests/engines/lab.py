"""Graphs for the tests of engines: run by MXNet and by PyTorch on the same values."""
import dataclasses
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.engines.torch.module import Interpreter, Run
from arcface_mxnet.graph.symbol import Symbol, Variable
from arcface_mxnet.recognition.losses import Head, LossSettings, attach
from arcface_mxnet.recognition.presets import LOSSES
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import torch

STORED = Path(__file__).parent / "loss_figures.json"
CLASSES, SIZE, IMAGES = 70, 24, 60
Values = Dict[str, np.ndarray]


class Found(NamedTuple):
    """Outputs in order, gradients by name."""

    outputs: List[np.ndarray]
    gradients: Values


def run_torch(graph: Symbol, values: Values, trained: Sequence[str], kind: torch.dtype = torch.float32,
              signs: bool = False) -> Found:
    """Forward in training and backward from ones (or signs by chance) at every output; a missing gradient is 0."""
    interpreter = Interpreter(graph)
    tensors = {name: torch.tensor(value, dtype=kind) for name, value in values.items()}
    for name in trained:
        tensors[name].requires_grad_(True)
    statistics = interpreter.statistics({name: tensors[name] for name in interpreter.auxiliary},
                                        interpreter.batch_counts({name: value.shape for name, value in values.items()}))
    outputs = interpreter(tensors, Run(statistics))
    alive = [output for output in outputs if output.requires_grad]
    towards = [torch.tensor(heads(tuple(one.shape), signs), dtype=kind) for one in alive]
    found = torch.autograd.grad(alive, [tensors[name] for name in trained], towards,
                                allow_unused=True)
    return Found([output.detach().numpy() for output in outputs],
                 {name: np.zeros(values[name].shape) if gradient is None else gradient.numpy()
                  for name, gradient in zip(trained, found)})


def run_mxnet(graph: Symbol, values: Values, trained: Sequence[str], signs: bool = False) -> Found:
    """The same by MXNet in float32."""
    from arcface_mxnet.engines.mxnet.mx import mx
    symbol = mx.sym.load_json(graph.tojson())
    arrays = {name: mx.nd.array(values[name]) for name in symbol.list_arguments()}
    gradients = {name: mx.nd.zeros(arrays[name].shape) for name in trained}
    executor = symbol.bind(mx.cpu(), arrays, args_grad=gradients,
                           grad_req={name: "write" if name in gradients else "null" for name in arrays},
                           aux_states={name: mx.nd.array(values[name]) for name in symbol.list_auxiliary_states()})
    outputs = executor.forward(is_train=True)
    executor.backward([mx.nd.array(heads(output.shape, signs)) for output in outputs])
    return Found([output.asnumpy() for output in outputs], {name: one.asnumpy() for name, one in gradients.items()})


def heads(shape: Tuple[int, ...], signs: bool) -> np.ndarray:
    """The gradient of an output."""
    return np.sign(np.random.RandomState(7).randn(*shape)) if signs else np.ones(shape)


def apart(left: np.ndarray, right: np.ndarray) -> float:
    """The largest difference relative to the largest value of `right`; NaN must meet NaN."""
    np.testing.assert_array_equal(np.isnan(left), np.isnan(right))
    left, right = np.nan_to_num(left.astype(np.float64)), np.nan_to_num(right.astype(np.float64))
    return float(np.abs(left - right).max() / max(np.abs(right).max(), 1e-12)) if left.size else 0.0


def figures(found: Found) -> List[float]:
    """The lengths of outputs and gradients."""
    return [float(np.linalg.norm(array.astype(np.float64))) for array in (*found.outputs, *found.gradients.values())]


class Case(NamedTuple):
    """One loss graph with values for all its variables."""

    name: str
    graph: Symbol
    values: Values
    trained: Tuple[str, ...]


def loss_cases() -> Iterator[Case]:
    """Every loss preset in its forms, each graph once."""
    seen = set()
    known = {field.name for field in dataclasses.fields(LossSettings)}
    for name, preset in LOSSES.items():
        for form in ({}, {"original": True}, {"head_2018": True}):
            settings = LossSettings(**{key: value for key, value in preset.items() if key in known}, **form)
            case = loss_case(f"{name}{''.join('-' + key for key in form)}", settings)
            if case is not None and case.graph.tojson() not in seen:
                seen.add(case.graph.tojson())
                yield case


def loss_case(name: str, settings: LossSettings) -> Optional[Case]:
    """A head on 60 embeddings, half of them near their centres; None for forms that do not go together."""
    try:
        head = attach(Variable("embedding", shape=(IMAGES, SIZE)), settings, CLASSES, IMAGES, SIZE)
    except InputError:
        return None
    return Case(name, head.symbol, *_values(head, settings))


def _values(head: Head, settings: LossSettings) -> Tuple[Values, Tuple[str, ...]]:
    chance = np.random.RandomState(3)
    given = {"softmax_label": (IMAGES,), **{name: (IMAGES,) for name in head.inputs}}
    shapes = dict(zip(head.symbol.list_arguments(), head.symbol.infer_shape(**given)[0]))
    values = {name: chance.randn(*shape).astype(np.float32) for name, shape in shapes.items()}
    labels = chance.randint(0, CLASSES, IMAGES)
    if head.order == "identity":
        labels = np.repeat(chance.permutation(CLASSES)[:IMAGES // settings.images_per_identity],
                           settings.images_per_identity)
    values["softmax_label"] = labels.astype(np.float32)
    if "fc7_weight" in values:
        own = values["fc7_weight"].reshape(CLASSES, -1, SIZE)[labels, 0]
        values["embedding"][::2] = (own + 0.3 * chance.randn(IMAGES, SIZE))[::2]
    values.update({name: value.astype(np.float32) for name, value in head.states.items()})
    values.update({name: chance.randint(10, 80, IMAGES).astype(np.float32) for name in head.inputs})
    trained = tuple(name for name in shapes if name not in head.states and name not in given)
    return values, trained
