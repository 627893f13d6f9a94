"""One training step on one or several contexts: split the batch, forward, backward, sum the gradients, update."""
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from arcface_mxnet.engines.base import DATA, LABEL, Beside, Outcome
from arcface_mxnet.engines.draws import dropout_mask, mask_keys
from arcface_mxnet.engines.loss_scale import SCALE, SCALE_STATE, LossScale
from arcface_mxnet.engines.mxnet.class_centres import WEIGHT
from arcface_mxnet.engines.mxnet.convert import NDArrays, Pending, loss_to_mxnet, put, to_numpy
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.engines.mxnet.optimizer import MomentumSGD
from arcface_mxnet.engines.mxnet.program import Program
from arcface_mxnet.graph.params_file import Arrays
from arcface_mxnet.runtime.errors import InputError

import numpy as np

CHECKED_TOGETHER = 200  # arrays that one call looks at for NaN


class DataParallel:
    """Executors of one program on `contexts`; gradients are summed by MXNet's KVStore, given by type or as it is.

    Every context normalises by its own batch statistics and gradients are scaled by 1 / contexts, as in the original
    (docs/original.md, sections 3.4 and 4.3).
    """

    def __init__(self, program: Program, contexts: Sequence["mx.Context"], batch_size: int,
                 image_shape: Tuple[int, int, int], kvstore: Union[str, "mx.kv.KVStore"] = "device") -> None:
        if batch_size % len(contexts):
            raise InputError(f"a global batch of {batch_size} does not divide among {len(contexts)} contexts")
        self.program, self.contexts, self.batch_size = program, list(contexts), batch_size
        self.replicas = len(self.contexts)
        self._share = batch_size // len(contexts)
        height, width, channels = image_shape
        shapes: Dict[str, Tuple[int, ...]] = {DATA: (self._share, channels, height, width)}
        if LABEL in program.symbol.list_arguments():
            shapes[LABEL] = (self._share,)
        shapes.update({name: value.shape for name, value in program.states.items()})
        shapes.update({name: (self._share,) for name in program.inputs})
        shapes.update({mask.name: mask.shape for mask in program.masks})
        self._seed = 0
        self._trained, self._auxiliary = program.trained, program.auxiliary
        requests = {name: "null" for name in program.symbol.list_arguments()}
        requests.update({name: "write" for name in self._trained})
        symbol = loss_to_mxnet(program.symbol)
        self.executors = [symbol.simple_bind(context, grad_req=requests, type_dict=argument_types(symbol), **shapes)
                          for context in contexts]
        if isinstance(kvstore, str):
            kvstore = mx.kv.create(kvstore) if len(contexts) > 1 else None
        self._store = kvstore
        self._optimizers: List[MomentumSGD] = []
        self._scale: Optional[LossScale] = None
        if SCALE in program.constants:
            self._scale = LossScale(float(program.constants[SCALE].item()))
        if self._store is not None:  # it holds sums of gradients only, so any value of the right shape will do
            for key, name in enumerate(self._trained):
                self._store.init(key, self.executors[0].grad_dict[name])
        for executor in self.executors:
            for name, value in program.constants.items():
                executor.aux_dict.get(name, executor.arg_dict.get(name))[:] = value
            for name, initial in program.states.items():
                executor.arg_dict[name][:] = initial

    def seed(self, number: int) -> None:
        """What the dropout masks of the next step are a function of."""
        self._seed = number
        mx.random.seed(number)

    def set_parameters(self, arguments: Mapping[str, np.ndarray], auxiliary: Mapping[str, np.ndarray]) -> None:
        """Give every context the same parameters; missing or misshapen ones are a defect of the caller."""
        for executor in self.executors:
            for name in self._trained:
                put(executor.arg_dict[name], arguments[name])
            for name in self._auxiliary:
                put(executor.aux_dict[name], auxiliary[name])

    @property
    def rescale(self) -> float:
        """1 / contexts of all workers: what makes a mean over the global batch of the sum of their gradients."""
        return 1.0 / (len(self.contexts) * (self._store.num_workers if self._store is not None else 1))

    def set_optimizer(self, momentum: float, decay: float, policy: str) -> None:
        """Fresh momentum for the parameters set before."""
        self._optimizers = [MomentumSGD(weights, momentum, decay, self.rescale, self.program.attributes, policy,
                                        self.program.scaled)
                            for weights in map(self._weights, self.executors)]

    def forward_backward(self, data: np.ndarray, label: np.ndarray, beside: Beside = None) -> Outcome:
        """Run the batch; gradients are left in the executors. `data` (B, 3, H, W) float32, `label` (B,) float32.

        `beside`: the program's `inputs` by name, (B,) float32 each.
        """
        correct, losses = [], []
        self.forward(data, label, beside)
        for executor in self.executors:
            executor.backward()
            outputs = dict(zip(self.program.roles, executor.outputs))
            if "probability" in outputs:
                predicted = mx.nd.argmax(outputs["probability"], axis=1)
                correct.append(Pending(mx.nd.sum(predicted == executor.arg_dict[LABEL])))
            if "loss" in outputs:
                losses.append(Pending(mx.nd.mean(outputs["loss"])))
        self._carry_states()
        return Outcome(correct, losses, self.batch_size)

    def forward(self, data: np.ndarray, label: np.ndarray, beside: Beside = None) -> None:
        """Give each context its share of the batch and run its forward pass; the outputs stay in the executors."""
        images, labels = mx.nd.from_numpy(data), mx.nd.from_numpy(label)  # without a copy, so that nothing waits
        others = {name: mx.nd.from_numpy(values) for name, values in (beside or {}).items()}
        for index, executor in enumerate(self.executors):
            rows = slice(index * self._share, (index + 1) * self._share)
            executor.arg_dict[DATA][:] = images[rows]
            if LABEL in executor.arg_dict:
                executor.arg_dict[LABEL][:] = labels[rows]
            for name in self.program.inputs:
                executor.arg_dict[name][:] = others[name][rows]
            for mask in self.program.masks:
                executor.arg_dict[mask.name][:] = dropout_mask(mask.shape, mask_keys(self._seed, mask.number),
                                                               mask.dropped, self._first_row(index))
            executor.forward(is_train=True)

    def _first_row(self, index: int) -> int:
        """Where the share of a context begins in the batch of all workers."""
        rank = self._store.rank if self._store is not None else 0
        return (rank * self.replicas + index) * self._share

    def update(self, rate: float) -> bool:
        """Sum the gradients over contexts (and workers) and take one SGD step at `rate` on each.

        With a loss scale a step whose gradients overflowed is left out, on all workers alike; False says so.
        """
        if self._store is not None:
            for key, name in enumerate(self._trained):
                gradients = [executor.grad_dict[name] for executor in self.executors]
                self._store.push(key, gradients, priority=-key)
                self._store.pull(key, gradients, priority=-key)
        scale, finite = self._after_overflow()
        if finite:
            for executor, optimizer in zip(self.executors, self._optimizers):
                optimizer.update(self._weights(executor), executor.grad_dict, rate, scale)
        return finite

    def _after_overflow(self) -> Tuple[float, bool]:
        """The scale of the present gradients and whether they are numbers; the next step's scale is set."""
        if self._scale is None:
            return 1.0, True
        scale, finite = self._scale.value, self._gradients_are_numbers()
        if self._scale.after(finite):
            self._feed_scale()
        return scale, finite

    def _feed_scale(self) -> None:
        for executor in self.executors:
            executor.arg_dict[SCALE][:] = self._scale.value if self._scale is not None else 1.0

    def gradients_finite(self) -> bool:
        """Whether the last gradients hold no NaN or infinity; what a loss scale may still mend does not count."""
        if self._scale is not None and not self._scale.exhausted:
            return True
        return self._gradients_are_numbers()

    def _gradients_are_numbers(self) -> bool:
        return all(all_finite([executor.grad_dict[name] for name in self._trained])
                   for executor in self.executors)

    def parameters_finite(self) -> bool:
        """Whether every trained parameter and BatchNorm statistic is a number on every context."""
        self._settle()
        return all(all_finite([*self._weights(executor).values(),
                               *(executor.aux_dict[name] for name in self._auxiliary)])
                   for executor in self.executors)

    def parameters(self) -> Tuple[Arrays, Arrays]:
        """Copies of the trained arguments and the BatchNorm statistics, these averaged over contexts, on the CPU."""
        self._settle()
        arguments = {name: self.executors[0].arg_dict[name].asnumpy() for name in self._trained}
        auxiliary = {}
        for name in self._auxiliary:
            arrays = [executor.aux_dict[name].as_in_context(mx.cpu()) for executor in self.executors]
            auxiliary[name] = (arrays[0] if len(arrays) == 1 else mx.nd.add_n(*arrays) / len(arrays)).asnumpy()
        return arguments, auxiliary

    def restart_arrays(self) -> Arrays:
        """All that a restart needs: parameters, momentum, fed states, and the statistics of each context."""
        arguments, auxiliary = self.parameters()
        saved = {f"arg:{name}": array for name, array in arguments.items()}
        saved.update({f"aux:{name}": array for name, array in auxiliary.items()})
        if self._scale is not None:
            saved[SCALE_STATE] = self._scale.state()
        for index, (executor, optimizer) in enumerate(zip(self.executors, self._optimizers)):
            if index == 0:
                saved.update(to_numpy(optimizer.state))
            for name in self.program.states:
                saved[f"fed:{index}:{name}"] = executor.arg_dict[name].asnumpy()
            if len(self.executors) > 1:
                for name in self._auxiliary:
                    saved[f"context:{index}:{name}"] = executor.aux_dict[name].asnumpy()
        return saved

    def restart(self, saved: Mapping[str, np.ndarray]) -> None:
        """Restore `restart_arrays`, on the same or another number of contexts (then context 0 speaks for all)."""
        self.set_parameters(*({name[4:]: array for name, array in saved.items() if name.startswith(kind)}
                              for kind in ("arg:", "aux:")))
        if self._scale is not None and SCALE_STATE in saved:
            self._scale.restart(saved[SCALE_STATE])
            self._feed_scale()
        for index, (executor, optimizer) in enumerate(zip(self.executors, self._optimizers)):
            optimizer.load_state(saved)
            for name in self.program.states:
                put(executor.arg_dict[name], _first(saved, f"fed:{index}:{name}", f"fed:0:{name}"))
            for name in self._auxiliary:
                own = saved.get(f"context:{index}:{name}")
                if own is not None:
                    put(executor.aux_dict[name], own)

    def _carry_states(self) -> None:
        """Feed each "state:NAME" output, of several contexts made one, to the next step."""
        for name in self.program.states:
            index = self.program.roles.index(f"state:{name}")
            values = [executor.outputs[index].as_in_context(self.contexts[0]) for executor in self.executors]
            following = merged(self.executors[0].arg_dict[name], values)
            for executor in self.executors:
                following.copyto(executor.arg_dict[name])

    @staticmethod
    def _settle() -> None:
        """Wait for everything in flight: a read of BatchNorm's statistics alone does not wait for the backward pass
        that writes them (measured: one read in five was a step behind)."""
        mx.nd.waitall()

    def _weights(self, executor: "mx.executor.Executor") -> NDArrays:
        return {name: executor.arg_dict[name] for name in self._trained}


def merged(before: "mx.nd.NDArray", values: Sequence["mx.nd.NDArray"]) -> "mx.nd.NDArray":
    """The next value of a state from those of the contexts.

    A vector (a running mean, a count) becomes their mean. Of a matrix (a memory of a row for each identity) every row
    is that of the last context that changed it: identities in a queue have no mean.
    """
    if len(values) == 1:
        return values[0]
    if before.ndim == 1:
        return mx.nd.add_n(*values) / len(values)
    following = before
    for value in values:
        following = mx.nd.where(mx.nd.max(value != before, axis=1), value, following)
    return following


def argument_types(symbol: "mx.sym.Symbol") -> Dict[str, Any]:
    """NumPy types of a graph's arguments: what its casts to float16 make of the weights, float32 for all else.

    simple_bind alone would take every argument for float32, and no float16 graph would bind. Centres are float32 in
    every graph, and said to be: a term of them alone has nothing else to tell its type from.
    """
    given = {name: np.float32 for name in (DATA, LABEL, WEIGHT) if name in symbol.list_arguments()}
    names, types = symbol.list_arguments(), symbol.infer_type_partial(**given)[0]
    return {name: kind or np.float32 for name, kind in zip(names, types or [None] * len(names))}


def _first(arrays: Mapping[str, np.ndarray], *names: str) -> np.ndarray:
    return next(arrays[name] for name in names if name in arrays)


def all_finite(arrays: Sequence["mx.nd.NDArray"]) -> bool:
    """Whether the arrays, all of one context, hold no NaN or infinity; one call looks at arrays of one type only."""
    groups = []
    for kind in {array.dtype for array in arrays}:
        alike = [array for array in arrays if array.dtype == kind]
        groups += [alike[start:start + CHECKED_TOGETHER] for start in range(0, len(alike), CHECKED_TOGETHER)]
    flags = [mx.nd.multi_all_finite(*group, num_arrays=len(group)) for group in groups]
    return all(bool(flag.asscalar()) for flag in flags)
