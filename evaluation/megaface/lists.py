"""The lists of images: the devkit's JSON ({"path": [...], "id": [...]}), one path a line, or what a tree holds."""
import json
import os
from pathlib import Path
from typing import List, NamedTuple

from arcface_mxnet.evaluation.texts import read_text
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike

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
    return sorted(int(words[0]) for words in found if words[0].isdigit() and words[1] == str(number))


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
    lines = [line.split("\t")[-1].strip() for line in text.splitlines()]
    return _filled(path, [line for line in lines if line and not line.startswith("#")]), []


def _from_json(path: PathLike, text: str) -> "tuple[List[str], List[str]]":
    try:
        content = json.loads(text)
        paths = [str(name) for name in content["path"]]
        ids = [str(name) for name in content.get("id", [])]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not a devkit list; it needs \"path\": [...]") from None
    if ids and len(ids) != len(paths):
        raise InputError(f"{path}: {len(ids)} ids for {len(paths)} paths; the list is damaged, copy it again")
    return _filled(path, paths), ids


def _filled(path: PathLike, names: List[str]) -> List[str]:
    if not names:
        raise InputError(f"{path}: names no image; copy the list again")
    return names
