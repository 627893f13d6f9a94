"""Reduced precision: near the full network, of the type it says, and readable by MXNet alone."""
from arcface_mxnet.engines.mxnet.convert import from_mxnet, to_numpy
from arcface_mxnet.engines.mxnet.executor import forward
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.engines.mxnet.quantise import bf16_form, int8_form
from arcface_mxnet.engines.mxnet.untrained import untrained
from arcface_mxnet.graph.checkpoint import Checkpoint, embedding_only, load, save
from arcface_mxnet.graph.inference import inference_form
from arcface_mxnet.recognition.networks import NetworkSettings, build
from arcface_mxnet.runtime.errors import InputError
from tests.processor import mxnet_bfloat16

import numpy
import pytest

SMALL = NetworkSettings(net_name="fmobilefacenet", net_output="GDC", emb_size=32, net_multiplier=0.25,
                        net_blocks=(1, 1, 1, 1))
IMAGES = numpy.random.RandomState(0).randint(0, 256, (8, 3, 112, 112)).astype("float32")


@pytest.fixture(scope="module")
def checkpoint():
    return untrained(build(SMALL), (1, 3, 112, 112), images=16)


def _embed(symbol, args, aux):
    embedding = forward(Checkpoint(symbol, args, aux), {"data": IMAGES})[0]
    assert embedding.dtype == numpy.float32
    return embedding.astype("float64")


def _by_mxnet_alone(prefix):
    symbol, args, aux = mx.model.load_checkpoint(prefix, 0)
    return from_mxnet(symbol), to_numpy(args), to_numpy(aux)


@pytest.mark.parametrize("kind,operator,lowest", [("int8", "quantize", 0.9),
                                                  pytest.param("bf16", "amp_cast", 0.99, marks=mxnet_bfloat16)])
def test_it_is_near_and_loads_with_mxnet_alone(checkpoint, tmp_path, kind, operator, lowest):
    made = int8_form(checkpoint, IMAGES) if kind == "int8" else bf16_form(checkpoint)
    assert operator in made.symbol.tojson()
    save(made, str(tmp_path / kind), 0)
    again = inference_form(embedding_only(load(str(tmp_path / kind), 0)))  # as an evaluation takes any checkpoint
    assert operator in again.symbol.tojson()
    assert again.symbol.list_outputs() == ["fc1_output"]
    fast = inference_form(checkpoint)
    expected = _embed(fast.symbol, fast.args, fast.aux)
    reduced = _embed(*_by_mxnet_alone(str(tmp_path / kind)))
    numpy.testing.assert_array_equal(_embed(again.symbol, again.args, again.aux), reduced)
    assert (reduced != expected).any()
    cosine = (reduced * expected).sum(1) / numpy.linalg.norm(reduced, axis=1) / numpy.linalg.norm(expected, axis=1)
    assert cosine.min() > lowest


def test_int8_needs_images(checkpoint):
    with pytest.raises(InputError, match="images to calibrate"):
        int8_form(checkpoint, IMAGES[:0])
