"""What runs inside the parameter servers: momentum for the centres, plain sums for everything else."""
from typing import Dict, NamedTuple

from arcface_mxnet.recognition.engine.distributed import CENTRE_KEYS
from arcface_mxnet.runtime.mx import mx


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
