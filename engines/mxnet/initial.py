"""The original's initial values, as MXNet draws them."""
from typing import List, Mapping, Tuple

from arcface_mxnet.engines.initial import family_law
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.graph.params_file import Arrays
from arcface_mxnet.graph.symbol import Initial, Symbol

Shapes = Mapping[str, tuple]


def family_initializer(family: str) -> "mx.init.Initializer":
    """MXNet's initializer for a network family's law."""
    law = family_law(family)
    return mx.init.Xavier(rnd_type="gaussian" if law.gaussian else "uniform", factor_type=law.fan,
                          magnitude=law.magnitude)


def fresh(symbol: Symbol, shapes: Tuple[Shapes, Shapes], family: str,
          special: Mapping[str, Initial], seed: int) -> Tuple[Arrays, Arrays]:
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
            array = mx.nd.zeros(shape)
            own = special.get(name)
            rule = general if own is None else mx.initializer.create(own.kind, **own.settings)
            rule(mx.init.InitDesc(name, attributes.get(name, {})), array)
            arrays[name] = array.asnumpy()
        made.append(arrays)
    return made[0], made[1]
