"""`build` beside MXNet's im2rec, and `verify` beside decoding alone: the same images, in turns, in one run.

    python benchmarks/build.py SET [--rounds 3] [--grain 11] [--only verify]

SET is any record set; its images are unpacked into folders first. With --grain its images are first compressed again at
quality 95, with noise of so many grey levels: crops of photographs larger than LFW's are 5 to 10 KB. im2rec runs as its
users run it: once to make the list, once to pack with a worker for each core; --pass-through packs files without
looking at them. Ours lists, reads, decodes, checks, packs and writes the manifest in one command. Times are of whole
commands.
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

from arcface_mxnet.datasets.images import decode_bgr
from arcface_mxnet.datasets.manifest import describe_set
from arcface_mxnet.datasets.records import RecordSet, RecordWriter
from arcface_mxnet.datasets.subset_merge import positions_by_class
from arcface_mxnet.datasets.unpack import unpack
from arcface_mxnet.runtime.environment import available_cores

import cv2
import mxnet.tools  # noqa: TID251  (only to find im2rec.py)
import numpy as np

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
    run("-m", "arcface_mxnet.datasets.prepare", "build", str(photos), str(work / "built"))
    shutil.rmtree(work / "built")


def processor_seconds() -> float:
    """Used so far by this process and the commands it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def decode(images: List[bytes]) -> None:
    """Decode every image on all cores, and nothing else; they are in memory."""
    def some(encoded: List[bytes]) -> None:
        for image in encoded:
            decode_bgr(image)

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(some, [images[start:start + 256] for start in range(0, len(images), 256)]))


def grainy(source: Path, out: Path, grain: float) -> Path:
    """The set compressed again at quality 95 with noise of `grain` grey levels of standard deviation."""
    chance = np.random.default_rng(0)
    with RecordSet.open(source) as records, RecordWriter(out, records.image_size or (112, 112)) as writer:
        for label, places in positions_by_class(records).items():
            pictures = [decode_bgr(records.read(key)[1]).astype(np.float32) for key in records.keys[places].tolist()]
            noise = [cv2.GaussianBlur(chance.standard_normal(one.shape[:2], np.float32), (3, 3), 0.6)[..., None]
                     for one in pictures]
            writer.add(label, [np.clip(one + grain * fine, 0, 255).round().astype(np.uint8)
                               for one, fine in zip(pictures, noise)])
    describe_set(out, f"{source}, grain {grain:g}")
    return out


def verify_in_process(folder: str) -> None:
    """`verify` without the start of a process, as `decode` is."""
    from arcface_mxnet.datasets.check import verify
    verify(folder)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", metavar="SET")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--grain", type=float, help="compress again at quality 95 with so much noise")
    parser.add_argument("--only", choices=["build", "verify"], help="half of it")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work, photos = Path(folder), Path(folder) / "photos"
        source = Path(args.set) if args.grain is None else grainy(Path(args.set), work / "grainy", args.grain)
        methods: Dict[str, Callable[[], None]] = {}
        if args.only != "verify":
            unpack(source, photos)
            methods.update({"build": lambda: build(photos, work), "im2rec": lambda: im2rec(photos, work),
                            "im2rec --pass-through": lambda: im2rec(photos, work, "--pass-through")})
        with RecordSet.open(source) as records:
            encoded = [records.read(key)[1] for key in records.keys.tolist()]
        if args.only != "build":
            methods["verify"] = lambda: verify_in_process(str(source))
            methods["decoding alone"] = lambda: decode(encoded)
        seconds: Dict[str, List[float]] = {name: [] for name in methods}
        busy: Dict[str, List[float]] = {name: [] for name in methods}
        for _ in range(args.rounds):
            for name, method in methods.items():
                start, before = time.perf_counter(), processor_seconds()
                method()
                seconds[name].append(time.perf_counter() - start)
                busy[name].append(processor_seconds() - before)
    show(encoded, seconds, busy)


def show(encoded: List[bytes], seconds: Dict[str, List[float]], busy: Dict[str, List[float]]) -> None:
    """Medians, and ratios as the median over rounds."""
    sys.stdout.write(f"{len(encoded)} images, mean {statistics.mean(map(len, encoded)):.0f} bytes\n")
    for name, taken in seconds.items():
        middle, cost = statistics.median(taken), statistics.median(busy[name])
        sys.stdout.write(f"{name:<22} {middle:6.2f} s  {len(encoded) / middle:7.0f} images/s  {cost:6.2f} s of "
                         f"processor, {cost / len(encoded) * 1e6:.1f} us an image\n")
    for one, two in (("im2rec", "build"), ("im2rec --pass-through", "build"), ("verify", "decoding alone")):
        if one in seconds:
            wall, cost = (statistics.median([a / b for a, b in zip(of[one], of[two])]) for of in (seconds, busy))
            sys.stdout.write(f"{one} / {two}: time {wall:.2f}, processor time {cost:.2f} (inverse {1 / cost:.2f})\n")


if __name__ == "__main__":
    main()
