"""What an engine is: it runs a stored graph to train it and to embed by it. NumPy goes in, NumPy comes out.

An engine is a module with the functions of `Engine`; `ENGINES` names the modules. Nothing outside an engine's own
folder imports its library.
"""
import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Protocol, Sequence, SupportsFloat, Tuple

from arcface_mxnet.engines.sampling import Rule
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.symbol import Initial, Symbol
from arcface_mxnet.runtime.errors import InputError, unknown

import numpy as np

DATA, LABEL = "data", "softmax_label"
Arrays = Dict[str, np.ndarray]
Shapes = Mapping[str, Tuple[int, ...]]
Beside = Optional[Mapping[str, np.ndarray]]


class Outcome(NamedTuple):
    """What one step yields for the log: numbers to be read when they are needed, one of each for every replica.

    correct: images whose own class has the largest probability; losses: means over the images of a replica.
    """

    correct: Sequence[SupportsFloat]
    losses: Sequence[SupportsFloat]
    images: int


class Program(NamedTuple):
    """What a step runs: a stored training graph, and what its outputs and variables mean.

    `roles` names its outputs (recognition.losses.Head); `states` are variables fed and replaced by the outputs
    "state:NAME" instead of being trained; `attributes` are the variables' attributes (multipliers); `inputs` are the
    variables fed with each batch beside its labels; `network` is the node that ends the network: reduced precision and
    loss scales reach up to it; `original` asks for the published program's bits, where the engine has them.
    """

    symbol: Symbol
    roles: Tuple[str, ...]
    states: Mapping[str, np.ndarray]
    attributes: Mapping[str, Mapping[str, str]]
    inputs: Tuple[str, ...] = ()
    network: Optional[str] = None
    original: bool = False


@dataclass(frozen=True)
class Centres:
    """A head beside the network: centres split over the replicas, all of them or a sample in each step.

    `margin`: the graph from logits (B, 1), named `logits`, of one class and `label` (B,) to the changed ones, None for
    no margin; B is the batch of all workers. `smallest`: the probability that the printed loss stops at. `sample`: the
    rule that chooses the classes of a step, None for all classes.
    """

    classes: int
    per_class: int
    embedding: int
    scale: float
    smallest: float
    margin: Optional[Symbol] = None
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
    shared_masks: bool = False  # dropout masks of engines.draws where an engine has a generator of its own


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

    @property
    def rank(self) -> int:
        """From 0."""

    @property
    def size(self) -> int:
        """All processes of the run."""

    @property
    def part(self) -> Tuple[int, int]:
        """(rank, size), as datasets.iterators takes it."""

    def agree(self, number: Optional[int]) -> Optional[int]:
        """The largest signal number any worker was sent by this step, None for none; all workers get the same."""


class OneWorker(NamedTuple):
    """A run of one process."""

    rank: int = 0
    size: int = 1

    @property
    def part(self) -> Tuple[int, int]:
        """(0, 1)."""
        return self.rank, self.size

    def agree(self, number: Optional[int]) -> Optional[int]:
        """Its own signal number."""
        return number


ALONE = OneWorker()


class Engine(Protocol):
    """The functions of an engine's module."""

    NAME: str

    def version(self) -> str:
        """Of the library."""

    def devices(self, text: Optional[str] = None) -> Any:
        """Where to compute, from the flag --gpus; None chooses. Raises InputError for what is not there."""

    def on_gpu(self, devices: Any) -> int:
        """How many GPUs these are; 0 for a CPU."""

    def free_bytes(self, devices: Any) -> int:
        """Memory that is free for one batch on each device now."""

    def describe(self, devices: Any, numerics: Numerics = FLOAT32) -> str:
        """Engine, version, device and precision in one line."""

    def largest_batch(self, devices: Any, exact: bool = False) -> Optional[int]:
        """How many images pass through a network at once at most, however many are given; None for any number."""

    def network(self, checkpoint: Checkpoint, devices: Any, exact: bool = False,
                numerics: Numerics = FLOAT32) -> Network:
        """A checkpoint that ends in its embedding, ready to embed. `exact`: the stored graph, operator by operator."""


class TrainingEngine(Engine, Protocol):
    """The further functions of an engine that trains."""

    def check(self, numerics: Numerics, devices: Any) -> None:
        """Raise InputError, naming the flag, for numbers that these devices do not have."""

    def cautions(self, program: Program, devices: Any) -> List[str]:
        """What a run should be told about its own arithmetic."""

    def gpus(self) -> int:
        """How many GPUs of this machine it could take."""

    def replicas(self, devices: Any) -> int:
        """How many shares a batch of this process is split into."""

    def workers(self, devices: Any, kvstore: str) -> Workers:
        """The processes of the run; waits until all are there."""

    def batch_parts(self, workers: Workers) -> int:
        """In how many processes' batches the batch is that a head beside the network sees."""

    def shards_by_itself(self, devices: Any, workers: Workers) -> bool:
        """Whether many classes are better split over the replicas than held whole by each."""

    def initial(self, symbol: Symbol, shapes: Tuple[Shapes, Shapes], family: str, special: Mapping[str, Initial],
                seed: int) -> Tuple[Arrays, Arrays]:
        """First (arguments, auxiliary), a function of `seed`; `special` goes before the network family's law."""

    def step(self, program: Program, devices: Any, batch_size: int, image_shape: Tuple[int, int, int],
             numerics: Numerics = FLOAT32, centres: Optional[Centres] = None, workers: Optional[Workers] = None,
             kvstore: str = "device") -> Step:
        """A training step on `batch_size` images (h, w, c) of this process.

        With `centres` the outputs of `program` are unit embeddings (B, E) alone. `kvstore`: MXNet's way of summing.
        """


class Place(NamedTuple):
    """An engine (its module) and where it computes."""

    engine: Any
    devices: Any

    def describe(self, numerics: Numerics = FLOAT32) -> str:
        """Engine, version, device and precision in one line."""
        return str(self.engine.describe(self.devices, numerics))


@dataclass(frozen=True)
class Entry:
    """Where an engine is, what it needs and what it does; `install` is the command that brings it.

    `process_per_gpu`: whether training on several GPUs takes a process for each, which torchrun starts.
    """

    module: str
    package: str
    install: str
    trains: bool = True
    process_per_gpu: bool = False


ENGINES: Dict[str, Entry] = {
    "mxnet": Entry("arcface_mxnet.engines.mxnet.engine", "mxnet", "make setup ENGINE=mxnet"),
    "torch": Entry("arcface_mxnet.engines.torch.engine", "torch", "make setup ENGINE=torch", process_per_gpu=True),
    "openvino": Entry("arcface_mxnet.engines.openvino.engine", "openvino", "pip install 'arcface-mxnet[openvino]'",
                      False),
    "onnxruntime": Entry("arcface_mxnet.engines.onnxruntime.engine", "onnxruntime",
                         "pip install 'arcface-mxnet[onnxruntime]'", False),
}

FILE_ENGINES = ("onnxruntime", "openvino")
"""The engines that run an ONNX file (their modules have `run_file`): the first runs it where none is named."""


def installed(trains: bool = False) -> List[str]:
    """The engines whose library is here, in the order of ENGINES; with `trains` those that can train."""
    return [name for name, entry in ENGINES.items()
            if (entry.trains or not trains) and importlib.util.find_spec(entry.package) is not None]


def engine(name: str, trains: bool = False) -> Any:
    """The module of an engine, which has the functions of `Engine`.

    Raises InputError for an unknown name, for one that cannot train where `trains`, and, with the command that
    installs it, for one whose library is not here or does not load.
    """
    known = [key for key, entry in ENGINES.items() if entry.trains or not trains]
    if name not in known:
        raise unknown("engine", name, known)
    entry = ENGINES[name]
    others = [other for other in installed(trains) if other != name]
    instead = f", or take --engine {others[0]}" if others else ""
    if importlib.util.find_spec(entry.package) is None:
        raise InputError(f"--engine {name}: {entry.package} is not installed; install it with '{entry.install}'"
                         f"{instead}")
    try:
        return importlib.import_module(entry.module)
    except (ImportError, OSError) as error:  # a library it links or a package it imports is missing
        raise InputError(f"--engine {name}: {entry.package} is installed but does not load ({error}); "
                         f"'{entry.install}' installs all it needs{instead}") from None


def default_engine(trains: bool = False) -> str:
    """MXNet, the reference, where it is installed, else the first engine that is; InputError where none is."""
    there = installed(trains)
    if not there:
        raise InputError(f"no engine is installed; '{ENGINES['torch'].install}' brings PyTorch")
    return there[0]


AUTO, _CHOICE = "auto", "arcface_mxnet.engines.choice"
"""No engine of its own: the fastest of the installed ones to embed by."""


def place(name: Optional[str] = None, devices: Optional[str] = None, trains: bool = False) -> Place:
    """The engine `name` (None: the default) on the devices that a --gpus value asks for; raises InputError.

    "auto" takes for each network the fastest engine that agrees with the reference (engines.choice); it trains nothing.
    """
    measured = name == AUTO and not trains
    chosen = importlib.import_module(_CHOICE) if measured else engine(name or default_engine(trains), trains)
    return Place(chosen, chosen.devices(devices))


def require_float32(name: str, numerics: Numerics) -> None:
    """Raise InputError where a mode is requested that this engine has no form of."""
    if numerics != FLOAT32:
        raise InputError(f"--engine {name}: runs float32 alone; leave out the flags of precision and speed")
