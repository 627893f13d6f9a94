"""Where parameters start: the original's initial values, or a pretrained checkpoint laid over them."""
from typing import Dict, List, Mapping, NamedTuple, Tuple

from arcface_mxnet.graph.checkpoint import DENSE_NAMES, Checkpoint
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.mx import mx

Arrays = Dict[str, "mx.nd.NDArray"]
Shapes = Mapping[str, tuple]
GAUSSIAN_FAMILIES = ("fresnet", "fmobilefacenet")


class Start(NamedTuple):
    """Initial parameters, and what became of the arrays of a pretrained checkpoint (names, sorted)."""

    arguments: Arrays
    auxiliary: Arrays
    loaded: List[str]
    new: List[str]
    ignored: List[str]


def family_initializer(family: str) -> "mx.init.Initializer":
    """Facts, 4.3: N(0, sqrt(2 / fan_out)) for the residual and MobileFaceNet families, Xavier uniform for others."""
    if family in GAUSSIAN_FAMILIES:
        return mx.init.Xavier(rnd_type="gaussian", factor_type="out", magnitude=2)
    return mx.init.Xavier(rnd_type="uniform", factor_type="in", magnitude=2)


def fresh(symbol: "mx.sym.Symbol", shapes: Tuple[Shapes, Shapes], family: str,
          special: Mapping[str, "mx.init.Initializer"], seed: int) -> Tuple[Arrays, Arrays]:
    """Initial (arguments, auxiliary) on the CPU, a function of `seed` alone.

    `special` names the initializers of the head's own weights; an attribute of a variable in the graph (the slope
    0.25 of PReLU) goes before the family's.
    """
    mx.random.seed(seed)
    attributes, general = symbol.attr_dict(), family_initializer(family)
    made: List[Arrays] = []
    for group in shapes:
        arrays = {}
        for name, shape in group.items():
            arrays[name] = mx.nd.zeros(shape)
            special.get(name, general)(mx.init.InitDesc(name, attributes.get(name, {})), arrays[name])
        made.append(arrays)
    return made[0], made[1]


def overlay(arguments: Arrays, auxiliary: Arrays, pretrained: Checkpoint, source: str) -> Start:
    """Pretrained values over initial ones, by name; `fc1_weight` and `pre_fc1_weight` are one name.

    An array the new graph has with another shape stays as initialised if it belongs to the head of another set of
    identities (fc7*), and is an InputError naming it otherwise: a network half loaded helps nobody.
    """
    given = {**pretrained.args, **pretrained.aux}
    wanted = {**arguments, **auxiliary}
    for name, alias in (DENSE_NAMES, DENSE_NAMES[::-1]):
        if name in given and name not in wanted and alias in wanted and alias not in given:
            given[alias] = given.pop(name)
    loaded = []
    for name in sorted(given):
        if name not in wanted:
            continue
        if given[name].shape != wanted[name].shape:
            if name.startswith("fc7"):
                continue
            raise InputError(f"--pretrained {source}: {name} has shape {given[name].shape}, the network needs "
                             f"{wanted[name].shape}; choose the --network the checkpoint was made with")
        given[name].astype(wanted[name].dtype).copyto(wanted[name])
        loaded.append(name)
    if not loaded:
        raise InputError(f"--pretrained {source}: none of its {len(given)} arrays belongs to this network; "
                         "choose the --network the checkpoint was made with")
    return Start(arguments, auxiliary, loaded, sorted(set(wanted) - set(loaded)), sorted(set(given) - set(loaded)))
