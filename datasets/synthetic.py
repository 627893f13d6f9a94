"""The built-in dataset: procedural faces as a training set in the published layout and three verification packs.

Nobody real is depicted. An identity is a vector (datasets/faces/identity.py), a picture's circumstances another
(nuisance.py); the same seed gives the same bytes on any number of workers.
"""
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

from arcface_mxnet.datasets.ages import AGES_FILE
from arcface_mxnet.datasets.faces.studio import Sitting, sittings
from arcface_mxnet.datasets.faces.worlds import FIRST_NUMBER, ROOM
from arcface_mxnet.datasets.manifest import describe_pack, describe_set
from arcface_mxnet.datasets.pairs import write_pack
from arcface_mxnet.datasets.records import RecordWriter
from arcface_mxnet.datasets.whole_folder import whole_folder
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, atomic_open, read_json, write_json
from arcface_mxnet.runtime.progress import progress

VERSION = 1  # raised whenever the same settings would draw other pixels
PACKS = ("lfw", "cfp_fp", "agedb_30")
FOLDS = 10
DESCRIPTION = "synthetic.json"
SOURCE = "drawn by datasets/synthetic.py"
ALIGNMENT = "five points with the errors of a detector, to the reference of 112x112"


def people(purpose: str, count: int, images: int, seed: int, workers: Optional[int] = None,
           first: int = 0) -> Iterator[Sitting]:
    """Draw `images` pictures (numbers 0, 1, ...) of `count` people of one purpose, person by person.

    `first` skips people. Purposes (worlds.FIRST_NUMBER) never share anybody. Raises InputError when there are too many.
    """
    if count < 1 or images < 1 or first + count > ROOM:
        raise InputError(f"{purpose}: {count} identities of {images} images; give 1 to {ROOM} identities with an "
                         "image each")
    start = FIRST_NUMBER[purpose] + first
    return sittings(purpose, range(start, start + count), range(images), seed, workers)


def write_training_set(folder: PathLike, identities: int, images_per_identity: int, seed: int,
                       workers: Optional[int] = None) -> None:
    """Write train.rec, train.idx and property, and ages.tsv: `key<TAB>age in years` of every image."""
    ages: List[Tuple[int, float]] = []
    with RecordWriter(folder) as writer:
        drawn = people("train", identities, images_per_identity, seed, workers)
        for label, sitting in enumerate(progress(drawn, identities, "drawing faces", "identities")):
            start, stop = writer.add(label, sitting.images)
            ages.extend(zip(range(start, stop), sitting.ages))
    with atomic_open(Path(folder) / AGES_FILE, "w") as stream:
        stream.writelines(f"{key}\t{age:.1f}\n" for key, age in ages)


def draw_pack(name: str, pairs: int, seed: int, workers: Optional[int] = None) -> Tuple[List[bytes], List[bool]]:
    """Images (2 x pairs) and truth of a pack: ten folds of different people, in each as many genuine as impostor pairs.

    Everybody has two pictures, a and b (in cfp_fp frontal and profile, in agedb_30 young and old). Genuine pairs are
    (a, b) of one person, impostor pairs a of one and b of the next in the fold. `pairs` must be a multiple of 20 and
    at least 40, or InputError is raised.
    """
    if pairs < 4 * FOLDS or pairs % (2 * FOLDS):
        raise InputError(f"{name}: {pairs} pairs; give a multiple of {2 * FOLDS}, at least {4 * FOLDS}")
    half = pairs // (2 * FOLDS)
    drawn = people(name, pairs // 2, 2, seed, workers)
    pictures = [sitting.images for sitting in progress(drawn, pairs // 2, f"drawing {name}", "identities")]
    images: List[bytes] = []
    same: List[bool] = []
    for start in range(0, len(pictures), half):
        fold = pictures[start:start + half]
        for first, second in fold:
            images += [first, second]
        for position, (first, _) in enumerate(fold):
            images += [first, fold[(position + 1) % half][1]]
        same += [True] * half + [False] * half
    return images, same


def write_dataset(folder: PathLike, identities: int = 200, images_per_identity: int = 40, pairs: int = 600,
                  seed: int = 1, workers: Optional[int] = None) -> Path:
    """Write the built-in dataset: training set, lfw.bin, cfp_fp.bin and agedb_30.bin; returns the folder.

    Nobody is in two of them. A folder that already holds the same dataset is left as it is; one that holds another
    set raises InputError. It appears when it is whole: an interrupted call leaves nothing, and is repeated.
    """
    target = Path(folder)
    wanted = _description(identities, images_per_identity, pairs, seed)
    if (target / DESCRIPTION).exists():
        if read_json(target / DESCRIPTION) != wanted:
            raise InputError(f"{target / DESCRIPTION}: another built-in dataset is there; choose another folder or "
                             "delete it first")
        return target
    with whole_folder(target) as staging:
        for name in PACKS:
            write_pack(staging / f"{name}.bin", *draw_pack(name, pairs, seed, workers))
            describe_pack(staging / f"{name}.bin", SOURCE, ALIGNMENT)
        write_training_set(staging, identities, images_per_identity, seed, workers)
        describe_set(staging, SOURCE, ALIGNMENT)
        write_json(staging / DESCRIPTION, wanted)
    return target


def _description(identities: int, images_per_identity: int, pairs: int, seed: int) -> Dict[str, int]:
    return {"version": VERSION, "identities": identities, "images_per_identity": images_per_identity, "pairs": pairs,
            "seed": seed}
