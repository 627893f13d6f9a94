"""The step of a class-parallel head: embeddings are gathered, each context holds some classes (paper, Fig. 11).

The same interface as arcface_mxnet.engines.mxnet.data_parallel.DataParallel, which runs the network below it.
"""
import math
from typing import List, Mapping, Optional, Tuple

from arcface_mxnet.engines.base import Beside, Outcome
from arcface_mxnet.engines.mxnet.class_centres import WEIGHT, ShardedCentres, Summary, merge
from arcface_mxnet.engines.mxnet.convert import Pending, loss_to_mxnet
from arcface_mxnet.engines.mxnet.data_parallel import DataParallel, all_finite
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.graph.params_file import Arrays
from arcface_mxnet.graph.symbol import Symbol

import numpy as np


class ClassParallel:
    """`backbone` gives unit embeddings, `centres` the classes. No context ever holds the logits of all classes.

    The softmax is over all classes of all blocks: their maxima and sums meet on the first context. Gradients are those
    of the plain head at the same global batch: (p - y) / images of a context, summed, times 1 / contexts.
    """

    def __init__(self, backbone: DataParallel, centres: ShardedCentres, margin: Optional[Symbol], scale: float,
                 smallest: float) -> None:
        """`margin`, `scale`: of the loss (see TargetMargin); `smallest`: the probability the printed loss stops at."""
        self.backbone, self.centres, self.contexts = backbone, centres, backbone.contexts
        self.batch_size, self.replicas = backbone.batch_size, backbone.replicas
        self._margin = TargetMargin(margin, scale, self.contexts[0])
        self._highest_loss = -math.log(smallest)

    def seed(self, number: int) -> None:
        """What the dropout masks of the next step are a function of."""
        self.backbone.seed(number)

    def set_parameters(self, arguments: Mapping[str, np.ndarray], auxiliary: Mapping[str, np.ndarray]) -> None:
        """Take the network's parameters and the whole fc7_weight (C * K, E)."""
        self.backbone.set_parameters(arguments, auxiliary)
        self.centres.load(arguments[WEIGHT])

    def set_optimizer(self, momentum: float, decay: float, policy: str) -> None:
        """Fresh momentum for the parameters set before."""
        self.backbone.set_optimizer(momentum, decay, policy)
        self.centres.set_optimizer(momentum, decay, self.backbone.rescale, self.backbone.program.attributes, policy)

    def forward_backward(self, data: np.ndarray, label: np.ndarray, beside: Beside = None) -> Outcome:
        """Run the batch; gradients are left in the executors and blocks. `data` (B, 3, H, W), `label` (B,) float32.

        `beside` is for losses that are only in the plain head.
        """
        self.backbone.forward(data, label)
        places = self.centres.begin(label.astype("int64"))
        shares = [executor.outputs[0] for executor in self.backbone.executors]
        blocks = self.centres.blocks
        cosines = self._sum([block.target_cosines(_whole(shares, block.weight.context), where)
                             for block, where in zip(blocks, places)])
        targets = self._margin.logits(cosines)
        summary = self._summarise(targets)
        factor = len(self.contexts) / self.batch_size
        outcome = self._outcome(targets, summary)
        probability = mx.nd.exp(targets - summary.log_sum)
        towards_targets = self._margin.backward((probability - 1.0) * factor)
        gradients = []
        for block in blocks:
            log_sum, logits, towards = (array.as_in_context(block.weight.context)
                                        for array in (summary.log_sum, targets, towards_targets))
            gradients.append(block.backward(log_sum, logits, towards, factor))
        self._backward_shares(self._sum(gradients))
        return outcome

    def _summarise(self, targets: "mx.nd.NDArray") -> Summary:
        summaries: List[Summary] = []
        for block in self.centres.blocks:
            found = block.summarise(targets.as_in_context(block.weight.context))
            summaries.append(Summary(*(array.as_in_context(self.contexts[0]) for array in found)))
        return merge(summaries)

    def _outcome(self, targets: "mx.nd.NDArray", summary: Summary) -> Outcome:
        """An image counts as correct when its own, lowered logit is the largest; the loss is the cross-entropy."""
        correct = mx.nd.sum(targets >= summary.largest)
        entropies = mx.nd.minimum(summary.log_sum - targets, self._highest_loss)
        losses = mx.nd.reshape(entropies, (len(self.contexts), -1))
        means = [Pending(mx.nd.mean(losses[index])) for index in range(len(self.contexts))]
        return Outcome([Pending(correct)], means, self.batch_size)

    def _backward_shares(self, gradient: "mx.nd.NDArray") -> None:
        share = self.batch_size // len(self.contexts)
        for index, executor in enumerate(self.backbone.executors):
            rows = gradient[index * share:(index + 1) * share]
            executor.backward([rows.as_in_context(executor.outputs[0].context)])

    def _sum(self, arrays: List["mx.nd.NDArray"]) -> "mx.nd.NDArray":
        here = [array.as_in_context(self.contexts[0]) for array in arrays]
        return here[0] if len(here) == 1 else mx.nd.add_n(*here)

    def update(self, rate: float) -> bool:
        """One SGD step of the network and the centres at `rate`; neither takes one that overflowed (False)."""
        taken = self.backbone.update(rate)
        if taken:
            self.centres.update(rate)
        return taken

    def gradients_finite(self) -> bool:
        """Whether the last gradients hold no NaN or infinity."""
        return self.backbone.gradients_finite() and all(all_finite([block.gradient]) for block in self.centres.blocks)

    def parameters_finite(self) -> bool:
        """Whether every trained parameter and BatchNorm statistic is a number on every context."""
        return self.backbone.parameters_finite() and all(all_finite([weight]) for weight in self.centres.weights)

    def parameters(self) -> Tuple[Arrays, Arrays]:
        """Copies of the network's arguments and statistics on the CPU; the centres are in `restart_arrays`."""
        return self.backbone.parameters()

    def restart_arrays(self) -> Arrays:
        """All a restart needs, named as in the plain head: it, and any number of contexts, can load them."""
        return {**self.backbone.restart_arrays(), **self.centres.restart_arrays()}

    def restart(self, saved: Mapping[str, np.ndarray]) -> None:
        """Restore `restart_arrays` of this or the plain head, on the same or another number of contexts."""
        self.backbone.restart(saved)
        self.centres.restart(saved)


def _whole(shares: List["mx.nd.NDArray"], context: "mx.Context") -> "mx.nd.NDArray":
    here = [share.as_in_context(context) for share in shares]
    return here[0] if len(here) == 1 else mx.nd.concat(*here, dim=0)


# The margin on the target logits alone, (B,): what the class-parallel heads need of a loss, and no copy of it.


class TargetMargin:
    """Target cosines to target logits and back, for one context.

    `margin` is the graph of the loss itself on a set of one class, of which every image is: from `logits` (B, 1) and
    `label` (B,) to the changed logits; None for a loss without a margin.
    """

    def __init__(self, margin: Optional[Symbol], scale: float, context: "mx.Context") -> None:
        self._scale, self._executor = scale, None
        if margin is None:
            return
        self._executor = loss_to_mxnet(margin).simple_bind(context, grad_req={"logits": "write", "label": "null"})
        for name, array in self._executor.arg_dict.items():
            if name == "label":
                array[:] = 0

    def logits(self, cosine: "mx.nd.NDArray") -> "mx.nd.NDArray":
        """s times the changed cosine: (B,) -> (B,)."""
        scaled = cosine * self._scale
        if self._executor is None:
            return scaled
        self._executor.arg_dict["logits"][:] = scaled.expand_dims(1)
        return self._executor.forward(is_train=True)[0].reshape((-1,))

    def backward(self, gradient: "mx.nd.NDArray") -> "mx.nd.NDArray":
        """The gradient with respect to the cosine from that with respect to the changed logit, (B,) -> (B,)."""
        if self._executor is None:
            return gradient * self._scale
        self._executor.backward([gradient.expand_dims(1)])
        return self._executor.grad_dict["logits"].reshape((-1,)) * self._scale
