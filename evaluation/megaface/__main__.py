"""MegaFace Challenge 1 of a checkpoint or saved features: `python -m arcface_mxnet.evaluation.megaface --help`."""
import argparse
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from arcface_mxnet.evaluation.command import (
    MODEL_HELP,
    add_algorithm_flag,
    add_flip_flag,
    add_network_flags,
    add_out_flag,
    add_size_flag,
    parser,
)
from arcface_mxnet.evaluation.megaface.inputs import (
    Distractors,
    Probes,
    check_flags,
    data_hashes,
    distractor_sets,
    hashes_of_model,
    numbers,
    read_probe_features,
)
from arcface_mxnet.evaluation.megaface.protocol import Features, MegaFaceResult, check, evaluate
from arcface_mxnet.evaluation.megaface.run_experiment import evaluate_devkit, write_files
from arcface_mxnet.evaluation.paper import TABLE_6, TABLE_FAR, published_megaface
from arcface_mxnet.evaluation.plots import Curve
from arcface_mxnet.evaluation.results import About, Entry, Row, write_results
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import run_command

import numpy as np

RANKS = tuple(digit * 10 ** power for power in range(7) for digit in (1, 2, 5))


def main(argv: Optional[Sequence[str]] = None) -> None:
    """The command."""
    run(build_parser().parse_args(argv))


def run(options: argparse.Namespace) -> None:
    """Evaluate every set and number of distractors."""
    options.distractors = list(numbers(options.distractors, int)) if options.distractors else []
    options.far = list(numbers(options.far, float))
    check_flags(options)
    probes = read_probe_features(options)
    entries: Dict[str, Entry] = {}
    for given in distractor_sets(options, probes.features.rows.shape[1]):
        check(probes.features, probes.ids, given.features, given.counts, options.far)
        sys.stdout.write(f"distractors, set {given.number}: {given.origin}\n")
        results = evaluate(probes.features, probes.ids, given.features, given.counts, options.far)
        for result in results:
            devkit = _devkit(options, probes, given, result.distractors) if options.devkit else {}
            name = str(result.distractors) if given.number == 1 else f"{result.distractors}_{given.number}"
            entries[name] = _entry(options, result, probes, given, devkit)
            tar = ", ".join(f"TAR {rate:.6f} at FAR {far:g}" for far, rate in result.tar.items())
            sys.stdout.write(f"{result.distractors} distractors, set {given.number}: "
                             f"rank-1 {result.rank1:.6f}, {tar}\n")
    sys.stdout.write(f"{write_results(options.out, entries)}\n")


def _entry(options: argparse.Namespace, result: MegaFaceResult, probes: Probes, given: Distractors,
           devkit: Dict[str, Any]) -> Entry:
    """One number of distractors: its figures, the rows of Table 6 and the curves of figure 8."""
    refined = bool(options.noises)
    paper = published_megaface(options.protocol, refined, result.distractors, len(probes.ids),
                               len(np.unique(probes.ids)))
    label = f"MegaFace {options.protocol}{', R' if refined else ''}, {result.distractors} distractors"
    label += f" of set {given.number}" if given.number > 1 else ""
    rows = [Row(f"{label}: rank-1", 100 * result.rank1, paper and paper.identification, paper.source if paper else "")]
    for far, rate in result.tar.items():
        known = paper if far == TABLE_FAR else None
        rows.append(Row(f"{label}: TAR at FAR {far:g}", 100 * rate, known and known.verification,
                        known.source if known else ""))
    figures = {
        "rank1": result.rank1,
        "cmc": {rank: result.identified(rank) for rank in RANKS if rank <= result.distractors + 1},
        "tar": {str(far): rate for far, rate in result.tar.items()},
        "threshold_squared_distance": {str(far): limit for far, limit in result.thresholds.items()},
        "distractors": result.distractors, "trials": result.trials, "genuine_pairs": result.genuine_pairs,
        "impostor_pairs": result.impostor_pairs, "near_ties_taken_as_ties": result.unresolved, **devkit}
    about = About("megaface", "exact: all probes x all distractors, ties favour the mate", hashes_of_model(options),
                  data_hashes(options), {"protocol": options.protocol, "refined": refined, "seed": options.seed,
                                         "distractors": given.origin})
    return Entry(figures, about, rows, curves(result))


def curves(result: MegaFaceResult) -> List[Curve]:
    """CMC over ranks from 1 and ROC, percent, with logarithmic horizontal axes as in figure 8."""
    name = f"{result.distractors} distractors"
    last = result.distractors + 1
    ranks, shares = np.r_[result.ranks + 1, last], np.r_[result.shares, result.shares[-1]]
    return [Curve("cmc", name, ranks, 100 * shares, "rank", "identification rate %", log_x=True, kind="steps"),
            Curve("roc", name, result.roc_far, 100 * result.roc_tar, "false accept rate", "true accept rate %",
                  log_x=True)]


def _devkit(options: argparse.Namespace, probes: Probes, given: Distractors, count: int) -> Dict[str, Any]:
    """The devkit's variant: writes cmc_*.json and matches_*.json into OUT and returns its two figures."""
    part = Features(given.features.rows[:count], given.features.unit)
    result = evaluate_devkit(probes.features, probes.ids, part)
    stem = f"facescrub_megaface_{options.algorithm}_{count}_{given.number}.json"
    write_files(result, Path(options.out) / f"cmc_{stem}", Path(options.out) / f"matches_{stem}")
    return {"devkit": {"rank1": result.rank1, "tar": {str(far): result.tar(far) for far in options.far}}}


def build_parser() -> Parser:
    """The command line."""
    flags = parser("Identification and verification of probes among up to a million distractors.",
                   "python -m arcface_mxnet.evaluation.megaface --probe-features P.npy --probe-ids P.txt "
                   "--distractor-features D.npy --distractors 10,1000,1000000 --far 1e-6,1e-5 --out results/megaface")
    saved = flags.add_argument_group("saved features (.npy, N x d; they are L2-normalised unless --as-stored)")
    saved.add_argument("--probe-features", metavar="FILE.npy", help="embeddings of the probes")
    saved.add_argument("--probe-ids", metavar="FILE", help="the person of each probe, one a line")
    saved.add_argument("--distractor-features", metavar="FILE.npy", help="embeddings of the distractors")
    saved.add_argument("--probe-names", metavar="FILE", help="PERSON/FILE of each probe, for --noises")
    saved.add_argument("--distractor-names", metavar="FILE", help="A/B/FILE of each distractor, for --noises")
    saved.add_argument("--as-stored", action="store_true", help="do not L2-normalise the features")
    trees = flags.add_argument_group("devkit feature trees (used as stored)")
    trees.add_argument("--probe-dir", metavar="DIR", help="the tree of the probes")
    trees.add_argument("--distractor-dir", metavar="DIR", help="the tree of the distractors")
    trees.add_argument("--ending", default="_insightface.bin", help="what follows an image's name")
    trees.add_argument("--probe-list", metavar="FILE", help="devkit JSON, or PERSON/FILE a line")
    trees.add_argument("--distractor-list", metavar="FILE", help="devkit JSON, A/B/FILE a line, or templatelists/ "
                       "(default: the devkit's lists where they stand beside --probe-list, else every feature in "
                       "--distractor-dir, or image in --distractor-images, sorted by path)")
    images = flags.add_argument_group("aligned images and a checkpoint, with --probe-list")
    images.add_argument("--model", metavar="PREFIX,EPOCH", help=MODEL_HELP)
    images.add_argument("--probe-images", metavar="DIR", help="root of the probes' images")
    images.add_argument("--distractor-images", metavar="DIR", help="root of the distractors' images")
    add_flip_flag(images)
    add_size_flag(flags, images)
    add_network_flags(images)
    flags.add_argument("--noises", metavar="DIR", help="folder of the authors' two noise lists: the refined figures")
    flags.add_argument("--seed", type=int, default=0, help="of the noise in replaced probes (default 0)")
    flags.add_argument("--distractors", metavar="N,...", help="numbers of distractors (default 10,100,... and all)")
    flags.add_argument("--sets", type=int, default=1, help="distractor sets (beyond the first of an .npy: shuffled)")
    flags.add_argument("--far", default="1e-6,1e-5,1e-4", help="false accept rates (default 1e-6,1e-5,1e-4)")
    flags.add_argument("--protocol", default="large", choices=sorted(TABLE_6), help="which rows of Table 6 to print")
    flags.add_argument("--devkit", action="store_true", help="also the devkit's variant and its two JSON files")
    add_algorithm_flag(flags)
    add_out_flag(flags)
    return flags


if __name__ == "__main__":
    run_command(main)
