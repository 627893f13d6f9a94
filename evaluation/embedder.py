"""A saved checkpoint (or several) to embeddings of images; no network code is needed, the graph is in the file."""
import contextlib
import json
import os
from typing import Dict, List, Optional, Sequence, Tuple, Union

from arcface_mxnet.evaluation.features import normalise
from arcface_mxnet.graph.checkpoint import Checkpoint, embedding_only, load, parse_model
from arcface_mxnet.graph.inference import inference_form
from arcface_mxnet.runtime.errors import InputError, unknown
from arcface_mxnet.runtime.mx import contexts, mx, subgraphs_off

import numpy as np

# One graph bound for inference on one context: parameters shared between batch sizes, outputs fetched late.


_MAX_BOUND = 3  # the full batch and a rest or two; never one executor per size ever seen


def has_depthwise(symbol: "mx.sym.Symbol") -> bool:
    """Whether a graph holds a grouped convolution, as those do that docs/original.md, section 2.11, is about."""
    nodes = json.loads(symbol.tojson())["nodes"]
    return any(node["op"] == "Convolution" and int(node.get("attrs", {}).get("num_group", 1)) > 1 for node in nodes)


def wrong_size(shape: Tuple[int, ...]) -> InputError:
    """The error for images (c, h, w) that a network was not made for."""
    return InputError(f"the network does not take images of shape {shape}; give --image-size as it was trained")


class Executor:
    """Forwards batches of any size through one graph on one context; batch sizes share the values.

    `stored` says that the graph is a published one as it is: with depthwise convolutions it is bound without oneDNN's
    subgraphs. arcface_mxnet.graph.inference makes graphs that are safe with them.
    """

    def __init__(self, checkpoint: Checkpoint, context: "mx.Context", stored: bool = False) -> None:
        self.symbol = checkpoint.symbol
        self.context = context
        self._args = {name: value.as_in_context(context).copy() for name, value in checkpoint.args.items()}
        self._aux = {name: value.as_in_context(context).copy() for name, value in checkpoint.aux.items()}
        self._unsafe = stored and context.device_type == "cpu" and has_depthwise(self.symbol)
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
        for name in self.symbol.list_arguments():
            if name not in arguments:  # a label left in the graph, as the original's verification binds it
                arguments[name] = mx.nd.ones((shape[0],), self.context)
        try:
            with subgraphs_off() if self._unsafe else contextlib.nullcontext():
                return self.symbol.bind(self.context, arguments, aux_states=self._aux, grad_req="null")
        except mx.base.MXNetError:
            raise wrong_size(shape[1:]) from None


FLIPS = ("none", "sum", "concatenate")
"""What is made of the embeddings of an image and of its mirror image."""
_CPU_BATCH = 8  # the maps of so few images stay in the caches: MobileFaceNet runs 1.3 times as fast as in batches of 32


class _Network:
    """One checkpoint on every context: batches are dealt round, one each, and read when all are under way."""

    def __init__(self, checkpoint: Checkpoint, where: Sequence["mx.Context"], exact: bool) -> None:
        self._checkpoint, self._where, self._exact = embedding_only(checkpoint), list(where), exact
        self._shape: Tuple[int, ...] = ()
        self._executors: List[Executor] = []

    def update(self, args: Dict[str, "mx.nd.NDArray"], aux: Dict[str, "mx.nd.NDArray"]) -> None:
        """Take new parameter values. The graph is bound anew: oneDNN's fused operators keep copies of the old ones."""
        self._checkpoint = embedding_only(Checkpoint(self._checkpoint.symbol, args, aux))
        self._executors = []

    def embed(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        """Raw embeddings (n, d) float32 of (n, c, h, w)."""
        rows: List[np.ndarray] = []
        executors = self._bound(images.shape[1:])
        if self._where[0].device_type == "cpu":
            batch_size = min(batch_size, _CPU_BATCH)
        stride = batch_size * len(executors)
        for start in range(0, len(images), stride):
            running = []
            for position, executor in enumerate(executors):
                batch = images[start + position * batch_size:start + (position + 1) * batch_size]
                if len(batch):
                    running.append(executor.start(batch))
            rows.extend(output.asnumpy().reshape(len(output), -1) for output in running)
        return np.concatenate(rows)

    def _bound(self, shape: Tuple[int, ...]) -> List[Executor]:
        """The executors for images of one shape (c, h, w); the fast form is made for it."""
        if not self._executors or shape != self._shape:
            form = self._checkpoint
            if not self._exact:
                try:
                    form = inference_form(form, (1, *shape))
                except mx.base.MXNetError:
                    raise wrong_size(shape) from None
            self._executors, self._shape = [
                Executor(form, context, self._exact) for context in self._where], shape
        return self._executors


class Embedder:
    """Embeddings of images by one or several checkpoints.

    `context`: an mx.Context, several (batches are dealt round), or None for every GPU there is, else the CPU.
    `batch_size`: images per forward pass and context (on a CPU at most 8); the last may be smaller, and so may the set.
    `exact`: run the stored graph untouched instead of its faster equal (graph.inference: same values to about 1e-6).
    """

    def __init__(self, checkpoint: Union[Checkpoint, Sequence[Checkpoint]],
                 context: Union[None, "mx.Context", Sequence["mx.Context"]] = None,
                 batch_size: int = 32, exact: bool = False) -> None:
        if batch_size < 1:
            raise InputError(f"--batch-size {batch_size}: at least 1")
        models = [checkpoint] if isinstance(checkpoint, Checkpoint) else list(checkpoint)
        if not models:
            raise InputError("no model given; use --model PREFIX,EPOCH")
        if context is None:
            where = contexts()
        else:
            where = [context] if isinstance(context, mx.Context) else list(context)
        self.batch_size = batch_size
        self._networks = [_Network(model, where, exact) for model in models]

    @classmethod
    def load(cls, models: str, context: Union[None, "mx.Context", Sequence["mx.Context"]] = None,
             batch_size: int = 32, exact: bool = False) -> "Embedder":
        """From the command line's form: "PREFIX,EPOCH", or several joined by "|" as the original's MegaFace script."""
        return cls([load(*parse_model(text)) for text in models.split("|")], context, batch_size, exact)

    def update(self, args: Dict[str, "mx.nd.NDArray"], aux: Dict[str, "mx.nd.NDArray"]) -> None:
        """Give the only model new parameter values, as training does before each validation; nothing else changes."""
        if len(self._networks) != 1:
            raise ValueError("update() is for an embedder of one model")
        self._networks[0].update(args, aux)

    def embed(self, images: np.ndarray, flip: str = "none") -> np.ndarray:
        """Embeddings float32 (n, d), not normalised, of images uint8 or float32 (n, c, h, w), RGB 0..255.

        `flip`: "none"; "sum" adds the embedding of the mirror image; "concatenate" puts it behind (2 d). With several
        models each one's row is L2-normalised and the rows are joined (docs/original.md, section 6.1). Raises
        InputError for images of another rank or size and for an unknown flip.
        """
        if flip not in FLIPS:
            raise unknown("flip", flip, FLIPS)
        if images.ndim != 4:
            raise InputError(f"images of shape {images.shape}: expected (images, channels, height, width)")
        if not len(images):
            raise InputError("no images to embed")
        parts = []
        for network in self._networks:
            rows = network.embed(images, self.batch_size)
            if flip != "none":
                mirrored = network.embed(images[..., ::-1], self.batch_size)
                rows = rows + mirrored if flip == "sum" else np.concatenate([rows, mirrored], axis=1)
            parts.append(rows)
        return parts[0] if len(parts) == 1 else np.concatenate([normalise(rows) for rows in parts], axis=1)


# How many images at once: from what a graph's activations take and what memory is free.


_LARGEST = {"cpu": 64, "gpu": 256}
"""Larger batches were not faster (docs/benchmarks.md has 1 to 32 on a CPU)."""
_SHARE_OF_FREE_MEMORY = 0.25


def activation_bytes(symbol: "mx.sym.Symbol", size: Tuple[int, int]) -> int:
    """Bytes of all float32 outputs inside the graph for one RGB image of `size` (height, width): an upper bound."""
    _, shapes, _ = symbol.get_internals().infer_shape(data=(1, 3) + tuple(size))
    total = 0
    for name, shape in zip(symbol.get_internals().list_outputs(), shapes):
        count = 4 if name.endswith("_output") or name == "data" else 0
        for length in shape:
            count *= length
        total += count
    return total


def free_bytes(context: "mx.Context") -> int:
    """Memory that is free now, on the GPU or in the machine."""
    if context.device_type == "gpu":
        return int(mx.context.gpu_memory_info(context.device_id)[0])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def fitting_batch_size(models: str, size: Tuple[int, int], gpus: Optional[str]) -> int:
    """The largest power of two (at most 64 on a CPU, 256 on a GPU) whose activations fit a quarter of free memory."""
    where = contexts(gpus)
    each = sum(activation_bytes(embedding_only(load(*parse_model(text))).symbol, size) for text in models.split("|"))
    free = min(free_bytes(context) for context in where) / (len(where) if where[0].device_type == "cpu" else 1)
    batch = _LARGEST[where[0].device_type]
    while batch > 1 and batch * each > free * _SHARE_OF_FREE_MEMORY:
        batch //= 2
    return batch
