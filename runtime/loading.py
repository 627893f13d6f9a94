"""Ctrl-C while a command still loads its libraries: one line and status 130, wherever it strikes.

Python's own answer is an exception inside whatever is being imported, and NumPy, for one, turns that into an
ImportError of several screens. While libraries load nothing of the user's is open, so the process may end on the spot.
Importing `runtime` (every room does, first of all) takes SIGINT over in a process that is one of our commands, and in
no other; `arcface_mxnet.runtime.errors.run_command` gives it back before the command's work begins.
"""
import contextlib
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Iterator, Optional

ROOMS = ("runtime", "graph", "datasets", "evaluation", "recognition", "logs")
_HOUSE = Path(__file__).resolve().parents[1]


def take_over() -> None:
    """End this process at SIGINT from now on, if it is one of our commands and nobody else has taken the signal."""
    if (threading.current_thread() is threading.main_thread() and _is_command()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler):
        signal.signal(signal.SIGINT, _leave)


def give_back() -> None:
    """From here SIGINT is a KeyboardInterrupt again (where it was taken over)."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """For a command that imports libraries later on: while entered, SIGINT is as it is while the first ones load."""
    take_over()
    try:
        yield
    finally:
        give_back()


def _is_command() -> bool:
    """Whether the main program is a file in one of the rooms (`python -m` names it only after its package)."""
    workers = sys.modules.get("multiprocessing.process")
    if workers is not None and workers.parent_process() is not None:
        return False  # a worker process: its parent is told too
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if path is None:
        return sys.argv[:1] == ["-m"]
    place = Path(path).resolve()
    return _HOUSE in place.parents and place.relative_to(_HOUSE).parts[0] in ROOMS


def _leave(number: int, frame: Optional[FrameType]) -> None:
    os.write(2, b"interrupted\n")
    os._exit(128 + number)
