"""Figure 3, trained here: 8 identities of the built-in faces, about 1,500 images each, two-dimensional embeddings."""
import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

from arcface_mxnet.datasets.images import decode_rgb
from arcface_mxnet.datasets.synthetic import people
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.params_file import Arrays
from arcface_mxnet.recognition.losses import LossSettings, attach
from arcface_mxnet.runtime.arrays import load_arrays
from arcface_mxnet.runtime.files import atomic_path
from arcface_mxnet.runtime.progress import bar, progress

import cv2
import numpy as np

SIDE = 32
TOY_LOSSES = {
    "Softmax": LossSettings("softmax", fc7_no_bias=True, source="ArcFace L1"),
    "ArcFace": LossSettings(loss_s=16.0, loss_m2=0.5, source="ArcFace L3"),
}


@dataclass(frozen=True)
class Toy:
    """How the toy is trained; the sizes are the paper's, the rest is ours (the paper gives none)."""

    identities: int = 8
    images: int = 1500
    batch: int = 120
    epochs: int = 16
    rate: float = 0.05
    margin_rate: float = 0.01
    seed: int = 3


@dataclass(frozen=True)
class Trained:
    """Embeddings (n, 2) of all images, labels (n,), centres (C, 2) and the share the nearest centre gets right."""

    embeddings: np.ndarray
    labels: np.ndarray
    centres: np.ndarray
    accuracy: float


def toy_images(toy: Toy, work: Path) -> Tuple[np.ndarray, np.ndarray]:
    """Images uint8 (n, 3, 32, 32) RGB and labels (n,), drawn once and kept in `work`."""
    kept = work / f"fig3-{toy.identities}x{toy.images}-{toy.seed}.npz"
    if not kept.exists():
        small = []
        drawn = people("train", toy.identities, toy.images, toy.seed)
        for sitting in progress(drawn, toy.identities, "drawing faces of figure 3", "identities"):
            small += [cv2.resize(decode_rgb(image), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
                      for image in sitting.images]
        work.mkdir(parents=True, exist_ok=True)
        with atomic_path(kept) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(stream, images=np.stack(small).transpose(0, 3, 1, 2))
    stored = load_arrays(kept, "remove it: it is made again")
    return stored["images"], np.repeat(np.arange(toy.identities), toy.images)


def toy_network() -> Any:
    """Three convolutions and a dense layer to two numbers: symbol with input `data` (B, 3, 32, 32)."""
    layer = (sym.Variable("data") - 127.5) * 0.0078125
    for number, filters in enumerate((16, 32, 64)):
        layer = sym.Convolution(layer, kernel=(3, 3), pad=(1, 1), num_filter=filters, no_bias=True,
                                   name=f"conv{number}")
        layer = sym.Activation(sym.BatchNorm(layer, fix_gamma=False, name=f"bn{number}"), act_type="relu")
        layer = sym.Pooling(layer, kernel=(2, 2), stride=(2, 2), pool_type="max")
    hidden = sym.FullyConnected(layer, num_hidden=64, name="hidden")
    hidden = sym.Activation(sym.BatchNorm(hidden, fix_gamma=False, name="bn_hidden"), act_type="relu")
    return sym.FullyConnected(hidden, num_hidden=2, no_bias=True, name="fc1")


def trained_toy(toy: Toy, work: Path) -> Dict[str, Trained]:
    """What `train_both` gives for a toy's images; trained once and kept in `work`."""
    told = json.dumps([dataclasses.asdict(toy), {name: dataclasses.asdict(loss) for name, loss in TOY_LOSSES.items()}],
                      sort_keys=True)
    kept = work / f"fig3-trained-{hashlib.sha256(told.encode('utf-8')).hexdigest()[:8]}.npz"
    if not kept.exists():
        arrays = {f"{loss}/{key}": value for loss, trained in train_both(toy, *toy_images(toy, work)).items()
                  for key, value in dataclasses.asdict(trained).items()}
        with atomic_path(kept) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(stream, **arrays)
    stored = load_arrays(kept, "remove it: it is made again")
    return {loss: Trained(stored[f"{loss}/embeddings"], stored[f"{loss}/labels"], stored[f"{loss}/centres"],
                          float(stored[f"{loss}/accuracy"])) for loss in TOY_LOSSES}


def train_both(toy: Toy, images: np.ndarray, labels: np.ndarray) -> Dict[str, Trained]:
    """Softmax, and ArcFace from the softmax network of half its epochs: the same number of steps for each.

    In two dimensions centres cannot pass one another, so ArcFace alone keeps whatever order chance gave them.
    """
    warm, rest = toy.epochs // 2, toy.epochs - toy.epochs // 2
    start = _fit(toy, "Softmax", images, labels, None, warm, toy.rate)
    trained = {}
    for loss in TOY_LOSSES:
        rate = toy.rate if loss == "Softmax" else toy.margin_rate
        trained[loss] = _embedded(_fit(toy, loss, images, labels, start.parameters(), rest, rate), images, labels)
    return trained


def _fit(toy: Toy, loss: str, images: np.ndarray, labels: np.ndarray, start: Optional[Tuple[Arrays, Arrays]],
         epochs: int, rate: float) -> Any:
    """Train the toy network by SGD (momentum 0.9, a tenth of the rate in the last third)."""
    from arcface_mxnet.engines.mxnet.classifier import Classifier, Schedule  # MXNet loads only where it is used

    np.random.seed(toy.seed)  # MXNet's initializers draw from NumPy's global generator
    rng = np.random.RandomState(toy.seed)
    head = attach(toy_network(), TOY_LOSSES[loss], toy.identities, toy.batch, 2)
    steps = len(labels) // toy.batch
    schedule = Schedule(rate, (max(1, epochs * steps * 2 // 3),), 0.9, 5e-4, toy.seed, repeated=True)
    classifier = Classifier(head.symbol, {"data": (toy.batch, 3, SIDE, SIDE)}, schedule,
                            {"rnd_type": "gaussian", "factor_type": "in", "magnitude": 2}, start)
    shown = bar(epochs * steps, f"figure 3, {loss}", "steps")
    for _ in range(epochs):
        order = rng.permutation(len(labels))[:steps * toy.batch].reshape(steps, toy.batch)
        classifier.train((images[rows], labels[rows]) for rows in order)
        shown.update(steps)
    shown.close()
    return classifier


def _embedded(classifier: Any, images: np.ndarray, labels: np.ndarray) -> Trained:
    embeddings, centres = classifier.outputs(images), classifier.parameters()[0]["fc7_weight"]
    return Trained(embeddings, labels, centres, float(np.mean(_nearest(embeddings, centres) == labels)))


def _nearest(embeddings: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The centre in the nearest direction of each embedding."""
    unit = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    return np.argmax(embeddings @ unit.T, axis=1)


def angles_to_centres(trained: Trained) -> Dict[str, float]:
    """Degrees: mean angle of images to their own centre, and the smallest angle between two centres."""
    unit = trained.centres / np.linalg.norm(trained.centres, axis=1, keepdims=True)
    rows = trained.embeddings / np.maximum(np.linalg.norm(trained.embeddings, axis=1, keepdims=True), 1e-12)
    own = np.degrees(np.arccos(np.clip((rows * unit[trained.labels]).sum(1), -1, 1)))
    between = np.degrees(np.arccos(np.clip(unit @ unit.T, -1, 1)))[np.triu_indices(len(unit), 1)]
    return {"mean angle to own centre": float(own.mean()), "smallest angle between centres": float(between.min()),
            "nearest centre right": trained.accuracy}
