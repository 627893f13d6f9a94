"""The functions of an engine (engines.base.TrainingEngine), in PyTorch."""
import os
from typing import List, Mapping, Optional, Tuple, Union

from arcface_mxnet.engines.base import FLOAT32, Arrays, Centres, Numerics, Program, Shapes
from arcface_mxnet.engines.bfloat16 import warn_if_slower
from arcface_mxnet.engines.initial import family_law, initial_values
from arcface_mxnet.engines.torch.class_parallel import ClassParallel
from arcface_mxnet.engines.torch.devices import Where, convolution_gain, described, where
from arcface_mxnet.engines.torch.group import Group, join
from arcface_mxnet.engines.torch.network import TorchNetwork
from arcface_mxnet.engines.torch.step import DataParallel
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.symbol import Initial, Symbol
from arcface_mxnet.runtime.environment import free_memory
from arcface_mxnet.runtime.errors import InputError

import torch

NAME = "torch"
KVSTORES = ("local", "device", "nccl")  # of one process: gradients are summed here anyhow


def version() -> str:
    """Of PyTorch."""
    return str(torch.__version__)


def devices(text: Optional[str] = None) -> Where:
    """The device of this process; see engines.torch.devices.where."""
    return where(text)


def on_gpu(devices: Where) -> int:
    """How many GPUs the run has; 0 for a CPU."""
    return int(os.environ.get("WORLD_SIZE", "1")) if devices.device.type != "cpu" else 0


def free_bytes(devices: Where) -> int:
    """Memory that is free now, on the GPU or in the machine."""
    if devices.device.type == "cuda":
        return int(torch.cuda.mem_get_info(devices.device)[0])
    return free_memory()


def describe(devices: Where, numerics: Numerics = FLOAT32) -> str:
    """Engine, version, device and precision in one line."""
    return described(devices, numerics)


def largest_batch(devices: Where, exact: bool = False) -> Optional[int]:
    """How many images pass at once at most: any number."""
    return None


def network(checkpoint: Checkpoint, devices: Where, exact: bool = False, numerics: Numerics = FLOAT32) -> TorchNetwork:
    """A checkpoint that ends in its embedding, ready to embed."""
    check(numerics, devices)
    return TorchNetwork(checkpoint, devices, exact, numerics)


def check(numerics: Numerics, devices: Where) -> None:
    """Raise InputError, naming the flag, for numbers that the device does not have."""
    cuda = devices.device.type == "cuda"
    if numerics.graphs and (not cuda or devices.replicas > 1):
        raise InputError("--cuda-graphs: records the step of one CUDA device; leave it out here")
    if numerics.tf32 and not cuda:
        raise InputError(f"--tf32: {devices.device} has no tensor cores; leave it out")
    if numerics.mirror:
        raise InputError("--mirror: MXNet's; lower --per-batch-size, or take --bf16 or --engine mxnet")
    if numerics.bf16 and cuda and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError("--bf16: this GPU has no bfloat16; take --fp16")
    if numerics.bf16 and devices.device.type == "cpu":
        warn_if_slower(convolution_gain(), "a convolution")


def cautions(program: Program, devices: Where) -> List[str]:
    """What a run should be told about its own arithmetic."""
    if program.original:
        return ["--original on PyTorch: the published graph with PyTorch's own gradients; the published program's bits "
                "are MXNet's"]
    return []


def gpus() -> int:
    """How many CUDA or ROCm devices PyTorch sees."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def replicas(devices: Where) -> int:
    """How many shares a batch of this process is split into."""
    return devices.replicas


def workers(devices: Where, kvstore: str) -> Group:
    """The processes of the run: those torchrun started, else this one alone."""
    if kvstore not in KVSTORES:
        raise InputError(f"--kvstore {kvstore}: MXNet's parameter server; with --engine torch start the command with "
                         "'torchrun --nnodes N --nproc-per-node GPUS -m arcface_mxnet.recognition.train ...'")
    return join(devices.device)


def batch_parts(workers: Group) -> int:
    """A head beside the network sees the images of all processes."""
    return workers.size


def shards_by_itself(devices: Where, workers: Group) -> bool:
    """Everywhere: no normalised copy of the centres, and of the logits each process holds its own classes'."""
    return True


def initial(symbol: Symbol, shapes: Tuple[Shapes, Shapes], family: str, special: Mapping[str, Initial],
            seed: int) -> Tuple[Arrays, Arrays]:
    """First (arguments, auxiliary): MXNet's laws, drawn by NumPy."""
    attributes = {**symbol.attr_dict()}
    for name, own in special.items():
        attributes[name] = {**attributes.get(name, {}), "__init__": own.note()}
    arguments, auxiliary = (initial_values(part, attributes, family_law(family), seed) for part in shapes)
    return arguments, auxiliary


def step(program: Program, devices: Where, batch_size: int, image_shape: Tuple[int, int, int],
         numerics: Numerics = FLOAT32, centres: Optional[Centres] = None, workers: Optional[Group] = None,
         kvstore: str = "device") -> Union[DataParallel, ClassParallel]:
    """A training step on `batch_size` images of this process."""
    if centres is not None and numerics.graphs:
        raise InputError("--cuda-graphs: for the head inside the graph; add --head plain")
    network = DataParallel(program, devices, batch_size, image_shape, numerics, workers)
    return network if centres is None else ClassParallel(network, centres)
