"""Elementary functions made of additions, multiplications, divisions and square roots, in float64.

NumPy's own come from the C library or from kernels chosen by processor and NumPy version, and differ in the last bits;
what IEEE 754 defines to the bit does not. Here the same arguments give the same bits everywhere; they are within 1e-10
of the true value (relative, or absolute for sine and cosine), a thousandth of what float32 can tell. Arrays of float32
give float32, a number gives a Python float.
"""
import math
from typing import Any, List, TypeVar

import numpy as np

Values = TypeVar("Values", float, np.ndarray)

# Cut in two, so that a small whole number times the high part is exact.
_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.a39ef35793c76p-33")
_HALF_PI_HIGH, _HALF_PI_LOW = float.fromhex("0x1.921fb54400000p+0"), float.fromhex("0x1.0b4611a626331p-34")
_PI = float.fromhex("0x1.921fb54442d18p+1")
_ROOT_HALF = float.fromhex("0x1.6a09e667f3bcdp-1")

# Taylor coefficients, highest power first.
_EXP = [1.0 / math.factorial(n) for n in range(9, -1, -1)]
_SINE = [(-1.0) ** n / math.factorial(2 * n + 1) for n in range(5, -1, -1)]
_COSINE = [(-1.0) ** n / math.factorial(2 * n) for n in range(6, -1, -1)]
_ARCTAN = [(-1.0) ** n / (2 * n + 1) for n in range(6, -1, -1)]
_ARTANH = [1.0 / (2 * n + 1) for n in range(6, -1, -1)]


def _polynomial(x: np.ndarray, coefficients: List[float]) -> np.ndarray:
    """By Horner's rule."""
    total = x * coefficients[0]
    for value in coefficients[1:-1]:
        total += value
        total *= x
    return total + coefficients[-1]


def _like(given: Any, result: np.ndarray) -> Any:
    """A result of the kind of what was given: float32 array, float64 array or number."""
    if np.ndim(result) == 0:
        return float(result)
    return result.astype(np.float32) if isinstance(given, np.ndarray) and given.dtype == np.float32 else result


def _exp(x: np.ndarray) -> np.ndarray:
    x = np.minimum(np.maximum(x, -700.0), 700.0)
    power = np.floor(x * (1.0 / (_LN2_HIGH + _LN2_LOW)) + 0.5)
    rest = (x - power * _LN2_HIGH) - power * _LN2_LOW
    return _polynomial(rest, _EXP) * ((power.astype(np.int64) + 1023) << 52).view(np.float64)


def _log(x: np.ndarray) -> np.ndarray:
    mantissa, power = np.frexp(x)
    low = mantissa < _ROOT_HALF
    mantissa = np.where(low, 2.0 * mantissa, mantissa)
    power = power - low.astype(np.float64)
    share = (mantissa - 1.0) / (mantissa + 1.0)
    return power * _LN2_HIGH + (power * _LN2_LOW + 2.0 * share * _polynomial(share * share, _ARTANH))


def _sin(x: np.ndarray, quarter: int = 0) -> np.ndarray:
    """sin(x + quarter * pi / 2)."""
    power = np.floor(x * (2.0 / _PI) + 0.5)
    rest = (x - power * _HALF_PI_HIGH) - power * _HALF_PI_LOW
    square = rest * rest
    which = power.astype(np.int64) + quarter
    value = np.where(which & 1, _polynomial(square, _COSINE), rest * _polynomial(square, _SINE))
    return np.where(which & 2, -value, value)


def _arctan2(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    tall, wide = np.abs(y), np.abs(x)
    slope = np.minimum(tall, wide) / np.maximum(np.maximum(tall, wide), 1e-30)
    for _ in range(2):  # tangent of half the angle: after twice at most tan(pi / 16)
        root = slope * slope
        root += 1.0
        slope = slope / (np.sqrt(root) + 1.0)
    angle = slope * _polynomial(slope * slope, _ARCTAN)
    angle *= 4.0
    angle = np.where(tall > wide, 0.5 * _PI - angle, angle)
    angle = np.where(x < 0, _PI - angle, angle)
    return np.copysign(angle, y)


def exp(x: Values) -> Values:
    """e to the power x."""
    return _like(x, _exp(np.asarray(x, np.float64)))


def power(x: Values, exponent: float) -> Values:
    """x to a positive power, for x from 0."""
    base = np.asarray(x, np.float64)
    raised = _exp(exponent * _log(np.where(base > 0, base, 1.0)))
    return _like(x, np.where(base > 0, raised, 0.0))


def sin(x: Values) -> Values:
    """Sine of radians, for a few turns."""
    return _like(x, _sin(np.asarray(x, np.float64)))


def cos(x: Values) -> Values:
    """Cosine of radians, for a few turns."""
    return _like(x, _sin(np.asarray(x, np.float64), 1))


def tan(x: Values) -> Values:
    """Tangent of radians."""
    return _like(x, _sin(np.asarray(x, np.float64)) / _sin(np.asarray(x, np.float64), 1))


def arctan2(y: Values, x: Values) -> Values:
    """Angle of (x, y) from the first axis, radians in [-pi, pi]; float32 arrays stay float32 throughout, for speed."""
    kind = np.float32 if getattr(y, "dtype", None) == np.float32 else np.float64
    return _like(y, _arctan2(np.asarray(y, kind), np.asarray(x, kind)))


def arcsin(x: Values) -> Values:
    """Angle in [-pi/2, pi/2] with this sine."""
    sine = np.asarray(x, np.float64)
    return _like(x, _arctan2(sine, np.sqrt(np.maximum((1.0 - sine) * (1.0 + sine), 0.0))))
