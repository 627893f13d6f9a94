"""What the Trainer asks of a step, whichever head it has: `DataParallel` and `ClassParallel` both are one."""
from typing import Dict, List, Mapping, Protocol, Tuple

from arcface_mxnet.recognition.engine.parallel import Beside, Outcome
from arcface_mxnet.runtime.mx import mx

Arrays = Dict[str, "mx.nd.NDArray"]


class Step(Protocol):
    """Parameters, gradients and momentum of one run; the methods are described in recognition.engine.parallel."""

    batch_size: int
    contexts: List["mx.Context"]

    def set_parameters(self, arguments: Mapping[str, "mx.nd.NDArray"],
                       auxiliary: Mapping[str, "mx.nd.NDArray"]) -> None:
        """Give every context the same parameters."""

    def set_optimizer(self, momentum: float, decay: float, policy: str) -> None:
        """Fresh momentum for the parameters set before."""

    def forward_backward(self, data: "mx.nd.NDArray", label: "mx.nd.NDArray",
                         beside: Beside = None) -> Outcome:
        """Run a batch and keep its gradients."""

    def update(self, rate: float) -> bool:
        """One SGD step; False where it was left out."""

    def gradients_finite(self) -> bool:
        """Whether the last gradients are numbers."""

    def parameters_finite(self) -> bool:
        """Whether all parameters and statistics are numbers."""

    def parameters(self) -> Tuple[Arrays, Arrays]:
        """Copies of the network's (arguments, auxiliary) on the CPU, under published names."""

    def restart_arrays(self) -> Arrays:
        """All that a restart needs."""

    def restart(self, saved: Mapping[str, "mx.nd.NDArray"]) -> None:
        """Restore `restart_arrays`."""
