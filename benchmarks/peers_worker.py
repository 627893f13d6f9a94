"""One contender of benchmarks/peers.py in a process of its own: reads commands on stdin, answers with seconds.

`peers_worker.py KIND NETWORK FILE BATCH THREADS`; for each line on stdin it runs forward passes for about half a
second, after one that is not counted (its turn begins with other people's data in the caches), and prints the median
seconds of a pass and the mean processor seconds. KIND: mxnet, mxnet-bf16, mxnet-int8, openvino, openvino-int8 (need
the product), torch, torch-last, torch-frozen, torch-compile, torch-compile-last, onnx, onnx-int8, ov, ov-int8; and
whole training steps under ArcFace with 10,000 identities: train-mxnet and train-engine, this project on MXNet and on
PyTorch, train-engine-compile with --compile; train-torch, with -last, -compile, -compile-last (FILE is not read).
"""
import argparse
import statistics
import sys
import time
from typing import Callable, List, Tuple

import numpy

CLASSES = 10000
_TURN_SECONDS = 0.5


def main() -> None:
    """Build the contender, say "ready", then answer every line."""
    kind, network, path, batch, threads = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
    images = numpy.random.RandomState(0).randint(0, 256, (batch, 3, 112, 112)).astype("float32")
    run = _KINDS[kind.split("-")[0]](kind, network, path, images, threads)
    for _ in range(2):
        run()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        sys.stdout.write("{} {}\n".format(*_turn(run)))
        sys.stdout.flush()


def _turn(run: Callable[[], object]) -> Tuple[float, float]:
    run()
    walls: List[float] = []
    began, cpu = time.perf_counter(), time.process_time()
    while len(walls) < 2 or time.perf_counter() - began < _TURN_SECONDS:
        start = time.perf_counter()
        run()
        walls.append(time.perf_counter() - start)
    return statistics.median(walls), (time.process_time() - cpu) / len(walls)


def _mxnet(kind: str, network: str, path: str, images: numpy.ndarray, threads: int) -> Callable[[], numpy.ndarray]:
    from arcface_mxnet.engines.base import place
    from arcface_mxnet.evaluation.embedder import Embedder
    from arcface_mxnet.graph.checkpoint import load

    embedder = Embedder(load(path + kind[len("mxnet"):], 0), place("mxnet", "cpu"), batch_size=len(images))
    return lambda: embedder.embed(images)


def _openvino(kind: str, network: str, path: str, images: numpy.ndarray, threads: int) -> Callable[[], numpy.ndarray]:
    from arcface_mxnet.engines.base import place
    from arcface_mxnet.evaluation.embedder import Embedder

    model = f"{path}-int8.onnx" if kind.endswith("-int8") else f"{path},0"
    embedder = Embedder.load(model, place("openvino", "cpu"), batch_size=len(images))
    return lambda: embedder.embed(images)


def _ov(kind: str, network: str, path: str, images: numpy.ndarray, threads: int) -> Callable[[], numpy.ndarray]:
    import openvino

    core = openvino.Core()
    file = f"{path}-nncf.xml" if kind.endswith("-int8") else f"{path}.onnx"
    model = core.compile_model(core.read_model(file), "CPU", {
        "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads})
    return lambda: numpy.array(model([images])[0])


def _onnx(kind: str, network: str, path: str, images: numpy.ndarray, threads: int) -> Callable[[], numpy.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    file = f"{path}-ort.onnx" if kind.endswith("-int8") else f"{path}.onnx"
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"data": images})[0]


def _training(kind: str, network: str, path: str, images: numpy.ndarray, threads: int) -> Callable[[], object]:
    if kind == "train-mxnet":
        from training import prepared

        return prepared(network, argparse.Namespace(batch=len(images), classes=CLASSES, head="plain", gpus="cpu",
                                                    mirror=False, bf16=False))[0]
    if kind.startswith("train-engine"):
        from arcface_mxnet.engines.base import place
        from arcface_mxnet.recognition.engine.speed import noise_step
        from arcface_mxnet.recognition.settings import resolve

        settings = resolve(network, "arcface", "own", {"per_batch_size": len(images), "head": "plain",
                                                       "compile": kind.endswith("-compile")})
        return noise_step(settings, CLASSES, place("torch", "cpu")).run
    import torch
    from torch_networks import training_step

    torch.set_num_threads(threads)
    return training_step(network, torch.from_numpy(images), CLASSES, kind.endswith("-last"), "-compile" in kind)


def _torch(kind: str, network: str, path: str, images: numpy.ndarray, threads: int) -> Callable[[], object]:
    import torch
    import torch._inductor.config as inductor
    from torch_networks import network as peer

    torch.set_num_threads(threads)
    net = peer(network).eval()
    state = numpy.load(f"{path}.npz")
    net.load_state_dict({name: torch.from_numpy(state[name]) for name in state.files})
    inputs = (torch.from_numpy(images) / 255 - 0.5) / 0.5
    if kind.endswith("-last"):
        net, inputs = net.to(memory_format=torch.channels_last), inputs.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        if kind == "torch-frozen":
            net = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(net, inputs)))
        elif kind.startswith("torch-compile"):
            inductor.freezing = True  # constants folded, weights kept in the layout the kernels want
            net = torch.compile(net)

    def run() -> object:
        with torch.inference_mode():
            return net(inputs).numpy()
    return run


_KINDS = {"mxnet": _mxnet, "openvino": _openvino, "ov": _ov, "onnx": _onnx, "torch": _torch, "train": _training}


if __name__ == "__main__":
    main()
