"""Reduced precision: near the full network, of the type it says, and readable by MXNet alone."""
from arcface_mxnet.graph.checkpoint import embedding_only, load, save
from arcface_mxnet.graph.inference import inference_form
from arcface_mxnet.graph.quantise import bf16_form, int8_form
from arcface_mxnet.graph.untrained import untrained
from arcface_mxnet.recognition.networks import NetworkSettings, build
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.mx import mx

import numpy
import pytest

SMALL = NetworkSettings(net_name="fmobilefacenet", net_output="GDC", emb_size=32, net_multiplier=0.25,
                        net_blocks=(1, 1, 1, 1))
IMAGES = numpy.random.RandomState(0).randint(0, 256, (8, 3, 112, 112)).astype("float32")


@pytest.fixture(scope="module")
def checkpoint():
    return untrained(build(SMALL), (1, 3, 112, 112), images=16)


def _embed(symbol, args, aux):
    executor = symbol.bind(mx.cpu(), {**args, "data": mx.nd.array(IMAGES)}, aux_states=aux, grad_req="null")
    embedding = executor.forward(is_train=False)[0]
    assert embedding.dtype == numpy.float32
    return embedding.asnumpy().astype("float64")


@pytest.mark.parametrize("kind,operator,lowest", [("int8", "quantize", 0.9), ("bf16", "amp_cast", 0.99)])
def test_it_is_near_and_loads_with_mxnet_alone(checkpoint, tmp_path, kind, operator, lowest):
    made = int8_form(checkpoint, IMAGES) if kind == "int8" else bf16_form(checkpoint)
    assert operator in made.symbol.tojson(remove_amp_cast=False)
    save(made, str(tmp_path / kind), 0)
    again = inference_form(embedding_only(load(str(tmp_path / kind), 0)))  # as an evaluation takes any checkpoint
    assert operator in again.symbol.tojson(remove_amp_cast=False)
    assert again.symbol.list_outputs() == ["fc1_output"]
    fast = inference_form(checkpoint)
    expected = _embed(fast.symbol, fast.args, fast.aux)
    reduced = _embed(*mx.model.load_checkpoint(str(tmp_path / kind), 0))
    numpy.testing.assert_array_equal(_embed(again.symbol, again.args, again.aux), reduced)
    assert (reduced != expected).any()
    cosine = (reduced * expected).sum(1) / numpy.linalg.norm(reduced, axis=1) / numpy.linalg.norm(expected, axis=1)
    assert cosine.min() > lowest


def test_int8_needs_images(checkpoint):
    with pytest.raises(InputError, match="images to calibrate"):
        int8_form(checkpoint, IMAGES[:0])
