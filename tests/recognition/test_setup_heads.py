import dataclasses
import os
import re

from arcface_mxnet.engines.base import Place, place
from arcface_mxnet.engines.mxnet import engine
from arcface_mxnet.engines.mxnet.convert import to_mxnet
from arcface_mxnet.engines.mxnet.data_parallel import DataParallel
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.engines.mxnet.partial_fc import SampledCentres
from arcface_mxnet.engines.mxnet.sharded_softmax import ClassParallel
from arcface_mxnet.engines.mxnet.workers import ALONE, Workers
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.engine import setup
from arcface_mxnet.recognition.engine.model import compose, parameter_shapes, training_program
from arcface_mxnet.recognition.networks import NetworkSettings, build
from arcface_mxnet.recognition.settings import resolve
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest

TINY = NetworkSettings(net_name="fmobilefacenet", emb_size=16, net_output="E", net_multiplier=0.125,
                       net_blocks=(1, 1, 1, 1))
CLASSES = 30


def settings(loss="arcface", **flags):
    return dataclasses.replace(resolve("y1", loss, "own", {"per_batch_size": 4, **flags}), network=TINY)


def model_of(chosen):
    return compose(chosen.network, chosen.loss, CLASSES, 4)


def step_of(chosen, contexts=1, workers=ALONE):
    model = model_of(chosen)
    made = setup.make_step(chosen, model, place("mxnet", f"cpu:{contexts}"), CLASSES, workers)
    shapes = parameter_shapes(model, 4, chosen.network.image_shape)
    made.set_parameters(*engine.initial(model.head.symbol, shapes, TINY.net_name, model.head.initializers, 0))
    made.set_optimizer(0.9, 5e-4, "uniform")
    return made


def trained(made, steps=2):
    rng = np.random.RandomState(0)
    for _ in range(steps):
        mx.random.seed(1)
        made.forward_backward(rng.randint(0, 256, (made.batch_size, 3, 112, 112)).astype(np.float32),
                              rng.randint(0, CLASSES, made.batch_size).astype(np.float32))
        made.update(0.01)
    return made.restart_arrays()


def test_only_the_original_on_a_gpu_is_told_of_mxnets_slope_gradients():
    programs = {original: training_program(model_of(settings(original=original))) for original in (True, False)}
    told = {(original, device.device_type): engine.cautions(programs[original], [device])
            for original in (True, False) for device in (mx.cpu(), mx.gpu(0))}
    assert [case for case, lines in told.items() if lines] == [(True, "gpu")]


def test_each_head_is_made_with_the_same_initial_values():
    made = {head: step_of(settings(head=head), 2) for head in ("plain", "sharded", "sampled")}
    assert [type(one) for one in made.values()] == [DataParallel, ClassParallel, ClassParallel]
    assert isinstance(made["sampled"].centres, SampledCentres)
    first = {head: one.restart_arrays() for head, one in made.items()}
    for head in ("sharded", "sampled"):
        assert set(first["plain"]) <= set(first[head])
        assert all((first["plain"][name] == first[head][name]).all() for name in first["plain"])


@pytest.mark.parametrize("loss, flags, workers, device, kind", [
    ("arcface", {}, ALONE, mx.cpu(), "sharded"), ("nsoftmax", {}, ALONE, mx.cpu(), "sharded"),
    ("arcface", {"head": "plain"}, ALONE, mx.cpu(), "plain"), ("arcface", {"original": True}, ALONE, mx.cpu(), "plain"),
    ("curricularface", {}, ALONE, mx.cpu(), "plain"), ("arcface", {}, ALONE, mx.gpu(0), "plain"),
    ("arcface", {"head": "sampled"}, ALONE, mx.cpu(), "sampled"),
    ("arcface", {}, Workers(0, 2, "a store"), mx.cpu(), "plain"),
])
def test_the_leaner_head_is_taken_for_many_classes(loss, flags, workers, device, kind):
    chosen = settings(loss, **flags)
    where = Place(engine, [device, mx.cpu()])
    assert setup.head_of(chosen.parallelism, chosen.loss, where, 85742, workers) == kind
    assert setup.head_of(chosen.parallelism, chosen.loss, where, 10572, workers) == flags.get("head", "plain")


def planned(made):
    """Megabytes that MXNet's memory planner gives the executors beside arguments and gradients."""
    return sum(int(re.search(r"Total (\d+) MB allocated", executor.debug_str()).group(1))
               for executor in made.executors)


def test_mirroring_lowers_planned_memory():
    made = [step_of(settings(mirror=on)) for on in (False, True)]
    assert planned(made[1]) < 0.75 * planned(made[0])


def test_mirroring_changes_no_value(monkeypatch):
    monkeypatch.delenv(engine.MIRROR, raising=False)
    seen = []
    bind = DataParallel.__init__
    monkeypatch.setattr(DataParallel, "__init__",
                        lambda *given: (seen.append(os.environ.get(engine.MIRROR)), bind(*given))[1])
    left, right = trained(step_of(settings())), trained(step_of(settings(mirror=True)))
    assert seen == [None, "1"] and engine.MIRROR not in os.environ
    for name in left:
        np.testing.assert_allclose(left[name], right[name], rtol=1e-4, atol=1e-5 * np.abs(left[name]).max())


def test_what_does_not_fit_is_said():
    with pytest.raises(InputError, match="--head sampled: works for margins on the target logit"):
        step_of(settings("curricularface", head="sampled"))
    store = mx.kv.create("local")
    with pytest.raises(InputError, match="--head sharded --kvstore dist_sync: shards live inside one machine"):
        step_of(settings(head="sharded", kvstore="dist_sync"), workers=Workers(0, 2, store))
    with pytest.raises(InputError, match="unknown head"):
        settings(head="split")
    with pytest.raises(InputError, match="--sample-rate 0.0: a share of the classes"):
        settings(sample_rate=0.0)
    with pytest.raises(InputError, match="unknown kvstore 'dist_async'"):
        settings(kvstore="dist_async")


def test_the_papers_four_gpus_split_the_batch_as_asked():
    """The command of four GPUs on four CPU contexts: 4 x 4 images, KVStore device, sums over all of them."""
    chosen = settings()
    four = step_of(chosen, 4)
    assert chosen.parallelism.kvstore == "device" and four._store.type == "device"
    assert four.batch_size == 16 and four.rescale == 0.25
    assert [executor.arg_dict["data"].shape[0] for executor in four.executors] == [4] * 4
    assert [executor.arg_dict["data"].context for executor in four.executors] == [mx.cpu(index) for index in range(4)]


@pytest.mark.parametrize("head", ["plain", "sharded"])
def test_a_half_precision_run_of_four_contexts_binds_and_is_filled(head):
    """All but the convolutions themselves, which MXNet has on GPUs only."""
    half = dataclasses.replace(settings(head=head, fp16=True), network=dataclasses.replace(TINY, fp16=True))
    four = step_of(half, 4)
    network = four if head == "plain" else four.backbone
    for executor in network.executors:
        weight = executor.arg_dict["conv_1_conv2d_weight"]
        assert weight.dtype is np.float16 and executor.arg_dict["conv_1_batchnorm_gamma"].dtype is np.float32
        assert executor.arg_dict["loss_scale"].asscalar() == 65536
    saved, whole = four.restart_arrays(), step_of(settings(head=head)).restart_arrays()
    assert saved["master:conv_1_conv2d_weight"].dtype == np.float32
    full = whole["arg:conv_1_conv2d_weight"]
    np.testing.assert_array_equal(saved["arg:conv_1_conv2d_weight"], full.astype(np.float16))
    assert saved["arg:fc7_weight"].dtype == np.float32


def test_the_half_precision_graph_has_float32_masters_and_logits():
    with sym.NameManager():
        graph = build(dataclasses.replace(TINY, fp16=True))
    kinds = dict(zip(graph.list_arguments(), to_mxnet(graph).infer_type(data="float32")[0]))
    assert kinds["conv_1_conv2d_weight"] is np.float16
    assert to_mxnet(graph).infer_type(data="float32")[1] == [np.float32]
