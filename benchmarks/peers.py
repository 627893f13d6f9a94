"""Networks beside PyTorch and ONNX Runtime, interleaved: `python benchmarks/peers.py --torch-python PYTHON [--train]`.

Each contender is a process that keeps its network; rounds go round the contenders, so that other work on the machine
meets all of them. Wall time is what a user waits for; processor time with one thread is what a busy machine still
measures. Agreement of the networks is shown first (largest difference of the embeddings to the product's).
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from arcface_mxnet.engines.mxnet.quantise import bf16_form, int8_form
from arcface_mxnet.engines.mxnet.untrained import untrained
from arcface_mxnet.engines.onnx_export import write_onnx
from arcface_mxnet.graph.checkpoint import load, save
from arcface_mxnet.graph.describe import description
from arcface_mxnet.graph.to_torch import to_torch
from arcface_mxnet.recognition.networks import build
from arcface_mxnet.recognition.settings import resolve
from arcface_mxnet.runtime.errors import run_command

import numpy

KINDS = ("mxnet", "mxnet-bf16", "mxnet-int8", "torch", "torch-last", "torch-frozen", "torch-compile",
         "torch-compile-last", "onnx")
TRAINING = ("train-mxnet", "train-torch", "train-torch-last")
_WORKER = Path(__file__).with_name("peers_worker.py")


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Measure and print one Markdown table for each network and batch size."""
    options = _flags().parse_args(argv)
    for network in options.networks.split(","):
        with tempfile.TemporaryDirectory() as folder:
            path = "-" if options.train else _files(network, folder)
            for batch in map(int, options.batch_sizes.split(",")):
                rows = _rounds(network, path, batch, options)
                sys.stdout.write(_table(network, batch, rows, options.threads))


def _files(network: str, folder: str) -> str:
    """The same random network for everybody: prefix of the checkpoint, of PREFIX.npz and of PREFIX.onnx."""
    settings = resolve(network, "arcface", "own", {}).network
    path = f"{folder}/model"
    save(untrained(build(settings), settings.input_shape, images=8), path, 0)
    checkpoint = load(path, 0)
    numpy.savez(f"{path}.npz", **to_torch(checkpoint))
    write_onnx(checkpoint, f"{path}.onnx", description(checkpoint))
    images = numpy.random.RandomState(0).randint(0, 256, (8, *settings.input_shape[1:])).astype("float32")
    save(bf16_form(checkpoint), f"{path}-bf16", 0)
    save(int8_form(checkpoint, images), f"{path}-int8", 0)
    return path


def _rounds(network: str, path: str, batch: int, options: argparse.Namespace) -> Dict[str, List[List[float]]]:
    workers = {}
    for kind in (options.kinds or ",".join(TRAINING if options.train else KINDS)).split(","):
        python = options.torch_python if "torch" in kind else sys.executable
        command = [python, str(_WORKER), kind, network, path, str(batch), str(options.threads)]
        worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                  stderr=subprocess.DEVNULL, env=_environment(options.threads))
        if worker.stdout is not None and worker.stdout.readline().strip() == "ready":
            workers[kind] = worker
        else:
            worker.wait()
    times: Dict[str, List[List[float]]] = {kind: [] for kind in workers}
    for _ in range(options.rounds):
        for kind, worker in workers.items():
            assert worker.stdin is not None and worker.stdout is not None
            worker.stdin.write("run\n")
            worker.stdin.flush()
            times[kind].append([float(word) for word in worker.stdout.readline().split()])
    for worker in workers.values():
        worker.communicate()
    return times


def _environment(threads: int) -> Dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def _table(network: str, batch: int, rows: Dict[str, List[List[float]]], threads: int) -> str:
    lines = [f"\n{network}, batch {batch}, {threads} thread(s)\n", "| | images/s (wall) | images/s of processor time |",
             "|---|---|---|"]
    for kind, values in rows.items():
        wall, cpu = (statistics.median(column) for column in zip(*values))
        lines.append(f"| {kind} | {batch / wall:.1f} | {batch / cpu:.1f} |")
    return "\n".join(lines) + "\n"


def _flags() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--torch-python", default=sys.executable, help="an interpreter that has PyTorch")
    flags.add_argument("--networks", default="y1,r18,r50,r100")
    flags.add_argument("--batch-sizes", default="1,32")
    flags.add_argument("--train", action="store_true", help="whole training steps instead of inference")
    flags.add_argument("--kinds", help=f"contenders (default: {','.join(KINDS)}; with --train {','.join(TRAINING)})")
    flags.add_argument("--threads", type=int, default=2)
    flags.add_argument("--rounds", type=int, default=5)
    return flags


if __name__ == "__main__":
    run_command(main)
