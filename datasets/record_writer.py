"""Write a record set in the published layout, byte for byte as the original's builder does (facts, 1.3 and 1.6)."""
import contextlib
from pathlib import Path
from types import TracebackType
from typing import Iterable, List, Optional, Sequence, Tuple, Type, Union

import numpy as np

from datasets.images import encode_jpeg
from datasets.recordio import BrokenRecord, frame, pack_image
from datasets.set_property import write_property
from runtime.errors import InputError
from runtime.files import PathLike, atomic_open

MAX_LABEL = 1 << 24


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
        self._idx = self._open.enter_context(atomic_open(idx))
        self._rec = self._open.enter_context(atomic_open(rec))
        self._offset = 0
        self._key = 1
        self._last_label = -1
        self._ranges: List[Tuple[int, int]] = []

    def add(self, label: int, images: Iterable[Union[bytes, np.ndarray]]) -> Tuple[int, int]:
        """Write all images of one identity: encoded bytes as they are, or BGR uint8 (h, w, 3) arrays as JPEG q95.

        Labels must be 0 or more and rise from call to call; an identity comes once and with an image at least, so that
        its images stand together. Returns its half-open range of keys. Raises InputError otherwise.
        """
        if not self._last_label < label < MAX_LABEL:
            raise InputError(f"{self.folder}: label {label} after {self._last_label}; labels rise from 0 and stay "
                             f"below {MAX_LABEL}: group the images by identity first")
        start = self._key
        for image in images:
            encoded = encode_jpeg(image) if isinstance(image, np.ndarray) else image
            if not encoded:
                raise InputError(f"{self.folder}: an image of label {label} is empty; leave it out")
            self._write(self._key, float(label), encoded)
            self._key += 1
        if self._key == start:
            raise InputError(f"{self.folder}: label {label} has no image; leave the identity out")
        self._last_label = label
        self._ranges.append((start, self._key))
        return start, self._key

    def close(self) -> None:
        """Write the ranges, the header and `property`; the set is in its place afterwards."""
        if not self._ranges:
            self.abort()
            raise InputError(f"{self.folder}: no image to write; the set would be empty")
        try:
            first = self._key
            for bounds in self._ranges:
                self._write(self._key, bounds, b"")
                self._key += 1
            self._write(0, (first, self._key), b"", id2=1)
            write_property(self.folder / "property", self._last_label + 1, self.image_size)
        except BaseException:
            self.abort()
            raise
        self._open.close()

    def abort(self) -> None:
        """Leave nothing of an unfinished set behind."""
        try:
            with self._open:
                raise _Abandoned
        except _Abandoned:
            return

    def __enter__(self) -> "RecordWriter":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _write(self, key: int, label: Union[float, Sequence[float]], encoded: bytes, id2: int = 0) -> None:
        try:
            framed = frame(pack_image(label, key, encoded, id2))
        except BrokenRecord as error:
            raise InputError(f"{self.folder}: image {key}: {error}; leave it out") from None
        self._idx.write(b"%d\t%d\n" % (key, self._offset))
        self._rec.write(framed)
        self._offset += len(framed)


class _Abandoned(Exception):
    """Thrown through the open files so that they remove themselves."""
