"""SIGTERM and Ctrl-C let the step in hand finish, so that the run can save and stop cleanly."""
import signal
from types import FrameType, TracebackType
from typing import Any, Dict, Optional, Type

CAUGHT = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """While entered, a first signal only sets `number`; a second one acts as it would have without us."""

    def __init__(self) -> None:
        self.number: Optional[int] = None
        self._before: Dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        self._before = {number: signal.signal(number, self._note) for number in CAUGHT}
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self._restore()

    def _note(self, number: int, frame: Optional[FrameType]) -> None:
        self.number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
