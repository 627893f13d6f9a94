"""What raw pixels and a principal component analysis reach on verification packs: the floor a network must clear."""
import sys
from pathlib import Path
from typing import Callable, Dict, Optional, Sequence

from arcface_mxnet.datasets.pairs import decode, read_pack
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.evaluation.verification import evaluate_pack
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, run_command
from arcface_mxnet.runtime.files import write_json

import cv2
import numpy as np
from sklearn.decomposition import PCA

SIDE = 28  # pixels across and down after averaging: PCA's input
COMPONENTS = 128
TRAINING_IMAGES = 4000

Embed = Callable[[np.ndarray], np.ndarray]


def raw_pixels(images: np.ndarray) -> np.ndarray:
    """The pixels themselves, each image with its mean removed: uint8 (n, 3, h, w) -> float32 (n, 3 * h * w)."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    return flat - flat.mean(axis=1, keepdims=True)


def small_grey(images: np.ndarray) -> np.ndarray:
    """uint8 (n, 3, h, w) RGB -> float32 (n, SIDE * SIDE): area averages of the colours, contrast normalised."""
    planes = images.astype(np.float32).transpose(0, 2, 3, 1)
    small = np.stack([cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in planes])
    flat = small.reshape(len(small), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / (flat.std(axis=1, keepdims=True) + 1e-6)


def fit_pca(images: np.ndarray, components: int = COMPONENTS, seed: int = 0) -> Embed:
    """An embedding by whitened principal components of training images uint8 (n, 3, h, w)."""
    fitted = PCA(n_components=min(components, len(images)), whiten=True, random_state=seed).fit(small_grey(images))
    return lambda given: fitted.transform(small_grey(given)).astype(np.float32)


def training_images(folder: str, count: int = TRAINING_IMAGES) -> np.ndarray:
    """Every n-th image of the record set in a folder, at most `count`: uint8 (n, 3, h, w) RGB."""
    with RecordSet.open(folder) as records:
        keys = records.keys[::max(1, len(records.keys) // count)][:count]
        return decode([records.read(int(key))[1] for key in keys])


def measure(folder: str, targets: Sequence[str]) -> Dict[str, Dict[str, float]]:
    """Ten-fold accuracy of both baselines on each pack of the folder: {target: {"raw pixels": a, "PCA": b}}.

    PCA is fitted on the folder's training set. Raises InputError when a pack or the set is missing.
    """
    embeddings: Dict[str, Embed] = {"raw pixels": raw_pixels, "PCA": fit_pca(training_images(folder))}
    figures: Dict[str, Dict[str, float]] = {}
    for target in targets:
        path = Path(folder) / f"{target}.bin"
        if not path.exists():
            raise InputError(f"{path}: not found; make it with `python datasets/prepare.py synthetic`")
        pack = read_pack(path)
        figures[target] = {name: evaluate_pack(embed, pack).accuracy for name, embed in embeddings.items()}
    return figures


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description=__doc__, epilog="example:\n  python evaluation/baselines.py --data-dir data/synthetic")
    parser.add_argument("--data-dir", required=True, help="folder with train.rec and the .bin packs")
    parser.add_argument("--target", default="lfw,cfp_fp,agedb_30", help="packs, separated by commas")
    parser.add_argument("--out", help="write the figures to this JSON file")
    return parser


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Print the accuracies, and write them as JSON with --out."""
    given = build_parser().parse_args(argv)
    figures = measure(given.data_dir, given.target.split(","))
    for target, reached in figures.items():
        sys.stdout.write(f"{target}: " + ", ".join(f"{name} {value:.4f}" for name, value in reached.items()) + "\n")
    if given.out:
        write_json(given.out, figures)


if __name__ == "__main__":
    run_command(main)
