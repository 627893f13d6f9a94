"""The functions of an engine (engines.base.TrainingEngine), by MXNet. NumPy goes in and comes out."""
import contextlib
import os
from typing import Iterator, List, Optional, Sequence, Tuple, Union

from arcface_mxnet.engines.base import FLOAT32, Centres, Numerics, require_float32
from arcface_mxnet.engines.base import Program as Stored
from arcface_mxnet.engines.bfloat16 import warn_if_slower
from arcface_mxnet.engines.mxnet.class_centres import HeadSizes, ShardedCentres
from arcface_mxnet.engines.mxnet.data_parallel import DataParallel
from arcface_mxnet.engines.mxnet.executor import CPU_BATCH, Network
from arcface_mxnet.engines.mxnet.executor import free_bytes as free_bytes_of
from arcface_mxnet.engines.mxnet.initial import fresh as initial
from arcface_mxnet.engines.mxnet.mixed_precision import require_bfloat16
from arcface_mxnet.engines.mxnet.mx import contexts, mx
from arcface_mxnet.engines.mxnet.parameter_server import ServerCentres
from arcface_mxnet.engines.mxnet.partial_fc import SampledCentres
from arcface_mxnet.engines.mxnet.program import executed
from arcface_mxnet.engines.mxnet.quantise import convolution_gain
from arcface_mxnet.engines.mxnet.sharded_softmax import ClassParallel
from arcface_mxnet.engines.mxnet.workers import ALONE, Workers, join
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.training import has_prelu
from arcface_mxnet.runtime.errors import InputError

__all__ = ["NAME", "batch_parts", "cautions", "check", "describe", "devices", "free_bytes", "gpus",
           "initial", "network", "on_gpu", "replicas", "shards_by_itself", "step", "version", "workers"]

NAME = "mxnet"
MIRROR = "MXNET_BACKWARD_DO_MIRROR"  # MXNet reads it when a graph is bound
LARGEST_LABEL = 2 ** 24
IN_PLACE = ("--original on a GPU: MXNet 1.9.1 computes the backward pass of PReLU in place, so the gradient of a slope "
            "comes multiplied by that slope; without --original it does not")
_TORCH_ONLY = {"tf32": "--tf32", "autotune": "--autotune", "compile": "--compile", "graphs": "--cuda-graphs",
               "channels_last": "--channels-last"}

Contexts = Sequence["mx.Context"]


def version() -> str:
    """Of MXNet."""
    return str(mx.__version__)


def devices(text: Optional[str] = None) -> List["mx.Context"]:
    """The contexts a --gpus value asks for; None chooses. See engines.mxnet.mx.contexts."""
    return contexts(text)


def on_gpu(devices: Contexts) -> int:
    """How many GPUs these are; 0 for a CPU."""
    return sum(context.device_type == "gpu" for context in devices)


def free_bytes(devices: Contexts) -> int:
    """Memory that is free for one batch on each context now; CPU contexts share it."""
    return min(map(free_bytes_of, devices)) // (1 if on_gpu(devices) else len(devices))


def describe(devices: Contexts, numerics: Numerics = FLOAT32) -> str:
    """Engine, version, device and precision in one line."""
    precision = "bfloat16 convolutions" if numerics.bf16 else "float16" if numerics.fp16 else "float32"
    return f"engine mxnet {version()}, {', '.join(map(str, devices))}, {precision}"


def largest_batch(devices: Contexts, exact: bool = False) -> Optional[int]:
    """How many images pass at once at most: on a CPU few, unless the stored graph is run as it is; None for any."""
    return None if exact or on_gpu(devices) else CPU_BATCH


def network(checkpoint: Checkpoint, devices: Contexts, exact: bool = False, numerics: Numerics = FLOAT32) -> Network:
    """A checkpoint that ends in its embedding, ready to embed on the contexts `devices`.

    `exact`: the stored graph untouched, not its faster equal (graph.inference).
    """
    require_float32(NAME, numerics)
    return Network(checkpoint, devices, exact)


def check(numerics: Numerics, devices: Contexts) -> None:
    """Raise InputError, naming the flag, for numbers that MXNet does not have on these contexts."""
    for field, flag in _TORCH_ONLY.items():
        if getattr(numerics, field):
            raise InputError(f"{flag}: MXNet has no such mode; take --engine torch, or leave it out")
    if numerics.fp16 and on_gpu(devices) < len(devices):
        raise InputError("--fp16: MXNet 1.9.1 has no half-precision convolution on the CPU; leave it out or use a GPU")
    if numerics.bf16:
        require_bfloat16(devices)
        warn_if_slower(convolution_gain(), "a convolution")


def cautions(program: Stored, devices: Contexts) -> List[str]:
    """What a run should be told about its own arithmetic: MXNet's PReLU on a GPU (docs/original.md, section 2.12)."""
    return [IN_PLACE] if on_gpu(devices) and program.original and has_prelu(program.symbol) else []


def gpus() -> int:
    """How many GPUs MXNet could take: those it has code for."""
    return on_gpu(contexts(None))


def replicas(devices: Contexts) -> int:
    """How many shares a batch of this process is split into."""
    return len(devices)


def workers(devices: Contexts, kvstore: str) -> Workers:
    """The processes of the run that MXNet's parameter server joins; this one alone for a `kvstore` of one process."""
    return join(kvstore)


def batch_parts(workers: Workers) -> int:
    """Each worker's head sees its own images."""
    return 1


def shards_by_itself(devices: Contexts, workers: Workers) -> bool:
    """On CPU contexts of one process: on GPUs the sharded head has not been run."""
    return workers.store is None and not on_gpu(devices)


def step(program: Stored, devices: Contexts, batch_size: int, image_shape: Tuple[int, int, int],
         numerics: Numerics = FLOAT32, centres: Optional[Centres] = None, workers: Optional[Workers] = None,
         kvstore: str = "device") -> Union[DataParallel, ClassParallel]:
    """Bind the form of `program` that runs; raises InputError where head, contexts and workers do not fit.

    The form that runs has the right gradients of PReLU; with `program.original` the stored one runs, bit for bit what
    the original does under MXNet 1.9.1 (docs/original.md, section 2.12).
    """
    workers = workers or ALONE
    images = (batch_size // len(devices), image_shape[2], *image_shape[:2])
    form = executed(program, images, numerics)
    with mirroring(numerics.mirror):
        bound = DataParallel(form, devices, batch_size, image_shape, workers.store or kvstore)
    if centres is None:
        return bound
    return ClassParallel(bound, _centres(centres, batch_size, devices, workers, kvstore), centres.margin,
                         centres.scale, centres.smallest)


def _centres(given: Centres, batch_size: int, devices: Contexts, workers: Workers, kvstore: str) -> ShardedCentres:
    sizes = HeadSizes(given.classes, given.per_class, batch_size, given.embedding)
    if given.sample is None:
        if workers.store is not None:
            raise InputError(f"--head sharded --kvstore {kvstore}: shards live inside one machine; take --head sampled "
                             "(centres on the servers) or plain")
        return ShardedCentres(sizes, given.scale, devices)
    if workers.store is None:
        return SampledCentres(sizes, given.scale, devices, given.sample)
    if given.classes > LARGEST_LABEL:
        raise InputError(f"{given.classes} identities: labels are float32, exact up to {LARGEST_LABEL}")
    return ServerCentres(sizes, given.scale, devices, given.sample, workers, int(os.environ["DMLC_NUM_SERVER"]))


@contextlib.contextmanager
def mirroring(on: bool) -> Iterator[None]:
    """While entered, graphs are bound so that cheap activations are computed again in the backward pass, not kept."""
    before = os.environ.get(MIRROR)
    if on:
        os.environ[MIRROR] = "1"
    try:
        yield
    finally:
        if on and before is None:
            del os.environ[MIRROR]
        elif on and before is not None:
            os.environ[MIRROR] = before
