"""MegaFace at full size on made-up features: ours beside FAISS's blocked product, in turns, in one run."""
import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Optional

from arcface_mxnet.evaluation.megaface.protocol import Features, evaluate

import numpy as np

PROBES, PEOPLE, DIMENSIONS = 3530, 80, 512
FARS = (1e-6, 1e-5)


def write_features(folder: Path, distractors: int, noise: float, noisy: int) -> None:
    """Unit probes of 80 people, `noisy` of them at random as the uncleaned FaceScrub list has, and distractors."""
    generator = np.random.default_rng(0)
    ids = np.arange(PROBES) * PEOPLE // PROBES
    centres = generator.standard_normal((PEOPLE, DIMENSIONS), np.float32)
    probes = centres[ids] + noise * generator.standard_normal((PROBES, DIMENSIONS), np.float32)
    probes[generator.choice(PROBES, noisy, replace=False)] = generator.standard_normal((noisy, DIMENSIONS), np.float32)
    np.save(folder / "probes.npy", probes / np.linalg.norm(probes, axis=1, keepdims=True))
    np.save(folder / "ids.npy", ids)
    rows = np.lib.format.open_memmap(folder / "distractors.npy", "w+", np.float32, (distractors, DIMENSIONS))
    for start in range(0, distractors, 50_000):
        block = generator.standard_normal((min(50_000, distractors - start), DIMENSIONS), np.float32)
        rows[start:start + len(block)] = block / np.linalg.norm(block, axis=1, keepdims=True)
    rows.flush()


def ours(folder: Path) -> str:
    """Load the arrays, then time the exact protocol: all counts, whole CMC, ROC curve, TAR at two FARs."""
    probes, distractors = np.load(folder / "probes.npy"), np.load(folder / "distractors.npy")
    ids = np.load(folder / "ids.npy")
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    counts = [size for size in (10, 1000, 100_000) if size < len(distractors)] + [len(distractors)]
    result = evaluate(Features(probes, False), ids, Features(distractors, False), counts, FARS)[-1]
    after = resource.getrusage(resource.RUSAGE_SELF)
    return (f"{time.perf_counter() - started:.1f} s, "
            f"{after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime:.1f} processor s, "
            f"peak {after.ru_maxrss / 1e6:.2f} GB, rank-1 {result.rank1:.6f}, TAR {result.tar[1e-6]:.6f}")


def main() -> None:
    """Run both in turns, each in a fresh process."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--distractors", type=int, default=1_000_000)
    flags.add_argument("--noise", type=float, default=2.0, help="of the probes around their person's centre")
    flags.add_argument("--noisy", type=int, default=24, help="probes that show somebody else (24 in the real list)")
    flags.add_argument("--rounds", type=int, default=2)
    flags.add_argument("--faiss-python", help="python of an environment with faiss-cpu; without it only ours runs")
    flags.add_argument("--only-ours", metavar="DIR", help=argparse.SUPPRESS)
    options = flags.parse_args()
    if options.only_ours:
        sys.stdout.write(ours(Path(options.only_ours)) + "\n")
        return
    faiss: Optional[str] = options.faiss_python
    with tempfile.TemporaryDirectory() as name:
        write_features(Path(name), options.distractors, options.noise, options.noisy)
        for turn in range(options.rounds):
            commands = {"ours": [sys.executable, "-m", "benchmarks.megaface", "--only-ours", name]}
            if faiss:
                commands["faiss"] = [faiss, str(Path(__file__).with_name("megaface_faiss.py")), name]
            for method, command in commands.items():
                found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
                sys.stdout.write(f"{turn} {method}: {found}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
