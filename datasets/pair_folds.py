"""What the k-fold protocol of verification packs stands on, checked before an image is embedded.

Accuracy is the mean over contiguous folds in file order, each judged at the threshold that is best on the others
(docs/original.md, section 5.2). That is the protocol of LFW, whose folds hold as many genuine as impostor pairs; a list
sorted by kind has folds of one kind, whose thresholds come from another mix than the one they judge.
"""
from typing import List, Optional, Tuple

from arcface_mxnet.datasets.pairs import PairPack, decode
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike

import numpy as np

FOLDS = 10
Size = Tuple[int, int]


def folds_of_one_kind(same: np.ndarray, folds: int = FOLDS) -> int:
    """How many of the contiguous folds of (P,) truth values hold genuine or impostor pairs alone."""
    return sum(len(set(part.tolist())) == 1 for part in np.array_split(np.asarray(same, bool), folds))


def dealt_order(same: np.ndarray, folds: int = FOLDS) -> np.ndarray:
    """The order (P,) of pairs in which each contiguous fold holds its share of both kinds, give or take a pair.

    The order within a kind is kept. The pairs stay as they are where no fold holds one kind alone, or where a kind has
    fewer pairs than there are folds.
    """
    truth = np.asarray(same, bool)
    kinds = [np.flatnonzero(truth), np.flatnonzero(~truth)]
    if not folds_of_one_kind(truth, folds) or min(map(len, kinds)) < folds:
        return np.arange(len(truth))
    place = np.empty(len(truth))
    for kind in kinds:
        place[kind] = (np.arange(len(kind)) + 0.5) / len(kind)  # both kinds spread evenly over the file
    return np.argsort(place, kind="stable")


def check_pack(pack: PairPack, path: PathLike, folds: int = FOLDS, size: Optional[Size] = None) -> List[str]:
    """Notes on a pack whose accuracy would not be what it seems; each begins with the path.

    Raises InputError where the protocol gives no figure: fewer pairs than folds, pairs of one kind only, or (with
    `size`, height and width the network takes) pictures of another size.
    """
    if folds < 1:
        raise InputError(f"--folds {folds}: at least 1")
    if len(pack) < folds:
        raise InputError(f"{path}: {len(pack)} pairs, too few for {folds} folds; use a larger pack or fewer --folds")
    if len(set(pack.same.tolist())) == 1:
        kind = "genuine" if pack.same[0] else "impostor"
        raise InputError(f"{path}: all {len(pack)} pairs are {kind}; an accuracy needs both kinds, make the pack again "
                         "with 'prepare.py pairs'")
    found = decode(pack.images[:1], str(path)).shape[2:]
    if size is not None and found != size:
        raise InputError(f"{path}: holds {found[0]}x{found[1]} pictures, the network takes {size[0]}x{size[1]}; make "
                         f"the pack again from {size[0]}x{size[1]} crops")
    return notes(pack, path, folds)


def notes(pack: PairPack, path: PathLike, folds: int = FOLDS) -> List[str]:
    """What a reader of the pack's accuracy must know."""
    told = []
    single = folds_of_one_kind(pack.same, folds)
    if single:
        told.append(f"{path}: {single} of {folds} folds hold one kind of pair; each is judged at a threshold from "
                    "another mix, which is not the protocol of LFW: --deal deals the kinds into the folds")
    selves = sum(one == other for one, other in zip(pack.images[0::2], pack.images[1::2]))
    if selves:
        told.append(f"{path}: {selves} pairs show a picture with itself; each is decided whatever the network")
    return told
