"""What a loss is: its settings, the head it returns, and the register that finds it by name."""
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Type

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.runtime.errors import InputError, unknown
from arcface_mxnet.runtime.sections import fill, named, named_values, refuse_unknown, setting

import numpy as np

CLASSIFICATION_ORDER = "classification"
IDENTITY_ORDER = "identity"
TRIPLET_ORDER = "triplet"


@dataclass(frozen=True)
class NoOptions:
    """The constants of its own that a loss family has: none."""


@dataclass(frozen=True)
class LossSettings:
    """A loss and its constants; the fields are the original's configuration keys, `options` holds what it never had.

    Margins loss_m1 (factor on the angle), loss_m2 (radians added to it) and loss_m3 (subtracted from the cosine) are
    those of equation L4. `original` gives the published graph with its unclipped arccos, `head_2018` the cosine form
    that trained the published r34 and y1. `options` may be given as a mapping; it is kept as the family's own class.
    """

    loss_name: str = setting("margin_softmax", "loss family")
    loss_s: float = setting(64.0, "scale s of the normalised logits", flag="--logit-scale", metavar="S")
    loss_m1: float = setting(1.0, "factor m1 on the target angle")
    loss_m2: float = setting(0.0, "radians m2 added to the target angle")
    loss_m3: float = setting(0.0, "m3, taken from the target cosine")
    loss_K: int = setting(1, "centres of an identity")
    ce_loss: bool = setting(True, "print the cross-entropy")
    fc7_no_bias: bool = setting(False, "softmax without a bias", flag="--fc7-no-bias")
    fc7_lr_mult: float = setting(1.0, "factor on the rate of the centres")
    fc7_wd_mult: float = setting(1.0, "factor on the decay of the centres")
    triplet_alpha: float = setting(0.3, "margin of a triplet: squared distance, or radians")
    triplet_bag_size: int = setting(7200, "images of the bag triplets are mined from; 0: from the batch")
    triplet_max_ap: float = setting(0.0, "largest squared distance of an anchor and its positive; 0: any")
    images_per_identity: int = setting(5, "images of an identity in a batch of whole identities")
    original: bool = setting(False, "exactly the published program, to the bit on a CPU: unclipped margin, MXNet's "
                             "own PReLU and printed loss, one batch after --max-steps", flag="--original")
    head_2018: bool = setting(False, "the cosine-form ArcFace head that trained the published r34 and y1",
                              flag="--head-2018")
    options: Any = setting(None, "the loss's own constants, e.g. intra=1,inter=0.5", flag="--loss-options",
                           metavar="NAME=VALUE,...", parse=named_values)
    source: str = setting("", "where the loss is published")

    def __post_init__(self) -> None:
        """Give the options their class; raises InputError for an unknown family or option."""
        object.__setattr__(self, "options", _own_options(self.loss_name, self.options))


def _own_options(family: str, given: Any) -> Any:
    if family not in _OPTIONS:
        raise unknown("loss family", family, families())
    kind = _OPTIONS[family]
    if isinstance(given, kind):
        return given
    if not isinstance(given, (Mapping, type(None))):
        raise InputError(f"options of the loss {family} {given!r}: expected names and values")
    refuse_unknown(given or {}, named(kind), what=f"option of the loss {family}")
    return fill(kind, given or {}, f"loss {family}, option ")


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

    symbol: sym.Symbol
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


Builder = Callable[[sym.Symbol, LossSettings, Sizes], Head]
_BUILDERS: Dict[str, Builder] = {}
_OPTIONS: Dict[str, Type[Any]] = {}
_FORMULAS: Dict[str, str] = {}


def register(name: str, options: Type[Any] = NoOptions, *, formula: str) -> Callable[[Builder], Builder]:
    """Make a function (embedding, settings, sizes) -> Head known as the loss family `name`.

    options: a frozen dataclass of the family's own constants, all with defaults; `settings.options` is one of it.
    formula: the loss in a line of plain text, with t_j the angle to centre j, y the own class, z_j a logit, and
    m1, m2, m3, s, K of the settings.
    """
    def add(builder: Builder) -> Builder:
        if name in _BUILDERS:
            raise ValueError(f"loss family {name} is registered twice")
        _BUILDERS[name], _OPTIONS[name], _FORMULAS[name] = builder, options, formula
        return builder
    return add


def families() -> List[str]:
    """The registered loss families, sorted."""
    return sorted(_BUILDERS)


def formula(name: str) -> str:
    """The formula of a loss family, as `register` describes it."""
    if name not in _FORMULAS:
        raise unknown("loss family", name, families())
    return _FORMULAS[name]


class HeadNames(sym.NameManager):
    """Automatic node names of a head start with `head_`, so that they never repeat a name of the network."""

    def get(self, name: Optional[str], hint: str) -> str:
        """The explicit `name` if there is one, else a fresh one made of `hint`."""
        return name if name else "head_" + super().get(name, hint)


def attach(embedding: sym.Symbol, settings: LossSettings, num_classes: int, batch_size: int,
           embedding_size: Optional[int] = None) -> Head:
    """Put the loss `settings.loss_name` on an embedding symbol.

    embedding: symbol of shape (batch_size, E). num_classes: identities. batch_size: images of one device's batch.
    embedding_size: E; when not given it is inferred, with input `data` (batch_size, 3, 112, 112) if need be.
    The label variable is `softmax_label` (batch_size,), the centres `fc7_weight`. Raises InputError for sizes it
    cannot work with.
    """
    if num_classes < 2:
        raise InputError(f"a loss needs at least 2 identities, the training set has {num_classes}")
    sizes = Sizes(num_classes, batch_size, embedding_size or infer_embedding_size(embedding, batch_size))
    with HeadNames():
        return _BUILDERS[settings.loss_name](embedding, settings, sizes)


def infer_embedding_size(embedding: sym.Symbol, batch_size: int) -> int:
    """The length E of the embeddings a symbol gives, from its shape attributes or for 112x112 images."""
    known = {"data": (batch_size, 3, 112, 112)} if "data" in embedding.list_inputs() else {}
    for shapes in ({}, known):
        shape = embedding.infer_shape_partial(**shapes)[1][0]
        if shape is not None and len(shape) == 2:
            return int(shape[1])
    raise InputError("the network's embedding has no known length; give embedding_size")
