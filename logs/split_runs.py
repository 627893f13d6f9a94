"""Several runs in one log file, told apart: `train ... >> log` twice, or a terminal's capture of a week.

A run begins with the start-up lines before its "Called with argument", or where the epoch goes back without a word on
resuming. A run that says it resumes is the run before it, going on.
"""
import re
from dataclasses import dataclass
from typing import List, Optional, Sequence

from arcface_mxnet.logs import format as lines
from arcface_mxnet.logs import original_format
from arcface_mxnet.runtime.errors import InputError

STAMP = re.compile(r"\[?\d{4}[-/]\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?\]?(?: -|:)?[ \t]{0,2}")
# What a program prints before its "Called with argument" line.
_HEADER = (lines.gpu_num, lines.use_cpu, lines.prefix, lines.image_size, lines.num_classes, original_format.num_layers)
_TRAINED = (lines.accuracy_flip, lines.lr_batch_epoch, original_format.iter_batch)


@dataclass(frozen=True)
class Span:
    """Lines `first` to `last` of a file, counted from 1, both included."""

    first: int
    last: int


def printed(row: str) -> str:
    """A row as the program printed it: without a line end, a progress bar before it, or a time stamp."""
    row = row.rstrip("\r")
    if "\r" in row:
        row = row.rsplit("\r", 1)[-1]
    stamp = STAMP.match(row) if row[:1] in "[12" else None
    return row[stamp.end():] if stamp else row


class _Splitter:
    """Goes over the rows once; `starts` are the rows (from 0) at which another run begins."""

    def __init__(self) -> None:
        self.starts: List[int] = []
        self._header: Optional[int] = None  # the first start-up line since the last training line
        self._trained = False  # a training line has been seen since the last start
        self._new = False  # a run has begun and has not trained yet: it may still say that it resumes
        self._epoch = 0

    def take(self, number: int, row: str) -> None:
        window = lines.epoch_batch.pattern.match(row)
        if window:
            epoch = int(window["epoch"])
            if self._trained and not self._new and epoch < self._epoch:
                self.starts.append(number)
            self._training(epoch)
        elif lines.called_with.pattern.match(row):
            if self._trained:
                self.starts.append(number if self._header is None else self._header)
                self._new, self._trained = True, False
        elif lines.resuming.pattern.match(row):
            if self._new:
                self.starts.pop()
            self._new, self._trained, self._epoch = False, True, 0
        elif any(line.pattern.match(row) for line in _TRAINED):
            self._training(self._epoch)
        elif self._header is None and self._trained and any(line.pattern.match(row) for line in _HEADER):
            self._header = number

    def _training(self, epoch: int) -> None:
        self._epoch, self._header = epoch, None
        self._new, self._trained = False, True


def runs_of(rows: Sequence[str]) -> List[Span]:
    """The runs of a log's rows (see `printed`), in order; one span over everything for a file of one run."""
    splitter = _Splitter()
    for number, row in enumerate(rows):
        splitter.take(number, row)
    edges = [0, *splitter.starts, len(rows)]
    return [Span(first + 1, last) for first, last in zip(edges, edges[1:])]


def chosen(runs: Sequence[Span], number: Optional[int], source: str) -> int:
    """Which run to read, counted from 1: `number`, or the last; InputError where there is no such run."""
    if number is None:
        return len(runs)
    if not 1 <= number <= len(runs):
        raise InputError(f"{source}: --run {number}: it holds {len(runs)} run{'s' * (len(runs) > 1)}: {listed(runs)}")
    return number


def listed(runs: Sequence[Span]) -> str:
    """The runs of a file in a line, for messages."""
    return ", ".join(f"{number} (lines {run.first} to {run.last})" for number, run in enumerate(runs, 1))
