"""Our batches beside MXNet's own ImageRecordIter: the same images, the same threads, in turns, in one run.

    python benchmarks/iterator.py SET [--rounds 5] [--batch-size 128]

SET is any record set; ImageRecordIter reads the same images as a shuffled record, as the original's fast path does.
Both mirror with probability 0.5 and give float32 batches. Prints images per second and processor time an image
(medians) and the ratios; on a busy machine believe the processor time.
"""
import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, Dict, List

from arcface_mxnet.datasets.iterator import ClassificationBatches
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.datasets.shuffle import shuffle
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.runtime.environment import available_cores


def ours(records: RecordSet, batch_size: int, threads: int, epoch: int) -> int:
    """One epoch of ours; returns the images seen."""
    batches = ClassificationBatches(records, batch_size, seed=0, threads=threads)
    for _ in batches.batches(epoch):
        pass
    return batches.batches_per_epoch * batch_size


def image_record_iter(shuffled: Path, batch_size: int, threads: int) -> int:
    """One epoch of MXNet's; returns the images seen."""
    seen = 0
    iterator = mx.io.ImageRecordIter(path_imgrec=str(shuffled / "train.rec"), data_shape=(3, 112, 112), shuffle=True,
                                     batch_size=batch_size, preprocess_threads=threads, rand_mirror=True,
                                     shuffle_chunk_size=1024, round_batch=False)
    for batch in iterator:
        batch.data[0].wait_to_read()
        seen += batch_size - (batch.pad or 0)
    return seen


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", metavar="SET")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=available_cores())
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, RecordSet.open(args.set) as records:
        shuffled = Path(folder) / "shuffled"
        shuffle(args.set, shuffled)
        methods: Dict[str, Callable[[int], int]] = {
            "ours": lambda epoch: ours(records, args.batch_size, args.threads, epoch),
            "ImageRecordIter": lambda _: image_record_iter(shuffled, args.batch_size, args.threads)}
        speeds: Dict[str, List[float]] = {name: [] for name in methods}
        costs: Dict[str, List[float]] = {name: [] for name in methods}
        for round_number in range(args.rounds + 1):  # the first warms the file cache up and is not counted
            for name, method in methods.items():
                start, busy = time.perf_counter(), time.process_time()
                seen = method(round_number)
                speeds[name] += [seen / (time.perf_counter() - start)] if round_number else []
                costs[name] += [(time.process_time() - busy) / seen * 1e6] if round_number else []
    for name in methods:
        rounds = ", ".join(f"{one:.0f}" for one in speeds[name])
        sys.stdout.write(f"{name:<16} {statistics.median(speeds[name]):8.0f} images/s  (rounds: {rounds})"
                         f"  {statistics.median(costs[name]):6.0f} us of processor an image\n")
    for what, found in (("images/s", speeds), ("processor time", costs)):
        ratio = statistics.median([one / two for one, two in zip(found["ours"], found["ImageRecordIter"])])
        sys.stdout.write(f"ours / ImageRecordIter, {what}: {ratio:.2f} ({args.threads} threads)\n")


if __name__ == "__main__":
    main()
