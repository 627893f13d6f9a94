"""A bench for losses: bind a head in float64, run it, and differentiate an independent NumPy loss by differences."""
from typing import Callable, Dict, NamedTuple, Optional, Sequence

import numpy as np

from recognition.losses.base import Head
from runtime.mx import mx

Values = Dict[str, np.ndarray]


class Result(NamedTuple):
    outputs: Dict[str, np.ndarray]
    gradients: Values


def run(head: Head, values: Values, dtype: type = np.float64, wrt: Optional[Sequence[str]] = None) -> Result:
    """Forward and backward of a head: outputs by role, gradients by variable name."""
    names = head.symbol.list_arguments()
    arrays = {name: mx.nd.array(values[name], dtype=dtype) for name in names}
    wrt = [name for name in names if name not in head.states and not name.endswith("label")] if wrt is None else wrt
    gradients = {name: mx.nd.zeros(arrays[name].shape, dtype=dtype) for name in wrt}
    executor = head.symbol.bind(mx.cpu(), arrays, args_grad=gradients,
                                grad_req={name: "write" if name in gradients else "null" for name in names})
    outputs = executor.forward(is_train=True)
    executor.backward()
    return Result({role: out.asnumpy() for role, out in zip(head.roles, outputs)},
                  {name: gradient.asnumpy() for name, gradient in gradients.items()})


def differences(loss: Callable[[Values], float], values: Values, name: str, step: float = 1e-6) -> np.ndarray:
    """Central differences of a scalar NumPy function with respect to values[name], entry by entry."""
    gradient = np.zeros_like(values[name], dtype=np.float64)
    for index in np.ndindex(*gradient.shape):
        shifted = {key: np.array(value, dtype=np.float64) for key, value in values.items()}
        shifted[name][index] += step
        above = loss(shifted)
        shifted[name][index] -= 2 * step
        gradient[index] = (above - loss(shifted)) / (2 * step)
    return gradient


def unit(matrix: np.ndarray) -> np.ndarray:
    """Rows divided by their lengths."""
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
