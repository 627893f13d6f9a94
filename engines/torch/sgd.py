"""SGD with momentum as MXNet computes it: m <- mu m - lr (rescale g + wd w), w <- w + m.

torch.optim.SGD keeps the rate out of the momentum, which is another rule after each drop of the rate. PyTorch's fused
kernel computes b <- mu b + (g + wd w), w <- w - r b: with gradients and decay multiplied by -lr before, and r = -1, it
is MXNet's. (Dampening 1 + lr would say the same, but CUDA's kernel takes it in float32: 1.4e-3 off at a rate of 1e-5.)
"""
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from arcface_mxnet.engines.multipliers import decay_multiplier, rate_multiplier

import torch
from torch import Tensor

Tensors = Dict[str, Tensor]


class MomentumSGD:
    """Momentum and update of some float32 parameters; `state` is all it remembers.

    A parameter without a gradient has gradient 0: it decays and moves on by its momentum. The gradients of the
    parameters `scaled` come multiplied by what `update` is told, a power of two.
    """

    def __init__(self, weights: Mapping[str, Tensor], momentum: float, decay: float, rescale: float,
                 attributes: Mapping[str, Mapping[str, str]], policy: str = "uniform",
                 scaled: Sequence[str] = ()) -> None:
        self._momentum, self._rescale, self._scaled = momentum, rescale, set(scaled)
        self.state: Tensors = {f"momentum:{name}": torch.zeros_like(weight) for name, weight in weights.items()}
        self._groups: Dict[Tuple[float, float, bool], List[str]] = {}
        for name in weights:
            own = attributes.get(name, {})
            key = (rate_multiplier(own, policy), decay * decay_multiplier(name, own, policy), name in self._scaled)
            self._groups.setdefault(key, []).append(name)

    def update(self, weights: Mapping[str, Tensor], gradients: Mapping[str, Optional[Tensor]], rate: float,
               scale: float = 1.0) -> None:
        """One step in place at learning rate `rate`; gradients of the scaled parameters are divided by `scale`."""
        with torch.no_grad():
            for (multiplier, decay, scaled), names in self._groups.items():
                chosen = [weights[name].detach() for name in names]
                given = [_like(gradients.get(name), weight) for name, weight in zip(names, chosen)]
                step = -rate * multiplier
                factor = step * (self._rescale / scale if scaled else self._rescale)
                self._step(chosen, list(torch._foreach_mul(given, factor)),
                           [self.state[f"momentum:{name}"] for name in names], step * decay)

    def _step(self, weights: List[Tensor], gradients: List[Tensor], momenta: List[Tensor], decay: float) -> None:
        """m <- mu m + g + decay w, w <- w + m."""
        if self._momentum:
            torch._fused_sgd_(weights, gradients, momenta, weight_decay=decay, momentum=self._momentum, lr=-1.0,
                              dampening=0.0, nesterov=False, maximize=False, is_first_step=False)
            return
        for weight, gradient, momentum in zip(weights, gradients, momenta):  # the kernel refuses momentum 0
            torch.add(gradient, weight, alpha=decay, out=momentum)
            weight.add_(momentum)


def _like(gradient: Optional[Tensor], weight: Tensor) -> Tensor:
    """The gradient in the memory layout of its weight, which the fused kernel needs; zeros where there is none."""
    if gradient is None:
        return torch.zeros_like(weight)
    if gradient.stride() == weight.stride():
        return gradient
    return torch.empty_like(weight).copy_(gradient)
