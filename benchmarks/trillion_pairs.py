"""Trillion-Pairs on 10^10 pairs of made-up features: seconds, memory, and what that means for the full 4.3 x 10^11."""
import argparse
import resource
import sys
import time

from arcface_mxnet.evaluation.trillion_pairs import evaluate

import numpy as np

FULL_PROBES, FULL_GALLERY = 274_000, 1_580_000


def main() -> None:
    """Time arcface_mxnet.evaluation.trillion_pairs.evaluate on --probes x --gallery."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--probes", type=int, default=20_000)
    flags.add_argument("--gallery", type=int, default=500_000)
    options = flags.parse_args()
    generator = np.random.default_rng(0)
    ids = np.arange(options.probes) // 48
    centres = generator.standard_normal((ids[-1] + 1, 512), np.float32)
    probes = centres[ids] + 1.5 * generator.standard_normal((options.probes, 512), np.float32)
    gallery = generator.standard_normal((options.gallery, 512), np.float32)
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    result = evaluate(probes, ids, gallery)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    times = FULL_PROBES * FULL_GALLERY / result.impostor_pairs
    sys.stdout.write(f"{result.impostor_pairs:.3g} pairs: {seconds:.1f} s, {processor:.1f} processor s, peak "
                     f"{after.ru_maxrss / 1e6:.2f} GB; identification {result.identification:.5f}, verification "
                     f"{result.verification:.5f}; full size: {times:.1f} times as many, {times * seconds / 60:.0f} "
                     f"minutes, {times * processor / 60:.0f} processor minutes\n")


if __name__ == "__main__":
    main()
