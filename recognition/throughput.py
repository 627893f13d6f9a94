"""The paper's row "ms per face, model size" on this machine: `python recognition/throughput.py --networks y1`."""
import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from arcface_mxnet.evaluation import paper
from arcface_mxnet.graph import checkpoint as checkpoints
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.describe import count_flops, image_shape, parameter_count
from arcface_mxnet.graph.inference import exact_form, inference_form
from arcface_mxnet.recognition.networks import build
from arcface_mxnet.recognition.settings import resolve
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.environment import available_cores, processor
from arcface_mxnet.runtime.errors import InputError, run_command, unknown
from arcface_mxnet.runtime.files import atomic_open, write_json
from arcface_mxnet.runtime.locks import claimed
from arcface_mxnet.runtime.progress import progress

import numpy

PRECISIONS = ("stored", "fast", "bf16", "int8")
PAPER = {row.name: row.values for row in paper.table("networks").rows}
"""By preset: ms per face on a P40, model size in MB."""
_WARM_UP = 5
_CALIBRATION = 32
_EXAMPLE = """example:
  python recognition/throughput.py --networks y1,r50 --precisions stored,fast,int8 --batch-sizes 1,32 --out bench
Parameters are random: speed does not depend on them. Each cell runs in a process of its own; a cell is the median."""


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Measure every cell, then print the table and write OUT/benchmark.md and OUT/benchmark.json."""
    options = build_parser().parse_args(argv)
    if options.cell:
        part, *rest = json.loads(options.cell)
        sys.stdout.write(json.dumps(prepare(*rest) if part == "prepare" else measure(*rest)) + "\n")
        return
    networks, precisions = options.networks.split(","), options.precisions.split(",")
    batches = [_positive("--batch-sizes", text) for text in options.batch_sizes.split(",")]
    rounds = _positive("--rounds", str(options.rounds))
    for precision in precisions:
        if precision not in PRECISIONS:
            raise unknown("precision", precision, PRECISIONS)
    for network in networks:
        resolve(network, "arcface", "own", {})  # an unknown name is refused before anything runs
    rows: List[Dict[str, Any]] = []
    cells = [(network, precision) for network in networks for precision in precisions]
    for network, precision in progress(cells, len(cells), "measuring", "cells"):
        with tempfile.TemporaryDirectory() as folder:
            about = _in_its_own_process("prepare", network, precision, f"{folder}/model")
            rows.append({**about, **_in_its_own_process("measure", network, f"{folder}/model", batches, rounds)})
    result = {"machine": machine(), "rows": rows, "paper": {name: list(value) for name, value in PAPER.items()}}
    text = table(result)
    sys.stdout.write(text)
    if options.out:
        with claimed(options.out):
            write_json(Path(options.out) / "benchmark.json", result)
            with atomic_open(Path(options.out) / "benchmark.md", "w") as stream:
                stream.write(text)


def prepare(network: str, precision: str, prefix: str) -> Dict[str, Any]:
    """Save a network of random parameters in one precision as PREFIX, epoch 0; its size, parameters and operations."""
    from arcface_mxnet.engines.mxnet.untrained import untrained  # MXNet loads only where it is used

    settings = resolve(network, "arcface", "own", {}).network
    symbol = build(settings)
    stored = untrained(symbol, settings.input_shape, images=2)
    form = _form(stored, precision)
    checkpoints.save(form, prefix, 0)
    return {"network": network, "precision": precision, "size_mb": size_megabytes(form),
            "parameters": parameter_count(stored)[0], "flops": count_flops(symbol, settings.input_shape)}


def measure(network: str, prefix: str, batches: Sequence[int], rounds: int) -> Dict[str, Any]:
    """ms per face by batch size and peak memory of a saved network; the process should do nothing else before.

    Calibration, above all, leaves memory behind, and large copies after which OpenMP's threads no longer wait awake.
    """
    form = checkpoints.load(prefix, 0)
    before, shape = _peak_megabytes(), resolve(network, "arcface", "own", {}).network.input_shape[1:]
    times = {str(batch): _milliseconds(form, batch, rounds, shape) for batch in batches}
    return {"ms_per_face": times, "peak_mb": _peak_megabytes(), "peak_before_mb": before}


def size_megabytes(checkpoint: Checkpoint) -> float:
    """Size of the parameter file of a checkpoint as it is saved, in 10^6 bytes."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoints.save(checkpoint, f"{folder}/model", 0)
        return round(checkpoints.params_path(f"{folder}/model", 0).stat().st_size / 1e6, 2)


def table(result: Dict[str, Any]) -> str:
    """The Markdown table, the paper's figures beside ours."""
    batches = list(result["rows"][0]["ms_per_face"])
    heads = ["network", "precision", *(f"ms/face, batch {batch}" for batch in batches), "model MB",
             "paper: ms (P40), MB", "GFLOPs", "peak MB"]
    lines = [f"{result['machine']['processor']}, {result['machine']['cores']} cores, MXNet "
             f"{result['machine']['mxnet']}", "", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in result["rows"]:
        beside = result["paper"].get(row["network"])
        cells = [row["network"], row["precision"], *(f"{row['ms_per_face'][batch]:.2f}" for batch in batches),
                 f"{row['size_mb']:.1f}", f"{beside[0]}, {beside[1]:.0f}" if beside else "-",
                 f"{row['flops'] / 1e9:.2f}", f"{row['peak_mb']:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def machine() -> Dict[str, Any]:
    """What the figures were measured on."""
    from arcface_mxnet.engines.mxnet.engine import version  # MXNet loads only where it is used

    return {"processor": processor(), "cores": available_cores(), "mxnet": version()}


def _form(stored: Checkpoint, precision: str) -> Checkpoint:
    from arcface_mxnet.engines.mxnet.quantise import bf16_form, int8_form  # MXNet loads only where it is used

    shape = image_shape(stored)
    if precision == "stored":
        return exact_form(stored, (1, *shape))
    if precision == "fast":
        return inference_form(stored, (1, *shape))
    if precision == "bf16":
        return bf16_form(stored, (1, *shape))
    images = numpy.random.RandomState(0).randint(0, 256, (_CALIBRATION, *shape)).astype("float32")
    return int8_form(stored, images)


def _milliseconds(form: Checkpoint, batch: int, rounds: int, image: Sequence[int]) -> float:
    """Median wall time of a forward pass, input copied and output read, by face."""
    from arcface_mxnet.engines.mxnet.executor import Bound  # MXNet loads only where it is used

    images = numpy.random.RandomState(0).randint(0, 256, (batch, *image)).astype("float32")
    network = Bound(form, {"data": images.shape})
    times = []
    for _ in range(_WARM_UP + rounds):
        started = time.perf_counter()
        network.run({"data": images})
        times.append(time.perf_counter() - started)
    return round(1000 * statistics.median(times[_WARM_UP:]) / batch, 3)


def _in_its_own_process(part: str, name: str, *rest: Any) -> Dict[str, Any]:
    """Peak memory is a process's: each cell has one to be made in and one to run in."""
    done = subprocess.run([sys.executable, "-m", "arcface_mxnet.recognition.throughput", "--cell",
                           json.dumps([part, name, *rest])], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{name}: could not be measured: "
                         f"{(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def _peak_megabytes() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1)


def _positive(flag: str, text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"{flag} {text}: whole numbers from 1")
    return int(text)


def build_parser() -> Parser:
    """The command line."""
    flags = Parser("Milliseconds per face and size of each network and precision.", _EXAMPLE)
    flags.add_argument("--networks", default="y1,r18,r50,r100", help="presets, by commas (default y1,r18,r50,r100)")
    flags.add_argument("--precisions", default="stored,fast,bf16,int8",
                       help="stored, fast (the default of every evaluation), bf16, int8")
    flags.add_argument("--batch-sizes", default="1,32", help="images per forward pass (default 1,32)")
    flags.add_argument("--rounds", type=int, default=7, help="forward passes a cell; the median counts (default 7)")
    flags.add_argument("--out", metavar="DIR", help="folder for benchmark.md and benchmark.json")
    flags.add_argument("--cell", help=argparse.SUPPRESS)
    return flags


if __name__ == "__main__":
    run_command(main)
