"""One graph bound for inference on one context: parameters shared between batch sizes, outputs fetched late."""
import contextlib
import json
from typing import Dict, Tuple

from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.mx import mx, subgraphs_off

import numpy as np

_MAX_BOUND = 3  # the full batch and a rest or two; never one executor per size ever seen


def has_depthwise(symbol: "mx.sym.Symbol") -> bool:
    """Whether a graph holds a grouped convolution, the mark of networks whose second forward fails (facts, 0.11)."""
    nodes = json.loads(symbol.tojson())["nodes"]
    return any(node["op"] == "Convolution" and int(node.get("attrs", {}).get("num_group", 1)) > 1 for node in nodes)


def wrong_size(shape: Tuple[int, ...]) -> InputError:
    """The error for images (c, h, w) that a network was not made for."""
    return InputError(f"the network does not take images of shape {shape}; give --image-size as it was trained")


class Executor:
    """Forwards batches of any size through one graph on one context; batch sizes share the values.

    `stored` says that the graph is a published one as it is: with depthwise convolutions it is bound without oneDNN's
    subgraphs. arcface_mxnet.graph.inference makes graphs that are safe with them.
    """

    def __init__(self, checkpoint: Checkpoint, context: "mx.Context", stored: bool = False) -> None:
        self.symbol = checkpoint.symbol
        self.context = context
        self._args = {name: value.as_in_context(context).copy() for name, value in checkpoint.args.items()}
        self._aux = {name: value.as_in_context(context).copy() for name, value in checkpoint.aux.items()}
        self._unsafe = stored and context.device_type == "cpu" and has_depthwise(self.symbol)
        self._bound: Dict[Tuple[int, ...], mx.executor.Executor] = {}

    def start(self, images: np.ndarray) -> "mx.nd.NDArray":
        """Queue the forward pass of (n, c, h, w) and return its (n, d) output; MXNet computes until it is read.

        The output belongs to the bound graph: read it before the next batch of the same size is started.
        """
        executor = self._executor(tuple(images.shape))
        executor.arg_dict["data"][:] = images.astype(np.float32, copy=False)
        return executor.forward(is_train=False)[0]

    def _executor(self, shape: Tuple[int, ...]) -> "mx.executor.Executor":
        executor = self._bound.pop(shape, None) or self._bind(shape)
        self._bound[shape] = executor  # last used, last dropped
        if len(self._bound) > _MAX_BOUND:
            del self._bound[next(iter(self._bound))]
        return executor

    def _bind(self, shape: Tuple[int, ...]) -> "mx.executor.Executor":
        arguments = dict(self._args, data=mx.nd.zeros(shape, self.context))
        for name in self.symbol.list_arguments():
            if name not in arguments:  # a label left in the graph, as the original's verification binds it
                arguments[name] = mx.nd.ones((shape[0],), self.context)
        try:
            with subgraphs_off() if self._unsafe else contextlib.nullcontext():
                return self.symbol.bind(self.context, arguments, aux_states=self._aux, grad_req="null")
        except mx.base.MXNetError:
            raise wrong_size(shape[1:]) from None
