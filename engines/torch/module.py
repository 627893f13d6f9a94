"""A stored graph as a function of tensors: the interpreter that training and embedding run.

Nodes run in stored order, each value is let go after its last use. `torch.compile` traces the network and the head
on it (what follows: the loss), each whole: a loss whose gradient is its own (SoftmaxOutput, MakeLoss) does not read the
gradient that comes in, so that in one trace the whole backward pass would count as forward, and nothing be chosen of
what to keep and what to compute again.
"""
import math
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from arcface_mxnet.engines import draws
from arcface_mxnet.engines.torch import operators
from arcface_mxnet.engines.torch.attributes import Attributes
from arcface_mxnet.engines.torch.operators import channel_sums
from arcface_mxnet.graph.operators import state_inputs
from arcface_mxnet.graph.shape_inference import ShapeInference
from arcface_mxnet.graph.symbol import Symbol
from arcface_mxnet.graph.symbol_json import Entry, Node
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Tensors = Dict[str, Tensor]
# Convolutions run in reduced precision, and so does what stands between them; kernels of BatchNorm take its parameters
# in full beside reduced data. Everything else, the last dense layer with it, is computed in float32.
_REDUCIBLE = {"Convolution": "low", "BatchNorm": "data",
              "elemwise_add": "sum", **{op: "either" for op in ("Activation", "LeakyReLU", "Pooling", "_copy")}}
_INDEX_BITS = 0xFFFFFFFF


@dataclass
class Statistics:
    """BatchNorm's memory on one replica: moving statistics, and where a forward pass leaves those of its batch.

    MXNet's rule: moving = momentum * moving + (1 - momentum) * batch, with the variance divided by n. PyTorch's kernels
    give the variance divided by n - 1, so it is scaled by (n - 1) / n; `counts` holds n, by name of the variance. A
    pass changes tensors alone, not what is kept of them: `torch.compile` would trace the graph again.
    """

    moving: Tensors
    batch: Tensors
    momentum: Dict[str, float]
    counts: Dict[str, int]

    def blend(self) -> None:
        """Let the statistics of the last forward pass into the moving ones."""
        with torch.no_grad():
            for momentum in sorted(set(self.momentum.values())):
                names = [name for name, own in self.momentum.items() if own == momentum and name in self.batch]
                moving, batch = [self.moving[name] for name in names], [self.batch[name] for name in names]
                factors = [(n - 1) / n if n > 1 else 1.0 for n in (self.counts.get(name, 1) for name in names)]
                batch = list(torch._foreach_mul(batch, factors))
                torch._foreach_mul_(moving, momentum)
                torch._foreach_add_(moving, batch, alpha=float(np.float32(1) - np.float32(momentum)))


@dataclass
class Run:
    """How one pass runs. Without `statistics` BatchNorm takes the moving ones of the values and nothing is dropped.

    `keys`: int64 (dropouts, 2), the keys of their masks, None for no dropout at all. `first_row`: where the rows of
    this pass begin in the batch of all devices. `low`: the reduced precision of the network, None for none. `by_row`:
    sums over channels as in `operators.channel_sums`, faster where compiled for a CPU.
    """

    statistics: Optional[Statistics] = None
    keys: Optional[Tensor] = None
    first_row: int = 0
    low: Optional[torch.dtype] = None
    by_row: bool = False


Call = Callable[[Run, List[Tensor]], Tensor]


class _Step(NamedTuple):
    """One node: its function, where its inputs are, where its value goes, and what is not needed after it."""

    call: Call
    inputs: Tuple[int, ...]
    output: int
    finished: Tuple[int, ...]
    reducible: str  # in which precision it runs, see _in_precision


class Interpreter:
    """The graph `symbol`. Raises InputError for what is not implemented.

    `arguments` and `auxiliary` are the names of its variables, in graph order, as MXNet lists them. `network` is the
    name of the node up to which reduced precision and the gradient's scale reach: the embedding.
    """

    def __init__(self, symbol: Symbol, network: Optional[str] = None) -> None:
        self._symbol, self.nodes = symbol, symbol.nodes()
        self._places = {id(node): place for place, node in enumerate(self.nodes)}
        self._inputs = [self._sources(node) for node in self.nodes]
        self.heads = [self._place(head) for head in symbol.heads]
        statistics = {self._inputs[place][position] for place, node in enumerate(self.nodes)
                      for position in state_inputs(node.op)}
        variables = [(place, node.name) for place, node in enumerate(self.nodes) if node.is_variable]
        self.auxiliary = [name for place, name in variables if place in statistics]
        self.arguments = [name for place, name in variables if place not in statistics]
        self._variables = variables
        self.dropouts = [node.name for node in self.nodes if node.op == "Dropout"]
        self.momentum: Dict[str, float] = {}  # of each BatchNorm statistic
        self.fixed_gammas: List[str] = []
        self._network = self._ancestors(network)
        self._network_output = max(self._network) if self._network else -1
        steps = self._planned()
        cut = sum(step.output <= self._network_output for step in steps)
        self._network_steps, self._head_steps = steps[:cut], steps[cut:]
        read = {source for step in self._head_steps for source in step.inputs}.union(self.heads)
        self._crossing = sorted(read.intersection(step.output for step in self._network_steps))

    def _sources(self, node: Node) -> Tuple[int, ...]:
        return tuple(self._place(entry) for entry in node.inputs)

    def _place(self, entry: Entry) -> int:
        node, which = entry
        if which:
            raise InputError(f"node {node.name[:80]} ({node.op}): its output {which} is not implemented on PyTorch; "
                             "take --engine mxnet")
        return self._places[id(node)]

    def _ancestors(self, name: Optional[str]) -> Set[int]:
        """The nodes that the value of node `name` depends on, and itself; all where there is no name."""
        if name is None:
            return set(range(len(self.nodes)))
        last = next((place for place, node in enumerate(self.nodes) if node.name == name), None)
        if last is None:
            return set()
        found, waiting = set(), [last]
        while waiting:
            place = waiting.pop()
            if place not in found:
                found.add(place)
                waiting.extend(self._inputs[place])
        return found

    def network_arguments(self) -> List[str]:
        """The arguments that the network's output depends on."""
        return [name for place, name in self._variables if place in self._network and name in set(self.arguments)]

    def _planned(self) -> List[_Step]:
        last_use: Dict[int, int] = {}
        for place, sources in enumerate(self._inputs):
            for source in sources:
                last_use[source] = place
        kept = set(self.heads)
        steps = []
        for place, node in enumerate(self.nodes):
            if node.is_variable:
                continue
            finished = tuple(source for source in sorted(set(self._inputs[place]))
                             if last_use[source] == place and source not in kept)
            reducible = ""
            if place in self._network and place != self._network_output:
                reducible = _REDUCIBLE.get(node.op, "")
            steps.append(_Step(self._call(node), self._inputs[place], place, finished, reducible))
        return steps

    def _call(self, node: Node) -> Call:
        if node.op == "BatchNorm":
            return self._batch_norm(node)
        if node.op == "Dropout":
            return self._dropout(node)
        function = operators.make(node)
        if node.op == "LeakyReLU" and Attributes(node)["act_type"] == "prelu":
            def prelu(run: Run, given: List[Tensor]) -> Tensor:
                by_row = run.by_row and channel_sums.applies(*given)
                return channel_sums.prelu(*given) if by_row else function(*given)
            return prelu
        return lambda run, given: function(*given)

    def _dropout(self, node: Node) -> Call:
        attributes = Attributes(node)
        dropped, number = attributes["p"], self.dropouts.index(node.name)
        attributes.only("mode", "training")
        attributes.only("axes", ())

        def call(run: Run, given: List[Tensor]) -> Tensor:
            if run.keys is None or not dropped:
                return given[0]
            return given[0] * mask(given[0], run.keys[number], dropped, run.first_row)
        return call

    def _batch_norm(self, node: Node) -> Call:
        attributes = Attributes(node)
        eps, momentum = attributes["eps"], attributes["momentum"]
        fixed, whole = attributes["fix_gamma"], attributes["use_global_stats"]
        attributes.only("axis", 1)
        attributes.only("output_mean_var", False)
        _, gamma, _, mean, variance = (source.name for source, _ in node.inputs)
        self.momentum.update({mean: momentum, variance: momentum})
        if fixed:
            self.fixed_gammas.append(gamma)

        def call(run: Run, given: List[Tensor]) -> Tensor:
            x, scale, shift, moving_mean, moving_variance = given
            if fixed:
                scale = torch.ones_like(scale)  # MXNet writes 1 over it; no gradient reaches it
            if run.statistics is None or whole:
                return functional.batch_norm(x, moving_mean, moving_variance, scale, shift, False, 0.0, eps)
            found = run.statistics.batch
            if x.numel() == x.shape[1]:  # PyTorch refuses one value a channel; its variance is 0
                return _single_norm(x, shift, found[mean], found[variance])
            if run.by_row and channel_sums.applies(x, shift):
                return channel_sums.batch_norm(x, scale, shift, found[mean], found[variance], eps)
            return torch.batch_norm(x, scale, shift, found[mean], found[variance], True, 1.0, eps,
                                    torch.backends.cudnn.enabled)
        return call

    def statistics(self, moving: Tensors, counts: Mapping[str, int]) -> Statistics:
        """The memory of one replica around its `moving` statistics, by name; for `counts` see `batch_counts`."""
        return Statistics(moving, {name: torch.zeros_like(value) for name, value in moving.items()
                                   if name in self.momentum}, dict(self.momentum), dict(counts))

    def batch_counts(self, given: Mapping[str, Tuple[int, ...]]) -> Dict[str, int]:
        """How many values of a channel each BatchNorm sees, by name of its variance; `given` are shapes of inputs."""
        found: Dict[str, int] = {}
        shapes = ShapeInference(self._symbol.heads).run(given) if self.momentum else {}
        for node in self.nodes:
            if node.op == "BatchNorm":
                shape = shapes[id(node.inputs[0][0]), node.inputs[0][1]]
                found[node.inputs[4][0].name] = math.prod(shape) // shape[1]
        return found

    def __call__(self, values: Mapping[str, Tensor], run: Run, scale: Optional[Tensor] = None) -> List[Tensor]:
        """The outputs for the variables `values`, by name.

        scale: a number (): the gradient that flows from what follows the network into it is multiplied by it.
        """
        return self.head(values, self.network(values, run, scale), run)

    def network(self, values: Mapping[str, Tensor], run: Run, scale: Optional[Tensor] = None) -> List[Tensor]:
        """The first part, up to the network's output: what the head reads, the embedding among it."""
        held = self._held(values)
        for step in self._network_steps:
            value = _ran(step, held, run)
            if step.output == self._network_output and scale is not None:
                value = _ScaledGradient.apply(value, scale)
            held[step.output] = value
        return [_there(held[place]) for place in self._crossing]

    def head(self, values: Mapping[str, Tensor], crossing: Sequence[Tensor], run: Run) -> List[Tensor]:
        """The second part: the outputs, from what `network` returned."""
        held = self._held(values)
        for place, value in zip(self._crossing, crossing):
            held[place] = value
        for step in self._head_steps:
            held[step.output] = _ran(step, held, run)
        return [_full(_there(held[place])) if run.low is not None else _there(held[place]) for place in self.heads]

    def _held(self, values: Mapping[str, Tensor]) -> List[Optional[Tensor]]:
        held: List[Optional[Tensor]] = [None] * len(self.nodes)
        for place, name in self._variables:
            held[place] = values[name]
        return held


def _ran(step: _Step, held: List[Optional[Tensor]], run: Run) -> Tensor:
    """The value of one node; what is not needed after it is let go."""
    given = [_there(held[source]) for source in step.inputs]
    if run.low is not None:
        given = _in_precision(given, step.reducible, run.low)
    value = step.call(run, given)
    for source in step.finished:
        held[source] = None
    return value


def mask(x: Tensor, keys: Tensor, dropped: float, first_row: int) -> Tensor:
    """The mask that `engines.draws.dropout_mask` gives for a value `x` and keys (2,), on its device."""
    start = first_row * (x.numel() // x.shape[0])
    index = torch.arange(start, start + x.numel(), device=x.device, dtype=torch.int64) & _INDEX_BITS
    keep = draws.kept(index, keys[0], keys[1], 1.0 - dropped).reshape(x.shape)
    return keep.to(x.dtype) / (1.0 - dropped)


def _single_norm(x: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """BatchNorm of one value a channel: the shift alone; no gradient reaches the value or the scale."""
    with torch.no_grad():
        mean.copy_(x.reshape(-1))
        variance.zero_()
    return torch.zeros_like(x) + shift.reshape(1, -1, *[1] * (x.dim() - 2)).to(x.dtype)


class _ScaledGradient(torch.autograd.Function):
    """The value itself; its gradient is multiplied by a number ()."""

    @staticmethod
    def forward(value: Tensor, scale: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: Tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tuple[Any, ...]:
        return gradients[0] * ctx.saved_tensors[0], None


def _in_precision(given: Sequence[Tensor], reducible: str, low: torch.dtype) -> List[Tensor]:
    """The inputs of a node in the precision it runs in.

    "low": reduced; "either": as its data comes; "sum": reduced where all parts are; "data": the data as it comes, its
    parameters in full; "": in full.
    """
    if reducible == "data":
        return list(given)
    decisive = {"either": given[:1], "sum": given}.get(reducible, [])
    if reducible == "low" or decisive and all(tensor.dtype == low for tensor in decisive):
        return [tensor.to(low) for tensor in given]
    return [_full(tensor) for tensor in given]


def _full(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _there(value: Optional[Tensor]) -> Tensor:
    if value is None:
        raise InputError("the graph uses a value before it is computed; use another copy")
    return value
