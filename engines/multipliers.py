"""Which parameters decay and at what rate they learn: the two policies of --multipliers."""
from typing import Mapping


def decay_multiplier(name: str, attributes: Mapping[str, str], policy: str) -> float:
    """Weight decay multiplier of one parameter.

    "uniform": 1 for everything, which is what the published runs did. "honoured": what MXNet does for an optimizer
    that knows the symbol: names ending in _weight or _gamma decay, others do not, `__wd_mult__` overrides.
    """
    if policy == "uniform":
        return 1.0
    return float(attributes.get("__wd_mult__", 1.0 if name.endswith(("_weight", "_gamma")) else 0.0))


def rate_multiplier(attributes: Mapping[str, str], policy: str) -> float:
    """Learning rate multiplier of one parameter, by the same policies."""
    return 1.0 if policy == "uniform" else float(attributes.get("__lr_mult__", 1.0))
