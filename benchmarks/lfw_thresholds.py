"""LFW's figures from embeddings: ours beside the straightforward script, in turns, each in a process of its own.

The straightforward script decides every pair at each of 400 thresholds in every fold (accuracy) and at each of 4,000
(VAL at FAR), as the original's description reads; both give the same numbers, which is checked.
"""
import argparse
import resource
import statistics
import sys
import time
from multiprocessing import get_context
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from arcface_mxnet.evaluation.pairs import evaluate_pairs
from arcface_mxnet.runtime.errors import run_command

import numpy as np

Figures = Tuple[float, float, float]


def made_up(pairs: int, dimensions: int) -> Tuple[np.ndarray, np.ndarray]:
    """Embeddings float32 (2 pairs, d) and truth (pairs,) with some overlap of genuine and impostor distances."""
    rng = np.random.default_rng(0)
    same = np.arange(pairs) % 600 < 300
    embeddings = rng.standard_normal((2 * pairs, dimensions), np.float32)
    for pair in np.flatnonzero(same):  # one by one: the peak of memory must not be made here
        embeddings[2 * pair + 1] += 0.2 * embeddings[2 * pair]
    return embeddings, same


def ours(embeddings: np.ndarray, same: np.ndarray) -> Figures:
    """Accuracy, its deviation and VAL at FAR 1e-3 by evaluation/pairs.py (which also makes AUC and the ROC curve)."""
    result = evaluate_pairs(embeddings, same)
    return result.accuracy, result.std, result.val_at_far


def straightforward(embeddings: np.ndarray, same: np.ndarray) -> Figures:
    """The same by deciding every pair at every threshold."""
    unit = embeddings.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    distances = np.sum((unit[0::2] - unit[1::2]) ** 2, axis=1)
    folds = np.array_split(np.arange(len(same)), 10)
    accuracies, rates = [], []
    for test in folds:
        train = np.setdiff1d(np.arange(len(same)), test)
        rights = [np.mean((distances[train] < limit) == same[train]) for limit in np.arange(0, 4, 0.01)]
        limit = np.arange(0, 4, 0.01)[int(np.argmax(rights))]
        accuracies.append(np.mean((distances[test] < limit) == same[test]))
        fars = [np.sum((distances[train] < t) & ~same[train]) / np.sum(~same[train]) for t in np.arange(0, 4, 0.001)]
        limit = np.interp(1e-3, fars, np.arange(0, 4, 0.001)) if max(fars) >= 1e-3 else 0.0
        rates.append(np.sum((distances[test] < limit) & same[test]) / np.sum(same[test]))
    return float(np.mean(accuracies)), float(np.std(accuracies)), float(np.mean(rates))


CONTENDERS: Dict[str, Callable[[np.ndarray, np.ndarray], Figures]] = {
    "ours": ours, "straightforward": straightforward}


def measure(name: str, pairs: int, dimensions: int) -> Tuple[float, float, Figures]:
    """Seconds, megabytes above the embeddings themselves, and the figures; run in a fresh process."""
    embeddings, same = made_up(pairs, dimensions)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    figures = CONTENDERS[name](embeddings, same)
    seconds = time.perf_counter() - started
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, figures


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Measure and print a Markdown table."""
    flags = argparse.ArgumentParser(description="LFW from embeddings, beside the straightforward script.",
                                    epilog="example:\n  python benchmarks/lfw_thresholds.py --rounds 5",
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--pairs", type=int, default=6000, help="default 6000")
    flags.add_argument("--dimensions", type=int, default=512, help="default 512")
    flags.add_argument("--rounds", type=int, default=5, help="turns of each (default 5)")
    options = flags.parse_args(argv)
    seconds: Dict[str, List[float]] = {name: [] for name in CONTENDERS}
    memory: Dict[str, List[float]] = {name: [] for name in CONTENDERS}
    figures: Dict[str, Figures] = {}
    for _ in range(options.rounds):
        for name in CONTENDERS:
            with get_context("spawn").Pool(1) as pool:
                taken, above, figures[name] = pool.apply(measure, (name, options.pairs, options.dimensions))
            seconds[name].append(taken)
            memory[name].append(above)
    if not np.allclose(figures["ours"], figures["straightforward"], rtol=0, atol=1e-12):
        raise AssertionError(f"the two disagree: {figures}")
    sys.stdout.write("| | median s | ratio | MB above the embeddings |\n|---|---|---|---|\n")
    base = statistics.median(seconds["straightforward"])
    for name in CONTENDERS:
        median = statistics.median(seconds[name])
        sys.stdout.write(f"| {name} | {median:.3f} | x{base / median:.1f} | {statistics.median(memory[name]):.0f} |\n")
    sys.stdout.write("accuracy {:.5f} +- {:.5f}, VAL {:.5f}: equal\n".format(*figures["ours"]))


if __name__ == "__main__":
    run_command(main)
