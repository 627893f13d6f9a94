"""Sub-centre ArcFace (L7): K centres an identity, the nearest counts; its drop step is `recognition.drop`."""
from typing import Any

from arcface_mxnet.recognition.losses.arcface import check_margins, margin_logits
from arcface_mxnet.recognition.losses.common import centre_variable, classification_head, cosine_logits, label_variable
from arcface_mxnet.recognition.losses.head import Head, LossSettings, Sizes, register
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.mx import mx

import numpy as np


@register("subcentre")
def subcentre(embedding: Any, settings: LossSettings, sizes: Sizes) -> Head:
    """Margin softmax over the maximum of K cosines; fc7_weight is (C * K, E), the K rows of an identity adjacent."""
    check_margins(settings)
    count = settings.loss_K
    if count < 1:
        raise InputError(f"loss_K {count}: an identity needs at least 1 centre")
    label = label_variable()
    every = cosine_logits(embedding, centre_variable(settings, sizes, count), settings.loss_s, sizes.classes * count)
    nearest = mx.sym.max(mx.sym.reshape(every, shape=(-1, sizes.classes, count)), axis=2)
    logits, statistics = margin_logits(nearest, label, settings, sizes)
    return classification_head(embedding, logits, label, settings, statistics)


def images_near_dominant(embeddings: np.ndarray, labels: np.ndarray, centres: np.ndarray, count: int,
                         degrees: float = 75.0) -> np.ndarray:
    """Which images the drop step keeps: (n,) bool.

    embeddings: (n, E); labels: (n,) int; centres: (C * count, E), the `count` centres of an identity adjacent. Each
    image belongs to its nearest sub-centre of its identity; the dominant one has the most images (the first of equal
    ones); an image is kept when its angle to the dominant one is below `degrees` (docs/original.md, section 3.8).
    """
    if len(centres) % count:
        raise InputError(f"{len(centres)} centres are not {count} for each identity; give the loss_K of the run")
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    per_class = centres.reshape(-1, count, centres.shape[1])
    kept = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        own = per_class[label] / np.maximum(np.linalg.norm(per_class[label], axis=1, keepdims=True), 1e-12)
        cosine = unit[mine] @ own.T
        dominant = np.bincount(cosine.argmax(axis=1), minlength=count).argmax()
        kept[mine] = cosine[:, dominant] > np.cos(np.radians(degrees))
    return kept
