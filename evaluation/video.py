"""YouTube Faces: video against video, 5,000 pairs in 10 splits (docs/original.md, section 8.1).

"centre" is the paper's protocol: the mean of all frame embeddings, L2-normalised, then as for image pairs.
"facenet" is FaceNet's: the mean squared distance of all pairs of the first 100 unit frame embeddings of both videos;
it needs no double loop: the mean of |a - b|^2 over all pairs is mean|a|^2 + mean|b|^2 - 2 mean(a).mean(b).
"""
import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from arcface_mxnet.datasets.catalog import TEST_SETS
from arcface_mxnet.evaluation.command import (
    add_flip_flag,
    add_model_flags,
    add_out_flag,
    add_size_flag,
    embedder_of,
    load_features,
    parser,
    read_ids,
    source_hashes,
)
from arcface_mxnet.evaluation.extraction import BLOCK, Preparing, decoded_blocks
from arcface_mxnet.evaluation.features import normalise, squared_distances
from arcface_mxnet.evaluation.pairs import PairResult, evaluate_distances
from arcface_mxnet.evaluation.report import pair_entry
from arcface_mxnet.evaluation.results import About, file_hashes, write_results
from arcface_mxnet.evaluation.sources import folder_source
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, one_line, run_command
from arcface_mxnet.runtime.progress import progress
from arcface_mxnet.runtime.reading import file_status, shown
from arcface_mxnet.runtime.text import is_whole, iterate_lines, listed_path, whole_number

import numpy as np
from scipy.io import loadmat

# The video pairs of YTF: `meta_and_splits.mat` as published, or its text form (docs/original.md, section 8.1).


@dataclass(frozen=True)
class VideoPairs:
    """The pairs in split order: video names, int64 (P, 2) positions in them, bool (P,), and how many splits."""

    videos: Tuple[str, ...]
    pairs: np.ndarray
    same: np.ndarray
    splits: int


def read_splits(path: str) -> VideoPairs:
    """meta_and_splits.mat, or splits.txt with "split, pair, name, name, is same" a line; raises InputError."""
    place = Path(path)
    size = file_status(place, "give meta_and_splits.mat or splits.txt of YTF").st_size
    if place.suffix == ".mat" and size > _MOST_MAT:
        raise InputError(f"{place}: {size} bytes where at most {_MOST_MAT} are read; give YTF's meta_and_splits.mat")
    videos, table = _from_mat(place) if place.suffix == ".mat" else _from_text(place)
    splits, sizes = np.unique(table[:, 0], return_counts=True)
    if len(set(sizes.tolist())) != 1:
        raise InputError(f"{place}: splits of {sizes.min()} to {sizes.max()} pairs; the protocol needs equal ones")
    wrong = np.flatnonzero(~np.isin(table[:, 3], (0, 1)))
    if wrong.size:
        raise InputError(f"{place}: pair {wrong[0] + 1} has the truth value {table[wrong[0], 3]}, which is not 0 or 1; "
                         "use another copy")
    table = table[np.argsort(table[:, 0], kind="stable")]
    return VideoPairs(tuple(videos), table[:, 1:3].astype(np.int64), table[:, 3].astype(bool), len(splits))


def _from_mat(place: Path) -> Tuple[List[str], np.ndarray]:
    """`video_names` and `Splits` (500, 3, 10): 1-based positions, 1-based positions, truth."""
    try:
        stored = loadmat(str(place))
        names = [str(np.ravel(name)[0]) for name in np.ravel(stored["video_names"])]
        given = np.asarray(stored["Splits"], np.float64)
        pairs, three, count = given.shape
        if three != 3 or not (given == np.round(given)).all() or np.abs(given).max(initial=0) > len(names):
            raise ValueError("Splits holds other than whole numbers to that of the videos")
    except Exception as error:  # whatever a damaged file makes the reader stumble over
        raise InputError(f"{place}: no YTF splits ({one_line(error)}); use another copy of "
                         "meta_and_splits.mat") from None
    splits = given.astype(np.int64)
    table = np.empty((pairs * count, 4), np.int64)
    table[:, 0] = np.repeat(np.arange(count), pairs)
    table[:, 1:] = splits.transpose(2, 0, 1).reshape(-1, three)
    table[:, 1:3] -= 1
    if table[:, 1:3].min() < 0 or table[:, 1:3].max() >= len(names):
        raise InputError(f"{place}: a pair names a video outside 1..{len(names)}; use another copy")
    return names, table


def _from_text(place: Path) -> Tuple[List[str], np.ndarray]:
    numbers: Dict[str, int] = {}
    table = []
    for line, text in iterate_lines(place, "use another copy of splits.txt"):
        parts = [part.strip() for part in text.split(",")]
        if not text.strip() or (line == 1 and not is_whole(parts[0])):
            continue
        if len(parts) < 5 or not is_whole(parts[0]) or parts[4] not in ("0", "1"):
            raise InputError(f"{place}: line {line}: expected 'split, pair, video, video, 0 or 1', found {shown(text)}")
        first, second = (numbers.setdefault(listed_path(name, f"{place}: line {line}"), len(numbers))
                         for name in parts[2:4])
        table.append((whole_number(parts[0], f"{place}: line {line}"), first, second, int(parts[4])))
    if not table:
        raise InputError(f"{place}: no pair in it; use another copy")
    return list(numbers), np.array(table, np.int64)


_MOST_MAT = 1 << 26  # bytes; YTF's has 1 MB
VARIANTS = ("centre", "facenet")
FACENET_FRAMES = 100


def centre_features(frames: np.ndarray) -> np.ndarray:
    """The paper's video feature: the mean of (n, d) frame embeddings, L2-normalised, float64 (d,)."""
    return normalise(np.mean(frames, axis=0, dtype=np.float64)[None])[0]


def facenet_features(frames: np.ndarray) -> np.ndarray:
    """Mean of the first 100 unit frame embeddings and, behind it, of their squared norms: float64 (d + 1,)."""
    unit = normalise(np.asarray(frames[:FACENET_FRAMES], np.float64))
    return np.append(unit.mean(axis=0), np.einsum("ij,ij->", unit, unit) / len(unit))


def evaluate_videos(features: np.ndarray, pairs: VideoPairs, variant: str = "centre") -> PairResult:
    """All figures of (videos, d) features made by `centre_features` or `facenet_features`, per `variant`."""
    left, right = features[pairs.pairs[:, 0]], features[pairs.pairs[:, 1]]
    if variant == "centre":
        distances = squared_distances(left, right)
    else:
        distances = left[:, -1] + right[:, -1] - 2 * np.einsum("ij,ij->i", left[:, :-1], right[:, :-1])
    return evaluate_distances(np.clip(distances, 0, 4), pairs.same, folds=pairs.splits)


def features_from_rows(features: np.ndarray, ids: Sequence[str], videos: Sequence[str], variant: str) -> np.ndarray:
    """Video features from saved frame embeddings, whose ids are VIDEO/FRAME (as recognition/extract.py names them).

    Frames count in the order of their names. Raises InputError for videos that have none.
    """
    rows: Dict[str, List[int]] = {}
    for row in sorted(range(len(ids)), key=lambda number: ids[number]):
        rows.setdefault(ids[row].rpartition("/")[0], []).append(row)
    _all_there([name for name in videos if name not in rows], len(videos), "in the ids")
    made = centre_features if variant == "centre" else facenet_features
    return np.stack([made(features[rows[name]]) for name in videos])


def features_from_frames(root: str, videos: Sequence[str], embed: Callable[[np.ndarray], np.ndarray],
                         size: Optional[Tuple[int, int]], variant: str) -> np.ndarray:
    """Video features from folders ROOT/VIDEO of frames, one video in memory at a time."""
    _all_there([name for name in videos if not (Path(root) / name).is_dir()], len(videos), f"in {root}")
    made = centre_features if variant == "centre" else facenet_features
    features = []
    for name in progress(videos, label="videos", unit="videos"):
        blocks = []
        for block in decoded_blocks(folder_source(Path(root) / name), 0, Preparing(size), BLOCK):
            if block.images is not None:
                blocks.append(embed(block.images))
            if variant == "facenet" and sum(map(len, blocks)) >= FACENET_FRAMES:
                break
        if not blocks:
            raise InputError(f"{Path(root) / name}: no frame can be read; copy the folder again")
        features.append(made(np.concatenate(blocks)))
    return np.stack(features)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """The command."""
    run(build_parser().parse_args(argv))


def run(options: argparse.Namespace) -> None:
    """Evaluate a checkpoint on frame folders, or saved frame embeddings."""
    pairs = read_splits(options.splits)
    if options.model:
        if not options.frames:
            raise InputError("--model needs --frames DIR, the folder of PERSON/NUMBER/*.jpg")
        embedder = embedder_of(options)
        features = features_from_frames(options.frames, pairs.videos,
                                        lambda images: embedder.embed(images, options.flip),
                                        options.size, options.variant)
    else:
        if not options.ids:
            raise InputError("--features needs --ids FILE with PERSON/NUMBER/FRAME a line")
        rows = load_features(options.features)
        features = features_from_rows(rows, read_ids(options.ids, len(rows)), pairs.videos, options.variant)
    result = evaluate_videos(features, pairs, options.variant)
    flip = options.flip if options.model else "as in the saved features"
    about = About("ytf", f"{options.variant}, {pairs.splits} splits, flip {flip}", source_hashes(options),
                  file_hashes([options.splits, *([] if options.model else [options.ids])]),
                  {"videos": len(pairs.videos)})
    sys.stdout.write(f"ytf ({options.variant}): accuracy {result.accuracy:.5f} +- {result.std:.5f}, "
                     f"AUC {result.auc:.5f}, {result.pairs} pairs\n")
    as_published = options.variant == VARIANTS[0] and result.pairs == TEST_SETS["ytf"].pairs
    entry = pair_entry("ytf", result, about, {"variant": options.variant}, as_published)
    sys.stdout.write(f"{write_results(options.out, {'ytf': entry})}\n")


def build_parser() -> Parser:
    """The command line."""
    flags = parser("Accuracy on YouTube Faces video pairs.",
                   "python evaluation/video.py --model models/model,0 --frames YTF/aligned --splits "
                   "YTF/meta_and_splits.mat --out results/ytf")
    add_model_flags(flags, "frame embeddings (n, d); with --ids")
    flags.add_argument("--ids", metavar="FILE", help="PERSON/NUMBER/FRAME of each row of --features")
    flags.add_argument("--frames", metavar="DIR", help="folder of PERSON/NUMBER/*.jpg, aligned")
    flags.add_argument("--splits", required=True, metavar="FILE", help="meta_and_splits.mat or splits.txt")
    flags.add_argument("--variant", default="centre", choices=VARIANTS, help="the paper's centre, or FaceNet's pairs")
    add_flip_flag(flags)
    add_size_flag(flags)
    add_out_flag(flags)
    return flags


def _all_there(missing: Sequence[str], wanted: int, where: str) -> None:
    if missing:
        raise InputError(f"{len(missing)} of {wanted} videos are not {where}, the first: {missing[0]}; "
                         "give the whole set as PERSON/NUMBER")


if __name__ == "__main__":
    run_command(main)
