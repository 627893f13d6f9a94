"""The processes of a run (torchrun): who this one is, and the sums they make together."""
import atexit
import importlib
import os
from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Group:
    """This process's rank and the number of processes; a run of one process needs no library for it."""

    rank: int = 0
    size: int = 1

    @property
    def part(self) -> Tuple[int, int]:
        """(rank, size), as datasets.iterators takes it."""
        return self.rank, self.size

    def sum(self, tensors: Sequence[Tensor]) -> List[Tensor]:
        """The sum of each tensor over the processes, in one flat exchange, as KVStore sums gradients."""
        if self.size == 1 or not tensors:
            return list(tensors)
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.reshape(tensor.shape) for part, tensor in zip(parts, tensors)]

    def largest(self, tensor: Tensor) -> Tensor:
        """The elementwise maximum over the processes."""
        if self.size == 1:
            return tensor
        found = tensor.clone()
        distributed.all_reduce(found, op=distributed.ReduceOp.MAX)
        return found

    def gather(self, tensor: Tensor) -> List[Tensor]:
        """The tensor of every process, in the order of their ranks; shapes must be the same."""
        if self.size == 1:
            return [tensor]
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(self.size)]
        distributed.all_gather(parts, tensor.contiguous())
        return parts

    def from_rank(self, tensor: Tensor, rank: int) -> Tensor:
        """The tensor of process `rank`, in every process; shapes must be the same."""
        if self.size > 1:
            tensor = tensor.contiguous()
            distributed.broadcast(tensor, rank)
        return tensor

    def agree(self, number: Optional[int]) -> Optional[int]:
        """The largest signal number any process was sent by this step, None for none; all get the same."""
        if self.size == 1:
            return number
        where = torch.device("cuda", torch.cuda.current_device()) if distributed.get_backend() == "nccl" else None
        found = self.largest(torch.tensor([number or 0], device=where))
        return int(found.item()) or None


def join(device: torch.device) -> Group:
    """Meet the other processes where torchrun started this one; waits until all are there."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Group()
    if not distributed.is_initialized():
        # Its functions keep the group that stands when they are imported, as a default, and so past _leave. PyTorch
        # imports them with its compiler, which asking for deterministic kernels is enough to load.
        importlib.import_module("torch.distributed.nn.functional")
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(_leave)
    return Group(distributed.get_rank(), distributed.get_world_size())


def _leave() -> None:
    """End gloo's threads before the interpreter does: left running, they aborted some processes that had finished.

    NCCL's are left alone: ending them may wait for a process that has failed.
    """
    if distributed.is_initialized() and distributed.get_backend() == "gloo":
        distributed.destroy_process_group()
