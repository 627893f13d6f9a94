"""Embeddings of a source on disk: memory-mapped, continued where a stopped run left off, unreadable images listed.

A folder holds `embeddings.npy` (n, d) float32, `ids.txt` (one name a row), `labels.txt` where classes are known,
`unreadable.txt` (row, name and reason) and `extraction.json`. Until it is complete the array is `embeddings.part.npy`.
"""
import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from arcface_mxnet.datasets.align import align, known_crop
from arcface_mxnet.datasets.detect import Detector, choose, detect_with_margin
from arcface_mxnet.datasets.images import NoImage, decode_rgb, fit
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.evaluation.command import load_features
from arcface_mxnet.evaluation.sources import Source
from arcface_mxnet.runtime.arrays import create_array, load_array
from arcface_mxnet.runtime.environment import available_cores
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, atomic_open, write_json
from arcface_mxnet.runtime.locks import claimed
from arcface_mxnet.runtime.progress import bar
from arcface_mxnet.runtime.text import read_json

import numpy as np

EMBEDDINGS_FILE, PART_FILE, STATE_FILE = "embeddings.npy", "embeddings.part.npy", "extraction.json"
IDS_FILE, LABELS_FILE, UNREADABLE_FILE = "ids.txt", "labels.txt", "unreadable.txt"
About = Callable[[], Dict[str, Any]]
CROP = (112, 112)
BLOCK = 512
"""Rows between two points from which a stopped run goes on."""
_AGAIN = "remove the folder and extract again"


@dataclass(frozen=True)
class Extraction:
    """What an extraction left: rows, dimensions, and (row, name, reason) of every unreadable image."""

    rows: int
    dimensions: int
    unreadable: Tuple[Tuple[int, str, str], ...]


@dataclass(frozen=True)
class Block:
    """Decoded rows: `images` uint8 (m, 3, h, w) RGB of the readable `rows`, and (row, name, reason) of the others."""

    start: int
    stop: int
    rows: List[int]
    images: Optional[np.ndarray]
    unreadable: List[Tuple[int, str, str]]


class Preparing:
    """What a decoded picture goes through before the network: nothing but a check, scaling, or alignment.

    size: (height, width) that the network takes, None for whatever comes. Pictures of another size are refused, since
    a photograph squeezed into the network's size gives plausible and wrong embeddings; `resize` scales those that
    differ by scale alone, `detector` aligns the face that each picture is of.
    """

    def __init__(self, size: Optional[Tuple[int, int]], resize: bool = False,
                 detector: Optional[Detector] = None) -> None:
        self._size, self._resize, self._detector = size, resize, detector
        self._one_at_a_time = Lock()  # detectors use all cores themselves, and MXNet's are not safe in threads

    def __call__(self, name: str, rgb: np.ndarray) -> np.ndarray:
        """RGB uint8 (h, w, 3) of `size`; raises InputError where it is refused, NoImage where no face is found."""
        if self._detector is not None:
            return self._aligned(rgb, self._detector)
        if self._size is None or rgb.shape[:2] == self._size:
            return rgb
        if not self._resize:
            raise InputError(f"{name}: is {rgb.shape[0]}x{rgb.shape[1]}, not {self._size[0]}x{self._size[1]}; align "
                             "the faces (--detector), or scale crops that are aligned already (--resize)")
        try:
            return fit(rgb, self._size)
        except NoImage as error:
            raise InputError(f"{name}: {error}; align the faces (--detector)") from None

    def _aligned(self, rgb: np.ndarray, detector: Detector) -> np.ndarray:
        with self._one_at_a_time:
            face = choose(detect_with_margin(np.ascontiguousarray(rgb[:, :, ::-1]), detector), *rgb.shape[:2])
        if face is None:
            raise NoImage("shows no face that was found")
        return align(rgb, face.points, known_crop(self._size or CROP))


def decoded_blocks(source: Source, start: int, prepare: Preparing, block: int) -> Iterator[Block]:
    """Blocks of rows from `start`, decoded one block ahead on threads while the network works on the last one."""
    with ThreadPoolExecutor(max(1, available_cores())) as pool:
        def submit(first: int) -> "List[Future[Any]]":
            return [pool.submit(_decode, source, row, prepare) for row in range(first, min(first + block, len(source)))]

        running = submit(start)
        for first in range(start, len(source), block):
            following = submit(first + block)
            yield _gather(source, first, [future.result() for future in running])
            running = following


def embed_source(source: Source, embed: Callable[[np.ndarray], np.ndarray],
                 size: Optional[Tuple[int, int]]) -> Tuple[np.ndarray, List[int]]:
    """Embed a source into memory: float32 (n, d), NaN rows for unreadable images, and the list of those rows.

    Raises InputError when no image can be read, and for one of another size.
    """
    found: Optional[np.ndarray] = None
    broken: List[Tuple[int, str, str]] = []
    shown = bar(len(source), "embedding")
    try:
        for block in decoded_blocks(source, 0, Preparing(size), BLOCK):
            if block.images is not None:
                rows = embed(block.images)
                if found is None:
                    found = np.full((len(source), rows.shape[1]), np.nan, np.float32)
                found[block.rows] = rows
            broken += block.unreadable
            shown.update(block.stop - block.start)
    finally:
        shown.close()
    if found is None:
        raise _nothing_readable(source, broken)
    return found, [row for row, _, _ in broken]


def extract(source: Source, embed: Callable[[np.ndarray], np.ndarray], folder: PathLike, settings: Dict[str, Any],
            size: Optional[Tuple[int, int]] = CROP, drop_unreadable: bool = False,
            about: About = dict, prepare: Optional[Preparing] = None) -> Extraction:
    """Embed every image of `source` into `folder`; a stopped run of equal `settings` goes on where it was.

    `embed`: uint8 (n, 3, h, w) to float32 (n, d). `settings` (model hashes, flip, ...) and the source's names are the
    identity of a run; another run in the folder raises InputError. `about`: what ran, kept with the first row that it
    embedded (`ran`), since a run may go on with another engine. Rows of unreadable images are NaN, or are left out of
    array, ids and labels with `drop_unreadable`. `prepare`: what is done to pictures of another size than `size`,
    which are refused without it. Raises InputError when no image can be read, or while another command extracts into
    the folder.
    """
    with claimed(folder):
        return _extract(source, embed, Path(folder), settings, size, drop_unreadable, about, prepare or Preparing(size))


def _extract(source: Source, embed: Callable[[np.ndarray], np.ndarray], target: Path, settings: Dict[str, Any],
             size: Optional[Tuple[int, int]], drop_unreadable: bool, about: About, prepare: Preparing) -> Extraction:
    target.mkdir(parents=True, exist_ok=True)
    names = hashlib.sha256("\n".join(source.names).encode()).hexdigest()
    state = _state(target, {**settings, "source": source.origin, "names_sha256": names,
                            "size": list(size) if size else None, "drop_unreadable": drop_unreadable})
    if not state["complete"]:
        if state["done"] < len(source):
            _run(source, embed, target, state, prepare, about)
        if not state["dimensions"]:
            raise _nothing_readable(source, state["unreadable"])
        _finish(source, target, state, drop_unreadable)
    return Extraction(state["rows"], state["dimensions"],
                      tuple((row, name, reason) for row, name, reason in state["unreadable"]))


def _run(source: Source, embed: Callable[[np.ndarray], np.ndarray], target: Path, state: Dict[str, Any],
         prepare: Preparing, about: About) -> None:
    """Fill the memory-mapped array from row `done`; after each block data, then state, reach the disk."""
    begun, before = state["done"], list(state.get("ran", []))
    array: Any = load_array(target / PART_FILE, _AGAIN, "r+") if state["done"] and state["dimensions"] else None
    shown = bar(len(source), "embedding", initial=state["done"])
    try:
        for block in decoded_blocks(source, state["done"], prepare, BLOCK):
            if block.images is not None:
                rows = embed(block.images)
                if array is None:
                    state["dimensions"] = rows.shape[1]
                    shape = (len(source), rows.shape[1])
                    array = create_array(target / PART_FILE, shape)
                    array[:block.start] = np.nan
                array[block.rows] = rows
            if array is not None:
                array[[row for row, _, _ in block.unreadable]] = np.nan
                array.flush()
            state["unreadable"] += block.unreadable
            state["done"] = block.stop
            state["ran"] = [*before, {"from row": begun, **about()}]
            write_json(target / STATE_FILE, state)
            shown.update(block.stop - block.start)
    finally:
        shown.close()


def _finish(source: Source, target: Path, state: Dict[str, Any], drop: bool) -> None:
    """Write the text files, give the array its name, mark the run complete, in this order."""
    broken = {row for row, _, _ in state["unreadable"]}
    kept = [row for row in range(len(source)) if not (drop and row in broken)]
    _write_lines(target / IDS_FILE, [source.names[row] for row in kept])
    if source.labels is not None:
        _write_lines(target / LABELS_FILE, [str(source.labels[row]) for row in kept])
    _write_lines(target / UNREADABLE_FILE, [f"{row}\t{name}\t{reason}" for row, name, reason in state["unreadable"]])
    if drop and broken and (target / PART_FILE).exists():
        _compact(target / PART_FILE, kept)
    if (target / PART_FILE).exists():
        os.replace(target / PART_FILE, target / EMBEDDINGS_FILE)
    state.update(complete=True, rows=len(kept))
    write_json(target / STATE_FILE, state)


def _compact(path: Path, kept: List[int]) -> None:
    """Rewrite the array without the rows that are not kept, through a second file, block by block."""
    array = load_array(path, _AGAIN)
    if len(array) == len(kept):
        return
    beside = path.with_suffix(".kept.npy")
    smaller = create_array(beside, (len(kept), array.shape[1]))
    for start in range(0, len(kept), BLOCK):
        smaller[start:start + BLOCK] = array[kept[start:start + BLOCK]]
    smaller.flush()
    os.replace(beside, path)


def _state(target: Path, identity: Dict[str, Any]) -> Dict[str, Any]:
    """The state to go on from: the folder's, when it is of the same run, or a new one."""
    path = target / STATE_FILE
    if not path.exists():
        return {"identity": identity, "done": 0, "rows": 0, "dimensions": 0, "unreadable": [], "complete": False}
    state = read_json(path)
    if not isinstance(state, dict) or state.get("identity") != identity:
        known = state.get("identity", {}) if isinstance(state, dict) else {}
        changed = [name for name in identity if known.get(name) != identity[name]]
        raise InputError(f"{path}: belongs to another extraction ({', '.join(changed) or 'unknown'} differ); "
                         "choose another --out or remove the folder")
    return dict(state)


def _decode(source: Source, row: int, prepare: Preparing) -> Any:
    try:
        rgb = decode_rgb(source.read(row))
    except (NoImage, OSError, InputError) as error:
        return str(error)
    try:
        return prepare(f"{source.origin}: {source.names[row]}", rgb)
    except NoImage as error:
        return str(error)


def _gather(source: Source, first: int, decoded: List[Any]) -> Block:
    rows = [first + position for position, image in enumerate(decoded) if not isinstance(image, str)]
    broken = [(first + position, source.names[first + position], reason)
              for position, reason in enumerate(decoded) if isinstance(reason, str)]
    images = None
    if rows:
        images = np.ascontiguousarray(np.stack([decoded[row - first] for row in rows]).transpose(0, 3, 1, 2))
    return Block(first, first + len(decoded), rows, images, broken)


def _nothing_readable(source: Source, broken: List[Any]) -> InputError:
    return InputError(f"{source.origin}: none of its {len(source)} images can be read; the first: {broken[0][2]}")


def _write_lines(path: Path, lines: List[str]) -> None:
    with atomic_open(path, "w") as stream:
        stream.writelines(f"{line}\n" for line in lines)


# Embeddings of every image of a list, for protocols that may not leave one out.


def complete_embeddings(source: Source, embed: Callable[[np.ndarray], np.ndarray], folder: PathLike,
                        settings: Dict[str, Any], size: Optional[Tuple[int, int]] = (112, 112),
                        about: About = dict) -> np.ndarray:
    """(n, d) embeddings kept in `folder` (a stopped run goes on); raises InputError when an image cannot be read."""
    done = extract(source, embed, folder, settings, size, about=about)
    if done.unreadable:
        _, name, reason = done.unreadable[0]
        raise InputError(f"{len(done.unreadable)} images cannot be read, the first: {name} ({reason}); "
                         f"all are listed in {folder}")
    return load_features(f"{folder}/{EMBEDDINGS_FILE}")


def record_embeddings(folder: PathLike, embed: Callable[[np.ndarray], np.ndarray]) -> Tuple[np.ndarray, np.ndarray]:
    """Embeddings (n, d) and labels (n,) of a record set's images, in the order of its keys, in memory.

    `embed` takes RGB uint8 (m, 3, h, w). For sets that fit; `extract` writes larger ones to disk as it goes.
    """
    with RecordSet.open(folder) as records:
        blocks = []
        for start in range(0, records.images, BLOCK):
            images = np.stack([decode_rgb(records.read(key)[1]) for key in records.keys[start:start + BLOCK].tolist()])
            blocks.append(embed(images.transpose(0, 3, 1, 2)))
        return np.concatenate(blocks), np.asarray(records.labels)
