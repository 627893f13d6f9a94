"""A record file in its own order, in blocks of whole records: for checksums and checks that read everything once."""
from typing import Iterator, List, NamedTuple

import numpy as np

from datasets.records import RecordSet

BLOCK = 1 << 22


class Block(NamedTuple):
    """`data` from byte `start` of the file; `positions` (in the set's index) of the records inside, in file order."""

    start: int
    data: bytes
    positions: np.ndarray

    def records(self, opened: RecordSet) -> List[memoryview]:
        """The framed bytes of each record of the block."""
        view = memoryview(self.data)
        begins = (opened.index.offsets[self.positions] - self.start).tolist()
        ends = (opened.index.offsets[self.positions] - self.start + opened.index.lengths[self.positions]).tolist()
        return [view[begin:end] for begin, end in zip(begins, ends)]


def blocks(opened: RecordSet, size: int = BLOCK) -> Iterator[Block]:
    """The whole file from its first indexed record on, about `size` bytes at a time."""
    index = opened.index
    order = np.argsort(index.offsets, kind="stable")
    lengths = index.lengths[order]
    number = (np.cumsum(lengths) - lengths) // size
    for positions in np.split(order, np.flatnonzero(np.diff(number)) + 1):
        start = int(index.offsets[positions[0]])
        yield Block(start, opened.raw(start, int(index.lengths[positions].sum())), positions)
