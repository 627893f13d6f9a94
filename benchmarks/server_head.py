"""A worker of a job whose centres live on parameter servers: step time and memory at a million identities.

The network is the identity, so that what is measured is the head: labels heard, rows pulled, softmax, rows pushed.
"""
import argparse
import os
import resource
import statistics
import sys
import time
from typing import Optional, Sequence

from arcface_mxnet.engines.mxnet.class_centres import HeadSizes
from arcface_mxnet.engines.mxnet.data_parallel import DataParallel
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.engines.mxnet.parameter_server import KEY_CLASSES, ServerCentres
from arcface_mxnet.engines.mxnet.program import executed
from arcface_mxnet.engines.mxnet.sharded_softmax import ClassParallel
from arcface_mxnet.engines.mxnet.workers import join
from arcface_mxnet.engines.sampling import Rule
from arcface_mxnet.graph import symbol
from arcface_mxnet.recognition.engine.model import Model, backbone_program
from arcface_mxnet.recognition.engine.setup import centres_of
from arcface_mxnet.recognition.losses import LossSettings, attach
from arcface_mxnet.runtime.errors import run_command

import numpy as np

ARCFACE = LossSettings(loss_m2=0.5)
EXAMPLE = ("example: python -m arcface_mxnet.recognition.launch -n 2 -s 2 -- "
           "python benchmarks/server_head.py --classes 1000000")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Fill the servers, run some steps, write the figures of this worker."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=32, help="images of one worker")
    parser.add_argument("--sample-rate", type=float, default=0.01)
    parser.add_argument("--steps", type=int, default=6)
    flags = parser.parse_args(argv)
    workers = join("dist_sync_device")
    sys.stdout.write(f"worker {workers.rank} of {workers.size}\n")
    embedding, contexts = symbol.Flatten(symbol.Variable("data")), [mx.cpu()]
    model = Model(embedding, attach(embedding, ARCFACE, flags.classes, flags.batch, flags.size))
    form = executed(backbone_program(model), (flags.batch, flags.size, 1, 1))
    network = DataParallel(form, contexts, flags.batch, (1, 1, flags.size), workers.store)
    sizes, rule = HeadSizes(flags.classes, 1, flags.batch, flags.size), Rule(0, flags.sample_rate)
    centres = ServerCentres(sizes, ARCFACE.loss_s, contexts, rule, workers, int(os.environ["DMLC_NUM_SERVER"]))
    given = centres_of(ARCFACE, flags.classes, flags.size, flags.batch)
    step = ClassParallel(network, centres, given.margin, given.scale, given.smallest)
    started = time.perf_counter()
    chance = np.random.default_rng(0)
    drawn = 0.01 * chance.standard_normal((min(KEY_CLASSES, flags.classes), flags.size), np.float32)  # for every key
    zeros = np.zeros_like(drawn)
    centres.fill(lambda first, last: drawn[:last - first], lambda first, last: zeros[:last - first])
    step.set_optimizer(0.9, 5e-4, "uniform")
    sys.stdout.write(f"servers filled in {time.perf_counter() - started:.1f} s\n")
    sys.stdout.flush()
    rng, seconds, losses = np.random.RandomState(workers.rank), [], []
    identities = rng.randint(0, flags.classes, flags.batch)
    data = rng.randn(flags.batch, flags.size, 1, 1).astype(np.float32)
    for _ in range(flags.steps):
        started = time.perf_counter()
        outcome = step.forward_backward(data, identities.astype(np.float32))
        step.update(0.1)
        mx.nd.waitall()
        seconds.append(time.perf_counter() - started)
        losses.append(float(outcome.losses[0]))
    rows = rule.size(flags.classes, flags.batch * workers.size)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2.0 ** 20
    sys.stdout.write(f"{rows} rows of {flags.classes} a step, {rows * flags.size * 4 / 2 ** 20:.1f} MB pulled and "
                     f"pushed; {statistics.median(seconds[1:]):.2f} s a step; loss {losses[0]:.2f} to "
                     f"{losses[-1]:.2f}; peak memory {peak:.2f} GB\n")
    return 0


if __name__ == "__main__":
    run_command(main)
