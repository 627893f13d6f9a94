"""The training form of PReLU: value and gradients against float64, central differences and elementary operators."""
from arcface_mxnet.engines.mxnet.convert import to_mxnet
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.engines.mxnet.untrained import untrained
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.nodes import Graph
from arcface_mxnet.graph.training import UNIT_EPS, UNIT_VARIANCE, is_prelu, training_form
from arcface_mxnet.recognition.networks import NetworkSettings, build
from tests.graph.prelu_lab import frozen, spelled_out

import numpy
import pytest

SHAPE = (3, 5, 6, 7)


def _prelu():
    return sym.LeakyReLU(sym.Variable("data"), act_type="prelu", name="act")


def _executor(symbol, shape, values, constants):
    executor = to_mxnet(symbol).simple_bind(mx.cpu(), data=shape, grad_req="write")
    for name, value in values.items():
        executor.arg_dict[name][:] = value
    for name, value in constants.items():
        executor.aux_dict[name][:] = value
    return executor


def _run(symbol, values, out_gradient, constants):
    executor = _executor(symbol, values["data"].shape, values, constants)
    output = executor.forward(is_train=True)[0].asnumpy()
    executor.backward([mx.nd.array(out_gradient)])
    return output, {name: value.asnumpy() for name, value in executor.grad_dict.items()}, executor


def _double(data, slope, out_gradient):
    """PReLU and its gradients in float64."""
    data, out_gradient = data.astype("float64"), out_gradient.astype("float64")
    wide = slope.astype("float64").reshape(1, -1, 1, 1)
    value = numpy.where(data > 0, data, wide * data)
    to_data = out_gradient * numpy.where(data > 0, 1.0, wide)
    to_slope = (out_gradient * numpy.minimum(data, 0)).sum((0, 2, 3))
    return value, to_data, to_slope


@pytest.fixture
def sample():
    random = numpy.random.RandomState(1)
    data = random.randn(*SHAPE).astype("float32")
    slope = numpy.array([0.25, -0.7, 0.0, 1.0, 3.5], "float32")
    return data, slope, random.randn(*SHAPE).astype("float32")


def test_the_unit_statistics_divide_by_exactly_one():
    assert numpy.float32(UNIT_VARIANCE) + numpy.float32(UNIT_EPS) == numpy.float32(1)
    assert numpy.float32(UNIT_VARIANCE) == UNIT_VARIANCE and UNIT_EPS > 1e-5


def test_value_and_gradients_are_those_of_prelu(sample):
    data, slope, out_gradient = sample
    form = training_form(_prelu(), SHAPE)
    output, gradients, _ = _run(form.symbol, {"data": data, "act_gamma": slope}, out_gradient, form.constants)
    value, to_data, to_slope = _double(data, slope, out_gradient)
    numpy.testing.assert_array_equal(output, value.astype("float32"))  # one rounding, as PReLU itself
    numpy.testing.assert_allclose(gradients["data"], to_data, rtol=5e-7, atol=1e-6)
    numpy.testing.assert_allclose(gradients["act_gamma"], to_slope, rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_central_differences(sample):
    data, slope, out_gradient = sample
    data = numpy.where(abs(data) < 0.05, 0.1, data).astype("float32")  # away from the kink
    form = training_form(_prelu(), SHAPE)
    _, gradients, _ = _run(form.symbol, {"data": data, "act_gamma": slope}, out_gradient, form.constants)

    def total(**changed):
        values = {"data": data, "act_gamma": slope, **changed}
        executor = _executor(form.symbol, SHAPE, values, form.constants)
        return float((executor.forward(is_train=True)[0].asnumpy().astype("float64") * out_gradient).sum())

    step = 2.0 ** -6
    for channel in range(SHAPE[1]):
        moved = [slope.copy() for _ in range(2)]
        moved[0][channel] += step
        moved[1][channel] -= step
        difference = (total(act_gamma=moved[0]) - total(act_gamma=moved[1])) / (2 * step)
        assert abs(gradients["act_gamma"][channel] - difference) < 2e-3
    for place in [(0, 0, 0, 0), (1, 1, 2, 3), (2, 3, 5, 6), (0, 4, 1, 1), (2, 2, 2, 2)]:
        moved = [data.copy() for _ in range(2)]
        moved[0][place] += step
        moved[1][place] -= step
        difference = (total(data=moved[0]) - total(data=moved[1])) / (2 * step)
        assert abs(gradients["data"][place] - difference) < 2e-3


def test_the_slope_is_right_straight_after_a_convolution():
    """As in squeeze and excitation."""
    symbol = sym.Convolution(sym.Variable("data"), num_filter=4, kernel=(1, 1), name="conv")
    form = training_form(sym.LeakyReLU(symbol, act_type="prelu", name="act"), (8, 64, 1, 1))
    random = numpy.random.RandomState(0)
    values = {"data": random.randn(8, 64, 1, 1), "conv_weight": random.randn(4, 64, 1, 1),
              "conv_bias": random.randn(4), "act_gamma": random.rand(4)}
    values = {name: value.astype("float32") for name, value in values.items()}
    out_gradient = random.randn(8, 4, 1, 1)
    output, gradients, _ = _run(form.symbol, values, out_gradient, form.constants)
    inner = values["data"][:, :, 0, 0].astype("float64") @ values["conv_weight"][:, :, 0, 0].T.astype("float64")
    inner = (inner + values["conv_bias"]).reshape(8, 4, 1, 1)
    value, to_inner, to_slope = _double(inner, values["act_gamma"], out_gradient)
    numpy.testing.assert_allclose(output, value, rtol=1e-4, atol=1e-5)
    numpy.testing.assert_allclose(gradients["act_gamma"], to_slope, rtol=1e-4)
    numpy.testing.assert_allclose(gradients["conv_bias"], to_inner.sum((0, 2, 3)), rtol=1e-4)


def test_the_constants_stay_what_they_are(sample):
    data, slope, out_gradient = sample
    form = training_form(_prelu(), SHAPE)
    _, _, executor = _run(form.symbol, {"data": data, "act_gamma": slope}, out_gradient, form.constants)
    assert set(form.constants) == set(executor.aux_dict)
    for name, value in form.constants.items():
        numpy.testing.assert_array_equal(executor.aux_dict[name].asnumpy(), value)


def test_the_constants_are_also_the_initial_values_of_their_variables():
    form = training_form(_prelu(), SHAPE)
    attributes = form.symbol.attr_dict()
    for name, value in form.constants.items():
        filled = mx.nd.full(value.shape, 7)
        mx.init.Xavier()(mx.init.InitDesc(name, attributes[name]), filled)
        numpy.testing.assert_array_equal(filled.asnumpy(), value)


def test_one_shared_slope_gets_the_summed_gradient(sample):
    """Gluon's PReLU has one slope a layer (MNasNet, DenseNet)."""
    data, _, out_gradient = sample
    slope = sym.Variable("alpha", shape=(1,))
    symbol = sym.LeakyReLU(sym.Variable("data"), gamma=slope, act_type="prelu", name="act")
    form = training_form(symbol, SHAPE)
    value = numpy.array([0.3], "float32")
    output, gradients, _ = _run(form.symbol, {"data": data, "alpha": value}, out_gradient, form.constants)
    expected, _, to_slope = _double(data, numpy.full(SHAPE[1], 0.3, "float32"), out_gradient)
    numpy.testing.assert_array_equal(output, expected.astype("float32"))
    numpy.testing.assert_allclose(gradients["alpha"], [to_slope.sum()], rtol=1e-5)


@pytest.mark.parametrize("settings,side", [
    (NetworkSettings(net_name="fmobilefacenet", emb_size=16, net_output="GDC", net_multiplier=0.25), 112),
    (NetworkSettings(num_layers=18, net_output="GAP", net_se=1, emb_size=16), 32)])
def test_a_whole_network_trains_alike(settings, side):
    """Names and order against the stored graph, outputs and every gradient against plain arithmetic."""
    stored, shape = build(settings), (2, 3, side, side)
    checkpoint = untrained(stored, shape)
    symbol = frozen(stored)
    form = training_form(symbol)
    assert form.symbol.list_arguments() == symbol.list_arguments()
    assert form.symbol.list_outputs() == symbol.list_outputs()
    assert not any(is_prelu(node) for node in Graph.of(form.symbol).nodes())
    states = set(form.symbol.list_auxiliary_states())
    assert states - set(symbol.list_auxiliary_states()) == set(form.constants)
    random = numpy.random.RandomState(0)
    values = {**checkpoint.args, "data": random.randint(0, 256, shape).astype("float32")}
    results = []
    for graph, constants in ((spelled_out(symbol), {}), (form.symbol, form.constants)):
        executor = _executor(graph, shape, values, {**checkpoint.aux, **constants})
        output = executor.forward(is_train=True)[0].asnumpy()
        executor.backward([mx.nd.array(numpy.random.RandomState(2).randn(2, 16))])
        results.append((output, {name: value.asnumpy() for name, value in executor.grad_dict.items()}))
    (output, gradients), (ours, our_gradients) = results
    numpy.testing.assert_allclose(ours, output, atol=1e-5 * abs(output).max())
    for name, gradient in gradients.items():
        size = max(abs(gradient).max(), 1e-4 * max(abs(value).max() for value in gradients.values()))
        assert abs(our_gradients[name] - gradient).max() < 2e-4 * size, name


@pytest.mark.parametrize("settings,side", [
    (NetworkSettings(net_name="fmobilefacenet", emb_size=16, net_output="J", net_multiplier=0.25), 112),
    (NetworkSettings(num_layers=18, net_output="GAP", emb_size=16), 32)])
def test_it_can_also_be_bound_for_inference(settings, side):
    """The subgraph backend, on for inference only, must not fuse what it may not."""
    stored, shape = build(settings), (2, 3, side, side)
    checkpoint = untrained(stored, shape)
    form = training_form(stored)
    values = {**checkpoint.args, "data": numpy.random.RandomState(0).randint(0, 256, shape)}
    outputs = []
    for symbol, constants in ((stored, {}), (form.symbol, form.constants)):
        executor = to_mxnet(symbol).simple_bind(mx.cpu(), data=shape, grad_req="null")
        for name, value in {**values, **checkpoint.aux, **constants}.items():
            ({**executor.arg_dict, **executor.aux_dict})[name][:] = value
        outputs.append(executor.forward(is_train=False)[0].asnumpy())
    numpy.testing.assert_allclose(outputs[1], outputs[0], atol=1e-5 * abs(outputs[0]).max())


def test_an_operator_that_cannot_be_sized_is_left_alone():
    dense = sym.FullyConnected(sym.Variable("other"), num_hidden=3)
    symbol = sym.LeakyReLU(dense, act_type="prelu", name="act")
    form = training_form(symbol)
    assert form.symbol.tojson() == symbol.tojson() and form.constants == {}
