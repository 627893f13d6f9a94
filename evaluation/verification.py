"""LFW, CFP-FF/FP, AgeDB-30, CALFW, CPLFW, VGG2-FP: a network on a .bin pack, pictures decoded as they are needed."""
from typing import Callable

import numpy as np
from datasets.pairs import PairPack, decode

from evaluation.embedder import FLIPS
from evaluation.pairs import FOLDS, PairResult, evaluate_pairs
from runtime.errors import unknown

Embed = Callable[[np.ndarray], np.ndarray]
DECODE_AT_ONCE = 256


def evaluate_pack(embed: Embed, pack: PairPack, flip: str = "sum", folds: int = FOLDS) -> PairResult:
    """The figures of a pack under `embed`: uint8 (n, 3, h, w) RGB to raw float32 (n, d).

    Images are decoded 256 at a time, whatever the size of the pack. `flip`: "sum" adds the embedding of the mirror
    image (the published figures), "concatenate" puts it behind, "none" leaves it out. XNorm is the mean norm of the raw
    embeddings of all passes (original_mxnet_facts.md, section 5).
    """
    if flip not in FLIPS:
        raise unknown("flip", flip, FLIPS)
    blocks, norms = [], []
    for start in range(0, len(pack.images), DECODE_AT_ONCE):
        images = decode(pack.images[start:start + DECODE_AT_ONCE])
        passes = [embed(images).astype(np.float64)]
        if flip != "none":
            passes.append(embed(np.ascontiguousarray(images[..., ::-1])).astype(np.float64))
        norms.extend(np.linalg.norm(rows, axis=1) for rows in passes)
        blocks.append(np.concatenate(passes, axis=1) if flip == "concatenate" else sum(passes[1:], passes[0]))
    return evaluate_pairs(np.concatenate(blocks), pack.same, float(np.mean(np.concatenate(norms))), folds)
