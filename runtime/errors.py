"""How a command ends: errors a user can act on in one line, Ctrl-C at any moment; standard library only.

Ctrl-C while a command still loads its libraries must be one line and status 130 too. Python's own answer is an
exception inside whatever is being imported, and NumPy, for one, turns that into an ImportError of several screens.
While libraries load nothing of the user's is open, so the process may end on the spot. Importing `arcface_mxnet`
(every command does, before any library) takes SIGINT over in a process that is one of our commands, and in no other;
`run_command` gives it back before the command's work begins.
"""
import contextlib
import difflib
import errno
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from types import FrameType
from typing import Callable, Iterator, NoReturn, Optional, Sequence, TextIO, Type, Union

EXIT_BAD_INPUT = 2
_ELSEWHERE = "choose another path"
_REMEDIES = {errno.ENOSPC: "make room or choose another folder", errno.EDQUOT: "make room or choose another folder",
             errno.EFBIG: "choose a file system that holds larger files", errno.EACCES: _ELSEWHERE,
             errno.EROFS: _ELSEWHERE, errno.EEXIST: f"it is no folder; {_ELSEWHERE}", errno.ENOTDIR: _ELSEWHERE,
             errno.EISDIR: _ELSEWHERE, errno.EPERM: _ELSEWHERE}
_NO_FILES = "no file can be made there, choose another path"
FOLDERS = ("runtime", "graph", "datasets", "evaluation", "recognition", "logs")
CONSOLE_SCRIPT = "arcface"
_PACKAGE = ("src", "__main__.py")  # where `python -m arcface_mxnet` begins, in a checkout and installed
_ROOT = Path(__file__).resolve().parents[1]


class Notice(UserWarning):
    """Something a user should know that stops nothing; a command shows it as one line on stderr."""


class InputError(Exception):
    """Something given from outside is unusable.

    The message is one line: it names the file, record or flag, says what is wrong and what to do about it.
    """


class Terminated(BaseException):
    """SIGTERM or SIGHUP while a command works: raised where it stands, so that what is half written is removed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def notice(message: str) -> None:
    """Tell the user something that stops nothing: one line on stderr from a command, a Notice from the library."""
    warnings.warn(message, Notice, stacklevel=2)


def one_line(error: BaseException) -> str:
    """What an error of foreign code says, on one line and no longer than a message may be; its kind if it says nothing.
    """
    return " ".join(str(error).split())[:200] or type(error).__name__


def close(names: Sequence[str]) -> str:
    """A comma-separated list of known names for an error message."""
    return ", ".join(sorted(names))


def nearest(name: str, known: Sequence[str]) -> Optional[str]:
    """The known name that was probably meant: the same but for capitals or a few letters; None if there is none."""
    lowered = {other.lower(): other for other in known}
    found = difflib.get_close_matches(name.lower(), list(lowered), 1)
    return lowered[found[0]] if found else None


def unknown(kind: str, name: str, known: Sequence[str], source: str = "") -> InputError:
    """The error for a name that is not registered; it lists the known ones and says which was probably meant."""
    meant = nearest(name, known)
    return InputError(f"{source}unknown {kind} '{name}'; known: {close(known)}"
                      + (f"; did you mean {meant}?" if meant else ""))


def leave(error: InputError) -> NoReturn:
    """End the process as bad input does: its one line on stderr, status 2."""
    sys.stderr.write(f"error: {error}\n")
    sys.exit(EXIT_BAD_INPUT)


def _show(message: Union[Warning, str], category: Type[Warning], filename: str, lineno: int,
          file: Optional[TextIO] = None, line: Optional[str] = None) -> None:
    """A warning as a command shows it: our notices in one line, a library's as Python writes them."""
    own = issubclass(category, Notice)
    sys.stderr.write(f"note: {message}\n" if own else warnings.formatwarning(message, category, filename, lineno, line))


def _remedy(error: OSError) -> Optional[str]:
    """What a user can do about it; None where it is a defect of ours."""
    path = os.path.abspath(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes, os.PathLike)) else ""
    if error.errno == errno.ENOENT and path.startswith("/proc/"):  # so it answers whoever would make a file there
        return _NO_FILES
    return _REMEDIES.get(error.errno or 0)


def run_command(main: Callable[[Optional[Sequence[str]]], Optional[int]]) -> NoReturn:
    """Run a command-line `main(argv)` and leave the process with its status.

    Bad input ends with one line on stderr and status 2; a full disk, a place that takes no files, and a folder where a
    file belongs or the other way round, likewise. Ctrl-C, SIGTERM and SIGHUP end with 128 + the signal, and like bad
    input leave nothing half written. Anything else is a defect of ours and keeps its traceback.
    """
    try:
        warnings.showwarning = _show
        give_back()
        end_cleanly()
        status = main(None) or 0
        sys.stdout.flush()  # here, where a reader that has gone is understood
        sys.exit(status)
    except InputError as error:
        leave(error)
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        remedy = _remedy(error)
        if remedy is None:
            raise
        sys.stderr.write(f"error: {error.filename or 'writing'}: {error.strerror}; {remedy}\n")
        sys.exit(EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(128 + signal.SIGINT)
    except Terminated as end:
        with contextlib.suppress(OSError):  # after SIGHUP there may be no terminal to write to
            sys.stderr.write("terminated\n")
        sys.exit(128 + end.number)
    finally:
        take_over()  # the work is over: Python must not answer with a traceback from its own end either


def end_cleanly() -> None:
    """From here SIGTERM and SIGHUP raise Terminated in the main thread; one that is ignored (nohup) stays so."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _terminate)


def _terminate(number: int, frame: Optional[FrameType]) -> None:
    signal.signal(number, signal.SIG_IGN)  # once: cleaning up is not interrupted by an impatient second one
    raise Terminated(number)


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
    """Whether the main program is ours: the console script or a file of the project (under `-m` it has no name yet)."""
    workers = sys.modules.get("multiprocessing.process")
    if workers is not None and workers.parent_process() is not None:
        return False  # a worker process: its parent is told too
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if path is None:
        return sys.argv[:1] == ["-m"]
    place = Path(path).resolve()
    if place.stem == CONSOLE_SCRIPT:
        return True
    return _ROOT in place.parents and place.relative_to(_ROOT).parts[0] in (*FOLDERS, *_PACKAGE)


def _leave(number: int, frame: Optional[FrameType]) -> None:
    os.write(2, b"interrupted\n")
    os._exit(128 + number)
