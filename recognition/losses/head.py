"""What a loss is: its settings, the head it returns, and the register that finds it by name."""
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Type, TypeVar

from arcface_mxnet.runtime.errors import InputError, unknown
from arcface_mxnet.runtime.mx import mx

import numpy as np

CLASSIFICATION_ORDER = "classification"
IDENTITY_ORDER = "identity"
TRIPLET_ORDER = "triplet"

Options = TypeVar("Options")


@dataclass(frozen=True)
class LossSettings:
    """A loss and its constants; the fields are the original's configuration keys, `options` holds what it never had.

    Margins loss_m1 (factor on the angle), loss_m2 (radians added to it) and loss_m3 (subtracted from the cosine) are
    those of equation L4. `original` gives the published graph with its unclipped arccos, `head_2018` the cosine form
    that trained the published r34 and y1.
    """

    loss_name: str = "margin_softmax"
    loss_s: float = 64.0
    loss_m1: float = 1.0
    loss_m2: float = 0.0
    loss_m3: float = 0.0
    loss_K: int = 1
    ce_loss: bool = True
    fc7_no_bias: bool = False
    fc7_lr_mult: float = 1.0
    fc7_wd_mult: float = 1.0
    triplet_alpha: float = 0.3
    triplet_bag_size: int = 7200
    triplet_max_ap: float = 0.0
    images_per_identity: int = 5
    original: bool = False
    head_2018: bool = False
    options: Mapping[str, float] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True)
class Sizes:
    """The sizes a head is built for: identities, images of one device's batch, length of an embedding."""

    classes: int
    batch: int
    embedding: int


@dataclass(frozen=True)
class Head:
    """A training symbol and what each of its outputs means.

    roles[i] belongs to output i: "embedding" (B, E); "probability" (B, C), the softmax after the margin; "loss", the
    value to print, (1,), mean over the device's batch; "objective:NAME", a further term whose gradient trains the
    network, (1,); "label", the label itself (triplets, as in the original); "state:NAME", the next value of state
    NAME; "stat:NAME", a number worth logging, (1,).
    inputs: variables fed with each batch beside its labels, (B,) each: ages. The engine reads them from the set.
    states: variables no optimizer touches, with their first value (float32). The engine feeds each, and after every
    training step copies the output "state:NAME" into it (with several devices: the mean of their vectors; of a matrix
    each row from a device that changed it).
    initializers: for the weights the head adds. order: how batches must be composed, "classification" (any images),
    "identity" (identities x images_per_identity, images of one identity adjacent) or "triplet" (three equal thirds:
    anchors, positives, negatives, mined from a bag with the present network).
    """

    symbol: Any
    roles: Tuple[str, ...]
    initializers: Dict[str, Any]
    states: Dict[str, np.ndarray] = field(default_factory=dict)
    order: str = CLASSIFICATION_ORDER
    images_per_identity: int = 1
    inputs: Tuple[str, ...] = ()

    def output(self, role: str) -> int:
        """The index of the first output with this role; raises KeyError when there is none."""
        if role not in self.roles:
            raise KeyError(role)
        return self.roles.index(role)


Builder = Callable[[Any, LossSettings, Sizes], Head]
_BUILDERS: Dict[str, Builder] = {}


def register(name: str) -> Callable[[Builder], Builder]:
    """Make a function (embedding, settings, sizes) -> Head known as the loss family `name`."""
    def add(builder: Builder) -> Builder:
        if name in _BUILDERS:
            raise ValueError(f"loss family {name} is registered twice")
        _BUILDERS[name] = builder
        return builder
    return add


def families() -> List[str]:
    """The registered loss families, sorted."""
    return sorted(_BUILDERS)


class HeadNames(mx.name.NameManager):
    """Automatic node names of a head start with `head_`, so that they never repeat a name of the network."""

    def get(self, name: Optional[str], hint: str) -> str:
        """The explicit `name` if there is one, else a fresh one made of `hint`."""
        return name if name else "head_" + super().get(name, hint)


def attach(embedding: Any, settings: LossSettings, num_classes: int, batch_size: int,
           embedding_size: Optional[int] = None) -> Head:
    """Put the loss `settings.loss_name` on an embedding symbol.

    embedding: symbol of shape (batch_size, E). num_classes: identities. batch_size: images of one device's batch.
    embedding_size: E; when not given it is inferred, with input `data` (batch_size, 3, 112, 112) if need be.
    The label variable is `softmax_label` (batch_size,), the centres `fc7_weight`. Raises InputError for an unknown
    loss family or sizes it cannot work with.
    """
    if settings.loss_name not in _BUILDERS:
        raise unknown("loss family", settings.loss_name, families())
    if num_classes < 2:
        raise InputError(f"a loss needs at least 2 identities, the training set has {num_classes}")
    sizes = Sizes(num_classes, batch_size, embedding_size or infer_embedding_size(embedding, batch_size))
    with HeadNames():
        return _BUILDERS[settings.loss_name](embedding, settings, sizes)


def infer_embedding_size(embedding: Any, batch_size: int) -> int:
    """The length E of the embeddings a symbol gives, from its shape attributes or for 112x112 images."""
    known = {"data": (batch_size, 3, 112, 112)} if "data" in embedding.list_inputs() else {}
    for shapes in ({}, known):
        outputs = embedding.infer_shape_partial(**shapes)[1]
        if outputs and len(outputs[0]) == 2 and outputs[0][1] > 0:
            return int(outputs[0][1])
    raise InputError("the network's embedding has no known length; give embedding_size")


def read_options(kind: Type[Options], settings: LossSettings) -> Options:
    """The family's own constants: `settings.options` as the dataclass `kind`; raises InputError for a foreign key."""
    known = tuple(kind.__dataclass_fields__)  # type: ignore[attr-defined]
    for name in settings.options:
        if name not in known:
            raise unknown(f"option of the loss {settings.loss_name}", name, known)
    return kind(**settings.options)
