"""MXNet's operators in PyTorch: values, and gradients where MXNet defines its own.

`make(node)` gives a function of the node's input tensors. Operators with a memory or a choice of mode
(BatchNorm, Dropout) are in `engines.torch.module`, which has both, and takes BatchNorm and PReLU of compiled steps on a
CPU from `channel_sums`. Where PyTorch's gradient or shape differs from MXNet's, the function here is MXNet's:
reductions over everything give (1,), comparisons and indices are floats, `max` hands its gradient undivided to every
tie, indices are clipped, SoftmaxOutput and MakeLoss ignore what comes in.
"""
from arcface_mxnet.engines.torch.attributes import Attributes
from arcface_mxnet.engines.torch.operators import (  # noqa: F401  (they register)
    elementwise,
    indices,
    layers,
    reductions,
    shapes,
)
from arcface_mxnet.engines.torch.operators.register import OPERATORS, Function
from arcface_mxnet.graph.symbol_json import Node


def make(node: Node) -> Function:
    """The function of one node; raises InputError for an operator or attribute that is not implemented."""
    attributes = Attributes(node)
    if node.op not in OPERATORS:
        raise attributes.refused("")
    return OPERATORS[node.op](attributes)
