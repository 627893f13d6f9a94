from arcface_mxnet.engines.multipliers import decay_multiplier, rate_multiplier
from arcface_mxnet.engines.mxnet.convert import to_mxnet, to_numpy
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.engines.mxnet.optimizer import FUSED, MomentumSGD
from arcface_mxnet.graph import symbol as sym

import numpy as np
import pytest


def arrays(names, seed):
    random = np.random.RandomState(seed)
    return {name: random.randn(3, index % 5 + 1) for index, name in enumerate(names)}


@pytest.mark.parametrize("policy", ["uniform", "honoured"])
def test_three_steps_equal_float64_on_more_arrays_than_one_call_takes(policy):
    names = [f"layer{index}_{kind}" for index in range(FUSED) for kind in ("weight", "beta")]
    attributes = {"layer3_weight": {"__lr_mult__": "2.0", "__wd_mult__": "10.0"}}
    weights, gradients = arrays(names, 1), arrays(names, 2)
    device = {name: mx.nd.array(value) for name, value in weights.items()}
    optimizer = MomentumSGD(device, 0.9, 0.01, 0.25, attributes, policy)
    momentum = {name: 0.0 for name in names}
    for rate in (0.1, 0.1, 0.01):
        optimizer.update(device, {name: mx.nd.array(value) for name, value in gradients.items()}, rate)
        for name in names:
            decay = 0.01 if policy == "uniform" or name.endswith("weight") else 0.0
            factor = 1.0
            if policy == "honoured" and name == "layer3_weight":
                decay, factor = 0.1, 2.0
            momentum[name] = 0.9 * momentum[name] - rate * factor * (0.25 * gradients[name] + decay * weights[name])
            weights[name] = weights[name] + momentum[name]
    for name in names:
        np.testing.assert_allclose(device[name].asnumpy(), weights[name], rtol=2e-6, atol=2e-6)


def test_uniform_ignores_every_attribute_as_the_published_runs_did():
    assert decay_multiplier("fc7_bias", {"__wd_mult__": "0"}, "uniform") == 1.0
    assert rate_multiplier({"__lr_mult__": "10"}, "uniform") == 1.0


def test_honoured_is_what_mxnet_does_for_an_optimizer_that_knows_the_symbol():
    data = sym.Variable("data")
    weight = sym.Variable("fc_weight", lr_mult=3.0, wd_mult=10.0)
    symbol = sym.BatchNorm(sym.FullyConnected(data, weight=weight, num_hidden=2, name="fc"), name="bn")
    names = [name for name in symbol.list_arguments() if name != "data"]
    known = mx.optimizer.SGD(sym=to_mxnet(symbol), param_idx2name=dict(enumerate(names)), wd=1.0, learning_rate=1.0)
    attributes = symbol.attr_dict()
    for index, name in enumerate(names):
        assert known._get_wd(index) == decay_multiplier(name, attributes.get(name, {}), "honoured")
        assert known._get_lr(index) == rate_multiplier(attributes.get(name, {}), "honoured")


def test_half_precision_keeps_a_float32_master():
    weight = {"w_weight": mx.nd.ones((4,), dtype="float16")}
    optimizer = MomentumSGD(weight, 0.0, 0.0, 1.0, {})
    for _ in range(100):
        optimizer.update(weight, {"w_weight": mx.nd.ones((4,), dtype="float16")}, 1e-4)
    np.testing.assert_allclose(optimizer.state["master:w_weight"].asnumpy(), 1 - 100e-4, rtol=5e-6)
    np.testing.assert_allclose(weight["w_weight"].asnumpy(), 0.99, atol=5e-4)


def test_momentum_saved_and_loaded_continues_to_the_bit():
    start, gradient = {"w_weight": mx.nd.ones((5,))}, {"w_weight": mx.nd.array([1, 2, 3, 4, 5])}
    straight = MomentumSGD(start, 0.9, 5e-4, 1.0, {})
    for _ in range(2):
        straight.update(start, gradient, 0.1)
    copy = {"w_weight": start["w_weight"].copy()}
    resumed = MomentumSGD(copy, 0.9, 5e-4, 1.0, {})
    resumed.load_state(to_numpy(straight.state))
    straight.update(start, gradient, 0.1)
    resumed.update(copy, gradient, 0.1)
    assert (start["w_weight"] == copy["w_weight"]).asnumpy().all()
