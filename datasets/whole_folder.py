"""Output folders that are whole or absent: written beside under another name, then renamed."""
import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Iterator

from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike
from arcface_mxnet.runtime.locks import claimed


def must_be_free(folder: PathLike) -> Path:
    """The path, where nothing or an empty folder stands there; else InputError: nothing is ever written over."""
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target}: exists already; choose another output folder or move it away first")
    return target


@contextlib.contextmanager
def whole_folder(folder: PathLike) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`; on success it is renamed to it, on any error removed.

    Raises InputError where something already stands there, or another command is writing it.
    """
    with claimed(folder), _staged(must_be_free(folder)) as temporary:
        yield temporary


@contextlib.contextmanager
def _staged(target: Path) -> Iterator[Path]:
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    except OSError as error:
        error.filename = str(target)
        raise
    try:
        try:
            yield temporary
        except OSError as error:
            if error.filename is None or str(temporary) in str(error.filename):
                error.filename = str(target)  # the name the user knows
            raise
        put_in_place(temporary, target)
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)


def put_in_place(temporary: Path, target: Path) -> None:
    """Rename a finished folder to its name and make the renaming last."""
    os.chmod(temporary, 0o755)
    os.replace(temporary, target)
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
