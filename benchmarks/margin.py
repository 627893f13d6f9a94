"""What the margin costs: one training step of the head alone, with and without it, interleaved in one run."""
import argparse
import statistics
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Sequence

from arcface_mxnet.engines.mxnet.convert import to_mxnet
from arcface_mxnet.engines.mxnet.mx import available_cores, mx
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses import LossSettings, attach
from arcface_mxnet.runtime.errors import run_command

import numpy as np

HEADS = {
    "norm-softmax": LossSettings(),
    "ArcFace (0.5)": LossSettings(loss_m2=0.5),
    "ArcFace (0.5), --original": LossSettings(loss_m2=0.5, original=True),
}


def make_step(settings: LossSettings, arrays: Dict[str, Any], classes: int, batch: int) -> Callable[[], None]:
    """A function that runs forward, backward and the SGD update of one head over shared arrays, and waits for it."""
    size = arrays["embedding"].shape[1]
    symbol = attach(sym.Variable("embedding"), settings, classes, batch, size).symbol
    gradients = {name: mx.nd.zeros(arrays[name].shape) for name in ("embedding", "fc7_weight")}
    given = {name: arrays[name] for name in symbol.list_arguments()}
    executor = to_mxnet(symbol).bind(mx.cpu(), given, args_grad=gradients)
    weight, momentum = arrays["fc7_weight"], arrays["momentum"]

    def step() -> None:
        executor.forward(is_train=True)
        executor.backward()
        mx.nd.sgd_mom_update(weight, gradients["fc7_weight"], momentum, out=weight, lr=0.1, momentum=0.9, wd=5e-4)
        executor.outputs[2].wait_to_read()
        weight.wait_to_read()
    return step


def measure(classes: int, batch: int, size: int, rounds: int) -> Dict[str, List[float]]:
    """Seconds per step of each head: {name: [rounds]}; the heads take turns, the first round is thrown away."""
    rng = np.random.RandomState(0)
    arrays = {
        "embedding": mx.nd.array(rng.randn(batch, size)),
        "fc7_weight": mx.nd.random.normal(0, 0.01, (classes, size)),
        "momentum": mx.nd.zeros((classes, size)),
        "softmax_label": mx.nd.array(rng.randint(0, classes, batch)),
    }
    steps = {name: make_step(settings, arrays, classes, batch) for name, settings in HEADS.items()}
    times: Dict[str, List[float]] = {name: [] for name in HEADS}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn:
                times[name].append(time.perf_counter() - start)
    return times


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print a Markdown table of medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="example: python benchmarks/margin.py --classes 85742 --batch 64")
    parser.add_argument("--classes", type=int, default=85742, help="identities (MS1MV2: 85742)")
    parser.add_argument("--batch", type=int, default=64, help="images in the batch")
    parser.add_argument("--size", type=int, default=512, help="length of the embedding")
    parser.add_argument("--rounds", type=int, default=11, help="steps of each head")
    flags = parser.parse_args(argv)
    times = measure(flags.classes, flags.batch, flags.size, flags.rounds)
    plain = times["norm-softmax"]
    sys.stdout.write(f"{available_cores()} cores, {flags.classes} identities, batch {flags.batch}, E {flags.size}\n\n"
                     "| head, forward + backward + SGD | median s | ratio to norm-softmax, median of pairs |\n"
                     "|---|---|---|\n")
    for name, seconds in times.items():
        ratio = statistics.median(mine / base for mine, base in zip(seconds, plain))
        sys.stdout.write(f"| {name} | {statistics.median(seconds):.3f} | {ratio:.3f} |\n")
    return 0


if __name__ == "__main__":
    run_command(main)
