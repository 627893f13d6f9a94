"""The head alone: seconds of a step and peak memory of the plain, sharded and sampled head against identities.

Each case runs in a process of its own (its memory is that process's), the heads of one size in turn, several times.
The bytes a head needs are weight, gradient and momentum of its rows, and one block of logits.
"""
import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from arcface_mxnet.engines.mxnet.class_centres import HeadSizes, ShardedCentres
from arcface_mxnet.engines.mxnet.data_parallel import DataParallel
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.engines.mxnet.partial_fc import SampledCentres
from arcface_mxnet.engines.mxnet.program import executed
from arcface_mxnet.engines.mxnet.sharded_softmax import ClassParallel
from arcface_mxnet.engines.sampling import Rule
from arcface_mxnet.graph import symbol
from arcface_mxnet.recognition.engine.model import Model, backbone_program, training_program
from arcface_mxnet.recognition.engine.setup import centres_of
from arcface_mxnet.recognition.losses import LossSettings, attach
from arcface_mxnet.runtime.environment import available_cores
from arcface_mxnet.runtime.errors import run_command
from arcface_mxnet.runtime.files import write_json

import numpy as np

HEADS = ("plain", "sharded", "sampled")
ARCFACE = LossSettings(loss_m2=0.5)
GIGABYTE = 2.0 ** 30


def make(head: str, flags: argparse.Namespace) -> Any:
    """The step of a head whose network is the identity: images are the embeddings, (B, E, 1, 1)."""
    contexts = [mx.cpu(index) for index in range(flags.contexts)]
    embedding, shape = symbol.Flatten(symbol.Variable("data")), (1, 1, flags.size)
    images = (flags.batch // flags.contexts, flags.size, 1, 1)
    model = Model(embedding, attach(embedding, ARCFACE, flags.classes, images[0], flags.size))
    if head == "plain":
        step: Any = DataParallel(executed(training_program(model), images), contexts, flags.batch, shape)
        weights = [executor.arg_dict["fc7_weight"] for executor in step.executors]
    else:
        network = DataParallel(executed(backbone_program(model), images), contexts, flags.batch, shape)
        sizes = HeadSizes(flags.classes, 1, flags.batch, flags.size)
        centres = (ShardedCentres(sizes, ARCFACE.loss_s, contexts) if head == "sharded" else
                   SampledCentres(sizes, ARCFACE.loss_s, contexts, Rule(0, flags.sample_rate)))
        given = centres_of(ARCFACE, flags.classes, flags.size, flags.batch)
        step, weights = ClassParallel(network, centres, given.margin, given.scale, given.smallest), centres.weights
    for weight in weights:
        mx.nd.random.normal(0, 0.01, out=weight)
    step.set_optimizer(0.9, 5e-4, "uniform")
    return step


def needed(head: str, flags: argparse.Namespace) -> float:
    """Bytes of weight, gradient, momentum and one logit block of float32 (on every context for the plain head)."""
    classes, rows = flags.classes, flags.classes
    if head == "sampled":
        rows = Rule(0, flags.sample_rate).size(classes, flags.batch)
        return 4.0 * (2 * classes * flags.size + 2 * rows * flags.size + flags.batch * rows)
    copies = flags.contexts if head == "plain" else 1
    return 4.0 * (3 * copies * classes * flags.size + flags.batch * classes)


def measure(head: str, flags: argparse.Namespace) -> Dict[str, float]:
    """Median seconds of a step and the peak of memory above that of MXNet alone, of one head in this process."""
    rng = np.random.RandomState(0)
    data = rng.randn(flags.batch, flags.size, 1, 1).astype(np.float32)
    mx.nd.dot(mx.nd.ones((64, 64)), mx.nd.ones((64, 64))).wait_to_read()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step, seconds = make(head, flags), []
    for _ in range(flags.rounds + 1):
        label = rng.randint(0, flags.classes, flags.batch).astype(np.float32)
        mx.nd.waitall()
        start = time.perf_counter()
        step.forward_backward(data, label)
        step.update(0.1)
        mx.nd.waitall()
        seconds.append(time.perf_counter() - start)
    peak = 1024.0 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    return {"seconds": statistics.median(seconds[1:]), "bytes": peak, "needed": needed(head, flags)}


def run_case(head: str, classes: int, flags: argparse.Namespace) -> Dict[str, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--case", head, "--classes", str(classes)]
    for name in ("batch", "size", "contexts", "rounds", "sample_rate"):
        command += [f"--{name.replace('_', '-')}", str(getattr(flags, name))]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def table(sizes: List[int], flags: argparse.Namespace) -> List[Dict[str, Any]]:
    """Every head at every size, `repeats` times in turn: medians of time, largest memory."""
    rows: List[Dict[str, Any]] = []
    for classes in sizes:
        found: Dict[str, List[Dict[str, float]]] = {}
        for _ in range(flags.repeats):
            for head in flags.heads.split(","):
                if needed(head, argparse.Namespace(**{**vars(flags), "classes": classes})) < flags.limit * GIGABYTE:
                    found.setdefault(head, []).append(run_case(head, classes, flags))
        for head, cases in found.items():
            rows.append({"head": head, "classes": classes, "contexts": flags.contexts, "batch": flags.batch,
                         "seconds": statistics.median(case["seconds"] for case in cases),
                         "bytes": max(case["bytes"] for case in cases), "needed": cases[0]["needed"]})
    return rows


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print a Markdown table, write it as JSON with --out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="example: python benchmarks/head.py --classes 10000,85742 --contexts 2")
    parser.add_argument("--classes", default="10000,85742,360232,1000000", help="identities, comma separated")
    parser.add_argument("--heads", default=",".join(HEADS))
    parser.add_argument("--batch", type=int, default=64, help="images of the global batch")
    parser.add_argument("--size", type=int, default=512, help="length of the embedding")
    parser.add_argument("--contexts", type=int, default=1, help="CPU contexts")
    parser.add_argument("--sample-rate", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=5, help="steps in a process")
    parser.add_argument("--repeats", type=int, default=3, help="processes of a case")
    parser.add_argument("--limit", type=float, default=12.0, help="leave out what needs more than this many GB")
    parser.add_argument("--out", help="write the rows as JSON, too")
    parser.add_argument("--case", choices=HEADS, help=argparse.SUPPRESS)
    flags = parser.parse_args(argv)
    if flags.case:
        flags.classes = int(flags.classes)
        sys.stdout.write(json.dumps(measure(flags.case, flags)))
        return 0
    rows = table([int(text) for text in flags.classes.split(",")], flags)
    sys.stdout.write(f"{available_cores()} cores, global batch {flags.batch}, E {flags.size}, {flags.contexts} CPU "
                     f"context(s), sample rate {flags.sample_rate:g}\n\n"
                     "| identities | head | s a step | images/s | peak GB | over what is needed |\n"
                     "|---|---|---|---|---|---|\n")
    for row in rows:
        sys.stdout.write(f"| {row['classes']:,} | {row['head']} | {row['seconds']:.3f} | "
                         f"{row['batch'] / row['seconds']:.0f} | {row['bytes'] / GIGABYTE:.2f} | "
                         f"{row['bytes'] / row['needed']:.2f} |\n")
    if flags.out:
        write_json(flags.out, rows)
    return 0


if __name__ == "__main__":
    run_command(main)
