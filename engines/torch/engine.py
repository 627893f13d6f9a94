"""The functions of an engine (engines.base.Engine), in PyTorch."""
from typing import Mapping, Optional, Tuple, Union

from arcface_mxnet.engines.base import FLOAT32, Centres, Numerics, Program
from arcface_mxnet.engines.torch.class_parallel import ClassParallel
from arcface_mxnet.engines.torch.devices import Where, described, where
from arcface_mxnet.engines.torch.group import Group, join
from arcface_mxnet.engines.torch.network import TorchNetwork
from arcface_mxnet.engines.torch.step import DataParallel

import numpy as np
import torch

NAME = "torch"


def version() -> str:
    """Of PyTorch."""
    return str(torch.__version__)


def devices(text: Optional[str] = None) -> Where:
    """The device of this process; see engines.torch.devices.where."""
    return where(text)


def describe(devices: Where, numerics: Numerics = FLOAT32) -> str:
    """Engine, version, device and precision in one line."""
    return described(devices, numerics)


def replicas(devices: Where) -> int:
    """How many shares a batch of this process is split into."""
    return devices.replicas


def workers(devices: Where) -> Group:
    """The processes of the run: those torchrun started, else this one alone."""
    return join(devices.device)


def step(program: Program, devices: Where, batch_size: int, image_shape: Tuple[int, int, int],
         numerics: Numerics = FLOAT32, centres: Optional[Centres] = None,
         workers: Optional[Group] = None) -> Union[DataParallel, ClassParallel]:
    """A training step on `batch_size` images of this process."""
    network = DataParallel(program, devices, batch_size, image_shape, numerics, workers)
    return network if centres is None else ClassParallel(network, centres)


def network(graph: str, arguments: Mapping[str, np.ndarray], auxiliary: Mapping[str, np.ndarray], devices: Where,
            numerics: Numerics = FLOAT32) -> TorchNetwork:
    """A checkpoint that ends in its embedding, ready to embed."""
    return TorchNetwork(graph, arguments, auxiliary, devices, numerics)
