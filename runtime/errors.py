"""Errors a user can act on: one line that names the file, record or flag and says what to do."""
import errno
import os
import signal
import sys
import warnings
from typing import Callable, NoReturn, Optional, Sequence, TextIO, Type, Union

from arcface_mxnet.runtime.loading import give_back, take_over

EXIT_BAD_INPUT = 2
_ELSEWHERE = "choose another path"
_REMEDIES = {errno.ENOSPC: "make room or choose another folder", errno.EDQUOT: "make room or choose another folder",
             errno.EFBIG: "choose a file system that holds larger files", errno.EACCES: _ELSEWHERE,
             errno.EROFS: _ELSEWHERE, errno.EEXIST: f"it is no folder; {_ELSEWHERE}", errno.ENOTDIR: _ELSEWHERE,
             errno.EISDIR: _ELSEWHERE, errno.EPERM: _ELSEWHERE}
_NO_FILES = "no file can be made there, choose another path"


class Notice(UserWarning):
    """Something a user should know that stops nothing; a command shows it as one line on stderr."""


class InputError(Exception):
    """Something given from outside is unusable.

    The message is one line: it names the file, record or flag, says what is wrong and what to do about it.
    """


def close(names: Sequence[str]) -> str:
    """A comma-separated list of known names for an error message."""
    return ", ".join(sorted(names))


def unknown(kind: str, name: str, known: Sequence[str]) -> InputError:
    """The error for a name that is not registered; it lists the known ones."""
    return InputError(f"unknown {kind} '{name}'; known: {close(known)}")


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
    file belongs or the other way round, likewise; Ctrl-C with 130. Anything else is a defect of ours and keeps
    its traceback.
    """
    try:
        warnings.showwarning = _show
        give_back()
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
    finally:
        take_over()  # the work is over: Python must not answer with a traceback from its own end either
