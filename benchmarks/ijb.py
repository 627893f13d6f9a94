"""IJB-C 1:1 at full size on made-up features: ours beside the straightforward script, in turns, in one run.

The straightforward script: one template at a time, gathered batches of 100,000 pairs, sklearn's ROC.
"""
import argparse
import resource
import sys
import time
from multiprocessing import get_context
from typing import Callable, Dict, List, Tuple

from arcface_mxnet.evaluation.ijb.metadata import TemplatePairs
from arcface_mxnet.evaluation.ijb.templates import Mode, pool
from arcface_mxnet.evaluation.ijb.verification import FARS, verify

import numpy as np
import sklearn.metrics

IMAGES, TEMPLATES, PAIRS, SUBJECTS = 469_375, 23_124, 15_658_489, 3_531
_PAIR_BATCH = 100_000


def synthetic(scale: float) -> Tuple[np.ndarray, np.ndarray, np.ndarray, TemplatePairs]:
    """Image features (n, 512), template and media ids, and pairs: IJB-C's sizes times `scale`."""
    generator = np.random.default_rng(0)
    images, templates, pairs = int(IMAGES * scale), int(TEMPLATES * scale), int(PAIRS * scale * scale)
    subject_of = generator.integers(0, max(int(SUBJECTS * scale), 2), templates)
    centres = generator.standard_normal((subject_of.max() + 1, 512)).astype(np.float32)
    template = np.sort(np.r_[np.arange(templates), generator.integers(0, templates, images - templates)])
    media = template * 10 + generator.integers(0, 6, images)
    features = generator.standard_normal((images, 512), np.float32)
    features *= 10
    features += centres[subject_of[template]]
    genuine = np.flatnonzero(subject_of[:-1] == subject_of[1:])
    first, second = generator.integers(0, templates, (2, pairs - len(genuine))).astype(np.int32)
    first, second = np.r_[first, genuine].astype(np.int32), np.r_[second, genuine + 1].astype(np.int32)
    return features, template, media, TemplatePairs(first, second, subject_of[first] == subject_of[second])


def ours(features: np.ndarray, template: np.ndarray, media: np.ndarray, pairs: TemplatePairs) -> List[float]:
    """TAR at the six FARs by arcface_mxnet.evaluation.ijb, N0D0F0."""
    mode = Mode.parse("N0D0F0")
    templates = pool(lambda rows: mode.apply(features[rows], None, None), template, media)
    return list(verify(templates, pairs).tar.values())


def straightforward(features: np.ndarray, template: np.ndarray, media: np.ndarray,
                    pairs: TemplatePairs) -> List[float]:
    """The same by loops over templates, gathered pairs and sklearn."""
    unit = features / np.sqrt(np.sum(features ** 2, -1, keepdims=True))
    ids = np.unique(template)
    pooled = np.zeros((len(ids), features.shape[1]))
    for row, one in enumerate(ids):
        mine = np.where(template == one)[0]
        for medium in np.unique(media[mine]):
            pooled[row] += unit[mine[media[mine] == medium]].mean(0)
    pooled /= np.sqrt(np.sum(pooled ** 2, -1, keepdims=True))
    row_of = np.zeros(ids.max() + 1, int)
    row_of[ids] = np.arange(len(ids))
    scores = np.zeros(len(pairs.same))
    for start in range(0, len(scores), _PAIR_BATCH):
        part = slice(start, start + _PAIR_BATCH)
        scores[part] = np.sum(pooled[row_of[pairs.first[part]]] * pooled[row_of[pairs.second[part]]], -1)
    far, tar, _ = sklearn.metrics.roc_curve(pairs.same, scores)
    far, tar = far[::-1], tar[::-1]
    return [float(tar[np.argmin(np.abs(far - wanted))]) for wanted in FARS]


def measured(method: str, scale: float) -> Dict[str, object]:
    """Seconds, processor seconds, memory beyond the input (MB) and figures of one method in this process."""
    given = synthetic(scale)
    before = resource.getrusage(resource.RUSAGE_SELF)
    wall, functions = time.perf_counter(), {"ours": ours, "straightforward": straightforward}
    function: Callable[..., List[float]] = functions[method]
    tar = function(*given)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {"seconds": time.perf_counter() - wall, "tar": tar,
            "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "peak_gb": after.ru_maxrss / 1e6}


def main() -> None:
    """Run both methods in turns, each in a fresh process."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    flags.add_argument("--scale", type=float, default=1.0, help="1 is IJB-C's size")
    flags.add_argument("--rounds", type=int, default=2)
    flags.add_argument("--methods", default="straightforward,ours")
    options = flags.parse_args()
    for turn in range(options.rounds):
        for method in options.methods.split(","):
            with get_context("spawn").Pool(1) as pool_of_one:
                found = pool_of_one.apply(measured, (method, options.scale))
            sys.stdout.write(f"{turn} {method}: {found['seconds']:.1f} s, {found['cpu']:.1f} processor s, "
                             f"peak {found['peak_gb']:.2f} GB, TAR {np.round(found['tar'], 5).tolist()}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
