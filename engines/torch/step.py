"""One training step in PyTorch: split the batch, forward, backward, sum the gradients, update."""
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from arcface_mxnet.engines.base import DATA, FLOAT32, LABEL, Arrays, Beside, Numerics, Outcome, Program
from arcface_mxnet.engines.draws import mask_keys
from arcface_mxnet.engines.loss_scale import SCALE_STATE, LossScale
from arcface_mxnet.engines.torch.devices import Where, by_pixel, compiled, low_type, placed, set_numerics, stored
from arcface_mxnet.engines.torch.group import Group
from arcface_mxnet.engines.torch.module import Interpreter, Run, Statistics
from arcface_mxnet.engines.torch.sgd import MomentumSGD
from arcface_mxnet.runtime.allocator import keep_freed_memory
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import torch
from torch import Tensor

Tensors = Dict[str, Tensor]
Shapes = Dict[str, Tuple[int, ...]]
WARM_UP = 3  # passes before a CUDA graph is captured: libraries allocate in the first ones


class Feed:
    """Brings the arrays of a batch to the device; two page-locked copies take turns, so that nothing waits."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffers: Dict[Tuple[str, int], Tensor] = {}
        self._events: Dict[int, Any] = {}
        self._turn = 0

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> Tensors:
        """The arrays as float32 tensors on the device."""
        if self._device.type != "cuda":
            return {name: torch.from_numpy(np.ascontiguousarray(value)).to(self._device, torch.float32)
                    for name, value in arrays.items()}
        self._turn = 1 - self._turn
        if self._turn in self._events:
            self._events[self._turn].synchronize()
        found = {}
        for name, value in arrays.items():
            given = torch.from_numpy(np.ascontiguousarray(value))
            buffer = self._buffers.get((name, self._turn))
            if buffer is None or buffer.shape != given.shape or buffer.dtype != given.dtype:
                buffer = torch.empty(given.shape, dtype=given.dtype, pin_memory=True)
                self._buffers[name, self._turn] = buffer
            buffer.copy_(given)
            found[name] = buffer.to(self._device, non_blocking=True).float()
        self._events[self._turn] = torch.cuda.Event()
        self._events[self._turn].record()
        return found


class Pending:
    """A number of one element; float() waits for it alone.

    On a GPU it is copied to the host behind the step that makes it: reading the tensor itself would wait for the step
    after it as well, since a copy takes its turn among what is queued.
    """

    def __init__(self, value: Tensor) -> None:
        self._value = value
        self._ready: Any = None
        if value.device.type == "cuda":
            self._value = torch.empty((), dtype=value.dtype, pin_memory=True)
            self._value.copy_(value.detach().reshape(()), non_blocking=True)
            self._ready = torch.cuda.Event()
            self._ready.record()

    def __float__(self) -> float:
        if self._ready is not None:
            self._ready.synchronize()
        return float(self._value)


class Replica:
    """What one share of the batch has of its own: BatchNorm statistics and fed states."""

    def __init__(self, statistics: Statistics, states: Tensors, first_row: int) -> None:
        self.statistics, self.states, self.first_row = statistics, states, first_row


class DataParallel:
    """One program on the replicas of a process; gradients are summed over them and the processes of `group`.

    Every replica normalises by the statistics of its own share, and gradients are scaled by 1 / replicas of all
    processes, as with MXNet's contexts.
    """

    def __init__(self, program: Program, place: Where, batch_size: int, image_shape: Tuple[int, int, int],
                 numerics: Numerics = FLOAT32, group: Optional[Group] = None) -> None:
        self.program, self.device, self.replicas, self.batch_size = program, place.device, place.replicas, batch_size
        self.group, self.numerics = group or Group(), numerics
        if batch_size % self.replicas:
            raise InputError(f"a batch of {batch_size} does not divide among {self.replicas} replicas")
        set_numerics(numerics, self.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.share = batch_size // self.replicas
        self.graph = Interpreter(program.symbol, program.network)
        self._by_pixel, self._low = by_pixel(numerics, self.device), low_type(numerics)
        self._by_row = numerics.compile and self._by_pixel and self._low is None and self.device.type == "cpu"
        given = self._given((self.share, image_shape[2], image_shape[0], image_shape[1]))
        shapes, counts = self._shapes(given), self.graph.batch_counts(given)
        fed = {DATA, LABEL, *program.inputs, *program.states}
        self.trained = [name for name in self.graph.arguments if name not in fed]
        self.weights = {name: placed(np.zeros(shapes[name]), self.device, self._by_pixel).requires_grad_(True)
                        for name in self.trained}
        self.gradients: Dict[str, Optional[Tensor]] = {}
        self._replicas = [self._replica(index, shapes, counts) for index in range(self.replicas)]
        self._feed = Feed(self.device)
        self._optimizer: Optional[MomentumSGD] = None
        self._scale = LossScale(numerics.loss_scale) if numerics.loss_scale != 1.0 else None
        self._scale_value = torch.tensor(numerics.loss_scale, device=self.device) if self._scale is not None else None
        self._keys: Optional[Tensor] = None
        self.seed(0)
        self._parts: List[Callable[..., List[Tensor]]] = [self.graph.network, self.graph.head]
        if numerics.compile:
            self._parts = [compiled(part, self.device, self._by_pixel) for part in self._parts]
        self._captured: Optional[Captured] = None

    # Parameters.

    def set_parameters(self, arguments: Mapping[str, np.ndarray], auxiliary: Mapping[str, np.ndarray]) -> None:
        """Give every replica the same parameters; missing or misshapen ones are a defect of the caller.

        In place: a recorded step (CUDA graph) and an optimizer made before hold the addresses.
        """
        with torch.no_grad():
            for name in self.trained:
                put(self.weights[name], arguments[name])
            for replica in self._replicas:
                for name, value in replica.statistics.moving.items():
                    put(value, auxiliary[name])

    def _given(self, images: Tuple[int, ...]) -> Shapes:
        """Shapes of what is fed to the graph for a share of `images` (n, c, h, w)."""
        fed = {DATA: images, LABEL: images[:1], **{name: images[:1] for name in self.program.inputs},
               **{name: value.shape for name, value in self.program.states.items()}}
        known = set(self.program.symbol.list_inputs())
        return {name: shape for name, shape in fed.items() if name in known}

    def _shapes(self, given: Shapes) -> Shapes:
        """Shapes of all variables."""
        symbol = self.program.symbol
        arguments, _, states = symbol.infer_shape(**given)
        return {**dict(zip(symbol.list_arguments(), arguments)), **dict(zip(symbol.list_auxiliary_states(), states))}

    def _replica(self, index: int, shapes: Shapes, counts: Mapping[str, int]) -> Replica:
        moving = {name: placed(np.zeros(shapes[name]), self.device, self._by_pixel) for name in self.graph.auxiliary}
        states = {name: placed(value, self.device, self._by_pixel) for name, value in self.program.states.items()}
        row = (self.group.rank * self.replicas + index) * self.share
        return Replica(self.graph.statistics(moving, counts), states, row)

    @property
    def rescale(self) -> float:
        """1 / replicas of all processes: what makes a mean over the global batch of the sum of their gradients."""
        return 1.0 / (self.replicas * self.group.size)

    def set_optimizer(self, momentum: float, decay: float, policy: str) -> None:
        """Fresh momentum for the parameters set before."""
        scaled = self.graph.network_arguments() if self._scale is not None else ()
        self._optimizer = MomentumSGD(self.weights, momentum, decay, self.rescale, self.program.attributes, policy,
                                      scaled)

    # The step.

    def seed(self, number: int) -> None:
        """What the dropout masks of the next step are a function of."""
        if self.graph.dropouts:
            keys = torch.tensor([mask_keys(number, node) for node in range(len(self.graph.dropouts))],
                                dtype=torch.int64)
            if self._keys is None:
                self._keys = keys.to(self.device)
            else:
                self._keys.copy_(keys)

    def forward_backward(self, data: np.ndarray, label: np.ndarray, beside: Beside = None) -> Outcome:
        """Run the batch and keep its gradients. `data` (B, 3, H, W), `label` (B,), `beside` (B,) by name."""
        set_numerics(self.numerics, self.device)
        batch = self._feed({DATA: data, LABEL: label, **{name: (beside or {})[name] for name in self.program.inputs}})
        self._write_fixed()
        correct, losses, found = [], [], []
        for index, replica in enumerate(self._replicas):
            rows = slice(index * self.share, (index + 1) * self.share)
            outputs, gradients = self._run(replica, {name: value[rows] for name, value in batch.items()})
            found.append(outputs)
            self._gather(gradients, first=index == 0)
            replica.statistics.blend()
            named = dict(zip(self.program.roles, outputs))
            if "probability" in named:
                correct.append(Pending((named["probability"].argmax(1) == batch[LABEL][rows]).sum()))
            if "loss" in named:
                losses.append(Pending(named["loss"].mean()))
        self._carry_states(found)
        return Outcome(correct, losses, self.batch_size)

    def _write_fixed(self) -> None:
        """Write 1 over the scales that are fixed, as MXNet's forward pass does; the optimizer decays them all the same.
        """
        with torch.no_grad():
            for name in self.graph.fixed_gammas:
                if name in self.weights:
                    self.weights[name].fill_(1.0)

    def _run(self, replica: Replica, batch: Tensors) -> Tuple[List[Tensor], Dict[str, Optional[Tensor]]]:
        """Outputs and gradients of one share."""
        if not self.numerics.graphs or self.device.type != "cuda" or self.replicas > 1:
            return self._forward_backward(replica, batch)
        if self._captured is None:
            self._captured = Captured(lambda inputs: self._forward_backward(replica, inputs), batch,
                                      replica.statistics)
        return self._captured(batch)

    def _forward_backward(self, replica: Replica, batch: Tensors) -> Tuple[List[Tensor], Dict[str, Optional[Tensor]]]:
        outputs = self._outputs(replica, batch)
        alive = [output for output in outputs if output.requires_grad]
        gradients = torch.autograd.grad(alive, [self.weights[name] for name in self.trained],
                                        [torch.ones_like(output) for output in alive], allow_unused=True)
        return [output.detach() for output in outputs], dict(zip(self.trained, gradients))

    def forward(self, data: np.ndarray) -> List[Tensor]:
        """The outputs of each replica, for a head beside the network to go on from; gradients can flow back."""
        set_numerics(self.numerics, self.device)
        batch = self._feed({DATA: data})[DATA]
        self._write_fixed()
        outputs = []
        for index, replica in enumerate(self._replicas):
            rows = slice(index * self.share, (index + 1) * self.share)
            outputs.append(self._outputs(replica, {DATA: batch[rows]})[0])
            replica.statistics.blend()
        return outputs

    def backward(self, outputs: Sequence[Tensor], towards: Sequence[Tensor]) -> None:
        """Keep the gradients for those of the `outputs` of `forward`."""
        for index, (output, gradient) in enumerate(zip(outputs, towards)):
            found = torch.autograd.grad([output], [self.weights[name] for name in self.trained], [gradient],
                                        allow_unused=True)
            self._gather(dict(zip(self.trained, found)), first=index == 0)

    def _gather(self, gradients: Dict[str, Optional[Tensor]], first: bool) -> None:
        if first:
            self.gradients = gradients
            return
        names = [name for name, gradient in gradients.items() if gradient is not None]
        torch._foreach_add_([_known(self.gradients[name]) for name in names],
                            [_known(gradients[name]) for name in names])

    def _values(self, replica: Replica, batch: Tensors) -> Tensors:
        data = stored(batch[DATA], self._by_pixel)
        return {**self.weights, **replica.statistics.moving, **replica.states, **batch, DATA: data}

    def _how(self, replica: Replica) -> Run:
        return Run(replica.statistics, self._keys, replica.first_row, self._low, self._by_row)

    def _outputs(self, replica: Replica, batch: Tensors) -> List[Tensor]:
        values, run = self._values(replica, batch), self._how(replica)
        network, head = self._parts
        return head(values, network(values, run, self._scale_value), run)

    def _carry_states(self, outputs: Sequence[Sequence[Tensor]]) -> None:
        """Feed each "state:NAME" output, of several replicas made one, to the next step."""
        for name in self.program.states:
            index = self.program.roles.index(f"state:{name}")
            values = [share[index].reshape(self._replicas[0].states[name].shape) for share in outputs]
            every = torch.stack([torch.stack(values)] if self.group.size == 1
                                else self.group.gather(torch.stack(values))).flatten(0, 1)
            following = merged(self._replicas[0].states[name], list(every))
            for replica in self._replicas:
                replica.states[name].copy_(following)

    def update(self, rate: float) -> bool:
        """Sum the gradients over the processes and take one SGD step at `rate`.

        With a loss scale a step whose gradients overflowed is left out, in all processes alike; False says so.
        """
        names = [name for name in self.trained if self.gradients[name] is not None]
        if self.group.size > 1:
            summed = self.group.sum([_known(self.gradients[name]) for name in names])
            self.gradients.update(zip(names, summed))
        scale, finite = 1.0, True
        if self._scale is not None and self._scale_value is not None:
            scale, finite = self._scale.value, self._gradients_are_numbers()
            if self._scale.after(finite):
                self._scale_value.fill_(self._scale.value)
        if finite:
            self.optimizer.update(self.weights, self.gradients, rate, scale)
        return finite

    @property
    def optimizer(self) -> MomentumSGD:
        """Of the last set_optimizer."""
        if self._optimizer is None:
            raise ValueError("set_optimizer first")
        return self._optimizer

    # What the Trainer asks.

    def gradients_finite(self) -> bool:
        """Whether the last gradients hold no NaN or infinity; what a loss scale may still mend does not count."""
        if self._scale is not None and not self._scale.exhausted:
            return True
        return self._gradients_are_numbers()

    def _gradients_are_numbers(self) -> bool:
        return all_finite([gradient for gradient in self.gradients.values() if gradient is not None])

    def parameters_finite(self) -> bool:
        """Whether every trained parameter and BatchNorm statistic is a number on every replica."""
        return all_finite([*self.weights.values(), *(value for replica in self._replicas
                                                     for value in replica.statistics.moving.values())])

    def parameters(self) -> Tuple[Arrays, Arrays]:
        """The trained arguments and the BatchNorm statistics, these averaged over the replicas of all processes."""
        every = self._all_statistics()
        auxiliary = {name: every[0][name] if len(every) == 1
                     else sum((own[name] for own in every[1:]), every[0][name]) / np.float32(len(every))
                     for name in self.graph.auxiliary}
        return {name: array(self.weights[name]) for name in self.trained}, auxiliary

    def _all_statistics(self) -> List[Arrays]:
        """The statistics of every replica of every process, in the order of their shares."""
        own = [replica.statistics.moving for replica in self._replicas]
        if self.group.size == 1:
            return [{name: array(value) for name, value in moving.items()} for moving in own]
        found: List[Arrays] = []
        names = list(self.graph.auxiliary)
        flat = torch.stack([torch.cat([moving[name] for name in names]) for moving in own])
        for part in self.group.gather(flat):
            for row in part:
                pieces = row.split([own[0][name].numel() for name in names])
                found.append({name: array(piece) for name, piece in zip(names, pieces)})
        return found

    def restart_arrays(self) -> Arrays:
        """All that a restart needs: parameters, momentum, fed states, and the statistics of each replica."""
        arguments, auxiliary = self.parameters()
        saved = {f"arg:{name}": value for name, value in arguments.items()}
        saved.update({f"aux:{name}": value for name, value in auxiliary.items()})
        if self._scale is not None:
            saved[SCALE_STATE] = self._scale.state()
        saved.update({name: array(value) for name, value in self.optimizer.state.items()})
        total = self.replicas * self.group.size
        for index in range(total):
            for name in self.program.states:
                saved[f"fed:{index}:{name}"] = array(self._replicas[0].states[name])
        if total > 1:
            for index, own in enumerate(self._all_statistics()):
                saved.update({f"context:{index}:{name}": value for name, value in own.items()})
        return saved

    def restart(self, saved: Mapping[str, np.ndarray]) -> None:
        """Restore `restart_arrays`, on the same or another number of replicas (then the first speaks for all)."""
        self.set_parameters(*({name[4:]: value for name, value in saved.items() if name.startswith(kind)}
                              for kind in ("arg:", "aux:")))
        if self._scale is not None and self._scale_value is not None and SCALE_STATE in saved:
            self._scale.restart(saved[SCALE_STATE])
            self._scale_value.fill_(self._scale.value)
        with torch.no_grad():
            for name, value in self.optimizer.state.items():
                put(value, saved[name])
            for name in self.trained:  # MXNet keeps a float32 copy of what it stores in float16
                if f"master:{name}" in saved:
                    put(self.weights[name], saved[f"master:{name}"])
            for index, replica in enumerate(self._replicas):
                number = self.group.rank * self.replicas + index
                for name in self.program.states:
                    first = saved.get(f"fed:{number}:{name}", saved[f"fed:0:{name}"])
                    put(replica.states[name], first)
                for name, value in replica.statistics.moving.items():
                    own = saved.get(f"context:{number}:{name}")
                    if own is not None:
                        put(value, own)


class Captured:
    """A forward and backward pass recorded once as a CUDA graph and launched as one."""

    def __init__(self, run: Callable[[Tensors], Tuple[List[Tensor], Dict[str, Optional[Tensor]]]], batch: Tensors,
                 statistics: Statistics) -> None:
        self._batch = {name: value.clone() for name, value in batch.items()}
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UP):
                run(self._batch)
        torch.cuda.current_stream().wait_stream(beside)
        for value in statistics.batch.values():
            value.zero_()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._found = run(self._batch)

    def __call__(self, batch: Tensors) -> Tuple[List[Tensor], Dict[str, Optional[Tensor]]]:
        """Outputs and gradients; they are overwritten by the next call."""
        for name, value in self._batch.items():
            value.copy_(batch[name])
        self._graph.replay()
        outputs, gradients = self._found
        return list(outputs), dict(gradients)


def merged(before: Tensor, values: Sequence[Tensor]) -> Tensor:
    """The next value of a state from those of the replicas.

    A vector (a running mean, a count) becomes their mean. Of a matrix (a memory of a row for each identity) every row
    is that of the last replica that changed it: identities in a queue have no mean.
    """
    if len(values) == 1:
        return values[0]
    if before.dim() == 1:
        return torch.stack(list(values)).sum(0) / len(values)
    following = before
    for value in values:
        following = torch.where((value != before).any(1, keepdim=True), value, following)
    return following


def all_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether the tensors hold no NaN or infinity."""
    if not tensors:
        return True
    with torch.no_grad():
        largest = torch._foreach_norm([tensor.detach() for tensor in tensors], float("inf"))
        return bool(torch.isfinite(torch.stack([value.float() for value in largest])).all())


def put(tensor: Tensor, value: np.ndarray) -> None:
    """Write values into a tensor, in its type and layout; raises ValueError for another shape."""
    if tuple(tensor.shape) != tuple(value.shape):
        raise ValueError(f"an array of shape {tuple(value.shape)} for one of {tuple(tensor.shape)}")
    tensor.copy_(torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32)))


def array(tensor: Tensor) -> np.ndarray:
    """A copy in NumPy, in the usual order of axes."""
    return np.array(tensor.detach().cpu().contiguous().numpy())


def _known(tensor: Optional[Tensor]) -> Tensor:
    if tensor is None:
        raise ValueError("no gradient")
    return tensor
