"""The devkit's run_experiment.py in Python 3: the same command line, the same files, with or without its binaries.

`Identification` and `FuseResults` run where they are installed (../bin beside the working folder, as in the original);
elsewhere the same results are computed here, without score matrices on disk and in a tenth of the memory.
"""
import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.evaluation.command import parser
from arcface_mxnet.evaluation.megaface.devkit_files import (
    DISTRACTOR_LIST,
    ProbeList,
    read_distractors,
    read_probes,
    read_tree,
)
from arcface_mxnet.evaluation.megaface.inputs import SIZES
from arcface_mxnet.evaluation.megaface.protocol import Features, Trials, check, cmc_steps, right_factor
from arcface_mxnet.evaluation.ranking import RowBest
from arcface_mxnet.evaluation.scoring import block_borders, score_blocks, sieve
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, run_command
from arcface_mxnet.runtime.files import PathLike, atomic_open
from arcface_mxnet.runtime.reading import read_file

import numpy as np

MODEL = os.path.join("..", "models", "jb_identity.bin")
BINARIES = os.path.join("..", "bin")
LISTS = os.path.join("..", "templatelists")
PROBE_LIST = os.path.join(LISTS, "facescrub_features_list.json")
_MOST_MODEL = 1 << 26  # bytes
IDENTITY_MODEL = bytes(48)


class Names(NamedTuple):
    """The devkit's file names for one algorithm."""

    out: Path
    probe: str
    distractor: str
    algorithm: str

    def other(self, name: str) -> Path:
        """An intermediate file."""
        return self.out / "otherFiles" / name

    def probe_features(self) -> Path:
        """The list of the probes' feature files."""
        return self.other(f"{self.probe}_features_{self.algorithm}")

    def distractor_features(self, size: int, number: int) -> Path:
        """The list of the distractors' feature files."""
        return self.other(f"{self.distractor}_features_{self.algorithm}_{size}_{number}")

    def result(self, kind: str, size: int, number: int) -> Path:
        """cmc_*.json or matches_*.json."""
        return self.out / f"{kind}_{self.probe}_{self.distractor}_{self.algorithm}_{size}_{number}.json"


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run every size of every set."""
    options = build_parser().parse_args(argv)
    if options.num_sets < 1:
        raise InputError(f"--num_sets {options.num_sets}: at least 1")
    for folder in (options.distractor_feature_path, options.probe_feature_path):
        if not os.path.isdir(folder):
            raise InputError(f"{folder}: no such folder of features")
    names = Names(Path(options.out_root), os.path.basename(options.probe_list).split("_")[0],
                  DISTRACTOR_LIST.split("_")[0], options.file_ending.split(".")[0].strip("_"))
    (names.out / "otherFiles").mkdir(parents=True, exist_ok=True)
    probes = read_probes(options.probe_list)
    sets = [(size, number) for number in range(1, options.num_sets + 1) for size in options.sizes]
    for size, number in sets:
        paths = read_distractors(options.distractor_list_path, size, number)
        _write_list(names.distractor_features(size, number), options.distractor_feature_path, paths,
                    options.file_ending)
    _write_list(names.probe_features(), options.probe_feature_path, probes.paths, options.file_ending, probes.ids)
    if all(os.path.isfile(os.path.join(options.bin, name)) for name in ("Identification", "FuseResults")):
        _run_binaries(options, names, sets)
    else:
        _run_here(options, names, probes, sets)


def _run_here(options: argparse.Namespace, names: Names, probes: ProbeList, sets: "List[tuple[int, int]]") -> None:
    """Compute the results without the binaries."""
    if os.path.exists(options.model) and read_file(options.model, "give the devkit's model",
                                                   _MOST_MODEL) != IDENTITY_MODEL:
        raise InputError(f"-m {options.model}: without the devkit's binaries only the identity model can be computed; "
                         f"put them into {options.bin}, or leave -m out")
    features = Features(read_tree(options.probe_feature_path, probes.paths, options.file_ending), unit=False)
    for size, number in sets:
        paths = read_distractors(options.distractor_list_path, size, number)
        distractors = read_tree(options.distractor_feature_path, paths, options.file_ending,
                                dimensions=features.rows.shape[1])
        result = evaluate_devkit(features, np.array(probes.ids), Features(distractors, unit=False))
        write_files(result, names.result("cmc", size, number), names.result("matches", size, number))
        sys.stdout.write(f"size {size} set {number}\nRank 1: {result.rank1:.6g}\n")


def _run_binaries(options: argparse.Namespace, names: Names, sets: "List[tuple[int, int]]") -> None:
    """Run the devkit's own programs, as the original does."""
    identify, fuse = (os.path.join(options.bin, name) for name in ("Identification", "FuseResults"))
    own_scores = names.other(f"{names.probe}_{names.probe}_{names.algorithm}.bin")
    _call([identify, options.model, "path", names.probe_features(), names.probe_features(), own_scores])
    for size, number in sets:
        scores = names.other(f"{names.probe}_{names.distractor}_{names.algorithm}_{size}_{number}.bin")
        _call([identify, options.model, "path", names.distractor_features(size, number), names.probe_features(),
               scores])
        _call([fuse, scores, own_scores, names.probe_features(), str(size), names.result("cmc", size, number),
               names.result("matches", size, number)])
        if options.delete_matrices:
            os.remove(scores)


def _call(command: Sequence["str | os.PathLike[str]"]) -> None:
    try:
        status = subprocess.run([os.fspath(word) for word in command], check=False).returncode
    except OSError as error:
        raise InputError(f"{command[0]}: cannot be run ({error.strerror}); make it executable, "
                         "or move it away to compute here") from None
    if status:
        raise InputError(f"{command[0]}: stopped with status {status}; it needs OpenCV 2.4 and TBB 2, "
                         "move it away to compute here")


def _write_list(target: Path, root: str, paths: Sequence[str], ending: str, ids: Sequence[str] = ()) -> None:
    """The devkit's list of feature files; raises InputError when some are missing."""
    files = [os.path.join(root, path + ending) for path in paths]
    missing = [path for path in files if not os.path.isfile(path)]
    if missing:
        raise InputError(f"{len(missing)} of {len(files)} features are missing, the first: {missing[0]}")
    with atomic_open(target, "w") as stream:
        json.dump({"path": files, **({"id": list(ids)} if ids else {})}, stream, sort_keys=True, indent=4)


def build_parser() -> Parser:
    """The command line."""
    flags = parser("Run the MegaFace challenge on feature files, as the devkit's run_experiment.py.",
                   "python evaluation/megaface/run_experiment.py feature_out_clean/megaface "
                   "feature_out_clean/facescrub _insightface.bin results -s 1000000 "
                   "-p ../templatelists/facescrub_features_list.json")
    flags.add_argument("distractor_feature_path", help="folder of the MegaFace features")
    flags.add_argument("probe_feature_path", help="folder of the FaceScrub features")
    flags.add_argument("file_ending", help="what follows the photo's name, for example _insightface.bin")
    flags.add_argument("out_root", help="folder for results and, under otherFiles, lists and score matrices")
    flags.add_argument("-s", "--sizes", type=int, nargs="+", default=SIZES, help="numbers of distractors")
    flags.add_argument("-m", "--model", default=MODEL, help=f"scoring model (default {MODEL})")
    flags.add_argument("-ns", "--num_sets", type=int, default=1, help="distractor sets to run (default 1)")
    flags.add_argument("-d", "--delete_matrices", action="store_true",
                       help="delete the binaries' score matrices; without binaries there are none")
    flags.add_argument("-p", "--probe_list", default=PROBE_LIST, help=f"probe list (default {PROBE_LIST})")
    flags.add_argument("-dlp", "--distractor_list_path", default=LISTS, help=f"distractor lists (default {LISTS})")
    flags.add_argument("--bin", default=BINARIES, help=f"folder of Identification and FuseResults (default {BINARIES})")
    return flags


# The devkit's own variant of the protocol, and its result files (docs/original.md, section 6.4).
#
# It differs from the exact protocol: only the first 100 probes give impostor pairs, and curves are thinned: a point is
# kept when it rose more than 0.01 above the last one kept, and so is the last point.


ROC_PROBES = 100
RISE = 0.01
MATCHES = 5
GALLERIES = 10  # of the traditional CMC
QUERIES_AT_ONCE = 32

Curve = Tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class DevkitResult:
    """What the devkit writes for one number of distractors.

    `cmc`, `traditional_cmc`: thinned (ranks from 0, rates). `roc`: thinned (false positive rates, true positive rates).
    `matches`: per probe the 5 best distractors (scores -|x - y|^2), and its mates: the rank beside a mate is that of
    this probe among the distractors when the mate is the query.
    """

    cmc: Curve
    roc: Curve
    traditional_cmc: Curve
    matches: List[Dict[str, Any]]

    @property
    def rank1(self) -> float:
        """Rank-1 identification rate: the first point of the CMC, never thinned away."""
        return float(self.cmc[1][0])

    def tar(self, far: float) -> float:
        """TAR as the community reads the thinned curve: linear in log10 FPR, or in FPR beside a point at FPR 0."""
        fpr, tpr = self.roc
        right = int(np.searchsorted(fpr, far, side="right"))
        if right == len(fpr) or fpr[right - 1] == far:
            return float(tpr[min(right, len(fpr)) - 1])
        low, high = fpr[right - 1], fpr[right]
        place = (far - low) / (high - low) if low <= 0 else np.log(far / low) / np.log(high / low)
        return float(tpr[right - 1] + place * (tpr[right] - tpr[right - 1]))

    def cmc_document(self) -> Dict[str, Any]:
        """The content of cmc_*.json; rates are rounded to float32 as the devkit's are."""
        rates = {name: [x.tolist(), y.astype(np.float32).astype(float).tolist()]
                 for name, (x, y) in (("cmc", self.cmc), ("traditional_cmc", self.traditional_cmc))}
        return {**rates, "roc": [axis.astype(np.float32).astype(float).tolist() for axis in self.roc]}


def evaluate_devkit(probes: Features, ids: np.ndarray, distractors: Features) -> DevkitResult:
    """The devkit's figures of (P, d) probes with persons `ids` (P,) against all (N, d) distractors."""
    ids = np.asarray(ids)
    check(probes, ids, distractors, [len(distractors)], [1.0])
    trials = Trials.of(probes, ids)
    counter, best = trials.counter(distractors), RowBest(len(ids), min(MATCHES, len(distractors)))
    ascending = np.sort(trials.genuine.astype(np.float32))
    above = np.zeros(len(ascending), np.int64)
    ends = block_borders(len(distractors))
    for start, scores in score_blocks(trials.left, distractors.rows, ends, right_factor(distractors)):
        counter.add_block(scores, trials.bins.index(scores), start)
        found = sieve(scores, np.minimum(counter.cut, best.cut), start)
        counter.take(found)
        best.take(found)
        negatives = np.sort(scores[:ROC_PROBES], axis=None)
        above += len(negatives) - np.searchsorted(negatives, ascending, side="right")
    ranks = counter.ranks()
    return DevkitResult(_thinned_cmc(ranks, len(distractors)),
                        _thinned_roc(above, min(ROC_PROBES, len(ids)) * len(distractors)),
                        _traditional(trials, ids, ranks, len(distractors)), _matches(trials, ranks, best))


def thin(rates: np.ndarray) -> np.ndarray:
    """Positions of the points of a rising curve that the devkit writes: the first, each that rose by more, the last."""
    kept = [0]
    while kept[-1] + 1 < len(rates):
        following = int(np.searchsorted(rates, rates[kept[-1]] + RISE, side="right"))
        kept.append(max(kept[-1] + 1, min(following, len(rates) - 1)))
    return np.array(kept)


def write_files(result: DevkitResult, cmc_path: PathLike, matches_path: PathLike) -> None:
    """Write cmc_*.json and matches_*.json."""
    for path, content in ((cmc_path, result.cmc_document()), (matches_path, result.matches)):
        with atomic_open(path, "w") as stream:
            json.dump(content, stream)
            stream.write("\n")


def _curve(places: np.ndarray, shares: np.ndarray, last: int) -> Curve:
    """Steps of a curve over 0..last, with its first and last point, thinned."""
    if places[0] > 0:
        places, shares = np.r_[0, places], np.r_[0.0, shares]
    if places[-1] < last:
        places, shares = np.r_[places, last], np.r_[shares, shares[-1]]
    kept = thin(shares)
    return places[kept], shares[kept]


def _thinned_cmc(ranks: np.ndarray, last: int) -> Curve:
    return _curve(*cmc_steps(ranks), last)


def _thinned_roc(above: np.ndarray, negatives: int) -> Curve:
    """roc[k] = TAR after k false accepts, genuine pairs first on ties; `above`: impostors beating each genuine pair."""
    accepts, tar = _curve(*cmc_steps(above), negatives)
    return accepts / negatives, tar


def _traditional(trials: Trials, ids: np.ndarray, ranks: np.ndarray, distractors: int) -> Curve:
    """One gallery for all: a random image of each person and the distractors, ten times over, all ranks together.

    The first (probes - persons) probes are searched, but for one that is its person's image in the gallery. The
    program draws its galleries from a generator of its own; these are drawn with a fixed seed.
    """
    persons, person = np.unique(ids, return_inverse=True)
    last = distractors + len(persons) - 1
    where = np.argsort(trials.query * len(ids) + trials.mate)
    keys = (trials.query * len(ids) + trials.mate)[where]
    images = [np.flatnonzero(person == number) for number in range(len(persons))]
    generator, found = np.random.RandomState(0), []
    for _ in range(GALLERIES):
        gallery = np.array([own[generator.randint(len(own))] for own in images])
        queries = np.arange(len(ids) - len(persons))
        queries = queries[gallery[person[queries]] != queries]
        chosen = where[np.searchsorted(keys, queries * len(ids) + gallery[person[queries]])]
        found.append(ranks[chosen] + _better(trials, queries, gallery, person[queries]))
    total = np.concatenate(found)
    return _thinned_cmc(total, last) if len(total) else (np.array([0, last]), np.zeros(2))


def _better(trials: Trials, queries: np.ndarray, gallery: np.ndarray, own: np.ndarray) -> np.ndarray:
    """How many images of the gallery score strictly above a query's own person's, int64 (Q,)."""
    features, better = trials.probes.exact(gallery), np.empty(len(queries), np.int64)
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        part = slice(start, start + QUERIES_AT_ONCE)
        difference = trials.probes.exact(queries[part])[:, None] - features
        scores = -0.5 * np.sum(difference * difference, axis=2)
        better[part] = np.count_nonzero(scores > np.take_along_axis(scores, own[part, None], 1), axis=1)
    return better


def _matches(trials: Trials, ranks: np.ndarray, best: RowBest) -> List[Dict[str, Any]]:
    """Per probe: its best distractors, and its mates each with the rank this probe has when that mate is searched."""
    order = np.lexsort((trials.query, trials.mate))
    starts = np.searchsorted(trials.mate[order], np.arange(len(trials.left) + 1))
    matches = []
    for row, columns in enumerate(best.columns):
        own: Sequence[int] = order[starts[row]:starts[row + 1]]
        matches.append({
            "distractors": {"idx": columns.tolist(), "score": (2 * best.scores[row].astype(float)).tolist()},
            "probes": {"idx": trials.query[own].tolist(), "rank": ranks[own].tolist()}})
    return matches


if __name__ == "__main__":
    run_command(main)
