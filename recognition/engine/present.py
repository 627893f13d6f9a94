"""The network as a run has it now: the checkpoint it publishes, and embeddings by it."""
from typing import Iterator, List, Sequence

from arcface_mxnet.evaluation.embedder import Embedder
from arcface_mxnet.graph.checkpoint import Checkpoint, embedding_only
from arcface_mxnet.recognition.engine.program import Model
from arcface_mxnet.recognition.engine.step import Step
from arcface_mxnet.runtime.mx import mx

import numpy as np


class NotFinite(Exception):
    """The network gives embeddings that are not numbers: the run has diverged."""


def published(model: Model, step: Step) -> Checkpoint:
    """The embedding network with the present values, as it is stored: published names, no head."""
    return embedding_only(Checkpoint(model.embedding, *step.parameters()))


class PresentNetwork:
    """Embeds by the parameters and BatchNorm statistics that `step` has when it is called."""

    def __init__(self, model: Model, step: Step, contexts: Sequence["mx.Context"], batch_size: int) -> None:
        self._model, self._step, self._contexts, self._batch_size = model, step, list(contexts), batch_size

    def __call__(self, blocks: Iterator[np.ndarray]) -> np.ndarray:
        """Embeddings float32 (N, E), not normalised, of blocks of images (n, c, h, w); raises NotFinite."""
        embedder = Embedder(published(self._model, self._step), self._contexts, self._batch_size)
        rows: List[np.ndarray] = [embedder.embed(block) for block in blocks]
        if not all(np.isfinite(block).all() for block in rows):
            raise NotFinite
        return np.concatenate(rows)
