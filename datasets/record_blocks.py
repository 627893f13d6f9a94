"""A record file in its own order, in blocks of whole records: for checksums and checks that read everything once."""
from typing import Iterator, List, NamedTuple, Tuple

from arcface_mxnet.datasets.recordio import FRAME_HEADER, IMAGE_HEADER, MAGIC
from arcface_mxnet.datasets.records import RecordSet

import numpy as np

BLOCK = 1 << 22
_HEAD = np.dtype([("magic", "<u4"), ("length", "<u4"), ("flag", "<u4"), ("label", "<f4"), ("id", "<u8", 2)])


class Block(NamedTuple):
    """`data` from byte `start` of the file; `positions` (in the set's index) of the records inside, in file order."""

    start: int
    data: bytes
    positions: np.ndarray

    def records(self, opened: RecordSet) -> List[memoryview]:
        """The framed bytes of each record of the block."""
        view = memoryview(self.data)
        begins, lengths = self._places(opened)
        return [view[begin:end] for begin, end in zip(begins.tolist(), (begins + lengths).tolist())]

    def plain_images(self, opened: RecordSet) -> Tuple[np.ndarray, np.ndarray]:
        """Labels float32 (n,) and lengths of the encoded images int64 (n,) of the records, all headers read at once.

        The length is 0 where a record is not plain: cut into parts, with a vector of labels, without an image, or not
        what the index says. The image of a plain one starts at byte FRAME_HEADER + IMAGE_HEADER of its record.
        """
        begins, framed = self._places(opened)
        data = np.frombuffer(self.data, dtype=np.uint8)
        if data.size < _HEAD.itemsize:
            return np.zeros(len(begins), np.float32), np.zeros(len(begins), np.int64)
        inside = begins + _HEAD.itemsize <= data.size
        places = np.where(inside, begins, 0)[:, None] + np.arange(_HEAD.itemsize)
        heads = data[places].view(_HEAD)[:, 0]
        lengths = heads["length"].astype(np.int64)  # the part of a cut record is in the upper bits: far too long
        plain = (heads["magic"] == MAGIC) & (heads["flag"] == 0) & inside & (begins + framed <= data.size)
        plain &= FRAME_HEADER + (lengths + 3 & ~3) == framed
        return heads["label"], np.where(plain, np.maximum(lengths - IMAGE_HEADER, 0), 0)

    def _places(self, opened: RecordSet) -> Tuple[np.ndarray, np.ndarray]:
        """Where in the block each record begins and how long it is by the index."""
        return opened.index.offsets[self.positions] - self.start, opened.index.lengths[self.positions]


def blocks(opened: RecordSet, size: int = BLOCK) -> Iterator[Block]:
    """The whole file from its first indexed record on, about `size` bytes at a time."""
    index = opened.index
    order = np.argsort(index.offsets, kind="stable")
    lengths = index.lengths[order]
    number = (np.cumsum(lengths) - lengths) // size
    for positions in np.split(order, np.flatnonzero(np.diff(number)) + 1):
        start = int(index.offsets[positions[0]])
        yield Block(start, opened.raw(start, int(index.lengths[positions].sum())), positions)
