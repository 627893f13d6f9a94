"""The step of a head beside the network: embeddings are gathered, each replica holds some classes, whole or sampled.

With features x (B, E) of length 1, centres W and r = 1 / |W| by row, the cosines are x W^T r; with G the gradient of
the loss with respect to the cosines,

    dx = (G r) W,    dW_j = r_j sum_b G_bj x_b - r_j^2 (sum_b G_bj cos_bj) W_j,

so no normalised copy of W is made, and of the logits a replica holds those of its own classes alone. The softmax is
over all classes of all replicas: their maxima and sums meet. Gradients are those of the head inside the graph at the
same global batch.
"""
import math
from typing import List, Mapping, NamedTuple, Optional, Tuple

from arcface_mxnet.engines.base import Arrays, Beside, Centres, Outcome
from arcface_mxnet.engines.sampling import Rule, places_of, rows_of, split
from arcface_mxnet.engines.torch.group import Group
from arcface_mxnet.engines.torch.module import Interpreter, Run
from arcface_mxnet.engines.torch.sgd import MomentumSGD
from arcface_mxnet.engines.torch.step import DataParallel, Pending, all_finite, array
from arcface_mxnet.graph.symbol import Symbol
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import torch
from torch import Tensor

WEIGHT = "fc7_weight"
STEP = "sampler:step"
NORM_EPSILON = 1e-10  # L2Normalization's own, as in the graph's head


class Pass(NamedTuple):
    """What a shard keeps between its two halves of a step."""

    cosines: Tensor  # with every centre, (B, classes * K)
    logits: Tensor  # (B, classes), then exp(logits - top), then gradients
    inverse: Tensor  # 1 / length of each centre


class Block:
    """Cosine softmax over some classes of `per_class` centres each."""

    def __init__(self, weight: Tensor, per_class: int, scale: float) -> None:
        self.weight, self.per_class, self.scale = weight, per_class, scale
        self.gradient = torch.zeros_like(weight)

    def cosines(self, features: Tensor) -> Pass:
        """Of unit features (B, E) with all centres, and for each class the largest of its K."""
        inverse = torch.rsqrt(torch.sum(torch.square(self.weight), 1) + NORM_EPSILON)
        cosines = torch.mm(features, self.weight.t()).mul_(inverse)
        nearest = cosines if self.per_class == 1 else self._by_class(cosines).amax(2)
        return Pass(cosines, nearest * self.scale, inverse)

    def backward(self, found: Pass, features: Tensor, gradient: Tensor) -> Tensor:
        """Fill `gradient` from that of the classes' cosines (B, classes); returns that of the features (B, E)."""
        if self.per_class > 1:
            every = self._by_class(found.cosines)
            nearest = (every == every.amax(2, keepdim=True)).to(gradient.dtype)
            gradient = (nearest * gradient.unsqueeze(2)).reshape(found.cosines.shape)
        along = torch.sum(gradient * found.cosines, 0) * torch.square(found.inverse)
        gradient = gradient.mul_(found.inverse)
        torch.mm(gradient.t(), features, out=self.gradient)
        self.gradient.addcmul_(self.weight, along.unsqueeze(1), value=-1.0)
        return torch.mm(gradient, self.weight)

    def _by_class(self, cosines: Tensor) -> Tensor:
        return cosines.reshape(cosines.shape[0], -1, self.per_class)


class Margin:
    """Target cosines (B,) to target logits, and the way back."""

    def __init__(self, graph: Optional[Symbol], scale: float) -> None:
        self._graph = Interpreter(graph) if graph is not None else None
        self._scale = scale
        self._given: Optional[Tensor] = None
        self._changed: Optional[Tensor] = None

    def logits(self, cosine: Tensor) -> Tensor:
        """s times the changed cosine."""
        scaled = cosine * self._scale
        if self._graph is None:
            return scaled
        self._given = scaled.unsqueeze(1).requires_grad_(True)
        with torch.enable_grad():
            self._changed = self._graph({"logits": self._given, "label": torch.zeros_like(cosine)}, Run())[0]
        return self._changed.detach().reshape(-1)

    def backward(self, gradient: Tensor) -> Tensor:
        """The gradient of the cosine from that of the changed logit."""
        if self._given is None or self._changed is None:
            return gradient * self._scale
        found, = torch.autograd.grad([self._changed], [self._given], [gradient.unsqueeze(1)])
        return found.reshape(-1) * self._scale


class Shards:
    """The centres of this process: shard i of all classes on replica i of all processes. Rank 0 saves the whole."""

    def __init__(self, centres: Centres, replicas: int, batch: int, group: Group, device: torch.device) -> None:
        total = replicas * group.size
        if centres.classes < total:
            raise InputError(f"{centres.classes} identities do not fill {total} shards; use fewer replicas")
        self.centres, self.batch, self.group, self.device = centres, batch, group, device
        self.bounds = split(centres.classes, total)
        self.own = self.bounds[group.rank * replicas:(group.rank + 1) * replicas]
        self.rule: Optional[Rule] = centres.sample
        self.step = 0
        self.weights = [self._rows(last - first) for first, last in self.own]
        self.momenta = [self._rows(last - first) for first, last in self.own]
        self.blocks = [Block(weight, centres.per_class, centres.scale) if self.rule is None else
                       Block(self._rows(self.rule.size(last - first, batch)), centres.per_class, centres.scale)
                       for weight, (first, last) in zip(self.weights, self.own)]
        self._chosen: List[Tensor] = []
        self._optimizers: List[MomentumSGD] = []

    def _rows(self, classes: int) -> Tensor:
        return torch.zeros(classes * self.centres.per_class, self.centres.embedding, device=self.device)

    def begin(self, labels: Tensor, known: Optional[np.ndarray] = None) -> List[Tensor]:
        """Make the blocks ready for the identities of the global batch; where each is in every block, -1 elsewhere.

        known: the labels in NumPy, where they are at hand: a sampled head then need not wait for the device.
        """
        index = labels.long()
        if self.rule is None:
            return [torch.where((index >= first) & (index < last), index - first, -1) for first, last in self.own]
        self.step += 1
        self._chosen, places = [], []
        known = index.cpu().numpy() if known is None else known.astype(np.int64)
        for (first, last), weight, block in zip(self.own, self.weights, self.blocks):
            chosen = self.rule.choose(known, first, last, self.batch, self.step)
            rows = torch.from_numpy(rows_of(chosen, self.centres.per_class)).to(self.device)
            torch.index_select(weight, 0, rows, out=block.weight)
            self._chosen.append(rows)
            places.append(torch.from_numpy(places_of(known, chosen, first)).to(self.device))
        return places

    def set_optimizer(self, momentum: float, decay: float, rescale: float,
                      attributes: Mapping[str, Mapping[str, str]], policy: str) -> None:
        """Fresh momentum."""
        self._optimizers = [MomentumSGD({WEIGHT: block.weight}, momentum, decay, rescale, attributes, policy)
                            for block in self.blocks]
        for state in self.momenta:
            state.zero_()
        if self.rule is None:
            for optimizer, state in zip(self._optimizers, self.momenta):
                optimizer.state[f"momentum:{WEIGHT}"] = state

    def update(self, rate: float) -> None:
        """One SGD step of the centres that this step saw; the others keep their value and momentum."""
        name = f"momentum:{WEIGHT}"
        for index, (optimizer, block) in enumerate(zip(self._optimizers, self.blocks)):
            if self.rule is not None:
                rows = self._chosen[index]
                torch.index_select(self.momenta[index], 0, rows, out=optimizer.state[name])
            optimizer.update({WEIGHT: block.weight}, {WEIGHT: block.gradient}, rate)
            if self.rule is not None:
                self.weights[index].index_copy_(0, rows, block.weight)
                self.momenta[index].index_copy_(0, rows, optimizer.state[name])

    def load(self, whole: np.ndarray, parts: List[Tensor]) -> None:
        """Copy the rows of this process out of a whole matrix, (C * K, E), into `parts`."""
        for part, (first, last) in zip(parts, self.own):
            rows = whole[first * self.centres.per_class:last * self.centres.per_class]
            part.copy_(torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32)))

    def whole(self, parts: List[Tensor]) -> np.ndarray:
        """The whole matrix on rank 0, shard by shard through every process; what others get is empty."""
        replicas, pieces = len(self.own), []
        for number, (first, last) in enumerate(self.bounds):
            rank, index = divmod(number, replicas)
            piece = parts[index] if rank == self.group.rank else self._rows(last - first)
            piece = self.group.from_rank(piece, rank)
            if self.group.rank == 0:
                pieces.append(array(piece))
        return np.concatenate(pieces) if pieces else np.empty((0, self.centres.embedding), dtype=np.float32)

    def restart_arrays(self) -> Arrays:
        """The whole matrix and its momentum, under the names the graph's head gives them, and the sampler's step."""
        saved = {f"arg:{WEIGHT}": self.whole(self.weights), f"momentum:{WEIGHT}": self.whole(self.momenta)}
        if self.rule is not None:
            saved[STEP] = np.array([self.step], dtype=np.int64)
        return saved

    def restart(self, saved: Mapping[str, np.ndarray]) -> None:
        """Take a restart point of any head; one that was not sampled starts the sequence of samples."""
        self.load(saved[f"arg:{WEIGHT}"], self.weights)
        self.load(saved[f"momentum:{WEIGHT}"], self.momenta)
        self.step = int(saved[STEP][0]) if STEP in saved else 0


class ClassParallel:
    """`backbone` gives unit embeddings, `centres` says what classes there are."""

    def __init__(self, backbone: DataParallel, centres: Centres) -> None:
        self.backbone, self.group, self.replicas = backbone, backbone.group, backbone.replicas
        self.batch_size = backbone.batch_size
        self._total = self.replicas * self.group.size
        self.shards = Shards(centres, self.replicas, self.batch_size * self.group.size, self.group, backbone.device)
        self._margin = Margin(centres.margin, centres.scale)
        self._highest_loss = -math.log(centres.smallest)

    def seed(self, number: int) -> None:
        """What the dropout masks of the next step are a function of."""
        self.backbone.seed(number)

    def set_parameters(self, arguments: Mapping[str, np.ndarray], auxiliary: Mapping[str, np.ndarray]) -> None:
        """Take the network's parameters and the whole fc7_weight (C * K, E)."""
        self.backbone.set_parameters(arguments, auxiliary)
        self.shards.load(arguments[WEIGHT], self.shards.weights)

    def set_optimizer(self, momentum: float, decay: float, policy: str) -> None:
        """Fresh momentum for the parameters set before."""
        self.backbone.set_optimizer(momentum, decay, policy)
        self.shards.set_optimizer(momentum, decay, self.backbone.rescale, self.backbone.program.attributes, policy)

    def forward_backward(self, data: np.ndarray, label: np.ndarray, beside: Beside = None) -> Outcome:
        """Run the batch and keep its gradients. `beside` is for losses that are only in the graph's head."""
        outputs = self.backbone.forward(data)
        with torch.no_grad():
            features, labels = self._gathered([output.detach() for output in outputs], label)
            places = self.shards.begin(labels, label if self.group.size == 1 else None)
        outcome, gradient = self._head(features, places)
        share = self.backbone.share
        first = self.group.rank * self.batch_size
        self.backbone.backward(outputs, [gradient[first + index * share:first + (index + 1) * share]
                                         for index in range(self.replicas)])
        return outcome

    def _gathered(self, outputs: List[Tensor], label: np.ndarray) -> Tuple[Tensor, Tensor]:
        """Features (B, E) and labels (B,) of the batch of all processes."""
        labels = torch.from_numpy(np.asarray(label, dtype=np.float32)).to(self.backbone.device)
        return torch.cat(self.group.gather(torch.cat(outputs))), torch.cat(self.group.gather(labels))

    def _head(self, features: Tensor, places: List[Tensor]) -> Tuple[Outcome, Tensor]:
        """Gradients of the centres, kept in their blocks, and of the features (B, E), returned."""
        with torch.no_grad():
            blocks = self.shards.blocks
            passes = [block.cosines(features) for block in blocks]
            own = [(torch.clamp(place, min=0).unsqueeze(1), place >= 0) for place in places]
            cosine = self._sum([torch.where(here, found.logits.gather(1, where).squeeze(1), 0.0)
                                for found, (where, here) in zip(passes, own)]) / self.shards.centres.scale
            targets = self._margin.logits(cosine)
            for found, (where, here) in zip(passes, own):
                _put(found.logits, where, here, targets)
            top = self.group.largest(torch.stack([found.logits.amax(1) for found in passes]).amax(0))
            total = self._sum([found.logits.sub_(top.unsqueeze(1)).exp_().sum(1) for found in passes])
            log_sum = top + torch.log(total)
            factor = 1.0 / self.backbone.share
            towards = self._margin.backward((torch.exp(targets - log_sum) - 1.0) * factor)
            weight = (factor * self.shards.centres.scale / total).unsqueeze(1)
            gradients = []
            for block, found, (where, here) in zip(blocks, passes, own):
                gradient = found.logits.mul_(weight)
                _put(gradient, where, here, towards)
                gradients.append(block.backward(found, features, gradient))
            return self._outcome(targets, top, log_sum), self._sum(gradients)

    def _outcome(self, targets: Tensor, top: Tensor, log_sum: Tensor) -> Outcome:
        """An image counts as correct when its own, lowered logit is the largest; the loss is the cross-entropy."""
        rows = slice(self.group.rank * self.batch_size, (self.group.rank + 1) * self.batch_size)
        correct = (targets[rows] >= top[rows]).sum()
        entropies = torch.clamp(log_sum - targets, max=self._highest_loss)[rows]
        losses = entropies.reshape(self.replicas, -1).mean(1)
        return Outcome([Pending(correct)], [Pending(loss) for loss in losses], self.batch_size)

    def _sum(self, tensors: List[Tensor]) -> Tensor:
        """The sum over the shards of all processes."""
        here = tensors[0] if len(tensors) == 1 else torch.stack(tensors).sum(0)
        return self.group.sum([here])[0]

    def update(self, rate: float) -> bool:
        """One SGD step of the network and the centres at `rate`; neither takes one that overflowed (False)."""
        taken = self.backbone.update(rate)
        if taken:
            with torch.no_grad():
                self.shards.update(rate)
        return taken

    def gradients_finite(self) -> bool:
        """Whether the last gradients hold no NaN or infinity."""
        return self.backbone.gradients_finite() and all_finite([block.gradient for block in self.shards.blocks])

    def parameters_finite(self) -> bool:
        """Whether every trained parameter and BatchNorm statistic is a number on every replica."""
        return self.backbone.parameters_finite() and all_finite(self.shards.weights)

    def parameters(self) -> Tuple[Arrays, Arrays]:
        """Copies of the network's arguments and statistics; the centres are in `restart_arrays`."""
        return self.backbone.parameters()

    def restart_arrays(self) -> Arrays:
        """All a restart needs, named as with the graph's head: it, and any number of replicas, can load them."""
        return {**self.backbone.restart_arrays(), **self.shards.restart_arrays()}

    def restart(self, saved: Mapping[str, np.ndarray]) -> None:
        """Restore `restart_arrays` of this or the graph's head, on the same or another number of replicas."""
        self.backbone.restart(saved)
        with torch.no_grad():
            self.shards.restart(saved)


def _put(matrix: Tensor, where: Tensor, here: Tensor, values: Tensor) -> None:
    """Write values[image] at each target entry of a block, in place; rows whose class is elsewhere stay."""
    kept = matrix.gather(1, where).squeeze(1)
    matrix.scatter_(1, where, torch.where(here, values, kept).unsqueeze(1))

