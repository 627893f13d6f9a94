"""The devkit's feature files: an OpenCV matrix in binary, one file an image (docs/original.md, section 6.1).

Four little-endian int32 (rows, columns, bytes a row, type), then the values row by row. A feature of d values is d rows
of one column; type 5 is float32, 6 float64.
"""
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from arcface_mxnet.runtime.environment import available_cores
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, atomic_open
from arcface_mxnet.runtime.progress import progress
from arcface_mxnet.runtime.reading import read_file
from arcface_mxnet.runtime.text import is_whole, parse_json, read_text

import numpy as np

HEADER = struct.Struct("<4i")
TYPES: Dict[int, "np.dtype[Any]"] = {5: np.dtype("<f4"), 6: np.dtype("<f8")}
_MOST_MATRIX, _MOST_FEATURE = 1 << 34, 1 << 24  # bytes
_FILES_AT_ONCE = 4096

FEATURES = "feature_out"  # the folder of feature trees, facescrub/ and megaface/, where none is named


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
    return parse_matrix(read_file(path, "extract the features again", _MOST_MATRIX), str(path))


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
    return read_file(path, "extract the feature again", _MOST_FEATURE) if path.exists() else None


def _check(row: np.ndarray, dimensions: int, path: Path) -> None:
    if len(row) != dimensions:
        raise InputError(f"{path}: {len(row)} dimensions where the others have {dimensions}; use one model's features")
    if not np.isfinite(row).all():
        raise InputError(f"{path}: not finite (NaN or infinity); extract the feature again")
    if not row.any():
        raise InputError(f"{path}: all zeros, which points nowhere; extract the feature again")


# The lists of images: the devkit's JSON ({"path": [...], "id": [...]}), one path a line, or what a tree holds.


DISTRACTOR_LIST = "megaface_features_list.json"


class ProbeList(NamedTuple):
    """Paths of the probes and the person of each."""

    paths: List[str]
    ids: List[str]


def read_paths(path: PathLike) -> List[str]:
    """The paths of a list; raises InputError naming the file when it is none."""
    paths, _ = _read(path)
    return paths


def read_probes(path: PathLike) -> ProbeList:
    """Probes and their persons: "id" of the JSON, else the folder an image stands in."""
    paths, ids = _read(path)
    if not ids:
        ids = [name.split("/")[-2] if "/" in name else "" for name in paths]
        if not all(ids):
            raise InputError(f"{path}: '{paths[ids.index('')]}' names no person; write PERSON/FILE, or a JSON with id")
    return ProbeList(paths, ids)


def read_distractors(folder: PathLike, size: int, number: int) -> List[str]:
    """The `size` names of the devkit's set `number` (1 is the published one); raises InputError."""
    path = distractor_list(folder, size, number)
    names = read_paths(path)
    if len(names) != size:
        raise InputError(f"{path}: names {len(names)} images instead of {size}; copy the list again")
    return names


def distractor_list(folder: PathLike, size: int, number: int) -> Path:
    """Where the devkit's list of `size` distractors stands; raises InputError when it is not there."""
    path = Path(folder) / f"{DISTRACTOR_LIST}_{size}_{number}"
    if not path.exists():
        raise InputError(f"{path}: not found; give the devkit's templatelists folder, or sizes and sets it has")
    return path


def listed_sizes(folder: PathLike, number: int) -> List[int]:
    """The sizes of which the devkit's folder has a list of set `number`, ascending; none where it is no such folder."""
    found = [path.name.split("_")[-2:] for path in Path(folder).glob(f"{DISTRACTOR_LIST}_*")]
    return sorted(int(words[0]) for words in found if is_whole(words[0]) and words[1] == str(number))


def names_in_tree(root: PathLike, ending: str) -> List[str]:
    """A/B/FILE of every ROOT/A/B/FILE + ending, sorted by path; raises InputError when there is none."""
    names = [os.path.relpath(os.path.join(place, name), root).replace(os.sep, "/")[:-len(ending) or None]
             for place, _, files in os.walk(root) for name in files if name.endswith(ending)]
    if not names:
        raise InputError(f"{root}: no file *{ending} in it; give the folder and --ending the features were "
                         "written with")
    return sorted(names)


def _read(path: PathLike) -> "tuple[List[str], List[str]]":
    text = read_text(path, "give a list of images")
    if text.lstrip().startswith("{"):
        return _from_json(path, text)
    lines = [line.split("\t")[-1].strip().replace("\\", "/") for line in text.split("\n")]
    return _filled(path, [line for line in lines if line and not line.startswith("#")]), []


def _from_json(path: PathLike, text: str) -> "tuple[List[str], List[str]]":
    content = parse_json(text, path, "it needs \"path\": [...]")
    found = [content.get("path"), content.get("id", [])] if isinstance(content, dict) else [None]
    if not all(isinstance(part, list) and all(isinstance(one, (str, int)) for one in part) for part in found):
        raise InputError(f"{path}: not a devkit list; it needs \"path\": [...]")
    paths, ids = ([str(one) for one in part] for part in found if part is not None)
    if ids and len(ids) != len(paths):
        raise InputError(f"{path}: {len(ids)} ids for {len(paths)} paths; the list is damaged, copy it again")
    return _filled(path, paths), ids


def _filled(path: PathLike, names: List[str]) -> List[str]:
    if not names:
        raise InputError(f"{path}: names no image; copy the list again")
    return names
