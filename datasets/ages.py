"""ages.tsv beside a set: `key TAB age in years` for each image whose age is known; the key is that of its record."""
from pathlib import Path
from typing import Iterable, Sequence, Tuple

from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, atomic_open
from arcface_mxnet.runtime.text import Columns, iterate_lines, real_number, whole_number

import numpy as np

AGES_FILE = "ages.tsv"
UNKNOWN_AGE = -1.0
OLDEST = 150.0
_SPREAD = 64  # how far apart keys may stand on average
_FORM = Columns("tab", "key<TAB>age", (2,))


def read_ages(records: RecordSet) -> np.ndarray:
    """Age in years by record key, float32 (largest key + 1,); UNKNOWN_AGE for an image the file does not name.

    Raises InputError where there is no file, naming a line that is no key and age, and where it is another set's: it
    names an image the set does not have, or none of those in use.
    """
    path = Path(records.folder) / AGES_FILE
    if not path.exists():
        raise InputError(f"{path}: not found; a loss on ages needs it: one line `key<TAB>age in years` for each image, "
                         "its record's key in train.idx (the built-in faces have it)")
    ages = _by_key(records, path)
    if (ages[records.keys] == UNKNOWN_AGE).all():
        raise InputError(f"{path}: not one age of the {records.images} images; the file belongs to another set")
    return ages


def has_ages(records: RecordSet) -> bool:
    """Whether a set has an ages.tsv."""
    return (Path(records.folder) / AGES_FILE).exists()


def carry_ages(folder: PathLike, sources: Sequence[RecordSet], images: Iterable[Tuple[int, int]],
               first: int = 1) -> None:
    """Write ages.tsv for a new set in `folder`, of those of its images whose age a source knows; nothing where none is.

    images: (which source, key there) of each image in the order of its new key, the first of which is `first`. Call it
    before manifest.describe_set, which lists the file. Raises InputError for a source's file that is none.
    """
    known = [_by_key(records, Path(records.folder) / AGES_FILE) if has_ages(records) else None for records in sources]
    if all(ages is None for ages in known):
        return
    moved = ((number, ages[key]) for number, (which, key) in enumerate(images, first)
             for ages in [known[which]] if ages is not None)
    lines = [f"{number}\t{age!s}\n" for number, age in moved if age != UNKNOWN_AGE]
    if lines:
        with atomic_open(Path(folder) / AGES_FILE, "w") as stream:
            stream.writelines(lines)


def _by_key(records: RecordSet, path: Path) -> np.ndarray:
    highest = int(records.index.keys.max())
    if highest > _SPREAD * len(records.index) + _SPREAD:
        raise InputError(f"{path}: the keys of the set reach to {highest} for {len(records.index)} records; ages need "
                         "keys that count the records: build the set again")
    ages = np.full(int(records.index.keys.max()) + 1, UNKNOWN_AGE, dtype=np.float32)
    for number, line in iterate_lines(path, "correct it, or remove it"):
        if not line.strip():
            continue
        key, age = _parsed(line, f"{path}: line {number}")
        if records.index.position(key) < 0:
            raise InputError(f"{path}: line {number}: the set has no record {key}; the file belongs to another set")
        if ages[key] != UNKNOWN_AGE:
            raise InputError(f"{path}: line {number}: record {key} comes twice; delete one of the two lines")
        ages[key] = age
    return ages


def _parsed(line: str, where: str) -> Tuple[int, float]:
    key, age = _FORM.split(line, where)
    return whole_number(key, where), real_number(age, where, 0, OLDEST, "an age in years")
