"""Untrained checkpoints: repeatable, complete, and of the size of trained networks."""
from arcface_mxnet.engines.mxnet.executor import forward
from arcface_mxnet.engines.mxnet.untrained import untrained
from arcface_mxnet.graph.checkpoint import Checkpoint, align
from arcface_mxnet.recognition.networks import NetworkSettings, build

import numpy


def test_what_mxnet_has_drawn_before_changes_nothing():
    symbol = build(NetworkSettings(num_layers=10, emb_size=16, net_multiplier=0.25))
    assert any(node.op == "Dropout" for node in symbol.nodes())
    first, again = (untrained(symbol, (1, 3, 112, 112), images=2) for _ in range(2))
    for name, value in first.aux.items():
        assert value.tobytes() == again.aux[name].tobytes()


def test_values_are_repeatable_complete_and_normalised():
    symbol = build(NetworkSettings(net_name="fmobilefacenet", emb_size=16, net_output="GDC", net_multiplier=0.25))
    first, again = (untrained(symbol, (1, 3, 112, 112), seed=5) for _ in range(2))
    other = untrained(symbol, (1, 3, 112, 112), seed=6)
    align(symbol, first.args, first.aux, "untrained")  # complete, with the shapes of the graph
    for name, value in {**first.args, **first.aux}.items():
        assert value.tobytes() == {**again.args, **again.aux}[name].tobytes()
    assert any((first.args[name] != other.args[name]).any() for name in first.args)
    inner = symbol.get_internals()["res_4_block5_conv_dw_batchnorm_output"]
    images = numpy.random.RandomState(0).randint(0, 256, (4, 3, 112, 112)).astype("float32")
    args = {name: first.args[name] for name in inner.list_arguments() if name != "data"}
    aux = {name: first.aux[name] for name in inner.list_auxiliary_states()}
    values = forward(Checkpoint(inner, args, aux), {"data": images})[0]
    assert 0.5 < values.std() < 2  # deep inside, a normalisation still normalises
