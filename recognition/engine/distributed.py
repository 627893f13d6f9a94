"""Several machines: what each worker writes."""
from pathlib import Path
from typing import Any, Dict, Mapping, Tuple

from arcface_mxnet.engines.base import Workers
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.params_file import Arrays
from arcface_mxnet.recognition.engine.checkpoint import Position, RunDirectory
from arcface_mxnet.recognition.settings import Settings

import numpy as np


class FollowerDirectory(RunDirectory):
    """The run directory of a worker that is not the first: it reads the run's restart point and writes no checkpoint.

    Its own log and metrics stand in workers/<rank> of the run.
    """

    def __init__(self, folder: Path, rank: int) -> None:
        super().__init__(Path(folder) / "workers" / str(rank))
        self._run, self._step = RunDirectory(folder), 0

    def create(self, settings: Settings, facts: Mapping[str, Any]) -> None:
        """The first worker writes the settings."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def settings(self) -> Tuple[Settings, Dict[str, Any]]:
        """Those of the run."""
        return self._run.settings()

    def load_last(self) -> Tuple[Position, Arrays]:
        """The restart point of the run."""
        position, arrays = self._run.load_last()
        self._step = position.step
        return position, arrays

    def save_last(self, position: Position, arrays: Mapping[str, np.ndarray]) -> None:
        """Note that the first worker saved this step."""
        self._step = position.step

    def last_step(self) -> int:
        """The step noted last."""
        return self._step

    def save_published(self, checkpoint: Checkpoint, number: int) -> Path:
        """Where the first worker writes it."""
        return self._run.folder / f"model-{number:04d}.params"

    def save_best(self, checkpoint: Checkpoint, figures: Mapping[str, Any]) -> None:
        """The first worker writes it."""


def own_directory(run: RunDirectory, workers: Workers) -> RunDirectory:
    """`run` for the first worker, a follower's view of it for the others."""
    return run if workers.rank == 0 else FollowerDirectory(run.folder, workers.rank)
