"""Files that are whole or absent: write beside, flush to the disk, rename; and checksums beside what matters."""
import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import IO, Any, Iterator, Optional, Union

from arcface_mxnet.runtime.errors import InputError

PathLike = Union[str, "os.PathLike[str]"]

CHECKSUM_SUFFIX = ".sha256"
_BLOCK = 1 << 20


@contextlib.contextmanager
def naming(path: PathLike) -> Iterator[None]:
    """While entered, an OSError that names no file (a write to an open one on a full disk) gets the name `path`."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or os.fspath(path)
        raise


@contextlib.contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it is synced and renamed to `path`, else removed.

    For writers that insist on opening a file by name. Whatever stood at `path` stays as it was until the rename.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    except OSError as error:
        error.filename = os.fspath(path)  # the name the user knows
        raise
    os.close(handle)
    temporary = Path(name)
    try:
        with naming(target):
            yield temporary
            with open(temporary, "rb+") as written:
                os.fsync(written.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, target)
            _sync_folder(target.parent)
    finally:
        if temporary.exists():
            temporary.unlink()


@contextlib.contextmanager
def atomic_open(path: PathLike, mode: str = "wb", encoding: Optional[str] = None) -> Iterator[IO[Any]]:
    """Open a file for writing that appears at `path` only when it is complete; `mode` is "wb" or "w"."""
    if encoding is None and "b" not in mode:
        encoding = "utf-8"
    with atomic_path(path) as temporary, open(temporary, mode, encoding=encoding) as stream:
        yield stream


def write_json(path: PathLike, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically."""
    with atomic_open(path, "w") as stream:
        json.dump(value, stream, indent=2, sort_keys=True)
        stream.write("\n")


def sha256(path: PathLike) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits, read in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(_BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def write_checksum(path: PathLike) -> str:
    """Write `<path>.sha256` beside a file, in the form `sha256sum -c` reads; returns the digest."""
    digest = sha256(path)
    with atomic_open(f"{os.fspath(path)}{CHECKSUM_SUFFIX}", "w") as stream:
        stream.write(f"{digest}  {Path(path).name}\n")
    return digest


def verify_checksum(path: PathLike) -> Optional[bool]:
    """True if the checksum beside `path` holds, None if there is none; raises InputError if it does not hold."""
    beside = Path(f"{os.fspath(path)}{CHECKSUM_SUFFIX}")
    if not beside.exists():
        return None
    with open(beside, "rb") as stream:
        words = stream.read(_BLOCK).split()
    if not words or sha256(path).encode("ascii") != words[0]:
        raise InputError(f"{path}: its bytes do not match {beside.name}; the file is damaged, use another copy")
    return True


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
