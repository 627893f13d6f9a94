"""Opening what a user names: a regular file of bounded size, or one line that says what stands there instead.

A file is not believed before it is looked at: a pipe or device would be waited for without end, and the placeholder
that Git LFS leaves for a file that was not fetched would be taken for a damaged one.
"""
import errno
import os
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO, Optional

from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike

LFS_MARK = b"version https://git-lfs"
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OverflowError, RuntimeError,
              struct.error, LookupError)  # what zipfile raises for damaged archives and for kinds it does not read
_MOST_SHOWN = 60
_FOUND = {errno.ENOENT: "not found", errno.ENOTDIR: "not found", errno.ELOOP: "is a loop of links",
          errno.EACCES: "may not be read", errno.EPERM: "may not be read", errno.EISDIR: "is a folder",
          errno.ENAMETOOLONG: "not found (its name is longer than a file system takes)"}
_KINDS = ((stat.S_ISDIR, "is a folder"), (stat.S_ISFIFO, "is a pipe, not a file"),
          (stat.S_ISCHR, "is a device, not a file"),
          (stat.S_ISBLK, "is a device, not a file"), (stat.S_ISSOCK, "is a socket, not a file"))


def shown(value: object, most: int = _MOST_SHOWN) -> str:
    """Text from a file as a message may hold it: in quotes, one line, unprintable characters escaped, shortened."""
    if isinstance(value, bytes):
        return repr(value[:most])[1:] + ("..." if len(value) > most else "")
    text = value if isinstance(value, str) else str(value)
    return repr(text[:most]) + ("..." if len(text) > most else "")


def escaped(text: str, most: int = 200) -> str:
    """A name from a file as a message may hold it: as `shown`, without quotes."""
    return repr(text[:most])[1:-1] + ("..." if len(text) > most else "")


def file_status(path: PathLike, remedy: str) -> os.stat_result:
    """The status of a regular file, links followed; raises InputError, which ends with `remedy`, for anything else."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise InputError(f"{path}: {_FOUND.get(error.errno or 0, error.strerror)}; {remedy}") from None
    except ValueError:  # a NUL in the name
        raise InputError(f"{shown(os.fspath(path))}: no name of a file; {remedy}") from None
    kind = next((words for test, words in _KINDS if test(status.st_mode)), None)
    if kind is not None:
        raise InputError(f"{path}: {kind}; {remedy}")
    return status


def open_file(path: PathLike, remedy: str, most: Optional[int] = None) -> BinaryIO:
    """Open a regular file for reading bytes, at its start; raises InputError as `file_status`.

    `most`: a file of more bytes is refused. The placeholder of Git LFS is named.
    """
    size = file_status(path, remedy).st_size
    if most is not None and size > most:
        raise InputError(f"{path}: {size} bytes where at most {most} are read; {remedy}")
    try:
        stream = open(path, "rb")
    except OSError as error:
        raise InputError(f"{path}: {_FOUND.get(error.errno or 0, error.strerror)}; {remedy}") from None
    try:
        check_no_pointer(path, stream.read(len(LFS_MARK)))
        stream.seek(0)
    except BaseException:
        stream.close()
        raise
    return stream


def check_no_pointer(path: PathLike, start: bytes) -> None:
    """Raise InputError where a file's first bytes are those of a Git LFS placeholder: the file was not fetched."""
    if start.startswith(LFS_MARK):
        raise InputError(f"{path}: a Git LFS pointer, not the file itself; fetch it with `git lfs pull`, "
                         "or download it")


def read_file(path: PathLike, remedy: str, most: int) -> bytes:
    """All bytes of a regular file of at most `most`; raises InputError as `open_file`."""
    with open_file(path, remedy, most) as stream:
        return stream.read(os.fstat(stream.fileno()).st_size)  # a number larger than the file would be allocated first


def inside(folder: PathLike, name: str) -> Optional[Path]:
    """`folder/name` where `name` is relative and stays in the folder, links followed; None where it leads outside."""
    root = os.path.realpath(folder)
    if "\0" in name:  # no name of a file; Python 3.8 resolves it all the same
        return None
    try:
        place = os.path.realpath(os.path.join(root, name))
    except (OSError, ValueError):
        return None
    return Path(folder) / name if not os.path.isabs(name) and place.startswith(root.rstrip(os.sep) + os.sep) else None
