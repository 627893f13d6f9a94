"""A bench for losses: bind a head in float64, run it, and differentiate an independent NumPy loss by differences."""
from typing import Callable, Dict, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.engines.mxnet.convert import loss_to_mxnet
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses import Head, LossSettings, attach

import numpy as np

Values = Dict[str, np.ndarray]


class Result(NamedTuple):
    outputs: Dict[str, np.ndarray]
    gradients: Values


def run(head: Head, values: Values, dtype: type = np.float64, wrt: Optional[Sequence[str]] = None) -> Result:
    """Forward and backward of a head: outputs by role, gradients by variable name."""
    names = head.symbol.list_arguments()
    arrays = {name: mx.nd.array(values[name], dtype=dtype) for name in names}
    wrt = [name for name in names if name not in head.states and not name.endswith("label")] if wrt is None else wrt
    gradients = {name: mx.nd.zeros(arrays[name].shape, dtype=dtype) for name in wrt}
    requests = {name: "write" if name in gradients else "null" for name in names}
    executor = loss_to_mxnet(head.symbol).bind(mx.cpu(), arrays, args_grad=gradients, grad_req=requests)
    outputs = executor.forward(is_train=True)
    executor.backward()
    return Result({role: out.asnumpy() for role, out in zip(head.roles, outputs)},
                  {name: gradient.asnumpy() for name, gradient in gradients.items()})


def differences(loss: Callable[[Values], float], values: Values, name: str, step: float = 1e-6) -> np.ndarray:
    """Central differences of a scalar NumPy function with respect to values[name], entry by entry."""
    gradient = np.zeros_like(values[name], dtype=np.float64)
    for index in np.ndindex(*gradient.shape):
        shifted = {key: np.array(value, dtype=np.float64) for key, value in values.items()}
        shifted[name][index] += step
        above = loss(shifted)
        shifted[name][index] -= 2 * step
        gradient[index] = (above - loss(shifted)) / (2 * step)
    return gradient


def unit(matrix: np.ndarray) -> np.ndarray:
    """Rows divided by their lengths."""
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _faces(labels: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """24 numbers an image: 4 tell the identity, 20 are louder and tell nothing."""
    directions = np.random.RandomState(11).randn(6, 4)
    return np.hstack([directions[labels] + 0.25 * rng.randn(len(labels), 4), 1.5 * rng.randn(len(labels), 20)])


def _labels(order: str, per_identity: int, images: int, rng: np.random.RandomState) -> np.ndarray:
    if order == "identity":
        return np.repeat(rng.permutation(6)[:images // per_identity], per_identity)
    if order == "triplet":
        anchors = rng.randint(0, 6, images // 3)
        return np.concatenate([anchors, anchors, (anchors + rng.randint(1, 6, images // 3)) % 6])
    return rng.randint(0, 6, images)


def _pair_accuracy(embeddings: np.ndarray, labels: np.ndarray) -> float:
    """Best accuracy of one cosine threshold on as many genuine as impostor pairs."""
    cosine = unit(embeddings) @ unit(embeddings).T
    above = np.triu_indices(len(labels), 1)
    same, cosine = (labels[:, None] == labels)[above], cosine[above]
    genuine, impostor = np.sort(cosine[same]), np.sort(cosine[~same])
    rates = [(np.mean(genuine > t) + np.mean(impostor <= t)) / 2 for t in np.linspace(-1, 1, 401)]
    return max(rates)


def separation(settings: LossSettings, steps: int = 200) -> Tuple[float, float]:
    """Pair accuracy on unseen images before and after a linear embedding is trained under a loss."""
    rng = np.random.RandomState(4)
    images = 24 if settings.triplet_bag_size else 4 * settings.images_per_identity
    mx.random.seed(4)
    embedding = sym.FullyConnected(sym.Variable("data"), num_hidden=8, no_bias=True, name="map") * 4.0
    head = attach(embedding, settings, 6, images, 8)
    executor = loss_to_mxnet(head.symbol).simple_bind(mx.cpu(), data=(images, 24), softmax_label=(images,))
    fed = ("data", "softmax_label", *head.inputs)
    trained = [n for n in executor.arg_dict if n not in head.states and n not in fed]
    for name in trained:
        executor.arg_dict[name][:] = rng.randn(*executor.arg_dict[name].shape) * 0.2
    for name, value in head.states.items():
        executor.arg_dict[name][:] = value
    test_labels = np.repeat(np.arange(6), 20)
    test_images = _faces(test_labels, np.random.RandomState(77))

    def accuracy() -> float:
        return _pair_accuracy(test_images @ executor.arg_dict["map_weight"].asnumpy().T, test_labels)

    before = accuracy()
    momentum = {name: mx.nd.zeros(executor.arg_dict[name].shape) for name in trained}
    for _ in range(steps):
        labels = _labels(head.order, head.images_per_identity, images, rng)
        executor.arg_dict["data"][:] = _faces(labels, rng)
        executor.arg_dict["softmax_label"][:] = labels
        for name in head.inputs:
            executor.arg_dict[name][:] = 20 + 10 * labels  # ages
        outputs = executor.forward(is_train=True)
        executor.backward()
        for name in trained:
            weight = executor.arg_dict[name]
            mx.nd.sgd_mom_update(weight, executor.grad_dict[name], momentum[name], out=weight, lr=0.02, momentum=0.9,
                                 wd=1e-3, clip_gradient=1.0)
        for name in head.states:
            executor.arg_dict[name][:] = outputs[head.roles.index(f"state:{name}")]
    return before, accuracy()
