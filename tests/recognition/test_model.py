import json

from arcface_mxnet.engines.mxnet.convert import loss_to_mxnet
from arcface_mxnet.engines.mxnet.data_parallel import DataParallel
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.engines.mxnet.program import executed
from arcface_mxnet.recognition.engine.model import backbone_program, compose, parameter_shapes, training_program
from arcface_mxnet.recognition.settings import resolve

import numpy as np
import pytest

SHAPE, IMAGES = (112, 112, 3), (2, 3, 112, 112)


def model(network="demo", **flags):
    chosen = resolve(network, "arcface", "own", flags)
    return compose(chosen.network, chosen.loss, 10, 2)


def run_form(made):
    """What MXNet executes."""
    return executed(training_program(made), IMAGES)


def operators(symbol):
    return [node["op"] for node in json.loads(symbol.tojson())["nodes"]]


def test_only_the_original_runs_prelu_and_both_train_the_same_parameters():
    models = model(), model(original=True)
    fast, stored = map(run_form, models)
    assert "LeakyReLU" not in operators(fast.symbol)
    assert "LeakyReLU" in operators(stored.symbol)
    assert stored.constants == {} and fast.constants
    assert fast.trained == stored.trained
    assert fast.auxiliary == stored.auxiliary
    assert operators(models[0].embedding) == operators(models[1].embedding)
    fast, stored = (executed(backbone_program(made), IMAGES) for made in models)
    assert "LeakyReLU" in operators(stored.symbol)
    assert "LeakyReLU" not in operators(fast.symbol)


def test_both_forms_give_the_same_probabilities():
    results = []
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (2, 3, 112, 112)).astype(np.float32)
    for original in (False, True):
        made = model(original=original)
        arguments, auxiliary = parameter_shapes(made, 2, SHAPE)
        random = np.random.RandomState(1)
        engine = DataParallel(run_form(made), [mx.cpu()], 2, SHAPE)
        engine.set_parameters({name: random.normal(0, 0.1, shape).astype(np.float32)
                               for name, shape in arguments.items()},
                              {name: np.ones(shape, np.float32) for name, shape in auxiliary.items()})
        mx.random.seed(7)
        engine.forward_backward(images, np.array([3, 4], np.float32))
        results.append(engine.executors[0].outputs[1].asnumpy())
    np.testing.assert_allclose(results[0], results[1], rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("network", ["r100", "y1"])
def test_the_half_precision_graph_of_the_papers_command_types_whole(network):
    """Built, not run: the CPU has no float16 convolution. Weights are float16, the head and the embedding float32."""
    made = model(network, fp16=True)
    arguments, outputs, _ = loss_to_mxnet(made.head.symbol).infer_type(data=np.float32, softmax_label=np.float32)
    types = dict(zip(made.head.symbol.list_arguments(), arguments))
    first = "conv0_weight" if network == "r100" else "conv_1_conv2d_weight"
    assert types[first] == np.float16
    assert types["fc7_weight"] == types["pre_fc1_weight"] == np.float32
    assert outputs[0] == np.float32
