"""What a checkpoint says about itself."""
from arcface_mxnet.engines.mxnet.untrained import untrained
from arcface_mxnet.graph.checkpoint import load
from arcface_mxnet.graph.describe import description, image_shape, normalisation, parameter_count
from arcface_mxnet.recognition.networks import NetworkSettings, build

import pytest


def test_the_published_networks_are_described(fixtures):
    ours = description(load(str(fixtures / "published_y1" / "model"), 0))
    assert ours["input"] == "float32 (n, 3, 112, 112), named data" and ours["colour"] == "RGB"
    assert ours["normalisation"].startswith("(x - 127.5) * 0.0078125, inside the graph")
    assert ours["output"].startswith("float32 (n, 128), fc1_output") and ours["parameters"].startswith("1003264 learnt")
    assert ours["operations"].startswith("439821056 ")
    grey = load(str(fixtures / "mobileface_v1" / "MobileFace_Identification_V1"), 0)
    assert image_shape(grey)[0] == 1 and description(grey)["colour"] == "grey"  # it also takes other sizes
    assert image_shape(load(str(fixtures / "mtcnn" / "det2"), 1)) == (3, 24, 24)


@pytest.mark.parametrize("net_input,expected", [(1, "(x - 127.5) * 0.0078125"), (2, "a BatchNorm on the image")])
def test_the_scaling_is_read_from_the_graph(net_input, expected):
    symbol = build(NetworkSettings(num_layers=18, net_input=net_input, net_output="GAP", emb_size=8))
    checkpoint = untrained(symbol, (1, 3, 32, 32), images=2)
    assert normalisation(checkpoint) == expected
    learnt, statistics = parameter_count(checkpoint)
    assert statistics == sum(value.size for value in checkpoint.aux.values()) and learnt > 11e6
