"""Runs recognition.train in a process of its own with a network small enough for tests (dropout included).

In the environment: NO_MXNET hides MXNet, DROPOUT=0 turns dropout off, KILL_BEFORE_SAVING=STEP kills the process.
"""
import os
import signal
import sys

if "NO_MXNET" in os.environ:
    sys.modules["mxnet"] = None  # type: ignore[assignment]

from arcface_mxnet.recognition import train
from arcface_mxnet.recognition.engine.checkpoint import RunDirectory
from arcface_mxnet.recognition.presets import NETWORKS
from arcface_mxnet.runtime.errors import run_command

NETWORKS["tiny"] = {"net_name": "fmobilefacenet", "emb_size": 16, "net_output": "E", "net_multiplier": 0.125,
                    "net_blocks": (1, 1, 1, 1)}


def kill_before_saving(step: int) -> None:
    """SIGKILL this process when it is about to write the restart point of `step`."""
    save_last = RunDirectory.save_last

    def save_or_die(run, position, arrays):
        if position.step >= step:
            os.kill(os.getpid(), signal.SIGKILL)
        save_last(run, position, arrays)

    RunDirectory.save_last = save_or_die


def without_dropout() -> None:
    """Compose networks whose dropout keeps everything."""
    from arcface_mxnet.graph import symbol
    original = symbol.make

    def make(op, hint, arguments, keywords):
        return original(op, hint, arguments, {**keywords, "p": 0.0} if op == "Dropout" else keywords)

    symbol.make = make


if __name__ == "__main__":
    if os.environ.get("DROPOUT") == "0":
        without_dropout()
    if "KILL_BEFORE_SAVING" in os.environ:
        kill_before_saving(int(os.environ["KILL_BEFORE_SAVING"]))
    sys.argv[0] = "train.py"
    run_command(train.main)
