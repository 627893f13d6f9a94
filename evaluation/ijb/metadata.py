"""The published meta files of IJB-B and IJB-C, read fast (docs/original.md, section 7.1).

`<t>_face_tid_mid.txt` (image template media), `<t>_template_pair_label.txt` (template template 0/1) and
`<t>_name_5pts_score.txt` (name, ten coordinates, detector score) are separated by spaces; the 1:N lists are CSV with a
header.
"""
from pathlib import Path
from typing import Any, List, NamedTuple, Sequence, Tuple

from arcface_mxnet.runtime.errors import InputError, one_line, unknown
from arcface_mxnet.runtime.files import PathLike
from arcface_mxnet.runtime.text import Columns, TextStream, iterate_lines, real_number, whole_number

import numpy as np
import pandas

TARGETS = ("ijbb", "ijbc")
_REMEDY = "give the folder of the published meta files"
_DAMAGED = "it is damaged or half written, copy it again"
_NO_TABLE = (ValueError, OverflowError, pandas.errors.ParserError)
GALLERIES = {"ijbb": ("S1", "S2"), "ijbc": ("G1", "G2")}


class Media(NamedTuple):
    """Row i of the features: `images` its name, `templates` and `media` int64 (n,) its template and media."""

    images: np.ndarray
    templates: np.ndarray
    media: np.ndarray


class TemplatePairs(NamedTuple):
    """1:1 pairs: templates `first` and `second` int32 (p,), `same` bool (p,)."""

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray


class Faces(NamedTuple):
    """`names` of n crops, five `points` float64 (n, 5, 2) in pixels of the crop, detector `scores` float64 (n,)."""

    names: np.ndarray
    points: np.ndarray
    scores: np.ndarray


class Subjects(NamedTuple):
    """A 1:N list: distinct `templates` int64 (t,), ascending, and the `subjects` int64 (t,) they show."""

    templates: np.ndarray
    subjects: np.ndarray


def meta_path(folder: PathLike, target: str, name: str) -> Path:
    """Where a meta file of a target stands: in the folder itself or in its meta/."""
    if target not in TARGETS:
        raise unknown("target", target, TARGETS)
    for place in (Path(folder), Path(folder) / "meta"):
        if (place / f"{target}_{name}").exists():
            return place / f"{target}_{name}"
    raise InputError(f"{Path(folder) / f'{target}_{name}'}: not found; give the folder of the published meta files")


def read_media(path: PathLike) -> Media:
    """Image, template and media of each row."""
    table = _table(path, [str, np.int64, np.int64])
    return Media(table[0].to_numpy(str), table[1].to_numpy(), table[2].to_numpy())


def read_pairs(path: PathLike) -> TemplatePairs:
    """The pairs of templates to compare."""
    table = _table(path, [np.int64] * 3)  # narrower types would wrap what does not fit them
    if not table.iloc[:, :2].abs().le(np.iinfo(np.int32).max).to_numpy().all():
        _name_line(path, [np.int32, np.int32, np.int64])
    labels = table[2].to_numpy()
    if not np.isin(labels, (0, 1)).all():
        line = int(np.argmin(np.isin(labels, (0, 1)))) + 1
        raise InputError(f"{path}: line {line}: label {labels[line - 1]} is not 0 or 1; copy the file again")
    return TemplatePairs(table[0].to_numpy(np.int32), table[1].to_numpy(np.int32), labels == 1)


def read_faces(path: PathLike) -> Faces:
    """Names, points and detector scores, in the order of the features."""
    table = _table(path, [str] + [np.float64] * 11)
    numbers = table.iloc[:, 1:].to_numpy(np.float64)
    if not np.isfinite(numbers).all():
        line = int(np.argmin(np.isfinite(numbers).all(axis=1))) + 1
        raise InputError(f"{path}: line {line} holds a number that is not finite; copy the file again")
    return Faces(table[0].to_numpy(str), numbers[:, :10].reshape(-1, 5, 2), numbers[:, 10])


def read_subjects(paths: Sequence[PathLike]) -> Subjects:
    """The templates of one or several 1:N lists (rows are images) and their subjects; a template has one subject."""
    parts = []
    for path in paths:
        try:
            table = pandas.read_csv(TextStream(path, _REMEDY), usecols=["TEMPLATE_ID", "SUBJECT_ID"], dtype=np.int64)
        except _NO_TABLE as error:
            raise InputError(f"{path}: no list with TEMPLATE_ID and SUBJECT_ID ({one_line(error)}); "
                             "copy the file again") from None
        parts.append(table)
        if table.empty:
            raise InputError(f"{path}: names no template; copy the file again")
    known = pandas.concat(parts).drop_duplicates()
    twice = known.TEMPLATE_ID.duplicated()
    if twice.any():
        raise InputError(f"{paths[0]}: template {known.TEMPLATE_ID[twice].iloc[0]} has two subjects; copy it again")
    known = known.sort_values("TEMPLATE_ID")
    return Subjects(known.TEMPLATE_ID.to_numpy(), known.SUBJECT_ID.to_numpy())


def gallery_paths(folder: PathLike, target: str) -> Tuple[Path, Path]:
    """The two gallery lists of a target."""
    first, second = (meta_path(folder, target, f"1N_gallery_{name}.csv") for name in GALLERIES[target])
    return first, second


def probe_path(folder: PathLike, target: str) -> Path:
    """The list of mixed probes of a target."""
    return meta_path(folder, target, "1N_probe_mixed.csv")


def _table(path: PathLike, types: List[type]) -> pandas.DataFrame:
    """A space-separated file without header, of exactly these columns."""
    try:
        table = pandas.read_csv(TextStream(path, _REMEDY), sep=" ", header=None, keep_default_na=False, quoting=3,
                                dtype=dict(enumerate(types)), na_values={column: [] for column in range(len(types))})
    except _NO_TABLE as error:
        _name_line(path, types)
        raise InputError(f"{path}: not the published form ({one_line(error)}); {_DAMAGED}") from None
    if table.shape[1] != len(types):
        raise InputError(f"{path}: not the published form ({table.shape[1]} columns where {len(types)} are expected); "
                         f"{_DAMAGED}")
    return table


def _name_line(path: PathLike, types: List[type]) -> None:
    """Raise InputError naming the first line of a damaged table that is not of its form."""
    form = Columns("blank", " ".join("name" if kind is str else "number" for kind in types), (len(types),))
    for number, line in iterate_lines(path, _REMEDY):
        where = f"{path}: not the published form: line {number}"
        for word, kind in zip(form.split(line, where), types) if line.strip() else ():
            if kind is np.float64:
                real_number(word, where)
            elif kind is not str:
                limits: Any = np.iinfo(kind)
                whole_number(word, where, int(limits.min), int(limits.max))
