"""Write a record set in the published layout, byte for byte as the original's builder does (facts, 1.3 and 1.6)."""
import contextlib
from pathlib import Path
from types import TracebackType
from typing import IO, Iterable, List, Optional, Sequence, Tuple, Type, Union

from arcface_mxnet.datasets.images import encode_jpeg
from arcface_mxnet.datasets.recordio import BrokenRecord, frame, pack_image
from arcface_mxnet.datasets.set_property import write_property
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, atomic_open

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
