"""Write a record set in the published layout, byte for byte the original builder's (docs/original.md, section 1.3)."""
import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Dict, Iterable, List, Optional, Sequence, Tuple, Type, Union

from arcface_mxnet.datasets.image_headers import MOST_SIDE
from arcface_mxnet.datasets.image_sources import Fingerprint
from arcface_mxnet.datasets.images import encode_jpeg
from arcface_mxnet.datasets.recordio import BrokenRecord, frame, framed_length, pack_image, unframe, unpack_image
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, atomic_open, write_json
from arcface_mxnet.runtime.reading import shown
from arcface_mxnet.runtime.text import Columns, read_json, read_lines, whole_number

import numpy as np

MAX_LABEL = 1 << 24


class SetStream:
    """The published layout onto two open binary streams; `RecordWriter` and the resumable build stand on it.

    `offset` bytes written, `key` of the next record (from 1), `last_label`, `ranges` [start, end) of each identity.
    """

    def __init__(self, rec: IO[bytes], idx: IO[bytes], where: Path) -> None:
        self._rec, self._idx, self._where = rec, idx, where
        self.offset = 0
        self.key = 1
        self.last_label = -1
        self.ranges: List[Tuple[int, int]] = []

    def add(self, label: int, images: Iterable[Union[bytes, np.ndarray]]) -> Tuple[int, int]:
        """See RecordWriter.add."""
        if not self.last_label < label < MAX_LABEL:
            raise InputError(f"{self._where}: label {label} after {self.last_label}; labels rise from 0 and stay below "
                             f"{MAX_LABEL}: group the images by identity first")
        start = self.key
        for image in images:
            encoded = encode_jpeg(image) if isinstance(image, np.ndarray) else image
            if not encoded:
                raise InputError(f"{self._where}: an image of label {label} is empty; leave it out")
            self._write(self.key, float(label), encoded)
            self.key += 1
        if self.key == start:
            raise InputError(f"{self._where}: label {label} has no image; leave the identity out")
        self.last_label = label
        self.ranges.append((start, self.key))
        return start, self.key

    def finish(self) -> None:
        """Write the identity ranges and record 0."""
        if not self.ranges:
            raise InputError(f"{self._where}: no image to write; the set would be empty")
        first = self.key
        for bounds in self.ranges:
            self._write(self.key, bounds, b"")
            self.key += 1
        self._write(0, (first, self.key), b"", id2=1)

    def _write(self, key: int, label: Union[float, Sequence[float]], encoded: bytes, id2: int = 0) -> None:
        try:
            framed = frame(pack_image(label, key, encoded, id2))
        except BrokenRecord as error:
            raise InputError(f"{self._where}: image {key}: {error}; leave it out") from None
        self._idx.write(b"%d\t%d\n" % (key, self.offset))
        self._rec.write(framed)
        self.offset += len(framed)


class RecordWriter:
    """Writes train.rec, train.idx and property into a folder; they appear when it closes well, the index last.

    with RecordWriter(folder) as writer:
        writer.add(0, [jpeg_bytes, bgr_array])

    Images are keyed from 1; on closing follow one range record for each identity, then record 0. Bounds above 2^24 are
    rounded to float32, as the layout has it (RecordSet finds them exactly again).
    """

    def __init__(self, folder: PathLike, image_size: Tuple[int, int] = (112, 112)) -> None:
        """`image_size` is (height, width) for `property`. Raises InputError where the folder already holds a set."""
        self.folder, self.image_size = Path(folder), image_size
        rec, idx = self.folder / "train.rec", self.folder / "train.idx"
        for path in (rec, idx):
            if path.exists():
                raise InputError(f"{path}: exists already; choose another folder or move it away first")
        self._open = contextlib.ExitStack()
        idx_stream = self._open.enter_context(atomic_open(idx))
        self._stream = SetStream(self._open.enter_context(atomic_open(rec)), idx_stream, self.folder)

    def add(self, label: int, images: Iterable[Union[bytes, np.ndarray]]) -> Tuple[int, int]:
        """Write all images of one identity: encoded bytes as they are, or BGR uint8 (h, w, 3) arrays as JPEG q95.

        Labels must be 0 or more and rise from call to call; an identity comes once and with an image at least, so that
        its images stand together. Returns its half-open range of keys. Raises InputError otherwise.
        """
        return self._stream.add(label, images)

    def close(self) -> None:
        """Write the ranges, the header and `property`; the set is in its place afterwards."""
        try:
            self._stream.finish()
            write_property(self.folder / "property", self._stream.last_label + 1, self.image_size)
        except BaseException:
            self.abort()
            raise
        self._open.close()

    def abort(self) -> None:
        """Leave nothing of an unfinished set behind."""
        with contextlib.suppress(_Abandoned), self._open:
            raise _Abandoned

    def __enter__(self) -> "RecordWriter":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


class _Abandoned(Exception):
    """Thrown through the open files so that they remove themselves."""


# A record set that is still being built, in a folder of its own, so that an interrupted build goes on where it was.
#
# `OUT.partial/` holds train.rec and train.idx up to the last whole identity the journal knows to be on the disk.
# Going on cuts off what lies beyond, and finds index and ranges again in the record file itself.


JOURNAL = "journal.json"
SECONDS_BETWEEN_JOURNALS = 5.0
_BUFFER = 1 << 20


class PartialSet:
    """Open (or go on with) the unfinished set in `folder` for one input, known by its fingerprint.

    What is in must be as it was; what comes after may have changed: the image a build stopped at was repaired, say.
    `next_image`: number of the first image of the source not yet in; `skipped`: what was left out so far.
    """

    def __init__(self, folder: Path, fingerprint: Fingerprint) -> None:
        """Raises InputError where the folder holds an unfinished build of something else."""
        self.folder, self.fingerprint = folder, fingerprint
        self.next_image = 0
        self.skipped: List[List[str]] = []
        journal = _journal(folder)
        if journal and not _same(journal, fingerprint):
            raise InputError(f"{folder}: an unfinished build of other images or other options; finish that one, or "
                             "remove the folder")
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.iterdir():
            if leftover.name not in (JOURNAL, "train.rec"):
                leftover.unlink()
        end = journal.get("offset", 0)
        self._rec = open(folder / "train.rec", "ab", buffering=_BUFFER)
        self._rec.truncate(end)
        self._rec.seek(end)
        self._idx = open(folder / "train.idx", "wb", buffering=_BUFFER)
        self.stream = SetStream(self._rec, self._idx, folder)
        if journal:
            self._recover(end, journal)
        else:
            self._note()
        self._noted = time.monotonic()

    def add(self, label: int, images: Iterable[bytes], next_image: int, left: Sequence[List[str]] = ()) -> None:
        """Append an identity, and what was left out up to it; the journal follows every few seconds."""
        self.stream.add(label, images)
        self.next_image = next_image
        self.skipped += left
        if time.monotonic() - self._noted > SECONDS_BETWEEN_JOURNALS:
            self.note()

    def note(self) -> None:
        """Bring everything so far onto the disk, then say so in the journal."""
        for stream in (self._rec, self._idx):
            stream.flush()
            os.fsync(stream.fileno())
        self._note()
        self._noted = time.monotonic()

    def finish(self, image_size: Tuple[int, int]) -> None:
        """Complete the set: ranges, header, property; the folder then holds a whole set and no journal."""
        self.stream.finish()
        self.note()
        self.close()
        write_property(self.folder / "property", self.stream.last_label + 1, image_size)

    def close(self) -> None:
        """Close the files as they are."""
        with self._idx, self._rec:
            pass

    def _note(self) -> None:
        write_json(self.folder / JOURNAL, {"fingerprint": self.fingerprint(self.next_image),
                                           "offset": self.stream.offset, "next_image": self.next_image,
                                           "skipped": self.skipped})

    def _recover(self, end: int, journal: Dict[str, Any]) -> None:
        """Index and ranges from the records themselves."""
        descriptor = os.open(self.folder / "train.rec", os.O_RDONLY)
        at, stream = 0, self.stream
        try:
            while at < end:
                length = framed_length(descriptor, at, end)
                record = unpack_image(unframe(os.pread(descriptor, length, at)))
                if not record.encoded:  # the build was already writing its ranges: they are written again
                    break
                if record.labels[0] != stream.last_label:
                    stream.last_label = int(record.labels[0])
                    stream.ranges.append((stream.key, stream.key))
                self._idx.write(b"%d\t%d\n" % (stream.key, at))
                stream.key += 1
                stream.ranges[-1] = (stream.ranges[-1][0], stream.key)
                at += length
        except ValueError as error:
            raise InputError(f"{self.folder}: the unfinished set is damaged at byte {at} ({error}); remove the folder "
                             "and start again") from None
        finally:
            os.close(descriptor)
        self._rec.truncate(at)
        self._rec.seek(at)
        stream.offset = at
        self.next_image, self.skipped = journal["next_image"], journal["skipped"]


def _same(journal: Dict[str, Any], fingerprint: Fingerprint) -> bool:
    """Whether the images in are still the first ones of the source."""
    try:
        return bool(journal["fingerprint"] == fingerprint(journal["next_image"]))
    except (KeyError, ValueError):
        return False


def _journal(folder: Path) -> Dict[str, Any]:
    """The journal of an unfinished build, empty for a new one; a folder of something else is not touched."""
    if (folder / JOURNAL).exists():
        return dict(read_json(folder / JOURNAL))
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: is no unfinished build (it has no {JOURNAL}); move it away")
    return {}


# The `property` file: `identities,height,width`, or four lines for a shuffled set (docs/original.md, section 1.1).


_MOST_PROPERTY = 1 << 12  # bytes
_MOST_IDENTITIES = 1 << 31
_PROPERTY = Columns("comma", "identities,height,width", (3,))


@dataclass(frozen=True)
class SetProperty:
    """What a `property` file says; `images` only in the four-line form."""

    identities: int
    height: int
    width: int
    images: Optional[int] = None
    shuffled: bool = False
    made: str = ""


def read_property(path: Path) -> SetProperty:
    """Read a `property` file of either form; raises InputError naming the file where it is none."""
    lines = read_lines(path, "it holds one line `identities,height,width`", _MOST_PROPERTY)
    while lines and not lines[-1].strip():
        lines.pop()
    if len(lines) not in (1, 4):
        raise InputError(f"{path}: has {len(lines)} lines; it should have one, `identities,height,width`, or four "
                         "(that line, images, `shuffled`, time)")
    where = f"{path}: line 1"
    fields = _PROPERTY.split(lines[0], where)
    identities = whole_number(fields[0], where, 1, _MOST_IDENTITIES, "a number of identities")
    height, width = (whole_number(field, where, 1, MOST_SIDE, "a height or width") for field in fields[1:])
    if len(lines) == 1:
        return SetProperty(identities, height, width)
    if lines[2].strip() != "shuffled":
        raise InputError(f"{path}: line 3: {shown(lines[2])} where the four-line form says `shuffled`; correct it")
    images = whole_number(lines[1], f"{path}: line 2", what="a number of images")
    return SetProperty(identities, height, width, images, True, lines[3].strip())


def write_property(path: Path, identities: int, size: Tuple[int, int], images: Optional[int] = None,
                   made: str = "") -> None:
    """Write the one-line form, or with `images` the four-line form of a shuffled record; `size` is (height, width)."""
    lines = [f"{identities},{size[0]},{size[1]}"]
    if images is not None:
        lines += [str(images), "shuffled", made]
    with atomic_open(path, "w") as stream:
        stream.write("".join(line + "\n" for line in lines))
