"""Several machines: who this worker is, and when all of them stop (MXNet's parameter server).

A run of one process needs none of it, so MXNet is imported only where there are several.
"""
import os
from typing import Any, NamedTuple, Optional, Tuple

from arcface_mxnet.runtime.errors import InputError

DISTRIBUTED = ("dist_sync", "dist_sync_device")
ROLE = "DMLC_ROLE"
# Beside the gradients' 0, 1, 2, ...; MXNet picks a small array's server by key * 9973 in 32 bits, hence LAST_KEY.
STOP_KEY, LABEL_KEY, CENTRE_KEYS, LAST_KEY = 20_000, 20_001, 20_002, (2 ** 31 - 1) // 9973


class Workers(NamedTuple):
    """This worker's rank, how many there are, and the store they share (None in a run of one process)."""

    rank: int
    size: int
    store: Any

    @property
    def part(self) -> Tuple[int, int]:
        """(rank, size), as arcface_mxnet.datasets.iterator takes it."""
        return self.rank, self.size

    def agree(self, number: Optional[int]) -> Optional[int]:
        """The largest signal number any worker was sent by this step, None for none; all workers get the same."""
        if self.store is None:
            return number
        from arcface_mxnet.engines.mxnet.mx import mx

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
    from arcface_mxnet.engines.mxnet.mx import mx

    store = mx.kv.create(kvstore)
    store.init(STOP_KEY, mx.nd.zeros((store.num_workers,)))
    return Workers(store.rank, store.num_workers, store)
