"""Shared by the tests of evaluation: a little network."""
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.checkpoint import Checkpoint

import numpy as np
import pytest


def _small(seed=0, dimensions=5, groups=1, tail=False):
    """A little network with what the real ones have: scaling, (grouped) convolution, normalisation, PReLU, dense."""
    data = (sym.Variable("data") - 127.5) * 0.0078125
    net = sym.Convolution(data, num_filter=8, kernel=(3, 3), stride=(2, 2), no_bias=True, name="conv0")
    if groups > 1:
        net = sym.Convolution(net, num_filter=8, kernel=(3, 3), num_group=8, no_bias=True, name="dw")
    net = sym.BatchNorm(net, fix_gamma=False, name="bn0")
    net = sym.LeakyReLU(net, act_type="prelu", name="relu0")
    if tail:  # a depthwise convolution right before the dense layer, as in MobileFaceNet
        net = sym.Convolution(net, num_filter=8, kernel=(7, 7) if groups == 1 else (5, 5), num_group=8, no_bias=True,
                                 name="gdc")
        net = sym.BatchNorm(net, fix_gamma=False, name="gdc_bn")
    net = sym.FullyConnected(net, num_hidden=dimensions, name="pre_fc1")
    symbol = sym.BatchNorm(net, fix_gamma=True, eps=2e-5, name="fc1")
    rng = np.random.default_rng(seed)
    shapes, _, states = symbol.infer_shape(data=(1, 3, 16, 16))
    values = {name: rng.normal(0, 0.3, shape).astype("float32")
              for name, shape in zip(symbol.list_arguments(), shapes)}
    values.pop("data")
    aux = {name: rng.uniform(0.5, 1.5, shape).astype("float32")
           for name, shape in zip(symbol.list_auxiliary_states(), states)}
    return Checkpoint(symbol, values, aux)


@pytest.fixture(scope="session")
def small():
    """Make a small checkpoint: small(seed, dimensions, groups, tail); the last two add depthwise convolutions."""
    return _small
