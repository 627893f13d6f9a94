"""Several machines: who this worker is, what it writes, and when all of them stop (MXNet's parameter server)."""
import os
from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.recognition.engine.checkpoint import Position, RunDirectory
from arcface_mxnet.recognition.settings import Settings
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.mx import mx

DISTRIBUTED = ("dist_sync", "dist_sync_device")
ROLE = "DMLC_ROLE"
# Beside the gradients' 0, 1, 2, ...; MXNet picks a small array's server by key * 9973 in 32 bits, hence LAST_KEY.
STOP_KEY, LABEL_KEY, CENTRE_KEYS, LAST_KEY = 20_000, 20_001, 20_002, (2 ** 31 - 1) // 9973


class Workers(NamedTuple):
    """This worker's rank, how many there are, and the store they share (None in a run of one process)."""

    rank: int
    size: int
    store: Optional["mx.kv.KVStore"]

    @property
    def part(self) -> Tuple[int, int]:
        """(rank, size), as arcface_mxnet.datasets.iterator takes it."""
        return self.rank, self.size

    def agree(self, number: Optional[int]) -> Optional[int]:
        """The largest signal number any worker was sent by this step, None for none; all workers get the same."""
        if self.store is None:
            return number
        mine = mx.nd.zeros((self.size,))
        mine[self.rank] = number or 0
        self.store.push(STOP_KEY, mine)
        self.store.pull(STOP_KEY, out=mine)
        return int(mine.max().asscalar()) or None


ALONE = Workers(0, 1, None)


def join(kvstore: str) -> Workers:
    """Meet the other workers where `kvstore` is one of DISTRIBUTED; waits until all are there."""
    if kvstore not in DISTRIBUTED:
        return ALONE
    if os.environ.get(ROLE) != "worker":
        raise InputError(f"--kvstore {kvstore}: needs a scheduler and servers; start this command with "
                         "'python -m arcface_mxnet.recognition.launch -n WORKERS -s SERVERS -- "
                         "python -m arcface_mxnet.recognition.train ...'")
    store = mx.kv.create(kvstore)
    store.init(STOP_KEY, mx.nd.zeros((store.num_workers,)))
    return Workers(store.rank, store.num_workers, store)


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

    def load_last(self) -> Tuple[Position, Dict[str, "mx.nd.NDArray"]]:
        """The restart point of the run."""
        position, arrays = self._run.load_last()
        self._step = position.step
        return position, arrays

    def save_last(self, position: Position, arrays: Mapping[str, "mx.nd.NDArray"]) -> None:
        """Note that the first worker saved this step."""
        self._step = position.step

    def last_step(self) -> int:
        """The step noted last."""
        return self._step

    def publish(self, checkpoint: Checkpoint, number: int) -> Path:
        """Where the first worker writes it."""
        return self._run.folder / f"model-{number:04d}.params"

    def save_best(self, checkpoint: Checkpoint, figures: Mapping[str, Any]) -> None:
        """The first worker writes it."""


def own_directory(run: RunDirectory, workers: Workers) -> RunDirectory:
    """`run` for the first worker, a follower's view of it for the others."""
    return run if workers.rank == 0 else FollowerDirectory(run.folder, workers.rank)
