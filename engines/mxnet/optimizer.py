"""SGD with momentum, fused: m <- mu m - lr (g / n + wd w), w <- w + m (docs/original.md, section 4.3)."""
import itertools
from typing import Dict, List, Mapping, Sequence

from arcface_mxnet.engines.multipliers import decay_multiplier, rate_multiplier
from arcface_mxnet.engines.mxnet.convert import put
from arcface_mxnet.engines.mxnet.mx import mx

import numpy as np

FUSED = 60  # arrays in one multi_sgd call; MXNet's own limit


class MomentumSGD:
    """Momentum and update of the parameters of one context.

    float16 weights keep a float32 master copy (MXNet's multi-precision form). `state` is all it remembers. The
    gradients of the parameters `scaled` come multiplied by what `update` is told, a power of two: dividing is exact.
    """

    def __init__(self, weights: Mapping[str, "mx.nd.NDArray"], momentum: float, decay: float, rescale: float,
                 attributes: Mapping[str, Mapping[str, str]], policy: str = "uniform",
                 scaled: Sequence[str] = ()) -> None:
        self._momentum, self._rescale = momentum, rescale
        self._names: List[str] = list(weights)
        self._rate = [rate_multiplier(attributes.get(name, {}), policy) for name in self._names]
        self._decay = [decay * decay_multiplier(name, attributes.get(name, {}), policy) for name in self._names]
        self._half = {name for name in self._names if weights[name].dtype.__name__ == "float16"}
        self._scaled = set(scaled)
        self.state: Dict[str, mx.nd.NDArray] = {}
        for name in self._names:
            weight = weights[name]
            self.state[f"momentum:{name}"] = mx.nd.zeros(weight.shape, ctx=weight.context)
            if name in self._half:
                self.state[f"master:{name}"] = weight.astype("float32")

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take momentum (and master weights) saved before; names and shapes must be those of this optimizer."""
        for name, array in self.state.items():
            put(array, state[name])

    def update(self, weights: Mapping[str, "mx.nd.NDArray"], gradients: Mapping[str, "mx.nd.NDArray"],
               rate: float, scale: float = 1.0) -> None:
        """One step in place at learning rate `rate`; gradients of the scaled parameters are divided by `scale`."""
        for half, divided in itertools.product((False, True), (False, True)):
            chosen = [index for index, name in enumerate(self._names)
                      if (name in self._half, name in self._scaled) == (half, divided)]
            rescale = self._rescale / scale if divided else self._rescale
            for start in range(0, len(chosen), FUSED):
                self._update_some(chosen[start:start + FUSED], half, weights, gradients, rate, rescale)

    def _update_some(self, chosen: Sequence[int], half: bool, weights: Mapping[str, "mx.nd.NDArray"],
                     gradients: Mapping[str, "mx.nd.NDArray"], rate: float, rescale: float) -> None:
        arrays: List[mx.nd.NDArray] = []
        for index in chosen:
            name = self._names[index]
            arrays += [weights[name], gradients[name], self.state[f"momentum:{name}"]]
            if half:
                arrays.append(self.state[f"master:{name}"])
        operator = mx.nd.multi_mp_sgd_mom_update if half else mx.nd.multi_sgd_mom_update
        operator(*arrays, out=[weights[self._names[index]] for index in chosen], num_weights=len(chosen),
                 lrs=[rate * self._rate[index] for index in chosen], wds=[self._decay[index] for index in chosen],
                 momentum=self._momentum, rescale_grad=rescale)
