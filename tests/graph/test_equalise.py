"""Channels brought to one range: the same function, and maps whose channels are alike."""
from arcface_mxnet.engines.mxnet.executor import forward
from arcface_mxnet.engines.mxnet.quantise import widest_channels
from arcface_mxnet.engines.mxnet.untrained import untrained
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.checkpoint import Checkpoint, embedding_only, load
from arcface_mxnet.graph.equalise import equalised
from arcface_mxnet.graph.inference import inference_form
from arcface_mxnet.recognition.networks import NetworkSettings, build

import numpy
import pytest

IMAGES = numpy.random.RandomState(0).randint(0, 256, (4, 3, 112, 112)).astype("float32")
DEPTHWISE = NetworkSettings(net_name="fmobilefacenet", net_output="GDC", emb_size=32, net_multiplier=0.25,
                            net_blocks=(1, 1, 1, 1))
RESIDUAL = NetworkSettings(net_name="fresnet", net_output="E", emb_size=32, num_layers=18, net_multiplier=0.125)


def _embed(checkpoint):
    return forward(checkpoint, {"data": IMAGES})[0].astype("float64")


def _uneven(settings):
    """A random network whose folded convolutions have channels a hundred times wider than others."""
    stored = untrained(build(settings), (1, 3, 112, 112), images=8)
    random = numpy.random.RandomState(1)
    args = {name: (value * 10 ** random.uniform(-1, 1, value.shape)).astype("float32") if name.endswith("_gamma")
            else value for name, value in stored.args.items()}
    return inference_form(Checkpoint(stored.symbol, args, stored.aux), move=False)


def _spread(checkpoint, names):
    """Median over maps of the widest channel's range over the median channel's."""
    widest = widest_channels(checkpoint, IMAGES, names)
    return numpy.median([value.max() / numpy.median(value) for value in widest.values()])


@pytest.mark.parametrize("settings", [DEPTHWISE, RESIDUAL], ids=["depthwise", "residual"])
def test_the_function_stays_and_the_ranges_become_alike(settings):
    fast = _uneven(settings)
    even = equalised(fast, IMAGES, widest_channels)
    assert even.symbol.list_arguments() == fast.symbol.list_arguments()
    assert any((even.args[name] != fast.args[name]).any() for name in fast.args)
    before, after = _embed(fast), _embed(even)
    assert numpy.abs(after - before).max() < 1e-5 * numpy.abs(before).max()
    maps = [name[:-len("_weight")] for name in fast.args if name.endswith("_sloped_weight")]
    assert _spread(even, maps) < 0.5 * _spread(fast, maps)


def test_a_depthwise_chain_gets_equal_channels():
    """Where only depthwise convolutions follow, each channel's range becomes the same to rounding."""
    data = sym.Variable("data")
    first = sym.Convolution(data, kernel=(1, 1), num_filter=4, name="first")
    relu = sym.Activation(first, act_type="relu", name="relu")
    second = sym.Convolution(relu, kernel=(3, 3), num_filter=4, num_group=4, no_bias=True, name="second")
    symbol = sym.FullyConnected(sym.Flatten(second, name="flat"), num_hidden=3, name="fc1")
    random = numpy.random.RandomState(2)
    shapes = dict(zip(symbol.list_arguments(), symbol.infer_shape(data=(1, 3, 112, 112))[0]))
    args = {name: random.randn(*shape).astype("float32") for name, shape in shapes.items() if name != "data"}
    args["first_weight"] *= numpy.array([1, 10, 100, 1000], "float32").reshape((4, 1, 1, 1))
    even = equalised(Checkpoint(symbol, args, {}), IMAGES, widest_channels)
    widest = widest_channels(even, IMAGES, ["first", "relu"])
    top = numpy.maximum(widest["first"], widest["relu"])
    assert numpy.allclose(top, top[0], rtol=1e-5)


def test_a_map_with_an_unknown_user_keeps_its_range():
    data = sym.Variable("data")
    made = sym.Convolution(data, kernel=(1, 1), num_filter=4, name="first")
    symbol = sym.Flatten(sym.Pooling(made, global_pool=True, pool_type="avg", name="pool"), name="flat")
    args = {"first_weight": numpy.arange(12, dtype="float32").reshape(4, 3, 1, 1),
            "first_bias": numpy.zeros(4, "float32")}
    even = equalised(Checkpoint(symbol, args, {}), IMAGES, widest_channels)
    assert (even.args["first_weight"] == args["first_weight"]).all()


def test_the_published_network_keeps_its_embeddings(fixtures):
    fast = inference_form(embedding_only(load(str(fixtures / "published_y1" / "model"), 0)), move=False)
    before, after = _embed(fast), _embed(equalised(fast, IMAGES, widest_channels))
    assert numpy.abs(after - before).max() < 1e-5 * numpy.abs(before).max()
