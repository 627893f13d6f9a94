"""`build` beside MXNet's im2rec, and `verify` beside decoding alone: the same images, in turns, in one run.

    python benchmarks/build.py SET [--rounds 3]

SET is any record set; its images are unpacked into folders first. im2rec runs as its users run it: once to make the
list, once to pack with a worker for each core; with --pass-through it packs files without looking at them. Ours lists,
reads, decodes, checks, packs and writes the manifest in one command. Times are of whole commands.
"""
import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Dict, List

import mxnet.tools  # noqa: TID251  (only to find im2rec.py)

from datasets.images import decode_bgr
from datasets.records import RecordSet
from datasets.unpack import unpack
from runtime.cores import available_cores

CORES = available_cores()


def run(*command: str) -> None:
    """Run a command quietly; its failure is ours."""
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def im2rec(photos: Path, work: Path, *flags: str) -> None:
    """List and pack with MXNet's tool."""
    tool = str(Path(list(mxnet.tools.__path__)[0]) / "im2rec.py")
    run(tool, "--list", "--recursive", str(work / "im2rec"), str(photos))
    run(tool, "--num-thread", str(CORES), *flags, str(work / "im2rec"), str(photos))
    for path in work.glob("im2rec*"):
        path.unlink()


def build(photos: Path, work: Path) -> None:
    """Build with ours."""
    run("-m", "datasets.prepare", "build", str(photos), str(work / "built"))
    shutil.rmtree(work / "built")


def processor_seconds() -> float:
    """Used so far by this process and the commands it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def decode(records: RecordSet) -> None:
    """Read and decode every image on all cores, and nothing else."""
    def some(keys: List[int]) -> None:
        for key in keys:
            decode_bgr(records.read(key)[1])

    keys = records.keys.tolist()
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(some, [keys[start:start + 256] for start in range(0, len(keys), 256)]))


def verify_in_process(folder: str) -> None:
    """`verify` without the start of a process, as `decode` is."""
    from datasets.verify import verify
    verify(folder)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", metavar="SET")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, RecordSet.open(args.set) as records:
        work, photos = Path(folder), Path(folder) / "photos"
        unpack(args.set, photos)
        methods: Dict[str, Callable[[], None]] = {
            "build": lambda: build(photos, work), "im2rec": lambda: im2rec(photos, work),
            "im2rec --pass-through": lambda: im2rec(photos, work, "--pass-through"),
            "verify": lambda: verify_in_process(args.set), "decoding alone": lambda: decode(records)}
        seconds: Dict[str, List[float]] = {name: [] for name in methods}
        busy: Dict[str, List[float]] = {name: [] for name in methods}
        for _ in range(args.rounds):
            for name, method in methods.items():
                start, before = time.perf_counter(), processor_seconds()
                method()
                seconds[name].append(time.perf_counter() - start)
                busy[name].append(processor_seconds() - before)
        images = records.images
    for name, taken in seconds.items():
        middle = statistics.median(taken)
        sys.stdout.write(f"{name:<22} {middle:6.2f} s  {images / middle:7.0f} images/s"
                         f"  {statistics.median(busy[name]):6.2f} s of processor\n")
    for one, two in (("im2rec", "build"), ("im2rec --pass-through", "build"), ("verify", "decoding alone")):
        wall, cost = (statistics.median([a / b for a, b in zip(of[one], of[two])]) for of in (seconds, busy))
        sys.stdout.write(f"{one} / {two}: time {wall:.2f}, processor time {cost:.2f}\n")


if __name__ == "__main__":
    main()
