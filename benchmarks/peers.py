"""Networks beside PyTorch, ONNX Runtime and OpenVINO: `python benchmarks/peers.py --torch-python PYTHON [--train]`.

Each contender is a process that keeps its network; rounds go round the contenders, so that other work on the machine
meets all of them. Wall time is what a user waits for; processor time with one thread is what a busy machine still
measures. Ours are mxnet and openvino (`--engine`), with -bf16 and -int8, and in training mxnet and `--engine torch`
(train-engine, with `--compile` train-engine-compile); peers are torch, onnx (ONNX Runtime) and ov
(OpenVINO on the ONNX file), onnx-int8 by ONNX Runtime's own quantiser and ov-int8 by NNCF, which need an interpreter of
their own (`--quantiser-python`: their NumPy is not MXNet's). An int8 row is to be compared with int8 peers.
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
from arcface_mxnet.engines.onnx_int8 import write_int8
from arcface_mxnet.graph.checkpoint import load, save
from arcface_mxnet.graph.describe import description
from arcface_mxnet.graph.to_torch import to_torch
from arcface_mxnet.recognition.networks import build
from arcface_mxnet.recognition.settings import resolve
from arcface_mxnet.runtime.errors import run_command

import numpy

KINDS = ("mxnet", "openvino", "mxnet-bf16", "mxnet-int8", "openvino-int8", "torch", "torch-last", "torch-frozen",
         "torch-compile", "torch-compile-last", "onnx", "ov", "onnx-int8", "ov-int8")
TRAINING = ("train-mxnet", "train-engine", "train-engine-compile", "train-torch", "train-torch-last",
            "train-torch-compile", "train-torch-compile-last")
_CALIBRATION = 8
_WORKER = Path(__file__).with_name("peers_worker.py")


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Measure and print one Markdown table for each network and batch size."""
    options = _flags().parse_args(argv)
    for network in options.networks.split(","):
        with tempfile.TemporaryDirectory() as folder:
            path = "-" if options.train else _files(network, options.files or folder, options.quantiser_python)
            for batch in map(int, options.batch_sizes.split(",")):
                rows = _rounds(network, path, batch, options)
                sys.stdout.write(_table(network, batch, rows, options.threads))


def _files(network: str, folder: str, quantiser_python: Optional[str]) -> str:
    """The same random network for everybody: prefix of the checkpoint, of PREFIX.npz, PREFIX.onnx and the int8 files.

    Files that an earlier run left in `folder` are taken.
    """
    settings = resolve(network, "arcface", "own", {}).network
    path = f"{folder}/{network}"
    if Path(f"{path}-ready").exists():
        return path
    save(untrained(build(settings), settings.input_shape, images=8), path, 0)
    checkpoint = load(path, 0)
    numpy.savez(f"{path}.npz", **to_torch(checkpoint))
    write_onnx(checkpoint, f"{path}.onnx", description(checkpoint))
    images = numpy.random.RandomState(0).randint(0, 256, (_CALIBRATION, *settings.input_shape[1:])).astype("float32")
    numpy.save(f"{path}-images.npy", images)
    save(bf16_form(checkpoint), f"{path}-bf16", 0)
    save(int8_form(checkpoint, images), f"{path}-int8", 0)
    write_int8(checkpoint, images, f"{path}-int8.onnx", {}, "openvino")
    if quantiser_python:
        subprocess.run([quantiser_python, "-c", _QUANTISERS, path], check=True)
    Path(f"{path}-ready").touch()
    return path


_QUANTISERS = """import sys, nncf, numpy, openvino
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

path = sys.argv[1]
images = numpy.load(path + "-images.npy")

class Reader(CalibrationDataReader):
    def __init__(self):
        self.rows = iter(images)

    def get_next(self):
        row = next(self.rows, None)
        return None if row is None else {"data": row[None]}

quantize_static(path + ".onnx", path + "-ort.onnx", Reader(), quant_format=QuantFormat.QDQ, per_channel=True)
data = nncf.Dataset([images[at:at + 1] for at in range(len(images))])
made = nncf.quantize(openvino.Core().read_model(path + ".onnx"), data, subset_size=len(images))
openvino.save_model(made, path + "-nncf.xml", compress_to_fp16=False)
"""


def _rounds(network: str, path: str, batch: int, options: argparse.Namespace) -> Dict[str, List[List[float]]]:
    workers = {}
    for kind in (options.kinds or ",".join(TRAINING if options.train else KINDS)).split(","):
        python = options.torch_python if kind.startswith(("torch", "train-torch")) else sys.executable
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
    flags.add_argument("--quantiser-python", help="an interpreter that has NNCF, OpenVINO and ONNX Runtime, for "
                       "ov-int8 and onnx-int8")
    flags.add_argument("--files", metavar="DIR", help="keep the networks there, and take those that are there")
    flags.add_argument("--networks", default="y1,r18,r50,r100")
    flags.add_argument("--batch-sizes", default="1,32")
    flags.add_argument("--train", action="store_true", help="whole training steps instead of inference")
    flags.add_argument("--kinds", help=f"contenders (default: {','.join(KINDS)}; with --train {','.join(TRAINING)})")
    flags.add_argument("--threads", type=int, default=2)
    flags.add_argument("--rounds", type=int, default=5)
    return flags


if __name__ == "__main__":
    run_command(main)
