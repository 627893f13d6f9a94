"""Images a second of one network and loss on the devices that its runs will take; a process of `reproduce.py`.

A measurement has processes of its own, so that the memory of one is free for the next and for the runs.
"""
import argparse
import json
import sys
from typing import Any, Dict, Mapping, Optional, Sequence

from arcface_mxnet.engines.base import place
from arcface_mxnet.recognition.engine.setup import settings_from
from arcface_mxnet.recognition.engine.speed import images_per_second
from arcface_mxnet.recognition.reproduction.processes import measured_apart
from arcface_mxnet.runtime.errors import run_command

MODULE = "arcface_mxnet.recognition.reproduction.speed"


def measured_speed(flags: Mapping[str, Any], classes: int, processes: int) -> Dict[str, Any]:
    """{"images_per_second": of all devices together, "on": engine, device and precision} for flags of train.py."""
    return measured_apart(MODULE, {"classes": classes, **flags}, processes)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Measure the case that is given as JSON: flags of train.py by name, and `classes`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", required=True, type=json.loads)
    case = parser.parse_args(argv).case
    classes, gpus = case.pop("classes"), case.pop("gpus", None)
    settings = settings_from(case)
    where = place(settings.parallelism.engine, gpus, trains=True)
    speed = images_per_second(settings, classes, where)
    if where.engine.workers(where.devices, settings.parallelism.kvstore).rank == 0:
        sys.stdout.write(json.dumps({"images_per_second": speed, "on": where.describe(settings.numerics)}) + "\n")


if __name__ == "__main__":
    run_command(main)
