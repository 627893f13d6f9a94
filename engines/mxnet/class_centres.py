"""Cosine softmax over some rows of the centres on one context, in pieces: one of them at a time needs scratch memory.

For features x (B, E) of length 1, centres W and r = 1 / |W| by row, the cosines are x W^T r: no normalised copy of W is
made. With G the gradient of the loss with respect to the cosines,

    dx = (G r) W,    dW_j = r_j sum_b G_bj x_b - r_j^2 (sum_b G_bj cos_bj) W_j.

Memory: weight, gradient, one block of cosines (B, rows), and scratch for one piece. The two products and their
gradients are one FullyConnected a piece; softmax of a piece is oneDNN's, so exp is never taken elementwise.
"""
from typing import Dict, List, Mapping, NamedTuple, Sequence

from arcface_mxnet.engines.mxnet.convert import put
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.engines.mxnet.optimizer import MomentumSGD
from arcface_mxnet.engines.sampling import split
from arcface_mxnet.graph.params_file import Arrays
from arcface_mxnet.runtime.errors import InputError

import numpy as np

PIECE = 16384  # rows of one piece: 32 MB of centres at E = 512; smaller ones wait for threads too often
_NORM_EPSILON = 1e-10  # L2Normalization's own, as in the plain head


class Summary(NamedTuple):
    """Of the logits of one block: log of the sum of exp, and the largest; both (B,)."""

    log_sum: "mx.nd.NDArray"
    largest: "mx.nd.NDArray"


class Targets(NamedTuple):
    """Images whose own class lies in one piece: `positions` (2, k) of their entries, `images` (k,) of the batch."""

    positions: "mx.nd.NDArray"
    images: "mx.nd.NDArray"


class ClassBlock:
    """`classes` identities of K centres each; `weight` and `gradient` are (classes * K, E) on `context`."""

    def __init__(self, weight: "mx.nd.NDArray", classes: int, batch: int, scale: float) -> None:
        self.weight, self.gradient = weight, mx.nd.zeros(weight.shape, ctx=weight.context)
        self.classes, self.per_class, self.batch, self.scale = classes, weight.shape[0] // classes, batch, scale
        self._size, self._context = weight.shape[1], weight.context
        self.features = mx.nd.zeros((batch, self._size), ctx=self._context)
        self.features_gradient = mx.nd.zeros_like(self.features)
        step = max(1, PIECE // self.per_class)
        self._bounds = [(first, min(first + step, classes)) for first in range(0, classes, step)]
        rows = min(step, classes) * self.per_class
        self._scratch = mx.nd.zeros((rows, self._size), ctx=self._context)
        self._ones_row = mx.nd.ones((1, self._size), ctx=self._context)
        self._ones_batch = mx.nd.ones((1, batch), ctx=self._context)
        self._pieces = [self._bind(first, last) for first, last in self._bounds]
        self._inverse: List[mx.nd.NDArray] = []
        self._targets: Dict[int, Targets] = {}
        self._summaries: List[Summary] = []

    def _bind(self, first: int, last: int) -> "mx.executor.Executor":
        rows = slice(first * self.per_class, last * self.per_class)
        product = mx.sym.FullyConnected(mx.sym.Variable("features"), weight=mx.sym.Variable("centres"), no_bias=True,
                                        num_hidden=(last - first) * self.per_class)
        return product.bind(self._context, {"features": self.features, "centres": self.weight[rows]},
                            args_grad={"features": self.features_gradient, "centres": self.gradient[rows]},
                            grad_req={"features": "add", "centres": "write"})

    def target_cosines(self, features: "mx.nd.NDArray", places: np.ndarray) -> "mx.nd.NDArray":
        """Take the features of the batch; the cosine of each with its own class, (B,), 0 where that is elsewhere.

        places: int (B,), where in this block the class of each image is, -1 for not here.
        """
        features.copyto(self.features)
        self._locate(places)
        rows = np.maximum(places, 0)[:, None] * self.per_class + np.arange(self.per_class)
        own = mx.nd.take(self.weight, mx.nd.array(rows, ctx=self._context, dtype="int64"))
        product = mx.nd.batch_dot(own, self.features.expand_dims(2)).reshape((self.batch, self.per_class))
        lengths = mx.nd.sqrt(mx.nd.sum(mx.nd.square(own), axis=2) + _NORM_EPSILON)
        here = mx.nd.array(places >= 0, ctx=self._context, dtype="float32")
        return mx.nd.max(product / lengths, axis=1) * here

    def summarise(self, target_logits: "mx.nd.NDArray") -> Summary:
        """Compute all cosines; `target_logits` (B,) stand at the images' own classes in place of s times theirs."""
        self._inverse, self._summaries = [], []
        for index, piece in enumerate(self._pieces):
            cosines = self._cosines(piece)
            logits = self._logits(index, cosines, target_logits)
            place = mx.nd.argmax(logits, axis=1)
            largest = mx.nd.pick(logits, place)
            share = mx.nd.pick(mx.nd.softmax(logits, out=logits), place)  # at least 1 / columns: a good logarithm
            self._summaries.append(Summary(largest - mx.nd.log(share), largest))
        return merge(self._summaries)

    def backward(self, log_sum: "mx.nd.NDArray", target_logits: "mx.nd.NDArray", target_gradient: "mx.nd.NDArray",
                 factor: float) -> "mx.nd.NDArray":
        """Fill `gradient`, return the gradient of the features (B, E).

        log_sum (B,): over all blocks. The gradient of a logit is factor * p; at the targets that of the cosine is
        `target_gradient` (B,) as given.
        """
        self.features_gradient[:] = 0
        for index, piece in enumerate(self._pieces):
            cosines = piece.outputs[0]
            gradient = self._logits(index, self._nearest(cosines), target_logits)
            mx.nd.softmax(gradient, out=gradient)
            weight = mx.nd.exp(self._summaries[index].log_sum - log_sum) * (factor * self.scale)
            mx.nd.broadcast_mul(gradient, weight.expand_dims(1), out=gradient)
            self._put(index, gradient, target_gradient)
            self._backward_piece(index, piece, self._to_every_centre(gradient, cosines), cosines)
        return self.features_gradient

    def _backward_piece(self, index: int, piece: "mx.executor.Executor", gradient: "mx.nd.NDArray",
                        cosines: "mx.nd.NDArray") -> None:
        centres, inverse = piece.arg_dict["centres"], self._inverse[index]
        along = mx.nd.dot(self._ones_batch, mx.nd.elemwise_mul(gradient, cosines)) * mx.nd.square(inverse)
        piece.backward([mx.nd.broadcast_mul(gradient, inverse, out=gradient)])
        scratch = self._scratch[:centres.shape[0]]
        mx.nd.broadcast_mul(centres, along.reshape((-1, 1)), out=scratch)
        mx.nd.elemwise_sub(piece.grad_dict["centres"], scratch, out=piece.grad_dict["centres"])

    def _cosines(self, piece: "mx.executor.Executor") -> "mx.nd.NDArray":
        """With every centre of a piece, (B, columns * K), kept as the piece's output; returns (B, columns)."""
        centres = piece.arg_dict["centres"]
        squares = mx.nd.square(centres, out=self._scratch[:centres.shape[0]])
        sums = mx.nd.FullyConnected(self._ones_row, squares, no_bias=True, num_hidden=centres.shape[0])
        self._inverse.append(mx.nd.rsqrt(sums + _NORM_EPSILON))
        cosines = piece.forward(is_train=True)[0]
        return self._nearest(mx.nd.broadcast_mul(cosines, self._inverse[-1], out=cosines))

    def _nearest(self, cosines: "mx.nd.NDArray") -> "mx.nd.NDArray":
        """The largest of the K cosines of each class."""
        return cosines if self.per_class == 1 else mx.nd.max(self._by_class(cosines), axis=2)

    def _to_every_centre(self, gradient: "mx.nd.NDArray", cosines: "mx.nd.NDArray") -> "mx.nd.NDArray":
        """The gradient of a class to the centre that was nearest (to all of them where several were)."""
        if self.per_class == 1:
            return gradient
        every = self._by_class(cosines)
        nearest = mx.nd.broadcast_equal(every, mx.nd.max(every, axis=2, keepdims=True))
        return mx.nd.broadcast_mul(nearest, gradient.expand_dims(2)).reshape(cosines.shape)

    def _by_class(self, cosines: "mx.nd.NDArray") -> "mx.nd.NDArray":
        return cosines.reshape((self.batch, -1, self.per_class))

    def _logits(self, index: int, cosines: "mx.nd.NDArray", target_logits: "mx.nd.NDArray") -> "mx.nd.NDArray":
        """A fresh (B, columns): s times the cosines, the changed logits at the targets."""
        return self._put(index, cosines * self.scale, target_logits)

    def _put(self, index: int, matrix: "mx.nd.NDArray", values: "mx.nd.NDArray") -> "mx.nd.NDArray":
        """Write values[image] at each target entry of a piece, in place."""
        targets = self._targets.get(index)
        if targets is not None:
            mx.nd._internal._scatter_set_nd(matrix, mx.nd.take(values, targets.images), targets.positions,
                                            shape=matrix.shape, out=matrix)
        return matrix

    def _locate(self, places: np.ndarray) -> None:
        self._targets = {}
        for index, (first, last) in enumerate(self._bounds):
            images = np.flatnonzero((places >= first) & (places < last))
            if images.size:
                positions = mx.nd.array(np.stack([images, places[images] - first]), ctx=self._context, dtype="int64")
                self._targets[index] = Targets(positions, mx.nd.array(images, ctx=self._context, dtype="int64"))


def merge(summaries: List[Summary]) -> Summary:
    """The summary of several sets of classes from theirs: global maximum and sum. Arrays must be on one context."""
    if len(summaries) == 1:
        return summaries[0]
    logs, largest = (mx.nd.stack(*arrays) for arrays in zip(*summaries))
    top = mx.nd.max(logs, axis=0)
    total = mx.nd.sum(mx.nd.exp(mx.nd.broadcast_sub(logs, top.expand_dims(0))), axis=0)
    return Summary(top + mx.nd.log(total), mx.nd.max(largest, axis=0))


# Where the centres of a class-parallel head live: `ShardedCentres` splits them over the contexts of a process.


WEIGHT = "fc7_weight"


class HeadSizes(NamedTuple):
    """What a head is built for: identities, centres of each, images of the global batch, length of an embedding."""

    classes: int
    per_class: int
    batch: int
    embedding: int


class ShardedCentres:
    """Shard i of the classes is block i, on context i. The whole matrix exists only in what is saved and loaded."""

    def __init__(self, sizes: HeadSizes, scale: float, contexts: Sequence["mx.Context"]) -> None:
        if sizes.classes < len(contexts):
            raise InputError(f"{sizes.classes} identities do not fill {len(contexts)} shards; use fewer contexts")
        self.sizes, self.contexts = sizes, list(contexts)
        self.shards = split(sizes.classes, len(contexts))
        self.weights = [mx.nd.zeros(((last - first) * sizes.per_class, sizes.embedding), ctx=context)
                        for (first, last), context in zip(self.shards, contexts)]
        self._optimizers: List[MomentumSGD] = []
        self.blocks = self._make_blocks(scale)

    def _make_blocks(self, scale: float) -> List[ClassBlock]:
        return [ClassBlock(weight, last - first, self.sizes.batch, scale)
                for weight, (first, last) in zip(self.weights, self.shards)]

    def begin(self, labels: np.ndarray) -> List[np.ndarray]:
        """Make the blocks ready for a batch of identities `labels` (B,); the place of each in every block, or -1."""
        return [np.where((labels >= first) & (labels < last), labels - first, -1) for first, last in self.shards]

    def update(self, rate: float) -> None:
        """One SGD step with the gradients of the blocks."""
        for optimizer, weight, block in zip(self._optimizers, self.weights, self.blocks):
            optimizer.update({WEIGHT: weight}, {WEIGHT: block.gradient}, rate)

    def set_optimizer(self, momentum: float, decay: float, rescale: float,
                      attributes: Mapping[str, Mapping[str, str]], policy: str) -> None:
        """Fresh momentum."""
        self._optimizers = [MomentumSGD({WEIGHT: weight}, momentum, decay, rescale, attributes, policy)
                            for weight in self.weights]

    def load(self, weight: np.ndarray) -> None:
        """Take the whole matrix, (C * K, E), each context its rows."""
        scatter(weight, self.weights)

    def restart_arrays(self) -> Arrays:
        """The whole matrix and its momentum, under the names the plain head gives them."""
        name = f"momentum:{WEIGHT}"
        return {f"arg:{WEIGHT}": gather(self.weights),
                name: gather([optimizer.state[name] for optimizer in self._optimizers])}

    def restart(self, saved: Mapping[str, np.ndarray]) -> None:
        """Take a restart point of any number of contexts, of the plain head too."""
        self.load(saved[f"arg:{WEIGHT}"])
        name = f"momentum:{WEIGHT}"
        scatter(saved[name], [optimizer.state[name] for optimizer in self._optimizers])


def gather(parts: Sequence["mx.nd.NDArray"]) -> np.ndarray:
    """Shards to the whole matrix."""
    copies = [part.asnumpy() for part in parts]
    return copies[0] if len(copies) == 1 else np.concatenate(copies)


def scatter(whole: np.ndarray, parts: Sequence["mx.nd.NDArray"]) -> None:
    """The whole matrix to its shards, in place."""
    first = 0
    for part in parts:
        put(part, whole[first:first + part.shape[0]])
        first += part.shape[0]
