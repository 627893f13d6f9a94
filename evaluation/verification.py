"""LFW, CFP-FF/FP, AgeDB-30, CALFW, CPLFW, VGG2-FP: a network on a .bin pack, pictures decoded as they are needed."""
import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from arcface_mxnet.datasets import manifest
from arcface_mxnet.datasets.pair_folds import check_pack
from arcface_mxnet.datasets.pairs import PairPack, decode, read_pack
from arcface_mxnet.evaluation.command import (
    add_flip_flag,
    add_model_flags,
    add_out_flag,
    embedder_of,
    load_features,
    parser,
    source_hashes,
)
from arcface_mxnet.evaluation.embedder import FLIPS, Embedder
from arcface_mxnet.evaluation.pairs import FOLDS, PairResult, evaluate_pairs
from arcface_mxnet.evaluation.report import pair_entry
from arcface_mxnet.evaluation.results import About, Entry, bootstrap_accuracy, file_hashes, mcnemar, write_results
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, notice, run_command, unknown
from arcface_mxnet.runtime.locks import claimed
from arcface_mxnet.runtime.progress import bar

import numpy as np

Embed = Callable[[np.ndarray], np.ndarray]
DECODE_AT_ONCE = 256
USUAL_SIDES = (112, 128, 160, 224, 100, 96, 64, 32)  # pixels; the first that a network takes is named


def evaluate_pack(embed: Embed, pack: PairPack, flip: str = "sum", folds: int = FOLDS,
                  deal: bool = False) -> PairResult:
    """The figures of a pack under `embed`: uint8 (n, 3, h, w) RGB to raw float32 (n, d).

    Images are decoded 256 at a time, whatever the size of the pack, and one that repeats is embedded once. `flip`:
    "sum" adds the embedding of the mirror image (the published figures), "concatenate" puts it behind, "none" leaves it
    out. XNorm is the mean norm of the raw embeddings of all passes (docs/original.md, section 5.1). `deal`: see
    evaluate_pairs.
    """
    if flip not in FLIPS:
        raise unknown("flip", flip, FLIPS)
    blocks: List[np.ndarray] = []
    norms: List[np.ndarray] = []
    positions, which = pack.distinct()
    for images in pack.decoded(DECODE_AT_ONCE, positions):
        passes = [embed(images).astype(np.float64)]
        if flip != "none":
            passes.append(embed(np.ascontiguousarray(images[..., ::-1])).astype(np.float64))
        norms.append(np.mean([np.linalg.norm(rows, axis=1) for rows in passes], axis=0))
        blocks.append(np.concatenate(passes, axis=1) if flip == "concatenate" else sum(passes[1:], passes[0]))
    xnorm = float(np.mean(np.concatenate(norms)[which]))
    return evaluate_pairs(np.concatenate(blocks)[which], pack.same, xnorm, folds, deal)


def pack_path(folder: str, target: str) -> Path:
    """DIR/TARGET.bin; raises InputError, with the packs that are there, when it is not."""
    path = Path(folder) / f"{target}.bin"
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in Path(folder).glob("*.bin"))) if Path(folder).is_dir() else ""
        raise InputError(f"{path}: not found; " + (f"--target can be {there}" if there else
                                                   "give the folder of the .bin packs with --data-dir"))
    return path


def evaluate_target(options: argparse.Namespace, pack: PairPack,
                    embedder: Optional[Embedder]) -> PairResult:
    """The figures of one pack, by a network or from saved features in the order of the pack's images."""
    if embedder is not None:
        return _with_progress(embedder, pack, options)
    features = load_features(options.features, rows=len(pack.images))
    return evaluate_pairs(features, pack.same, float(np.mean(np.linalg.norm(features, axis=1))), options.folds,
                          options.deal)


def _with_progress(embedder: Embedder, pack: PairPack, options: argparse.Namespace) -> PairResult:
    shown = bar(len(pack.distinct()[0]) * (1 if options.flip == "none" else 2), pack.name)

    def counted(images: np.ndarray) -> np.ndarray:
        rows = embedder.embed(images)
        shown.update(len(images))
        return rows

    try:
        return evaluate_pack(counted, pack, options.flip, options.folds, options.deal)
    finally:
        shown.close()


def open_packs(options: argparse.Namespace, targets: Sequence[str], embedders: Sequence[Embedder]) -> None:
    """Open every pack once and check it, before the first image is embedded; what must be known of one is a notice.

    Raises InputError naming the pack that has pairs of one kind, too few of them, or pictures the networks do not take.
    """
    for target in targets:
        path = pack_path(options.data_dir, target)
        pack = read_pack(path)
        for told in check_pack(pack, path, options.folds):
            notice(told)
        first = decode(pack.images[:1], str(path))
        for embedder in embedders:
            _require_size(embedder, first, path)
        if not embedders:
            load_features(options.features, rows=len(pack.images))


def _require_size(embedder: Embedder, first: np.ndarray, path: Path) -> None:
    """Raise InputError naming the pack, its size and the networks' where they do not take its first picture."""
    def takes(image: np.ndarray) -> bool:
        try:
            return bool(len(embedder.embed(image)))
        except InputError:
            return False

    if not takes(first):
        sides = [side for side in USUAL_SIDES if takes(np.zeros((1, 3, side, side), np.uint8))]
        wanted = f"{sides[0]}x{sides[0]}" if sides else "another size"
        crops = f"{wanted} crops" if sides else "crops as it was trained on"
        raise InputError(f"{path}: holds {first.shape[2]}x{first.shape[3]} pictures, the network takes {wanted}; make "
                         f"the pack again from {crops}")


def target_entry(options: argparse.Namespace, target: str, embedder: Optional[Embedder],
                 other: Optional[Embedder]) -> Tuple[PairResult, Entry]:
    """Evaluate one target and describe it."""
    path = pack_path(options.data_dir, target)
    pack = read_pack(path)
    result = evaluate_target(options, pack, embedder)
    extra: Dict[str, Any] = {}
    if options.bootstrap:
        extra["interval_95"] = bootstrap_accuracy(result.distances, result.same, options.folds, options.bootstrap,
                                                  seed=options.seed)
    if other is not None:
        rival = _with_progress(other, pack, options)
        extra["against"] = {"model": options.against, "accuracy": rival.accuracy,
                            **asdict(mcnemar(result.correct, rival.correct))}
    flip = options.flip if options.model else "as in the saved features"
    order = "with the kinds dealt" if options.deal else "in file order"
    about = About("pairs", f"{options.folds} folds {order}, thresholds 0 to 3.99 step 0.01, flip {flip}",
                  source_hashes(options), file_hashes([path]),
                  {"genuine": int(result.same.sum()), **(embedder.about() if embedder else {})})
    return result, pair_entry(target, result, about, extra, manifest.published_pack(path, len(pack)))


def build_parser() -> Parser:
    """The command line."""
    flags = parser("Accuracy of a face embedding on image pairs (.bin packs).",
                   "python evaluation/verification.py --model models/model,0 --data-dir faces_emore "
                   "--target lfw,cfp_fp,agedb_30 --out results/pairs")
    add_model_flags(flags, "embeddings (2 P, d) in the order of the pack's images, for one --target")
    flags.add_argument("--data-dir", required=True, metavar="DIR", help="folder of the .bin packs")
    flags.add_argument("--target", default="lfw,cfp_fp,agedb_30", help="names of packs, without .bin")
    add_flip_flag(flags)
    flags.add_argument("--folds", type=int, default=FOLDS, help="contiguous folds (default 10)")
    flags.add_argument("--deal", action="store_true", help="deal genuine and impostor pairs evenly into the folds")
    flags.add_argument("--against", metavar="PREFIX,EPOCH", help="another model on the same pairs: McNemar's test")
    flags.add_argument("--bootstrap", type=int, default=1000, metavar="N", help="replicates of the interval (0: none)")
    flags.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    add_out_flag(flags)
    return flags


def main(argv: Optional[Sequence[str]] = None) -> None:
    """The command."""
    run(build_parser().parse_args(argv))


def run(options: argparse.Namespace) -> None:
    """Evaluate a checkpoint, or saved features, on pair packs."""
    targets = [name.strip() for name in options.target.split(",") if name.strip()]
    for target in targets:
        pack_path(options.data_dir, target)
    checked = manifest.check(options.data_dir, [f"{target}.bin" for target in targets])
    if checked:
        sys.stdout.write(f"data manifest {checked}\n")
    embedder = embedder_of(options) if options.model else None
    other = embedder_of(options, options.against) if options.against else None
    open_packs(options, targets, [one for one in (embedder, other) if one is not None])
    entries = {}
    with claimed(options.out):
        for target in targets:
            result, entries[target] = target_entry(options, target, embedder, other)
            sys.stdout.write(f"{target}: accuracy {result.accuracy:.5f} +- {result.std:.5f}, AUC {result.auc:.5f}, "
                             f"XNorm {result.xnorm:.3f}, {result.pairs} pairs\n")
            written = write_results(options.out, entries)  # after each: a pack that fails later takes none away
    sys.stdout.write(f"{written}\n")


if __name__ == "__main__":
    run_command(main)
