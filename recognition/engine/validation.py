"""Verification during training: the same packs, embedder and protocol as evaluation/verification.py, in memory."""
import time
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Sequence, Tuple

from arcface_mxnet.datasets.pair_folds import check_pack
from arcface_mxnet.datasets.pairs import PairPack, read_pack
from arcface_mxnet.engines.base import Place, Step
from arcface_mxnet.evaluation.embedder import Embedder
from arcface_mxnet.evaluation.pairs import PairResult
from arcface_mxnet.evaluation.verification import evaluate_pack
from arcface_mxnet.graph.checkpoint import Checkpoint, embedding_only
from arcface_mxnet.recognition.engine.model import Model
from arcface_mxnet.runtime.errors import InputError, notice

import numpy as np


class Validated(NamedTuple):
    """The figures of one verification set, and the seconds they took."""

    target: str
    result: PairResult
    seconds: float


class Validation:
    """The verification sets of a run, read once as encoded images; accuracies are those of the saved checkpoint."""

    def __init__(self, packs: Dict[str, PairPack], place: Place, batch_size: int) -> None:
        self.packs = packs
        self._place, self._batch_size = place, batch_size
        self._embedder: List[Embedder] = []

    def run(self, model: Checkpoint) -> Iterator[Validated]:
        """Yield the figures of each set for the embedding network `model`, in the order of the settings."""
        if self._embedder:
            self._embedder[0].update(model.args, model.aux)
        else:
            self._embedder.append(Embedder(model, self._place, self._batch_size))
        for target, pack in self.packs.items():
            started = time.monotonic()
            result = evaluate_pack(self._embed, pack)
            yield Validated(target, result, time.monotonic() - started)

    def _embed(self, images: np.ndarray) -> np.ndarray:
        rows = self._embedder[0].embed(images)
        if not np.isfinite(rows).all():
            raise NotFinite
        return rows


def require_packs(folder: Path, targets: Sequence[str]) -> None:
    """Raise InputError where a pack that was requested by name is not there (one of the default sets may be absent)."""
    there = ", ".join(sorted(path.stem for path in folder.glob("*.bin")))
    for target in targets:
        if not (folder / f"{target}.bin").exists():
            raise InputError(f"{folder / target}.bin: not found; "
                             + (f"--val-targets can be: {there}, or none for no validation" if there else
                                f"there is no pack in {folder}, leave --val-targets out"))


def read_packs(folder: Path, targets: Sequence[str], size: Tuple[int, int]) -> Tuple[Dict[str, PairPack], List[str]]:
    """The packs `<folder>/<target>.bin` that are there, and the names of those that are not, to be said aloud.

    Raises InputError, before any step is taken, for a pack of images other than (height, width) `size`, or whose pairs
    give no figure (pair_folds.check_pack); a pack whose figure is not the usual protocol's is noted.
    """
    packs, missing = {}, []
    for target in targets:
        path = folder / f"{target}.bin"
        if path.exists():
            packs[target] = _fitting(path, read_pack(path), size)
        else:
            missing.append(target)
    return packs, missing


def _fitting(path: Path, pack: PairPack, size: Tuple[int, int]) -> PairPack:
    for told in check_pack(pack, path, size=size):
        notice(told)
    return pack


# The network as a run has it now: the checkpoint it publishes, and embeddings by it.


class NotFinite(Exception):
    """The network gives embeddings that are not numbers: the run has diverged."""


def embedding_checkpoint(model: Model, step: Step) -> Checkpoint:
    """The embedding network with the present values, as it is stored: published names, no head."""
    return embedding_only(Checkpoint(model.embedding, *step.parameters()))


class PresentNetwork:
    """Embeds by the parameters and BatchNorm statistics that `step` has when it is called."""

    def __init__(self, model: Model, step: Step, place: Place, batch_size: int) -> None:
        self._model, self._step, self._place, self._batch_size = model, step, place, batch_size

    def __call__(self, blocks: Iterator[np.ndarray]) -> np.ndarray:
        """Embeddings float32 (N, E), not normalised, of blocks of images (n, c, h, w); raises NotFinite."""
        embedder = Embedder(embedding_checkpoint(self._model, self._step), self._place, self._batch_size)
        rows: List[np.ndarray] = [embedder.embed(block) for block in blocks]
        if not all(np.isfinite(block).all() for block in rows):
            raise NotFinite
        return np.concatenate(rows)
