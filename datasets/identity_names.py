"""identities.tsv beside a set: `class TAB name` for each identity, so that a class can be told from a number."""
from pathlib import Path
from typing import Dict, Mapping

from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, atomic_open

NAMES_FILE = "identities.tsv"


def read_names(folder: PathLike) -> Dict[int, str]:
    """{class: name} of a set; empty where it has no such file. Raises InputError naming a line that is none."""
    path = Path(folder) / NAMES_FILE
    if not path.exists():
        return {}
    names: Dict[int, str] = {}
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    for number, line in enumerate(text.split("\n"), 1):
        label, tab, name = line.partition("\t")
        if not line:
            continue
        if not tab or not label.isdigit() or int(label) in names:
            raise InputError(f"{path}: line {number} is not `class<TAB>name`, each class once; correct "
                             "or remove the file")
        names[int(label)] = name
    return names


def write_names(folder: PathLike, names: Mapping[int, str]) -> None:
    """Write identities.tsv, atomically."""
    with atomic_open(Path(folder) / NAMES_FILE) as stream:
        for label in sorted(names):
            stream.write(f"{label}\t{names[label]}\n".encode("utf-8", "surrogateescape"))
