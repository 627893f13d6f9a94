"""One process of a data-parallel run: half of each batch, its own BatchNorm statistics; saves its restart points."""
import atexit
import os
import sys
from pathlib import Path

from arcface_mxnet.engines.torch.group import join
from tests.engines import step_lab as lab

import numpy as np
import torch


def no_thread_of_gloo() -> None:
    """End with status 3 where one is left: it would abort the process now and then, as the interpreter ends."""
    left = [thread for thread in Path("/proc/self/task").glob("*/comm") if "gloo" in thread.read_text()]
    if left:
        os._exit(3)


def main(folder: str) -> None:
    atexit.register(no_thread_of_gloo)  # before the group's own: the last registered is the first to run
    torch.set_num_threads(1)
    group = join(torch.device("cpu"))
    half = lab.BATCH // 2
    rows = slice(group.rank * half, (group.rank + 1) * half)
    for head in ("plain", "sharded"):
        step = lab.torch_step(centres=head == "sharded", group=group, images=half)
        step.restart(np.load(Path(folder) / "start.npz"))
        for number in range(20):
            images, label = lab.batch(number)
            step.seed(number)
            step.forward_backward(images[rows], label[rows])
            step.update(0.001)
        np.savez(Path(folder) / f"{head}-{group.rank}.npz", **step.restart_arrays())
    assert group.agree(15 if group.rank else None) == 15


if __name__ == "__main__":
    main(*sys.argv[1:])
