"""MXNet's fault in the gradient of PReLU's slopes, and that the form which is trained does not have it.

oneDNN is off here, as on a GPU: MXNet then computes every backward pass of PReLU in place (docs/original.md, section
2.12).
"""
import json
import os
import subprocess
import sys
from pathlib import Path

from arcface_mxnet.engines.mxnet.convert import to_mxnet
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.training import training_form

import numpy as np
import pytest

LAB = Path(__file__).with_name("prelu_lab.py")
PLAIN_KERNELS = {"MXNET_MKLDNN_ENABLED": "0", "MXNET_ONEDNN_ENABLED": "0", "OMP_NUM_THREADS": "1"}


def without_onednn(*networks):
    """What prelu_lab finds in a process whose MXNet has no oneDNN."""
    done = subprocess.run([sys.executable, str(LAB), *networks], env={**os.environ, **PLAIN_KERNELS}, check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=600)
    return json.loads(done.stdout)


def check(found, rounding):
    """The trained form's error is float32's; the stored form's slopes, all below 1, are wrong, and nothing else is."""
    for name, one in found.items():
        assert one["slopes"] > 10, name
        assert one["stored"][0] > 0.8, name
        assert max(one["trained"]) < rounding and one["stored"][1] < rounding, (name, one)


def test_every_gradient_of_the_trained_form_is_that_of_float64():
    found = without_onednn("fresnet", "fmobilefacenet", "fmnasnet")
    assert len(found) == 3
    check(found, 1e-4)


@pytest.mark.slow
def test_so_are_those_of_the_other_networks():
    """DenseNet's 120 activations, and VarGFaceNet's 70, change sign here and there in float32: more than rounding."""
    check(without_onednn("unit 1", "unit 2", "fmobilenet"), 1e-4)
    check(without_onednn("vargfacenet"), 1e-2)
    check(without_onednn("fdensenet"), 0.1)


def test_mxnet_multiplies_the_slopes_gradient_by_the_slope():
    """The smallest graph in which it does, on any device; the rewritten graph is right."""
    slope = np.array([0.05, 0.25, 0.5, 1.0, 1.5], "float32")
    data, out_gradient = (np.random.RandomState(seed).randn(4, 5, 6, 6).astype("float32") for seed in (0, 1))
    true = (out_gradient.astype("float64") * np.minimum(data, 0)).sum((0, 2, 3))
    stored = sym.LeakyReLU(sym.Variable("data") * 1.0, act_type="prelu", name="act") * 1.0
    form = training_form(stored, data.shape)
    for symbol, expected in ((stored, slope * true), (form.symbol, true)):
        executor = to_mxnet(symbol).simple_bind(mx.cpu(), data=data.shape)
        for name, value in {"data": data, "act_gamma": slope, **form.constants}.items():
            held = {**executor.arg_dict, **executor.aux_dict}.get(name)
            if held is not None:
                held[:] = value
        executor.forward(is_train=True)
        executor.backward([mx.nd.array(out_gradient)])
        np.testing.assert_allclose(executor.grad_dict["act_gamma"].asnumpy(), expected, rtol=1e-4)
