"""A checkpoint for 112x112 images that runs at once: one convolution, the mean over places, dense, normalisation."""
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.checkpoint import Checkpoint

import numpy as np


def network() -> Checkpoint:
    data = (sym.Variable("data") - 127.5) * 0.0078125
    net = sym.Convolution(data, num_filter=6, kernel=(16, 16), stride=(16, 16), no_bias=True, name="conv0")
    net = sym.Flatten(sym.Pooling(net, kernel=(7, 7), pool_type="avg"))
    symbol = sym.BatchNorm(sym.FullyConnected(net, num_hidden=5, name="pre_fc1"), name="fc1")
    generator = np.random.default_rng(3)
    shapes, _, states = symbol.infer_shape(data=(1, 3, 112, 112))
    args = {name: generator.normal(0, 0.3, shape).astype("float32")
            for name, shape in zip(symbol.list_arguments(), shapes)}
    args.pop("data")
    aux = {name: np.ones(shape, "float32") for name, shape in zip(symbol.list_auxiliary_states(), states)}
    return Checkpoint(symbol, args, aux)
