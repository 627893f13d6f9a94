"""Trillion-Pairs (DeepGlint): every probe against every gallery image, 0.4 trillion scores, none of them stored.

The server is closed. Verification (TPR at FPR 1e-9) is defined by the paper; the formula of identification (TPR at FPR
1e-3) was never published: what stands here is our reading (docs/original.md, section 8.2). For a probe pair (a, b) of
one person, b must beat every gallery image as an answer to query a, and its score must beat the threshold that lets
through one in a thousand of the probes' best gallery scores.
"""
import argparse
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Iterator, Optional, Sequence, Tuple

from arcface_mxnet.evaluation.command import (
    add_flip_flag,
    add_network_flags,
    add_out_flag,
    add_size_flag,
    embedder_of,
    load_features,
    model_hashes,
    parser,
    read_ids,
)
from arcface_mxnet.evaluation.extraction import complete_embeddings
from arcface_mxnet.evaluation.features import check_embeddings, normalise, pair_cosines, rounding
from arcface_mxnet.evaluation.megaface.devkit_files import HEADER
from arcface_mxnet.evaluation.metrics import false_accepts_allowed
from arcface_mxnet.evaluation.paper import TRILLION_PAIRS, TRILLION_PAIRS_FPR, published_trillion_pairs
from arcface_mxnet.evaluation.plots import Curve
from arcface_mxnet.evaluation.ranking import Largest, RowLargest
from arcface_mxnet.evaluation.results import About, Entry, Row, file_hashes, write_results
from arcface_mxnet.evaluation.scoring import (
    Bins,
    Histogram,
    Survivors,
    block_borders,
    operating_points,
    score_blocks,
    sieve,
)
from arcface_mxnet.evaluation.sources import list_source
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, run_command
from arcface_mxnet.runtime.files import PathLike, atomic_open
from arcface_mxnet.runtime.progress import progress

import numpy as np

IDENTIFICATION_FPR, VERIFICATION_FPR = TRILLION_PAIRS_FPR
PROBES_AT_ONCE = 4096
MOST_CURVE_POINTS = 500
_FLOAT32 = 5


@dataclass(frozen=True)
class TrillionPairsResult:
    """`identification` and `verification` with the cosines that must be exceeded; `far`, `tar`: ROC at bin edges.

    `unresolved`: probes of a collapsed network whose near ties with the gallery were taken as ties.
    """

    identification: float
    verification: float
    identification_threshold: float
    verification_threshold: float
    genuine_pairs: int
    impostor_pairs: int
    far: np.ndarray
    tar: np.ndarray
    unresolved: int


def evaluate(probes: np.ndarray, ids: np.ndarray, gallery: np.ndarray, verification_fpr: float = VERIFICATION_FPR,
             identification_fpr: float = IDENTIFICATION_FPR) -> TrillionPairsResult:
    """Both figures of (P, d) probes with persons `ids` (P,) against a (G, d) gallery of strangers, by cosine.

    Genuine pairs are all pairs of different probes of one person (ordered for identification), impostor pairs all
    probes x the gallery. Products are float32; what lies within their rounding of a threshold or of a probe's best
    gallery image is scored again in float64, so that thresholds and counts are exact and equal pairs tie (a tie never
    helps). `gallery` may be memory-mapped; it is read once for every 4,096 probes. Raises InputError for shapes that do
    not fit, rows that are not finite, and when no person has two probes.
    """
    ids = np.asarray(ids)
    _check(probes, ids, gallery)
    for rate in (verification_fpr, identification_fpr):
        if not 0 < rate <= 1:
            raise InputError(f"false positive rate {rate:g}: above 0 and at most 1")
    impostors, margin = len(probes) * len(gallery), 2 * rounding(probes.shape[1])
    allowed = false_accepts_allowed(verification_fpr, impostors)
    largest = Largest(min(allowed + 1, impostors), lambda score: margin,
                      lambda rows, columns: pair_cosines(probes, rows, gallery, columns))
    histogram, best, unresolved = Histogram(Bins(-1.001, 1.001)), np.empty(len(probes)), 0
    for start in progress(range(0, len(probes), PROBES_AT_ONCE), label="Trillion-Pairs", unit="blocks of probes"):
        part = probes[start:start + PROBES_AT_ONCE]
        answers = RowLargest(len(part), margin, partial(_cosines_from, part, gallery))
        left = normalise(np.array(part, np.float32), copy=False)
        for column, scores in score_blocks(left, gallery, block_borders(len(gallery)), _prepared):
            histogram.add(scores)
            answers.take(scores, column)
            found = sieve(scores, largest.cut, column)
            largest.take(Survivors(found.rows + start, found.columns, found.scores))
        best[start:start + len(part)], crowded = answers.largest()
        unresolved += crowded
    limit = largest.at(allowed) + (0 if largest.exact else margin)
    wanted = false_accepts_allowed(identification_fpr, len(best))
    floor = float(np.sort(best)[::-1][wanted]) if wanted < len(best) else float("-inf")
    pairs = accepted = identified = 0
    own = Histogram(histogram.bins)
    for rows, scores in genuine_scores(probes, ids):
        pairs += scores.size - len(rows)
        accepted += _above(scores, np.full(len(rows), limit), probes, rows)
        identified += _above(scores, np.maximum(best[rows], floor), probes, rows)
        own.add(scores[~np.eye(len(rows), dtype=bool)])
    far, tar, _ = operating_points(own, histogram)
    return TrillionPairsResult(identified / pairs, accepted / pairs, floor, limit, pairs // 2, impostors, far, tar,
                               unresolved)


def genuine_scores(probes: np.ndarray, ids: np.ndarray) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    """Per person with n > 1 probes: their rows (n,) and the float32 cosines (n, n) of each with each."""
    order = np.argsort(ids, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(np.unique(ids, return_inverse=True)[1][order])) + 1):
        if len(rows) > 1:
            unit = normalise(np.array(probes[rows], np.float32), copy=False)
            yield rows, unit @ unit.T


def _above(scores: np.ndarray, limits: np.ndarray, probes: np.ndarray, rows: np.ndarray) -> int:
    """How many of float32 `scores` (n, n) of probe `rows` (n,) with each other exceed the query's limit (n,), exactly.

    The diagonal does not count.
    """
    slack = rounding(probes.shape[1])
    others = ~np.eye(len(rows), dtype=bool)
    sure = (scores > limits[:, None] + slack) & others
    query, mate = np.nonzero((scores > limits[:, None] - slack) & ~sure & others)
    exact = pair_cosines(probes, rows[query], probes, rows[mate])
    return int(np.count_nonzero(sure)) + int(np.count_nonzero(exact > limits[query]))


def _cosines_from(left: np.ndarray, right: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return pair_cosines(left, rows, right, columns)


def write_submission(path: PathLike, parts: Sequence[np.ndarray]) -> Tuple[int, int]:
    """Write the server's matrix: four int32 (rows, d, 4 d, 5), then the L2-normalised float32 rows of all parts.

    One row a listed image, 1,862,120 at full size. Returns (rows, d). Raises InputError for other dimensions and rows
    that are not finite.
    """
    dimensions = parts[0].shape[1]
    for part in parts:
        check_embeddings(part, "submission", dimensions=dimensions, zeros=True)
    rows = sum(len(part) for part in parts)
    with atomic_open(path) as stream:
        stream.write(HEADER.pack(rows, dimensions, 4 * dimensions, _FLOAT32))
        for part in parts:
            for start in range(0, len(part), 1 << 16):
                block = normalise(np.array(part[start:start + (1 << 16)], np.float32), copy=False)
                stream.write(block.astype("<f4").tobytes())
    return rows, dimensions


def main(argv: Optional[Sequence[str]] = None) -> None:
    """The command."""
    run(build_parser().parse_args(argv))


def run(options: argparse.Namespace) -> None:
    """Score saved features or a checkpoint, and write the submission if asked."""
    probes, gallery = (_features(options, kind) for kind in ("probe", "gallery"))
    if options.submission:
        height, width = write_submission(options.submission, [probes, gallery])
        sys.stdout.write(f"{options.submission}: {height} x {width}\n")
    ids = np.array(read_ids(options.probe_ids, len(probes)))
    result = evaluate(probes, ids, gallery, options.verification_fpr, options.identification_fpr)
    identified, verified = published_trillion_pairs(options.training_set, len(probes) + len(gallery),
                                                    (options.identification_fpr, options.verification_fpr))
    rows = [Row(f"Trillion-Pairs: identification at FPR {options.identification_fpr:g} (our reading)",
                100 * result.identification, *identified),
            Row(f"Trillion-Pairs: verification at FPR {options.verification_fpr:g}", 100 * result.verification,
                *verified)]
    figures = {"identification": result.identification, "verification": result.verification,
               "identification_threshold": result.identification_threshold,
               "verification_threshold": result.verification_threshold, "genuine_pairs": result.genuine_pairs,
               "impostor_pairs": result.impostor_pairs, "near_ties_taken_as_ties": result.unresolved}
    data = [options.probe_ids, *(path for path in (options.probe_features, options.gallery_features) if path)]
    about = About("trillion pairs", "identification: our reading, see evaluation/trillion_pairs.py",
                  model_hashes(options.model) if options.model else {}, file_hashes(data))
    wanted = np.geomspace(1 / result.impostor_pairs, 1, MOST_CURVE_POINTS)
    shown = np.unique(np.searchsorted(-result.far, -wanted).clip(0, len(result.far) - 1))
    curve = Curve("roc", "all pairs", result.far[shown], 100 * result.tar[shown], "false positive rate",
                  "true positive rate %", log_x=True)
    for row in rows:
        sys.stdout.write(f"{row.what}: {row.ours:.3f} %\n")
    sys.stdout.write(f"{write_results(options.out, {'trillion_pairs': Entry(figures, about, rows, [curve])})}\n")


def _features(options: argparse.Namespace, kind: str) -> np.ndarray:
    saved, images = getattr(options, f"{kind}_features"), getattr(options, f"{kind}_list")
    if saved:
        return load_features(saved)
    if not options.model or not images:
        raise InputError(f"give --{kind}-features FILE.npy, or --model with --{kind}-list and --images")
    embedder = embedder_of(options)
    settings = {"model": model_hashes(options.model), "flip": options.flip, "exact": options.exact}
    return complete_embeddings(list_source(images, options.images), lambda batch: embedder.embed(batch, options.flip),
                               Path(options.out) / f"{kind}_embeddings", settings, options.size, embedder.about)


def build_parser() -> Parser:
    """The command line."""
    flags = parser("Identification and verification over all probe-gallery pairs.",
                   "python evaluation/trillion_pairs.py --probe-features P.npy --probe-ids P.txt --gallery-features "
                   "G.npy --out results/trillion_pairs")
    flags.add_argument("--model", metavar="PREFIX,EPOCH", help="checkpoint, with the lists and --images")
    for kind in ("probe", "gallery"):
        flags.add_argument(f"--{kind}-features", metavar="FILE.npy", help=f"saved {kind} features (n, d)")
        flags.add_argument(f"--{kind}-list", metavar="FILE", help=f"aligned {kind} images, one path a line")
    flags.add_argument("--probe-ids", required=True, metavar="FILE", help="the person of each probe, one a line")
    flags.add_argument("--images", metavar="DIR", help="root of the listed images")
    add_flip_flag(flags)
    add_size_flag(flags)
    add_network_flags(flags)
    flags.add_argument("--submission", metavar="FILE", help="also write the server's matrix, probes then gallery")
    flags.add_argument("--verification-fpr", type=float, default=VERIFICATION_FPR,
                       help=f"false accept rate of verification (default {VERIFICATION_FPR:g})")
    flags.add_argument("--identification-fpr", type=float, default=IDENTIFICATION_FPR,
                       help=f"false accept rate of identification (default {IDENTIFICATION_FPR:g})")
    flags.add_argument("--training-set", default="MS1MV2", choices=sorted(TRILLION_PAIRS),
                       help="row of Table 8 to stand beside ours on the published lists")
    add_out_flag(flags)
    return flags


def _prepared(part: np.ndarray) -> np.ndarray:
    unit = normalise(np.array(part, np.float32), copy=False)
    if not np.isfinite(np.einsum("ij,ij->i", unit, unit)).all():
        raise InputError("gallery features: a row is not finite (NaN or infinity); extract the features again")
    return unit


def _check(probes: np.ndarray, ids: np.ndarray, gallery: np.ndarray) -> None:
    check_embeddings(probes, "probe features", zeros=True)
    if ids.shape != (len(probes),):
        raise InputError(f"probe ids: {len(ids)} ids for {len(probes)} probe features; give one id per row")
    if gallery.ndim != 2 or not len(gallery) or gallery.shape[1] != probes.shape[1]:
        raise InputError(f"gallery features: shape {gallery.shape} beside probes of {probes.shape[1]} dimensions; "
                         "use features of one model")
    if len(np.unique(ids)) == len(ids):
        raise InputError("probe ids: no person has two images, so there is no genuine pair; check the list of ids")


if __name__ == "__main__":
    run_command(main)
