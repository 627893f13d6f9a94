"""One writer for an output: a lock the kernel releases when its holder dies, and a word on who holds it."""
import contextlib
import errno
import fcntl
import os
import re
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Iterator

from arcface_mxnet.runtime.errors import InputError, notice
from arcface_mxnet.runtime.files import PathLike

_LEFT = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}\.tmp")  # as tempfile names what atomic_path and whole_folder make
_TOKEN = f"{os.getpid()}-{time.time_ns()}"  # tells this process's own lock from another's
_HELD = (errno.EACCES, errno.EAGAIN)
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


def lock_path(target: PathLike) -> Path:
    """Where the lock of an output stands: beside it, hidden, so that a folder can be locked before it is there."""
    path = Path(os.path.abspath(target))
    return path.with_name(f".{path.name}.lock")


@contextlib.contextmanager
def claimed(target: PathLike) -> Iterator[None]:
    """Hold the output `target` (file or folder) while entered; nothing in it is touched.

    Raises InputError that names the holder where another process holds it. A lock of this process does not refuse
    itself. Hidden temporaries that a killed writer of the same output left are removed on entry: their writer held
    this lock and is gone. A file system without locks is used without, with a notice.
    """
    path = lock_path(target)
    if _ours(path):
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _locked(path, target)
    try:
        _say_who(descriptor)
        _remove_leftovers(Path(os.path.abspath(target)))
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # before the lock goes: who waits for it opens the file anew
        os.close(descriptor)


def _ours(path: Path) -> bool:
    """Whether this process holds the lock already: a command claims its output, and so does what it calls."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").endswith(f"\n{_TOKEN}\n")
    except OSError:
        return False


def _locked(path: Path, target: PathLike) -> int:
    """A descriptor that holds the lock of the file that stands at `path`."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            error.filename = os.fspath(target)  # the name the user knows
            raise
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                notice(f"{path.parent}: this file system keeps no locks; start no second command on {target}")
                return descriptor
            holder = os.pread(descriptor, 1000, 0).decode("utf-8", "replace").partition("\n")[0]
            os.close(descriptor)
            if error.errno in _HELD:
                raise InputError(f"{target}: is being written by {holder or 'another process'}; wait for it to end or "
                                 "choose another path") from None
            raise
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)  # the holder before removed it between our open and our lock


def _say_who(descriptor: int) -> None:
    command = " ".join([os.path.basename(sys.argv[0] or sys.executable), *sys.argv[1:]]).replace("\n", " ")[:200]
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    told = f"process {os.getpid()} on {socket.gethostname()} since {since} ({command})\n{_TOKEN}\n"
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, told.encode("utf-8", "replace"), 0)


def _remove_leftovers(target: Path) -> None:
    """Remove temporaries of a locked target beside it, and those of the files inside it."""
    beside = [entry for entry in target.parent.iterdir() if _made_for(entry) == target.name]
    inside = [entry for entry in target.iterdir() if _made_for(entry)] if target.is_dir() else []
    for entry in sorted(beside + inside):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
        notice(f"{entry}: removed, left by a command that was killed")


def _made_for(entry: Path) -> str:
    """The name of the file or folder a temporary was to become, "" for anything else."""
    match = _LEFT.fullmatch(entry.name)
    return match["name"] if match else ""
