"""Shared by the tests of evaluation: a little network."""
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.runtime.mx import mx

import numpy as np
import pytest


def _small(seed=0, dimensions=5, groups=1, tail=False):
    """A little network with what the real ones have: scaling, (grouped) convolution, normalisation, PReLU, dense."""
    data = (mx.sym.Variable("data") - 127.5) * 0.0078125
    net = mx.sym.Convolution(data, num_filter=8, kernel=(3, 3), stride=(2, 2), no_bias=True, name="conv0")
    if groups > 1:
        net = mx.sym.Convolution(net, num_filter=8, kernel=(3, 3), num_group=8, no_bias=True, name="dw")
    net = mx.sym.BatchNorm(net, fix_gamma=False, name="bn0")
    net = mx.sym.LeakyReLU(net, act_type="prelu", name="relu0")
    if tail:  # a depthwise convolution right before the dense layer, as in MobileFaceNet
        net = mx.sym.Convolution(net, num_filter=8, kernel=(7, 7) if groups == 1 else (5, 5), num_group=8, no_bias=True,
                                 name="gdc")
        net = mx.sym.BatchNorm(net, fix_gamma=False, name="gdc_bn")
    net = mx.sym.FullyConnected(net, num_hidden=dimensions, name="pre_fc1")
    symbol = mx.sym.BatchNorm(net, fix_gamma=True, eps=2e-5, name="fc1")
    rng = np.random.default_rng(seed)
    shapes, _, states = symbol.infer_shape(data=(1, 3, 16, 16))
    values = {name: mx.nd.array(rng.normal(0, 0.3, shape)) for name, shape in zip(symbol.list_arguments(), shapes)}
    values.pop("data")
    aux = {name: mx.nd.array(rng.uniform(0.5, 1.5, shape))
           for name, shape in zip(symbol.list_auxiliary_states(), states)}
    return Checkpoint(symbol, values, aux)


@pytest.fixture(scope="session")
def small():
    """Make a small checkpoint: small(seed, dimensions, groups, tail); the last two add depthwise convolutions."""
    return _small
