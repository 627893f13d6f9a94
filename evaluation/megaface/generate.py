"""Feature trees of both image sets for the devkit, with the authors' flags (docs/original.md, section 6.1).

Feature = L2-normalised sum of the embeddings of image and mirror image; with several models each row is normalised, the
rows are joined and normalised again. Unreadable images are reported and left out. A stopped run goes on.
"""
import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence

from arcface_mxnet.evaluation.command import (
    MODEL_HELP,
    add_algorithm_flag,
    add_network_flags,
    add_size_flag,
    embedder_of,
    model_hashes,
    parser,
)
from arcface_mxnet.evaluation.extraction import EMBEDDINGS_FILE, extract
from arcface_mxnet.evaluation.features import normalise
from arcface_mxnet.evaluation.megaface.devkit_files import FEATURES, read_paths, write_tree
from arcface_mxnet.evaluation.sources import FileSource
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.arrays import load_array
from arcface_mxnet.runtime.errors import run_command
from arcface_mxnet.runtime.locks import claimed

import numpy as np

_ROWS_AT_ONCE = 50_000


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Write OUT/facescrub and OUT/megaface."""
    options = build_parser().parse_args(argv)
    with claimed(options.out):
        _generate(options)


def _generate(options: argparse.Namespace) -> None:
    embedder = embedder_of(options)
    for kind in ("facescrub", "megaface"):
        root, listed = getattr(options, f"{kind}_root"), getattr(options, f"{kind}_lst")
        names = read_paths(listed)
        arrays = Path(options.out) / "arrays" / kind
        done = extract(FileSource(root, Path(root), names), lambda images: embedder.embed(images, "sum"), arrays,
                       {"model": model_hashes(options.model)}, options.size, about=embedder.about)
        for _, name, reason in done.unreadable:
            sys.stdout.write(f"read error: {name} ({reason})\n")
        _write(load_array(arrays / EMBEDDINGS_FILE, "remove the folder and extract again"), names,
               Path(options.out) / kind,
               f"_{options.algorithm}.bin")
        sys.stdout.write(f"{Path(options.out) / kind}: {len(names) - len(done.unreadable)} features\n")


def _write(features: np.ndarray, names: Sequence[str], folder: Path, ending: str) -> None:
    for start in range(0, len(names), _ROWS_AT_ONCE):
        block = np.array(features[start:start + _ROWS_AT_ONCE], np.float32)
        read = np.flatnonzero(np.isfinite(block).all(axis=1))
        write_tree(folder, [names[start + row] for row in read], ending, normalise(block[read], copy=False))


def build_parser() -> Parser:
    """The command line."""
    flags = parser("Write devkit features of the FaceScrub and MegaFace images.",
                   "python evaluation/megaface/generate.py --model models/model-r100-ii/model,0 --facescrub-root "
                   "data/facescrub_images --megaface-root data/megaface_images --out feature_out")
    flags.add_argument("--model", required=True, metavar="PREFIX,EPOCH", help=MODEL_HELP)
    add_network_flags(flags)
    add_size_flag(flags)
    flags.renamed("--batch_size", to="--batch-size")
    flags.renamed("--image_size", to="--size")
    flags.renamed("--gpu", to="--gpus")
    add_algorithm_flag(flags)
    for kind in ("facescrub", "megaface"):
        flags.add_argument(f"--{kind}-lst", default=f"data/{kind}_lst", metavar="FILE", help="one path a line")
        flags.add_argument(f"--{kind}-root", default=f"data/{kind}_images", metavar="DIR", help="aligned images")
    flags.add_argument("--out", default=FEATURES, metavar="DIR", help=f"folder of the two trees (default {FEATURES})")
    flags.renamed("--output", to="--out")
    return flags


if __name__ == "__main__":
    run_command(main)
