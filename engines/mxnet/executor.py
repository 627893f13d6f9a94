"""Checkpoints bound for inference: parameters shared between batch sizes, outputs fetched late."""
import contextlib
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from arcface_mxnet.engines.mxnet.convert import ndarrays, to_mxnet
from arcface_mxnet.engines.mxnet.mx import mx, subgraphs_off
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.inference import inference_form
from arcface_mxnet.graph.params_file import Arrays
from arcface_mxnet.graph.symbol import Symbol
from arcface_mxnet.runtime.environment import free_memory
from arcface_mxnet.runtime.errors import InputError

import numpy as np

_MAX_BOUND = 3  # the full batch and a rest or two; never one executor per size ever seen
_NO_KERNEL = "could not create a primitive descriptor iterator"  # oneDNN's words
CPU_BATCH = 8  # the maps of so few images stay in the caches: MobileFaceNet runs 1.3 times as fast as in batches of 32


def has_depthwise(symbol: Symbol) -> bool:
    """Whether a graph holds a grouped convolution, the mark of networks whose second forward fails."""
    return any(node.op == "Convolution" and node.number("num_group", 1) > 1 for node in symbol.nodes())


class Executor:
    """Forwards batches of any size through one graph on one context; batch sizes share the values.

    `stored` says that the graph is a published one as it is: with depthwise convolutions it is bound without oneDNN's
    subgraphs. arcface_mxnet.graph.inference makes graphs that are safe with them.
    """

    def __init__(self, checkpoint: Checkpoint, context: "mx.Context", stored: bool = False) -> None:
        self.context = context
        self._symbol = to_mxnet(checkpoint.symbol)
        self._args = ndarrays(checkpoint.args, context)
        self._aux = ndarrays(checkpoint.aux, context)
        self._unsafe = stored and context.device_type == "cpu" and has_depthwise(checkpoint.symbol)
        self._bound: Dict[Tuple[int, ...], mx.executor.Executor] = {}

    def start(self, images: np.ndarray) -> "mx.nd.NDArray":
        """Queue the forward pass of (n, c, h, w) and return its (n, d) output; MXNet computes until it is read.

        The output belongs to the bound graph: read it before the next batch of the same size is started.
        """
        executor = self._executor(tuple(images.shape))
        executor.arg_dict["data"][:] = images.astype(np.float32, copy=False)
        return executor.forward(is_train=False)[0]

    def _executor(self, shape: Tuple[int, ...]) -> "mx.executor.Executor":
        executor = self._bound.pop(shape, None) or self._bind(shape)
        self._bound[shape] = executor  # last used, last dropped
        if len(self._bound) > _MAX_BOUND:
            del self._bound[next(iter(self._bound))]
        return executor

    def _bind(self, shape: Tuple[int, ...]) -> "mx.executor.Executor":
        arguments = dict(self._args, data=mx.nd.zeros(shape, self.context))
        for name in self._symbol.list_arguments():
            if name not in arguments:  # a label left in the graph, as the original's verification binds it
                arguments[name] = mx.nd.ones((shape[0],), self.context)
        try:
            with subgraphs_off() if self._unsafe else contextlib.nullcontext():
                return self._symbol.bind(self.context, arguments, aux_states=self._aux, grad_req="null")
        except mx.base.MXNetError as error:
            raise InputError(f"MXNet cannot run this network on images of shape {shape[1:]} ({first_line(error)}); "
                             "use another copy of the checkpoint") from None


class Network:
    """One checkpoint on every context: batches are dealt round, one each, and read when all are under way."""

    def __init__(self, checkpoint: Checkpoint, where: Sequence["mx.Context"], exact: bool = False) -> None:
        self._checkpoint, self._where, self._exact = checkpoint, list(where), exact
        self._shape: Tuple[int, ...] = ()
        self._executors: List[Executor] = []

    def update(self, arguments: Arrays, auxiliary: Arrays) -> None:
        """Take new parameter values. The graph is bound anew: oneDNN's fused operators keep copies of the old ones."""
        self._checkpoint = Checkpoint(self._checkpoint.symbol, arguments, auxiliary)
        self._executors = []

    def embed(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        """Raw embeddings (n, d) float32 of (n, c, h, w)."""
        rows: List[np.ndarray] = []
        executors = self._bound(images.shape[1:])
        if self._where[0].device_type == "cpu" and not self._exact:
            batch_size = min(batch_size, CPU_BATCH)
        stride = batch_size * len(executors)
        for start in range(0, len(images), stride):
            running = []
            for position, executor in enumerate(executors):
                batch = images[start + position * batch_size:start + (position + 1) * batch_size]
                if len(batch):
                    running.append(executor.start(batch))
            rows.extend(_read(output).reshape(len(output), -1) for output in running)
        return np.concatenate(rows)

    def _bound(self, shape: Tuple[int, ...]) -> List[Executor]:
        """The executors for images of one shape (c, h, w); the fast form is made for it."""
        if not self._executors or shape != self._shape:
            form = self._checkpoint if self._exact else inference_form(self._checkpoint, (1, *shape))
            self._executors, self._shape = [
                Executor(form, context, self._exact) for context in self._where], shape
        return self._executors


def _read(output: "mx.nd.NDArray") -> np.ndarray:
    """The values of an output; an index that the graph computes out of range shows only here."""
    try:
        return output.asnumpy()
    except (mx.base.MXNetError, IndexError) as error:
        said = first_line(error)
        remedy = ("oneDNN has no kernel for one of its layers on this processor, and none of bfloat16 without AVX-512: "
                  "take the float32 checkpoint" if _NO_KERNEL in said else "use another copy of the checkpoint")
        raise InputError(f"MXNet failed in this network ({said}); {remedy}") from None


class Bound:
    """A graph bound for inference on the CPU for inputs of given shapes, with the values of a checkpoint."""

    def __init__(self, checkpoint: Checkpoint, shapes: Mapping[str, Tuple[int, ...]], kind: Any = np.float32) -> None:
        values = ndarrays(checkpoint.args)
        inferred = checkpoint.symbol.infer_shape_partial(**shapes)[0]
        fed = {name: shape for name, shape in zip(checkpoint.symbol.list_arguments(), inferred)
               if name not in values and shape is not None}  # labels left in the graph too
        values.update({name: mx.nd.zeros(shape, dtype=kind) for name, shape in {**fed, **shapes}.items()})
        self._executor = to_mxnet(checkpoint.symbol).bind(mx.cpu(), values, grad_req="null",
                                                          aux_states=ndarrays(checkpoint.aux))

    def run(self, inputs: Mapping[str, np.ndarray]) -> List[np.ndarray]:
        """The outputs, in the order of the symbol."""
        for name, value in inputs.items():
            self._executor.arg_dict[name][:] = value
        return [_read(output) for output in self._executor.forward(is_train=False)]


def forward(checkpoint: Checkpoint, inputs: Mapping[str, np.ndarray]) -> List[np.ndarray]:
    """The outputs of a graph on the CPU, once; all inputs are of one type."""
    kind = next(iter(inputs.values())).dtype
    return Bound(checkpoint, {name: value.shape for name, value in inputs.items()}, kind).run(inputs)


def free_bytes(context: "mx.Context") -> int:
    """Memory that is free now, on the GPU or in the machine."""
    if context.device_type == "gpu":
        return int(mx.context.gpu_memory_info(context.device_id)[0])
    return free_memory()


def first_line(error: Exception) -> str:
    """The telling part of an MXNet error, whose first lines are a C++ stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling: Optional[str] = next((line for line in lines if "Check failed" in line), None)
    return (telling or (lines[-1] if lines else "unreadable")).split("MXNetError: ")[-1][:160]
