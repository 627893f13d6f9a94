"""How far long work is: a bar with the time left on a terminal, a plain line now and then elsewhere."""
import importlib.util
import sys
import time
from typing import IO, Any, Iterable, Iterator, Optional, TypeVar

T = TypeVar("T")
PLAIN_INTERVAL_SECONDS = 15.0


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:02d}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


class _PlainLines:
    """Progress for a file or a pipe: `label: done/total unit, time left` on its own line, rarely."""

    def __init__(self, total: Optional[int], label: str, unit: str, stream: IO[str]) -> None:
        self.total, self.label, self.unit, self.stream = total, label, unit, stream
        self.done = 0
        self.started = self.printed = time.monotonic()

    def update(self, count: int = 1) -> None:
        """Count `count` more items as done."""
        self.done += count
        now = time.monotonic()
        if now - self.printed < PLAIN_INTERVAL_SECONDS:
            return
        self.printed = now
        of = left = ""
        if self.total:
            of = f" of {self.total}"
        if self.total and self.done:
            left = f", {_clock((now - self.started) * (self.total - self.done) / self.done)} left"
        self.stream.write(f"{self.label}: {self.done}{of} {self.unit}{left}\n")
        self.stream.flush()

    def set_postfix_str(self, text: str) -> None:
        """A bar shows a note here; plain lines do not."""

    def close(self) -> None:
        """Nothing to clear."""


def bar(total: Optional[int], label: str, unit: str = "images",
        stream: Optional[IO[str]] = None, initial: int = 0) -> Any:
    """An object with `update(count)`, `set_postfix_str(text)` and `close()` that shows progress on stderr."""
    stream = stream or sys.stderr
    if stream.isatty() and importlib.util.find_spec("tqdm"):  # set-up runs before it is installed
        from tqdm import tqdm
        return tqdm(total=total, desc=label, unit=unit, file=stream, initial=initial, dynamic_ncols=True, leave=False)
    plain = _PlainLines(total, label, unit, stream)
    plain.done = initial
    return plain


def progress(items: Iterable[T], total: Optional[int] = None, label: str = "", unit: str = "images") -> Iterator[T]:
    """Yield from `items` while showing how many are done and the time left."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    shown = bar(total, label, unit)
    try:
        for item in items:
            yield item
            shown.update(1)
    finally:
        shown.close()
