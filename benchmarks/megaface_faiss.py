"""The straightforward MegaFace script: FAISS's blocked product keeps the 100 best distractors of each probe.

Runs in an environment of its own (FAISS and NumPy only). It answers less than the protocol: rank-1 and TAR at FAR 1e-6,
the latter exact only while no probe gives more than 100 of the best impostors; no CMC beyond 100, no ROC curve.
"""
import resource
import sys
import time
from pathlib import Path

import faiss
import numpy as np

KEPT = 100
FAR = 1e-6


def main() -> None:
    """`python megaface_faiss.py FOLDER` with the arrays that benchmarks/megaface.py wrote."""
    folder = Path(sys.argv[1])
    probes, distractors = np.load(folder / "probes.npy"), np.load(folder / "distractors.npy")
    ids = np.load(folder / "ids.npy")
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    scores, _ = faiss.knn(probes, distractors, KEPT, metric=faiss.METRIC_INNER_PRODUCT)
    own = probes @ probes.T
    mates = (ids[:, None] == ids[None]) & ~np.eye(len(ids), dtype=bool)
    rank1 = np.mean((own >= scores[:, :1])[mates])
    impostors = len(probes) * len(distractors)
    limit = np.sort(scores, axis=None)[::-1][int(FAR * impostors)]
    tar = np.mean(own[mates] >= limit)
    after = resource.getrusage(resource.RUSAGE_SELF)
    sys.stdout.write(f"{time.perf_counter() - started:.1f} s, "
                     f"{after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime:.1f} processor s, "
                     f"peak {after.ru_maxrss / 1e6:.2f} GB, rank-1 {rank1:.6f}, TAR {tar:.6f}\n")


if __name__ == "__main__":
    main()
