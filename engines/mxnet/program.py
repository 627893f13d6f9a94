"""What a step of this engine executes; needs no MXNet."""
from typing import List, Mapping, NamedTuple, Tuple

from arcface_mxnet.graph.params_file import Arrays
from arcface_mxnet.graph.symbol import Symbol

import numpy as np

DATA, LABEL = "data", "softmax_label"


class Program(NamedTuple):
    """What a step executes.

    `symbol` is the form that is run; `roles` names its outputs (recognition.losses.Head); `constants` are arrays of
    the run form that the stored form does not have; `states` are variables fed and replaced by the outputs
    "state:NAME" instead of being trained; `attributes` are the variables' attributes (multipliers); `inputs` are the
    variables fed with each batch beside its labels; `scaled` are the arguments whose gradients come multiplied by the
    constant `loss_scale`, where there is one.
    """

    symbol: Symbol
    roles: Tuple[str, ...]
    constants: Arrays
    states: Mapping[str, np.ndarray]
    attributes: Mapping[str, Mapping[str, str]]
    inputs: Tuple[str, ...] = ()
    scaled: Tuple[str, ...] = ()

    @property
    def auxiliary(self) -> List[str]:
        """BatchNorm statistics that belong to the model."""
        return [name for name in self.symbol.list_auxiliary_states() if name not in self.constants]

    @property
    def trained(self) -> List[str]:
        """Arguments that SGD updates."""
        fed = {DATA, LABEL, *self.inputs, *self.constants, *self.states}
        return [name for name in self.symbol.list_arguments() if name not in fed]
