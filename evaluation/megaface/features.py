"""The devkit's feature files: an OpenCV matrix in binary, one file an image (paper_tables.md, 3.3; facts, 6.1).

Four little-endian int32 (rows, columns, bytes a row, type), then the values row by row. A feature of d values is d rows
of one column; type 5 is float32, 6 float64.
"""
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from arcface_mxnet.runtime.environment import available_cores
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, atomic_open
from arcface_mxnet.runtime.progress import progress

import numpy as np

HEADER = struct.Struct("<4i")
TYPES: Dict[int, "np.dtype[Any]"] = {5: np.dtype("<f4"), 6: np.dtype("<f8")}
_FILES_AT_ONCE = 4096


def matrix_bytes(values: np.ndarray) -> bytes:
    """The file of a (n,) vector (n rows of one column) or an (n, m) matrix, float32 or float64."""
    kinds = {dtype.newbyteorder("="): kind for kind, dtype in TYPES.items()}
    if values.ndim not in (1, 2) or values.dtype not in kinds:
        raise InputError(f"a devkit matrix holds float32 or float64 in one or two dimensions, not {values.dtype} "
                         f"{values.shape}")
    kind = kinds[values.dtype]
    columns = 1 if values.ndim == 1 else values.shape[1]
    header = HEADER.pack(len(values), columns, columns * TYPES[kind].itemsize, kind)
    return header + np.ascontiguousarray(values, TYPES[kind]).tobytes()


def parse_matrix(content: bytes, what: str) -> np.ndarray:
    """(rows, columns) of a devkit matrix; raises InputError naming `what` when it is cut short or none."""
    problem = f"{what}: no whole devkit matrix"
    if len(content) < HEADER.size:
        raise InputError(f"{problem} ({len(content)} bytes); write the feature again")
    rows, columns, stride, kind = HEADER.unpack_from(content)
    if kind not in TYPES or rows < 1 or columns < 1 or stride != columns * TYPES[kind].itemsize:
        raise InputError(f"{problem} (header {rows}, {columns}, {stride}, {kind}); write the feature again")
    if len(content) != HEADER.size + rows * stride:
        raise InputError(f"{problem}: {len(content)} bytes where its header promises {HEADER.size + rows * stride}; "
                         "it is half written, write the feature again")
    return np.frombuffer(content, TYPES[kind], offset=HEADER.size).reshape(rows, columns)


def read_matrix(path: PathLike) -> np.ndarray:
    """(rows, columns) of a devkit matrix file."""
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: not found; extract the features again") from None
    return parse_matrix(content, str(path))


def write_matrix(path: PathLike, values: np.ndarray) -> None:
    """Write a vector or matrix as the devkit reads it; the file is whole or absent."""
    with atomic_open(path) as stream:
        stream.write(matrix_bytes(values))


def write_tree(root: PathLike, names: Sequence[str], ending: str, features: np.ndarray) -> None:
    """Write each row of (n, d) features to ROOT/NAME + ending, float32."""
    if len(names) != len(features):
        raise InputError(f"{len(names)} names for {len(features)} features; give one name per row")
    for name, feature in zip(progress(names, label="writing features", unit="files"), features):
        path = Path(root) / (name + ending)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(matrix_bytes(np.asarray(feature, np.float32)))


def read_tree(root: PathLike, names: Sequence[str], ending: str, spare: int = 0,
              dimensions: Optional[int] = None) -> np.ndarray:
    """Features ROOT/NAME + ending as float32 (n, d + spare); the spare columns are zero.

    Raises InputError for missing files (how many, and the first), half-written ones, other dimensions (`dimensions`, or
    the first file's) and values that are not finite.
    """
    paths = [Path(root) / (name + ending) for name in names]
    if not paths:
        raise InputError(f"{root}: the list names no image")
    missing: List[str] = []
    wanted = dimensions
    features = np.zeros((0, 0), np.float32)
    shown = progress(range(0, len(paths), _FILES_AT_ONCE), label="reading features", unit=f"times {_FILES_AT_ONCE}")
    with ThreadPoolExecutor(2 * available_cores()) as pool:
        for start in shown:
            part = paths[start:start + _FILES_AT_ONCE]
            for offset, content in enumerate(pool.map(_content, part)):
                if content is None:
                    missing.append(str(part[offset]))
                    continue
                row = parse_matrix(content, str(part[offset])).ravel()
                if wanted is None:
                    wanted = len(row)
                if not features.size:
                    features = np.zeros((len(paths), wanted + spare), np.float32)
                _check(row, wanted, part[offset])
                features[start + offset, :wanted] = row
    if missing:
        raise InputError(f"{len(missing)} of {len(paths)} features are missing, the first: {missing[0]}; "
                         "extract them, or give the folder and --ending they were written with")
    return features


def _content(path: Path) -> Optional[bytes]:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _check(row: np.ndarray, dimensions: int, path: Path) -> None:
    if len(row) != dimensions:
        raise InputError(f"{path}: {len(row)} dimensions where the others have {dimensions}; use one model's features")
    if not np.isfinite(row).all():
        raise InputError(f"{path}: not finite (NaN or infinity); extract the feature again")
