"""Millions of identities: centres as row-sparse arrays on the parameter servers; a step moves only rows it needs."""
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple, cast

from arcface_mxnet.engines.multipliers import decay_multiplier, rate_multiplier
from arcface_mxnet.engines.mxnet.class_centres import (
    WEIGHT,
    HeadSizes,
    ShardedCentres,
)
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.engines.mxnet.partial_fc import STEP
from arcface_mxnet.engines.mxnet.workers import CENTRE_KEYS, LABEL_KEY, LAST_KEY, Workers
from arcface_mxnet.engines.sampling import Rule, places_of, rows_of, split
from arcface_mxnet.graph.params_file import Arrays
from arcface_mxnet.runtime.errors import InputError

import numpy as np

KEY_CLASSES = 65536  # classes under one key: what passes through a worker at once when the servers are filled
Rows = Callable[[int, int], np.ndarray]


class Factors(NamedTuple):
    """Momentum of the servers; what multiplies the centres and the gradients in a push, and the rate."""

    momentum: float
    decay: float
    rescale: float
    rate: float


class ServerCentres(ShardedCentres):
    """The sampled head of several workers: all see the same classes in a step, each for its own images.

    sizes.batch counts the images of this worker. The sample is the one a single process with the global batch draws
    (Rule), so the workers tell each other their labels. Rate and decay are in what is pushed, momentum is the servers'
    (engines.mxnet.parameter_server). Only the worker of rank 0 holds the whole matrix, to fill and to save it.
    """

    def __init__(self, sizes: HeadSizes, scale: float, contexts: Sequence["mx.Context"], rule: Rule, workers: Workers,
                 servers: int) -> None:
        self._count = rule.size(sizes.classes, sizes.batch * workers.size)
        super().__init__(sizes._replace(classes=self._count), scale, contexts)  # shards of the sample
        self.sizes, self.rule, self._step = sizes, rule, 0
        self._workers, self._keys = workers, CentreKeys(servers)
        self._store = cast(Any, workers.store)
        self._bounds = [(first, min(first + KEY_CLASSES, sizes.classes))
                        for first in range(0, sizes.classes, KEY_CLASSES)]
        if self._keys.momentum(len(self._bounds)) > LAST_KEY:
            raise InputError(f"{sizes.classes} identities on {servers} servers need more keys than MXNet has; take "
                             "fewer servers")
        self._sample = mx.nd.zeros((self._count * sizes.per_class, sizes.embedding))
        self._chosen = np.zeros(0, dtype=np.int64)
        self._factors = Factors(0.0, 0.0, 1.0, 1.0)
        self._ready = False
        self._store.init(LABEL_KEY, mx.nd.zeros((workers.size, sizes.batch)))

    def set_optimizer(self, momentum: float, decay: float, rescale: float,
                      attributes: Mapping[str, Mapping[str, str]], policy: str) -> None:
        """Momentum starts where `load` or `restart` put it; the servers learn of it with the first step."""
        own = attributes.get(WEIGHT, {})
        self._factors = Factors(momentum, decay * decay_multiplier(WEIGHT, own, policy) / self._workers.size, rescale,
                                rate_multiplier(own, policy))

    def load(self, weight: np.ndarray) -> None:
        """Fill the servers with the whole matrix, (C * K, E), and momentum 0."""
        count = self.sizes.per_class
        self.fill(lambda first, last: weight[first * count:last * count],
                  lambda first, last: np.zeros(((last - first) * count, self.sizes.embedding), np.float32))

    def restart(self, saved: Mapping[str, np.ndarray]) -> None:
        """Fill the servers from a restart point of any head."""
        weight, momentum, count = saved[f"arg:{WEIGHT}"], saved[f"momentum:{WEIGHT}"], self.sizes.per_class
        self.fill(lambda first, last: weight[first * count:last * count],
                  lambda first, last: momentum[first * count:last * count])
        self._step = int(saved[STEP][0]) if STEP in saved else 0

    def fill(self, weight: Rows, momentum: Rows) -> None:
        """Give the servers all rows, part by part; the functions return the rows of the classes [first, last).

        Once in the life of the servers: they take the first worker's values.
        """
        for index, (first, last) in enumerate(self._bounds):
            every = np.arange((last - first) * self.sizes.per_class)
            for key, rows in ((self._keys.weight(index), weight), (self._keys.momentum(index), momentum)):
                empty = mx.nd.sparse.zeros("row_sparse", (every.size, self.sizes.embedding))
                value = self._sparse(every.size, every, rows(first, last)) if self._workers.rank == 0 else empty
                self._store.init(key, value)
                value.wait_to_read()

    def begin(self, labels: np.ndarray) -> List[np.ndarray]:
        """Hear the labels of all workers, choose the classes of the step and pull their rows into the blocks."""
        if not self._ready:
            self._tie()
        self._step += 1
        everyone = self._exchange(labels)
        self._chosen = self.rule.choose(everyone, 0, self.sizes.classes, everyone.size, self._step)
        for index, rows, where in self._parts():
            if not rows.size:
                continue
            pulled = mx.nd.sparse.zeros("row_sparse", self._shape(index))
            self._store.row_sparse_pull(self._keys.weight(index), out=pulled,
                                        row_ids=mx.nd.array(rows, dtype="int64"))
            pulled.data.copyto(self._sample[where])
        first = 0
        for weight in self.weights:
            self._sample[first:first + weight.shape[0]].copyto(weight)
            first += weight.shape[0]
        places = places_of(labels, self._chosen, 0)
        return [np.where((places >= first) & (places < last), places - first, -1) for first, last in self.shards]

    def update(self, rate: float) -> None:
        """Push the rows of the last `begin`: rate * (gradient * rescale + this worker's share of the decay)."""
        factors, rate = self._factors, rate * self._factors.rate
        steps = [block.gradient * (rate * factors.rescale) + block.weight * (rate * factors.decay)
                 for block in self.blocks]
        here = [step.as_in_context(mx.cpu()) for step in steps]
        whole = mx.nd.concat(*here, dim=0) if len(here) > 1 else here[0]
        for index, rows, where in self._parts():
            # Every key, also with no row: the servers wait for all workers at each.
            self._store.push(self._keys.weight(index), self._sparse(self._shape(index)[0], rows, whole, where))

    def restart_arrays(self) -> Arrays:
        """The whole matrix, its momentum and the number of the step: for the worker of rank 0, nothing for others."""
        if self._workers.rank:
            return {}
        return {f"arg:{WEIGHT}": self._whole(self._keys.weight), f"momentum:{WEIGHT}": self._whole(self._keys.momentum),
                STEP: np.array([self._step], np.int64)}

    def _tie(self) -> None:
        """Send the servers their optimizer (once: a second one would forget) and tie momenta to centres."""
        if self._workers.rank == 0:
            self._store.set_optimizer(CentreMomentum(self._factors.momentum, self._keys.servers))
        self._store._barrier()
        for index in range(len(self._bounds)):
            rows = self._shape(index)[0]
            ends = np.unique([0, *(last - 1 for _, last in split(rows, self._keys.servers) if last)])
            nothing = mx.nd.zeros((ends.size, self.sizes.embedding))
            self._store.push(self._keys.momentum(index), self._sparse(rows, ends, nothing))
        self._ready = True

    def _exchange(self, labels: np.ndarray) -> np.ndarray:
        mine = np.zeros((self._workers.size, self.sizes.batch), dtype=np.float32)
        mine[self._workers.rank] = labels
        shared = mx.nd.array(mine)
        self._store.push(LABEL_KEY, shared)
        self._store.pull(LABEL_KEY, out=shared)
        return shared.asnumpy().astype(np.int64).reshape(-1)

    def _parts(self) -> Iterator[Tuple[int, np.ndarray, slice]]:
        """Of the chosen classes, by key: its index, the rows inside it, and where these stand in the sample."""
        edges = np.searchsorted(self._chosen, [first for first, _ in self._bounds] + [self.sizes.classes])
        count = self.sizes.per_class
        for index, (begin, end) in enumerate(zip(edges, edges[1:])):
            rows = rows_of(self._chosen[begin:end] - self._bounds[index][0], count)
            yield index, rows, slice(int(begin) * count, int(end) * count)

    def _whole(self, key: Callable[[int], int]) -> np.ndarray:
        whole = mx.nd.zeros((self.sizes.classes * self.sizes.per_class, self.sizes.embedding))
        for index, (first, last) in enumerate(self._bounds):
            pulled = mx.nd.sparse.zeros("row_sparse", self._shape(index))
            every = mx.nd.arange(self._shape(index)[0], dtype="int64")
            self._store.row_sparse_pull(key(index), out=pulled, row_ids=every)
            pulled.data.copyto(whole[first * self.sizes.per_class:last * self.sizes.per_class])
        return whole.asnumpy()

    def _shape(self, index: int) -> Tuple[int, int]:
        first, last = self._bounds[index]
        return (last - first) * self.sizes.per_class, self.sizes.embedding

    def _sparse(self, rows: int, indices: np.ndarray, data: Any,
                where: slice = slice(None)) -> "mx.nd.NDArray":
        shape = (rows, self.sizes.embedding)
        if not indices.size:
            return mx.nd.sparse.zeros("row_sparse", shape)
        return mx.nd.sparse.row_sparse_array((data[where], mx.nd.array(indices, dtype="int64")), shape=shape)


# What runs inside the parameter servers: momentum for the centres, plain sums for everything else.


class CentreKeys(NamedTuple):
    """Numbers of the keys that hold part `index` of the centres and of their momentum, for `servers` servers.

    A small array lives whole on the server that its number picks by its rest, so both have the same rest; a large one
    is cut by rows, equally for both.
    """

    servers: int

    def weight(self, index: int) -> int:
        """Key of the centres."""
        return CENTRE_KEYS + 2 * self.servers * index + index % self.servers

    def momentum(self, index: int) -> int:
        """Key of their momentum."""
        return self.weight(index) + self.servers

    def weight_of(self, key: int) -> int:
        """The key of the centres that the momentum under `key` belongs to, -1 where `key` holds no momentum."""
        return key - self.servers if (key - CENTRE_KEYS) // self.servers % 2 else -1


@mx.optimizer.register
class CentreMomentum(mx.optimizer.Optimizer):
    """m <- momentum m - push, w <- w + m for the rows pushed; rate, decay and scale are in what the workers push.

    The momentum is itself an array of the store, so that workers can read it for a restart point and set it from one.
    The first push of a momentum key (its values do not matter) ties it to its centres.
    """

    def __init__(self, momentum: float, servers: int) -> None:
        super().__init__(learning_rate=1.0)
        self.momentum, self.keys = momentum, CentreKeys(servers)
        self.states: Dict[int, mx.nd.NDArray] = {}

    def create_state(self, index: int, weight: "mx.nd.NDArray") -> None:
        """The state is in the store."""

    def update(self, index: int, weight: "mx.nd.NDArray", grad: "mx.nd.NDArray", state: None) -> None:
        """Apply the sum `grad` of the workers' pushes to the stored array `weight`."""
        if index < CENTRE_KEYS:
            weight[:] = grad
            return
        owner = self.keys.weight_of(index)
        if owner >= 0:
            self.states[owner] = weight
            return
        mx.nd.sgd_mom_update(weight, grad, self.states[index], out=weight, lr=1.0, momentum=self.momentum, wd=0.0,
                             lazy_update=True)


def serve() -> None:
    """Be the scheduler or a server of a job, as the environment says, until it ends."""
    mx.kvstore.kvstore_server.KVStoreServer(mx.kv.create("dist")).run()
