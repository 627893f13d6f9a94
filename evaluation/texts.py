"""Lists as text, one entry a line, from whatever a user has: missing and binary files are one line."""
from pathlib import Path
from typing import List

from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike


def read_text(path: PathLike, remedy: str) -> str:
    """The text of a UTF-8 file (a byte order mark left out); raises InputError, which ends with `remedy`."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: not found; {remedy}") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; {remedy}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not text in UTF-8; {remedy}") from None


def read_lines(path: PathLike, remedy: str) -> List[str]:
    """The lines of such a file, without their ends."""
    return read_text(path, remedy).splitlines()
