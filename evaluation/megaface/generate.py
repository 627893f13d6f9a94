"""Feature trees of both image sets for the devkit, with the authors' flags (docs/original.md, section 6.1).

Feature = L2-normalised sum of the embeddings of image and mirror image; with several models each row is normalised, the
rows are joined and normalised again. Unreadable images are reported and left out. A stopped run goes on.
"""
import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence

from arcface_mxnet.engines.base import place
from arcface_mxnet.evaluation.command import model_hashes, parser
from arcface_mxnet.evaluation.embedder import Embedder
from arcface_mxnet.evaluation.extraction import EMBEDDINGS_FILE, extract
from arcface_mxnet.evaluation.features import normalise
from arcface_mxnet.evaluation.megaface.devkit_files import read_paths, write_tree
from arcface_mxnet.evaluation.sources import FileSource
from arcface_mxnet.runtime.errors import InputError, run_command

import numpy as np

_ROWS_AT_ONCE = 50_000


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Write OUTPUT/facescrub and OUTPUT/megaface."""
    options = _flags().parse_args(argv)
    shape = options.image_size.split(",")
    if len(shape) != 3 or not all(part.isdigit() and int(part) for part in shape):
        raise InputError(f"--image-size {options.image_size}: expected CHANNELS,HEIGHT,WIDTH, for example 3,112,112")
    embedder = Embedder.load(options.model, place(None, options.gpu), options.batch_size)
    for kind in ("facescrub", "megaface"):
        root, listed = getattr(options, f"{kind}_root"), getattr(options, f"{kind}_lst")
        names = read_paths(listed)
        arrays = Path(options.output) / "arrays" / kind
        done = extract(FileSource(root, Path(root), names), lambda images: embedder.embed(images, "sum"), arrays,
                       {"model": model_hashes(options.model)}, (int(shape[1]), int(shape[2])))
        for _, name, reason in done.unreadable:
            sys.stdout.write(f"read error: {name} ({reason})\n")
        _write(np.load(arrays / EMBEDDINGS_FILE, mmap_mode="r"), names, Path(options.output) / kind,
               f"_{options.algo}.bin")
        sys.stdout.write(f"{Path(options.output) / kind}: {len(names) - len(done.unreadable)} features\n")


def _write(features: np.ndarray, names: Sequence[str], folder: Path, ending: str) -> None:
    for start in range(0, len(names), _ROWS_AT_ONCE):
        block = np.array(features[start:start + _ROWS_AT_ONCE], np.float32)
        read = np.flatnonzero(np.isfinite(block).all(axis=1))
        write_tree(folder, [names[start + row] for row in read], ending, normalise(block[read], copy=False))


def _flags() -> argparse.ArgumentParser:
    flags = parser("Write devkit features of the FaceScrub and MegaFace images.",
                   "python evaluation/megaface/generate.py --model models/model-r100-ii/model,0 --facescrub-root "
                   "data/facescrub_images --megaface-root data/megaface_images --output feature_out")
    flags.add_argument("--model", required=True, metavar="PREFIX,EPOCH", help="several joined by | are concatenated")
    flags.add_argument("--batch_size", "--batch-size", dest="batch_size", type=int, default=8)
    flags.add_argument("--image_size", "--image-size", dest="image_size", default="3,112,112", metavar="C,H,W")
    flags.add_argument("--gpu", help="0,1,... or cpu (default: every GPU, else the CPU)")
    flags.add_argument("--algo", default="insightface", help="features are FILE_ALGO.bin (default insightface)")
    for kind in ("facescrub", "megaface"):
        flags.add_argument(f"--{kind}-lst", default=f"data/{kind}_lst", metavar="FILE", help="one path a line")
        flags.add_argument(f"--{kind}-root", default=f"data/{kind}_images", metavar="DIR", help="aligned images")
    flags.add_argument("--output", default="feature_out", metavar="DIR")
    return flags


if __name__ == "__main__":
    run_command(main)
