"""Where parameters start: MXNet's laws (mx.init), drawn by a generator of ours that is the same for every engine."""
import json
import math
from typing import Any, Dict, Mapping, NamedTuple, Sequence, Tuple

from arcface_mxnet.engines.draws import stream
from arcface_mxnet.runtime.errors import InputError

import numpy as np

Shapes = Mapping[str, Sequence[int]]
_ZERO = ("bias", "beta", "moving_mean", "running_mean", "moving_avg", "min")
_ONE = ("gamma", "moving_var", "running_var", "max")


class Law(NamedTuple):
    """How weights without a law of their own start: Xavier's, N(0, s) or U(-s, s) with s = sqrt(magnitude / fan)."""

    gaussian: bool
    fan: str  # "in" or "out"
    magnitude: float = 2.0

    def draw(self, chance: np.random.Generator, shape: Tuple[int, ...]) -> np.ndarray:
        """Values of a weight (out, in, ...)."""
        if len(shape) < 2:
            raise InputError(f"a weight of shape {shape}: its first values need two axes; give it a law of its own")
        field = math.prod(shape[2:])
        fan = (shape[1] if self.fan == "in" else shape[0]) * field
        scale = math.sqrt(self.magnitude / fan)
        if self.gaussian:
            return chance.standard_normal(shape, dtype=np.float32) * np.float32(scale)
        return (chance.random(shape, dtype=np.float32) * 2 - 1) * np.float32(scale)


GAUSSIAN_FAMILIES = ("fresnet", "fmobilefacenet")


def family_law(family: str) -> Law:
    """N(0, sqrt(2 / fan_out)) for the residual and MobileFaceNet families, Xavier uniform for others (the original's).
    """
    return Law(True, "out") if family in GAUSSIAN_FAMILIES else Law(False, "in")


def initial_values(shapes: Shapes, attributes: Mapping[str, Mapping[str, str]], law: Law,
                   seed: int) -> Dict[str, np.ndarray]:
    """Initial float32 values of all parameters and statistics, a function of `seed` and each one's name and shape.

    An `__init__` among a variable's attributes (the slope 0.25 of PReLU, Normal(0.01) of the centres) goes before the
    law for weights; biases, BatchNorm's parameters and statistics start as in MXNet. Raises InputError for a name that
    MXNet knows no first value for.
    """
    return {name: _value(name, tuple(shape), attributes.get(name, {}).get("__init__"), law, seed)
            for name, shape in shapes.items()}


def _value(name: str, shape: Tuple[int, ...], own: Any, law: Law, seed: int) -> np.ndarray:
    if own is not None:
        return _by_note(name, shape, own, seed)
    if name.endswith("weight"):
        return law.draw(stream(seed, name), shape)
    if name.endswith(_ZERO):
        return np.zeros(shape, dtype=np.float32)
    if name.endswith(_ONE):
        return np.ones(shape, dtype=np.float32)
    raise InputError(f"parameter {name}: no law for its first values; name it *_weight, or give it one in the graph")


def _by_note(name: str, shape: Tuple[int, ...], own: str, seed: int) -> np.ndarray:
    """Values after what MXNet's initializers leave on a variable: ["normal", {"sigma": 0.01}], or a word alone."""
    try:
        kind, options = json.loads(own) if own.startswith("[") else (own, {})
        kind = str(kind).lower()
        if kind in ("zero", "zeros", "one", "ones"):
            return np.full(shape, 1.0 if kind.startswith("one") else 0.0, dtype=np.float32)
        if kind == "constant":
            return np.full(shape, float(options["value"]), dtype=np.float32)
        if kind == "normal":
            drawn = stream(seed, name).standard_normal(shape, dtype=np.float32)
            return drawn * np.float32(options.get("sigma", 0.01))
        if kind == "uniform":
            drawn = stream(seed, name).random(shape, dtype=np.float32) * 2 - 1
            return drawn * np.float32(options.get("scale", 0.07))
        if kind == "xavier":
            law = Law(options.get("rnd_type", "uniform") == "gaussian", str(options.get("factor_type", "avg")),
                      float(options.get("magnitude", 3)))
            if law.fan in ("in", "out"):
                return law.draw(stream(seed, name), shape)
    except (ValueError, TypeError, KeyError, AttributeError):
        pass
    raise InputError(f"parameter {name}: __init__ {own[:80]} is no law of first values known here")
