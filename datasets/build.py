"""Build a record set (train.rec, train.idx, property, manifest.json) from images.

SOURCE is a folder with a folder for each identity, a .zip or .tar of such folders, or a .lst file in either historical
form: `aligned path label [box [five points]]` or im2rec's `index label path`. Images of an identity are grouped
whatever the order of the list. JPEG and PNG files of the right size are kept byte for byte, others become JPEG of
quality 95.

Faces are aligned where the list gives points and says they are not aligned, or by --points or --detector (as `align`
does). Nothing stands at OUT before the set is whole. A build that was stopped (an unusable image, Ctrl-C, a full disk,
a killed process) leaves OUT.partial; the same command goes on from there, also where images to come have changed.
"""
import argparse
import collections
import contextlib
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Deque, Iterator, List, Optional, Set, Tuple, Union

from arcface_mxnet.datasets import manifest
from arcface_mxnet.datasets.align import DETECTORS, align, open_detector, read_points
from arcface_mxnet.datasets.align_folder import Finder, find_by_detector, find_by_points
from arcface_mxnet.datasets.detect import TERMS
from arcface_mxnet.datasets.image_sources import Fingerprint, ImageList, from_list, open_source
from arcface_mxnet.datasets.images import NoImage, decode_bgr, encode_jpeg, fit, kept_as_it_is
from arcface_mxnet.datasets.record_writer import JOURNAL, PartialSet
from arcface_mxnet.datasets.records import write_names
from arcface_mxnet.datasets.whole_folder import must_be_free, put_in_place
from arcface_mxnet.runtime.arguments import Parser, height_and_width
from arcface_mxnet.runtime.environment import available_cores
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, atomic_open, naming
from arcface_mxnet.runtime.locks import claimed
from arcface_mxnet.runtime.progress import bar

import numpy as np

EXAMPLE = ("  python datasets/prepare.py build photos/ data/mine\n"
           "  python datasets/prepare.py build lists/train.lst data/mine --root photos --renumber")
SKIPPED = "skipped.tsv"
_CHUNK = 32

Prepared = Union[bytes, NoImage]


def build(source: ImageList, out: PathLike, size: Tuple[int, int] = (112, 112), resize: bool = False,
          find: Optional[Finder] = None, alignment: str = "as given", skip: bool = False,
          threads: Optional[int] = None) -> str:
    """Build a record set from a source, in parallel and resumable; returns the short hash of its manifest.

    size: (height, width) of every image; resize: scale images that differ by scale alone. find(name, bgr) -> five-point
    sets (5, 2), the first of which the image is aligned to; without it only images the source has points for are
    aligned. alignment: a word on it for the manifest. skip: list unusable images in skipped.tsv instead of stopping at
    the first. Writes identities.tsv (`label TAB name`). Raises InputError naming the image and the remedy, or the
    command that is building there already.
    """
    with claimed(out):
        return _build(source, must_be_free(out), size, resize, find, alignment, skip, threads or available_cores())


def _build(source: ImageList, target: Path, size: Tuple[int, int], resize: bool, find: Optional[Finder],
           alignment: str, skip: bool, threads: int) -> str:
    partial = PartialSet(target.with_name(target.name + ".partial"),
                         Fingerprint(source, size, resize, alignment))
    if partial.skipped and not skip:
        partial.close()
        raise InputError(f"{partial.folder}: was begun with --skip and left out {partial.skipped[0][0]}; go on with "
                         "--skip, or remove the folder")
    try:
        with naming(partial.folder):
            _fill(partial, source, _Preparing(source, size, resize, find), skip, threads)
            partial.finish(size)
    except BaseException:
        for end in (partial.note, partial.close):
            with contextlib.suppress(OSError, ValueError):  # on a full disk these fail too, and name nothing
                end()
        raise
    kept = _identities_kept(source, partial)
    write_names(partial.folder, {label: source.identities[stored] for label, stored in enumerate(kept)})
    if partial.skipped:
        _write_skipped(partial)
    short = manifest.describe_set(partial.folder, source.where, alignment)
    (partial.folder / JOURNAL).unlink()
    if target.exists():
        target.rmdir()
    put_in_place(partial.folder, target)
    return short


class _Preparing:
    """One image of the source to the bytes that go into its record; called from many threads."""

    def __init__(self, source: ImageList, size: Tuple[int, int], resize: bool, find: Optional[Finder]) -> None:
        self.source, self.size, self.resize, self.find = source, size, resize, find
        self._one_at_a_time = Lock()  # detectors use all cores themselves, and MXNet's are not safe in threads

    def __call__(self, number: int) -> bytes:
        """Raises NoImage with the reason."""
        try:
            data = self.source.read(number)
        except OSError as error:
            raise NoImage(f"cannot be read ({error.strerror})") from None
        image = decode_bgr(data, self.source.tiff)
        if number in self.source.unaligned or (self.find is not None and not self.source.unaligned):
            return encode_jpeg(self._aligned(number, image))
        if image.shape[:2] == self.size:
            return data if kept_as_it_is(data) else encode_jpeg(image)
        if not self.resize:
            raise NoImage(f"is {image.shape[0]}x{image.shape[1]}, not {self.size[0]}x{self.size[1]}; align the faces "
                          "(--detector), or scale crops that are aligned already (--resize)")
        return encode_jpeg(fit(image, self.size))

    def _aligned(self, number: int, image: np.ndarray) -> np.ndarray:
        points = self.source.points.get(number)
        if points is None:
            if self.find is None:
                raise NoImage("is marked as not aligned and has no points; add --detector or --points")
            with self._one_at_a_time:
                found = self.find(self.source.names[number], image)
            if not found:
                raise NoImage("shows no face that was found")
            points = found[0]
        try:
            return align(image, points, self.size)
        except InputError as error:
            raise NoImage(f"cannot be aligned: {error}") from None


def _fill(partial: PartialSet, source: ImageList, prepare: _Preparing, skip: bool, threads: int) -> None:
    """Prepare images on threads, a bounded number ahead, and append them identity by identity."""
    images: List[bytes] = []
    left: List[List[str]] = []  # of identities not yet in: going on looks at them again
    shown = bar(len(source.names), "building", "images", initial=partial.next_image)
    try:
        for number, result in _prepared(prepare, partial.next_image, len(source.names), threads):
            if isinstance(result, NoImage):
                reason = str(result)
                if not skip:
                    raise InputError(f"{source.where}: {source.names[number]} {reason}; or leave such images out, "
                                     "listed in skipped.tsv, with --skip")
                left.append([source.names[number], reason])
            else:
                images.append(result)
            last = number + 1 == len(source.names) or source.labels[number + 1] != source.labels[number]
            if last and images:
                partial.add(partial.stream.last_label + 1, images, number + 1, left)
                images, left = [], []
            shown.update(1)
    finally:
        shown.close()
    partial.skipped += left
    partial.next_image = len(source.names)


def _prepared(prepare: _Preparing, start: int, end: int, threads: int) -> Iterator[Tuple[int, Prepared]]:
    """(number, bytes or NoImage) of every image in order."""
    def some(first: int) -> List[Prepared]:
        results: List[Prepared] = []
        for number in range(first, min(first + _CHUNK, end)):
            try:
                results.append(prepare(number))
            except NoImage as error:
                results.append(error)
        return results

    waiting: Deque[Tuple[int, Future[List[Prepared]]]] = collections.deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="build")
    try:
        for first in range(start, end, _CHUNK):
            waiting.append((first, pool.submit(some, first)))
            if len(waiting) > 4 * threads:
                begin, done = waiting.popleft()
                yield from enumerate(done.result(), begin)
        for begin, done in waiting:
            yield from enumerate(done.result(), begin)
    finally:
        for _, left in waiting:
            left.cancel()
        pool.shutdown(wait=True)


def _identities_kept(source: ImageList, partial: PartialSet) -> List[int]:
    """The source's classes that have an image in the set, in order."""
    left: Set[str] = {entry[0] for entry in partial.skipped}
    kept = (int(label) for name, label in zip(source.names, source.labels) if name not in left)
    return sorted(set(kept))


def _write_skipped(partial: PartialSet) -> None:
    with atomic_open(partial.folder / SKIPPED) as stream:
        for name, reason in partial.skipped:
            stream.write(f"{name}\t{reason}\n".encode("utf-8", "surrogateescape"))


def add_arguments(parser: Parser) -> None:
    """The flags of the verb."""
    parser.add_argument("source", metavar="SOURCE", help="folder, .zip, .tar or .lst")
    parser.add_argument("out", metavar="OUT", help="folder of the new set; must not exist yet")
    parser.add_argument("--root", help="folder the paths of a .lst start from (default: the folder of the list)")
    parser.add_argument("--size", type=height_and_width, default="112,112", metavar="H,W",
                        help="height and width of the images (default 112,112)")
    parser.add_argument("--renumber", action="store_true", help="close gaps between the labels of a list")
    parser.add_argument("--resize", action="store_true", help="scale crops of another size")
    parser.add_argument("--points", metavar="FILE", help="align to the points of this file (`path x1 y1 ... x5 y5`)")
    parser.add_argument("--detector", choices=DETECTORS, help="align to the points this detector finds")
    parser.add_argument("--detector-model", metavar="PATH",
                        help=f"its .onnx file, or MTCNN's folder (det1 to det4); {TERMS}")
    parser.add_argument("--tiff", action="store_true", help="take TIFF files as well (stored as JPEG)")
    parser.add_argument("--skip", action="store_true", help="list unusable images in skipped.tsv instead of stopping")
    parser.add_argument("--threads", type=int, help="worker threads (default: one for each core)")


def run(args: argparse.Namespace) -> Optional[int]:
    """The verb."""
    must_be_free(args.out)
    if Path(args.source).suffix == ".lst":
        source = from_list(args.source, args.root, args.renumber, args.tiff)
    else:
        source = open_source(args.source, args.tiff)
    if source.passed_over:
        sys.stdout.write(f"{len(source.passed_over)} files are no images by their names and are left out, "
                         f"such as {source.passed_over[0]}\n")
    find, alignment = _alignment(args, source)
    try:
        short = build(source, args.out, args.size, args.resize, find, alignment, args.skip, args.threads)
    except KeyboardInterrupt:
        sys.stderr.write(f"stopped; the same command goes on from {args.out}.partial\n")
        raise
    sys.stdout.write(f"{args.out}: a record set of {len(source.identities)} identities, manifest {short}\n")
    return 0


def _alignment(args: argparse.Namespace, source: ImageList) -> Tuple[Optional[Finder], str]:
    """How points are found by the flags, and a word on it."""
    if bool(args.detector) != bool(args.detector_model) or (args.detector and args.points):
        raise InputError("give --points FILE, or --detector KIND together with --detector-model PATH; " + TERMS)
    if args.points:
        return find_by_points(read_points(args.points)), f"five points of {args.points}"
    if args.detector:
        return (find_by_detector(open_detector(args.detector, args.detector_model)),
                f"five points by {args.detector}, {Path(args.detector_model).name}")
    return None, "five points of the list" if source.points else "as given"
