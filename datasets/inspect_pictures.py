"""What a set looks like: a contact sheet, a histogram, and whether the colours are the right way round."""
from pathlib import Path
from typing import List, NamedTuple, Sequence

from arcface_mxnet.datasets.images import encode_jpeg
from arcface_mxnet.runtime.files import atomic_open, atomic_path

import cv2
import matplotlib
import numpy as np

TILE = 112


class Colours(NamedTuple):
    """Shares of the pictures looked at: grey ones, and among the coloured ones those redder than blue in the middle."""

    grey: float
    redder: float

    @property
    def verdict(self) -> str:
        """In words: skin of any tone reflects more red than blue light, so swapped channels show."""
        if self.grey > 0.99:
            return "grey"
        if self.redder < 0.5:
            return f"SWAPPED? (BGR for RGB: only {self.redder:.0%} of the pictures are redder than blue in the middle)"
        return f"right way round ({self.redder:.0%} of the coloured pictures are redder than blue in the middle)"


def colours(pictures: Sequence[np.ndarray]) -> Colours:
    """Look at the middle quarter of BGR uint8 (h, w, 3) pictures."""
    means = np.array([_middle(picture).reshape(-1, 3).mean(axis=0) for picture in pictures])
    grey = np.ptp(means, axis=1) < 0.5
    coloured = means[~grey]
    redder = float((coloured[:, 2] > coloured[:, 0]).mean()) if len(coloured) else 1.0
    return Colours(float(grey.mean()), redder)


def _middle(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    return picture[height // 4:height - height // 4, width // 4:width - width // 4]


def write_contact_sheet(path: Path, rows: Sequence[Sequence[np.ndarray]]) -> None:
    """BGR pictures as a JPEG: a row for each identity, all tiles 112x112, missing ones black."""
    widest = max(len(row) for row in rows)
    blank = np.zeros((TILE, TILE, 3), dtype=np.uint8)
    lines: List[np.ndarray] = []
    for row in rows:
        tiles = [cv2.resize(picture, (TILE, TILE), interpolation=cv2.INTER_AREA) for picture in row]
        lines.append(np.hstack(tiles + [blank] * (widest - len(tiles))))
    with atomic_open(path) as stream:
        stream.write(encode_jpeg(np.vstack(lines), 90))


def write_histogram(path: Path, counts: np.ndarray) -> None:
    """Images per identity (int (identities,)) as a PNG, both axes logarithmic where the counts spread."""
    matplotlib.use("Agg")
    from matplotlib import pyplot  # after the choice of a backend that needs no screen
    figure, axes = pyplot.subplots(figsize=(7, 4))
    spread = counts.max() > 20 * max(1, counts.min())
    bins = np.unique(np.geomspace(counts.min(), counts.max() + 1, 40).astype(int)) if spread else \
        np.arange(counts.min(), counts.max() + 2) - 0.5
    axes.hist(counts, bins=bins.tolist(), color="#3b6ea5")
    if spread:
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_xlabel("images of an identity")
    axes.set_ylabel("identities")
    axes.set_title(f"{counts.size:,} identities, {counts.sum():,} images, median {np.median(counts):g}")
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    pyplot.close(figure)
