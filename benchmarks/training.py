"""Whole training steps: images per second and peak memory of networks at one batch, plain, with --mirror, with --bf16.

Forward, backward and SGD with momentum under ArcFace, on images of noise. Each case has a process of its own.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, Optional, Sequence, Tuple

from arcface_mxnet.engines.base import place
from arcface_mxnet.engines.mxnet.mx import available_cores, mx
from arcface_mxnet.graph.describe import count_flops
from arcface_mxnet.recognition.engine.speed import noise_step
from arcface_mxnet.recognition.networks import build
from arcface_mxnet.recognition.settings import resolve
from arcface_mxnet.runtime.errors import run_command

PLAIN = "float32"
_SHOWN = 10


def prepared(network: str, flags: argparse.Namespace) -> Tuple[Callable[[], None], int]:
    """A whole training step of the product on images of noise, to be called again and again, and its images."""
    settings = resolve(network, "arcface", "own", {"per_batch_size": flags.batch, "head": flags.head,
                                                   "mirror": flags.mirror, "bf16": flags.bf16})
    made = noise_step(settings, flags.classes, place("mxnet", flags.gpus))

    def run() -> None:
        made.run()
        mx.nd.waitall()
    return run, made.step.batch_size


def measure(network: str, flags: argparse.Namespace) -> Dict[str, float]:
    """Median seconds of a step and the peak memory of this process in bytes."""
    run, images = prepared(network, flags)
    seconds = []
    for _ in range(flags.rounds + 1):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return {"seconds": statistics.median(seconds[1:]), "images": images,
            "peak": 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}


def sgemm_rate(side: int = 4096, rounds: int = 5) -> float:
    """Operations a second of a float32 matrix product by the library that convolves (oneDNN), best of some."""
    values = mx.nd.random.normal(shape=(side, side))
    seconds = []
    for _ in range(rounds):
        mx.nd.waitall()
        start = time.perf_counter()
        mx.nd.FullyConnected(values, values, no_bias=True, num_hidden=side).wait_to_read()
        seconds.append(time.perf_counter() - start)
    return 2 * side ** 3 / min(seconds)


def limit(network: str, rate: float) -> float:
    """Images a second if a step were its convolutions alone (forward and both gradients) at `rate`."""
    settings = resolve(network, "arcface", "own", {}).network
    return rate / (3 * count_flops(build(settings), settings.input_shape))


def profile(network: str, flags: argparse.Namespace) -> str:
    """Where a step's time goes: operators of the executed graph by their share, from MXNet's own profiler."""
    os.environ["MXNET_EXEC_BULK_EXEC_TRAIN"] = "0"  # or many operators are timed as one
    run, _ = prepared(network, flags)
    run()
    mx.profiler.set_config(profile_symbolic=True, profile_imperative=True, aggregate_stats=True,
                           filename=os.devnull)
    mx.profiler.set_state("run")
    for _ in range(flags.rounds):
        run()
    mx.profiler.set_state("stop")
    stats = json.loads(mx.profiler.dumps(reset=True, format="json", sort_by="total", ascending=False))
    totals = {name: row["Total"] for name, row in stats["Time"]["operator"].items()}
    whole = sum(totals.values())
    rows = sorted(totals.items(), key=lambda item: -item[1])[:_SHOWN]
    lines = [f"\n{network}: share of the operators' time\n", "| operator | share |", "|---|---|"]
    return "\n".join(lines + [f"| {name} | {100 * total / whole:.1f} % |" for name, total in rows]) + "\n"


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="example: python benchmarks/training.py --networks y1,r18 --batch 32")
    parser.add_argument("--networks", default="y1,r18,r50,r100")
    parser.add_argument("--batch", type=int, default=32, help="images of a context")
    parser.add_argument("--classes", type=int, default=10000)
    parser.add_argument("--head", default="plain")
    parser.add_argument("--gpus", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variants", default="float32,mirror,bf16,bf16+mirror", help="columns of the table")
    parser.add_argument("--profile", action="store_true", help="show instead which operators take a step's time")
    parser.add_argument("--mirror", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--bf16", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    flags = parser.parse_args(argv)
    if flags.case:
        sys.stdout.write(json.dumps(measure(flags.case, flags)))
        return 0
    if flags.profile:
        for network in flags.networks.split(","):
            sys.stdout.write(profile(network, flags))
        return 0
    variants, rate = flags.variants.split(","), sgemm_rate()
    sys.stdout.write(f"{available_cores()} cores, batch {flags.batch}, {flags.classes} identities, head {flags.head}; "
                     f"sgemm {rate / 1e9:.0f} GFLOP/s\n\n| images/s (peak GB) | {' | '.join(variants)} | limit in "
                     f"float32 |\n|---|{'---|' * (len(variants) + 1)}\n")
    for network in flags.networks.split(","):
        cells = []
        for variant in variants:
            command = [sys.executable, str(Path(__file__).resolve()), "--case", network]
            command += [f"--{name}" for name in variant.split("+") if name != PLAIN]
            for name in ("batch", "classes", "head", "gpus", "rounds"):
                command += [f"--{name}", str(getattr(flags, name))]
            case = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            cells.append(f"{case['images'] / case['seconds']:.1f} ({case['peak'] / 2 ** 30:.2f})")
        sys.stdout.write(f"| {network} | {' | '.join(cells)} | {limit(network, rate):.1f} |\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    run_command(main)
