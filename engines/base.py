"""What an engine is: it runs a stored graph to train it and to embed by it. NumPy goes in, NumPy comes out.

An engine is a module with the functions of `Engine`; `ENGINES` names the modules. Nothing outside an engine's own
folder imports its library.
"""
import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Protocol, Sequence, Tuple

from arcface_mxnet.engines.sampling import Rule
from arcface_mxnet.runtime.errors import InputError, unknown

import numpy as np

DATA, LABEL = "data", "softmax_label"
Arrays = Dict[str, np.ndarray]
Beside = Optional[Mapping[str, np.ndarray]]


class SupportsFloat(Protocol):
    """A number that may not be computed yet: float() waits for it."""

    def __float__(self) -> float:
        """The number."""


class Outcome(NamedTuple):
    """What one step yields for the log: numbers to be read when they are needed, one of each for every replica.

    correct: images whose own class has the largest probability; losses: means over the images of a replica.
    """

    correct: Sequence[SupportsFloat]
    losses: Sequence[SupportsFloat]
    images: int


class Program(NamedTuple):
    """What a step runs: a stored training graph, and what its outputs and variables mean.

    `graph` is the text of the symbol's JSON; `roles` names its outputs (recognition.losses.Head); `states` are
    variables fed and replaced by the outputs "state:NAME" instead of being trained; `attributes` are the variables'
    attributes (multipliers); `inputs` are the variables fed with each batch beside its labels; `network` is the node
    that ends the network: reduced precision and loss scales reach up to it.
    """

    graph: str
    roles: Tuple[str, ...]
    states: Mapping[str, np.ndarray]
    attributes: Mapping[str, Mapping[str, str]]
    inputs: Tuple[str, ...] = ()
    network: Optional[str] = None


@dataclass(frozen=True)
class Centres:
    """A head beside the network: centres split over the replicas, all of them or a sample in each step.

    `margin`: the graph from logits (B, 1), named `logits`, of one class and `label` (B,) to the changed ones, None for
    no margin. `sample`: the rule that chooses the classes of a step, None for all classes.
    """

    classes: int
    per_class: int
    embedding: int
    scale: float
    margin: Optional[str] = None
    sample: Optional[Rule] = None


@dataclass(frozen=True)
class Numerics:
    """How numbers are computed; the defaults are float32 throughout, the same bits in every run.

    bf16, fp16: convolutions of the network and what stands between them in 16 bits, everything else, weights
    included, in float32; `loss_scale` is fp16's first factor on gradients. tf32: products of 10 bits of mantissa where
    the processor has them. autotune: the library tries its algorithms and takes the fastest, which need not be the
    same in the next run (the faster modes above do so anyway). channels_last: maps stored pixel by pixel. compile:
    kernels made for the graph. graphs: one launch for the whole step (CUDA graphs).
    """

    bf16: bool = False
    fp16: bool = False
    loss_scale: float = 1.0
    tf32: bool = False
    autotune: bool = False
    channels_last: Optional[bool] = None  # None: where the engine measured it to be faster
    compile: bool = False
    graphs: bool = False
    mirror: bool = False  # compute activations again in the backward pass instead of keeping them


FLOAT32 = Numerics()


class Step(Protocol):
    """Parameters, gradients and momentum of one run on the replicas of this process."""

    batch_size: int  # images of a batch of this process
    replicas: int  # of this process

    def set_parameters(self, arguments: Mapping[str, np.ndarray], auxiliary: Mapping[str, np.ndarray]) -> None:
        """Give every replica the same parameters."""

    def set_optimizer(self, momentum: float, decay: float, policy: str) -> None:
        """Fresh momentum for the parameters set before."""

    def seed(self, number: int) -> None:
        """What the dropout masks of the next step are a function of."""

    def forward_backward(self, data: np.ndarray, label: np.ndarray, beside: Beside = None) -> Outcome:
        """Run a batch and keep its gradients: `data` (B, 3, H, W) float32, `label` (B,) float32.

        `beside`: the program's `inputs` by name, (B,) float32 each.
        """

    def update(self, rate: float) -> bool:
        """Sum the gradients over replicas and workers and take one SGD step; False where it was left out."""

    def gradients_finite(self) -> bool:
        """Whether the last gradients are numbers."""

    def parameters_finite(self) -> bool:
        """Whether all parameters and statistics are numbers."""

    def parameters(self) -> Tuple[Arrays, Arrays]:
        """Copies of the network's (arguments, auxiliary) under published names; statistics averaged over replicas.

        With several workers all of them must call it together, as `restart_arrays`.
        """

    def restart_arrays(self) -> Arrays:
        """All that a restart needs, under the names every engine uses."""

    def restart(self, saved: Mapping[str, np.ndarray]) -> None:
        """Restore `restart_arrays` of any engine, on the same or another number of replicas."""


class Network(Protocol):
    """One checkpoint, ready to embed."""

    def embed(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        """Raw embeddings (n, d) float32 of images (n, c, h, w), uint8 or float32."""

    def update(self, arguments: Mapping[str, np.ndarray], auxiliary: Mapping[str, np.ndarray]) -> None:
        """Take new parameter values."""


class Workers(Protocol):
    """This process's rank, and how many there are."""

    rank: int
    size: int

    @property
    def part(self) -> Tuple[int, int]:
        """(rank, size), as datasets.iterators takes it."""

    def agree(self, number: Optional[int]) -> Optional[int]:
        """The largest signal number any worker was sent by this step, None for none; all workers get the same."""


class Engine(Protocol):
    """The functions of an engine's module."""

    NAME: str

    def version(self) -> str:
        """Of the library."""

    def devices(self, text: Optional[str] = None) -> Any:
        """Where to compute, from the flag --gpus; None chooses. Raises InputError for what is not there."""

    def describe(self, devices: Any, numerics: Numerics = FLOAT32) -> str:
        """Engine, version, device and precision in one line."""

    def replicas(self, devices: Any) -> int:
        """How many shares a batch of this process is split into."""

    def step(self, program: Program, devices: Any, batch_size: int, image_shape: Tuple[int, int, int],
             numerics: Numerics = FLOAT32, centres: Optional[Centres] = None,
             workers: Optional[Workers] = None) -> Step:
        """A training step; with `centres` the outputs of `program` are unit embeddings (B, E) alone."""

    def network(self, graph: str, arguments: Mapping[str, np.ndarray], auxiliary: Mapping[str, np.ndarray],
                devices: Any, numerics: Numerics = FLOAT32) -> Network:
        """A checkpoint that ends in its embedding, ready to embed."""


@dataclass(frozen=True)
class Entry:
    """Where an engine is, what it needs and what it does; `install` is the command that brings it."""

    module: str
    package: str
    install: str
    trains: bool = True


ENGINES: Dict[str, Entry] = {
    "torch": Entry("arcface_mxnet.engines.torch.engine", "torch", "make setup ENGINE=torch"),
}


def installed(trains: bool = False) -> List[str]:
    """The engines whose library is here, in the order of ENGINES; with `trains` those that can train."""
    return [name for name, entry in ENGINES.items()
            if (entry.trains or not trains) and importlib.util.find_spec(entry.package) is not None]


def engine(name: str, trains: bool = False) -> Any:
    """The module of an engine, which has the functions of `Engine`.

    Raises InputError for an unknown name, for one that cannot train where `trains`, and, with the command that
    installs it, for one whose library is not here.
    """
    known = [key for key, entry in ENGINES.items() if entry.trains or not trains]
    if name not in known:
        raise unknown("engine", name, known)
    entry = ENGINES[name]
    if importlib.util.find_spec(entry.package) is None:
        there = installed(trains)
        raise InputError(f"--engine {name}: {entry.package} is not installed; install it with '{entry.install}'"
                         + (f", or take --engine {there[0]}" if there else ""))
    return importlib.import_module(entry.module)
