"""A saved checkpoint (or several) to embeddings of images; no network code is needed, the graph is in the file."""
from typing import Dict, List, Sequence, Tuple, Union

from arcface_mxnet.evaluation.executor import Executor, wrong_size
from arcface_mxnet.evaluation.vectors import normalise
from arcface_mxnet.graph.checkpoint import Checkpoint, embedding_only, load, parse_model
from arcface_mxnet.graph.inference import inference_form
from arcface_mxnet.runtime.errors import InputError, unknown
from arcface_mxnet.runtime.mx import contexts, mx

import numpy as np

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
        models each one's row is L2-normalised and the rows are joined (facts, section 6.1). Raises InputError for
        images of another rank or size and for an unknown flip.
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
