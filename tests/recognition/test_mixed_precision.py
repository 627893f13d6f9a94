import dataclasses
from collections import Counter

from arcface_mxnet.engines.loss_scale import SCALE, SCALE_STATE, LossScale
from arcface_mxnet.engines.mxnet.class_centres import HeadSizes, ShardedCentres
from arcface_mxnet.engines.mxnet.convert import to_mxnet
from arcface_mxnet.engines.mxnet.data_parallel import DataParallel
from arcface_mxnet.engines.mxnet.mixed_precision import bfloat16_form, require_bfloat16, scaled_gradient
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.engines.mxnet.program import Program, executed
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.engine.model import backbone_program, compose, training_program
from arcface_mxnet.recognition.losses import LossSettings, attach
from arcface_mxnet.recognition.losses.common import unit_rows
from arcface_mxnet.recognition.networks import NetworkSettings
from arcface_mxnet.recognition.settings import PrecisionSettings, resolve
from arcface_mxnet.runtime.errors import InputError
from tests.processor import mxnet_bfloat16
from tests.recognition.head_lab import beside

import numpy as np
import pytest

BATCH, CLASSES, SIZE = 8, 5, 12
SHAPE = (2, 2, 3)  # images of 3 x 2 x 2: 12 numbers
BFLOAT16 = str(np.dtype([("bfloat16", np.uint16)]))
INITIAL = {"gamma": 1.0, "beta": 0.0, "bias": 0.0}
TINY = NetworkSettings(net_name="fmobilefacenet", emb_size=16, net_output="E", net_multiplier=0.125,
                       net_blocks=(1, 1, 1, 1))


def test_the_scale_is_halved_at_an_overflow_and_doubled_after_two_thousand_good_steps():
    scale = LossScale(2.0 ** 16)
    assert scale.after(False) and scale.value == 2.0 ** 15
    assert not any(scale.after(True) for _ in range(1999)) and scale.value == 2.0 ** 15
    assert scale.after(True) and scale.value == 2.0 ** 16 and scale.good == 0
    for _ in range(1000):
        scale.after(True)
    scale.after(False)
    assert (scale.value, scale.good) == (2.0 ** 15, 0)
    for _ in range(30):
        scale.after(False)
    assert scale.value == 1.0 and scale.exhausted
    scale.value = LossScale.MOST
    assert not any(scale.after(True) for _ in range(4000)) and scale.value == LossScale.MOST


def half_network(scale):
    """Images times one float16 factor each place: the only float16 arithmetic MXNet has on a CPU."""
    data = sym.Cast(sym.Flatten(sym.Variable("data")), dtype="float16")
    body = sym.broadcast_mul(data, sym.Variable("factor", shape=(1, SIZE), attr={"__dtype__": "2"}))
    embedding = sym.Cast(body, dtype="float32")
    return (scaled_gradient(embedding), {SCALE: np.full((1, 1), scale, np.float32)}) if scale != 1 else (embedding, {})


def engine(scale, head="plain", contexts=1, strength=1.0):
    """SGD on the factors and the centres under norm-softmax; `strength` is s, which the gradient grows with."""
    embedding, constants = half_network(scale)
    loss, where = LossSettings(loss_s=strength), [mx.cpu(index) for index in range(contexts)]
    top = attach(embedding, loss, CLASSES, BATCH // contexts, SIZE)
    scaled = ("factor",) if constants else ()
    program = Program(top.symbol, top.roles, constants, {}, {}, scaled=scaled)
    if head == "plain":
        made = DataParallel(program, where, BATCH, SHAPE)
    else:
        network = DataParallel(program._replace(symbol=unit_rows(embedding), roles=("embedding",)), where, BATCH, SHAPE)
        made = beside(network, ShardedCentres(HeadSizes(CLASSES, 1, BATCH, SIZE), strength, where), loss)
    rng = np.random.RandomState(0)
    made.set_parameters({"factor": (1 + rng.rand(1, SIZE)).astype(np.float16),
                         "fc7_weight": rng.randn(CLASSES, SIZE).astype(np.float32)}, {})
    made.set_optimizer(0.9, 0.0, "uniform")
    return made


def batch(number=0):
    rng = np.random.RandomState(10 + number)
    return rng.rand(BATCH, 3, 2, 2).astype(np.float32), rng.randint(0, CLASSES, BATCH).astype(np.float32)


def held(made):
    """Copies of all a run holds."""
    return made.restart_arrays()


def step(made, number=0, rate=1.0):
    made.forward_backward(*batch(number))
    return made.update(rate)


def first_momentum(scale, head="plain", strength=1.0, contexts=1):
    made = engine(scale, head, contexts, strength)
    assert step(made)
    return held(made)["momentum:factor"]


@pytest.mark.parametrize("head", ["plain", "sharded"])
@pytest.mark.parametrize("contexts", [1, 2])
def test_what_float16_loses_the_scale_keeps(head, contexts):
    """At s = 2e-6 gradients lie about float16's smallest number, 6e-8; times 65,536 they are normal float16 numbers."""
    faint = 2e-6
    lost, kept = (first_momentum(scale, head, faint, contexts) for scale in (1, 65536))
    whole = exact(faint)
    np.testing.assert_allclose(kept, whole, rtol=4e-3, atol=2e-3 * np.abs(whole).max())
    assert np.abs(lost - whole).max() > 0.1 * np.abs(whole).max()


def exact(strength):
    """The first step of the factors in float64: minus the gradient, by finite differences."""
    factor, centres = (held(engine(1))[f"arg:{name}"].astype(float) for name in ("factor", "fc7_weight"))
    data, label = batch()
    data, rows = data.reshape(BATCH, -1).astype(np.float16).astype(float), np.arange(BATCH)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)

    def cosines(value):
        features = data * value
        return features / np.linalg.norm(features, axis=1, keepdims=True) @ centres.T

    probability = np.exp(strength * cosines(factor))
    error = probability / probability.sum(axis=1, keepdims=True)
    error[rows, label.astype(int)] -= 1
    slope = np.zeros_like(factor)
    for place in range(SIZE):
        shift = np.zeros_like(factor)
        shift[0, place] = 1e-6
        slope[0, place] = (strength * error * (cosines(factor + shift) - cosines(factor - shift)) / 2e-6).sum() / BATCH
    return -slope


def test_gradients_that_float16_can_hold_need_no_scale():
    for scale in (1, 64):
        np.testing.assert_allclose(first_momentum(scale), exact(1.0), rtol=0.02, atol=1e-4)


@pytest.mark.parametrize("head", ["plain", "sharded"])
def test_the_scale_changes_no_value_and_reaches_no_centre(head):
    plain, scaled = engine(1, head), engine(4096, head)
    for made in (plain, scaled):
        made.forward_backward(*batch())
    left, right = ((made.backbone if head == "sharded" else made).executors[0] for made in (plain, scaled))
    assert (left.outputs[0] == right.outputs[0]).asnumpy().all()
    assert plain.update(0.1) and scaled.update(0.1)
    left, right = held(plain), held(scaled)
    assert (left["arg:fc7_weight"] == right["arg:fc7_weight"]).all()
    assert set(right) - set(left) == {SCALE_STATE}


@pytest.mark.parametrize("head", ["plain", "sharded"])
def test_a_step_that_overflows_is_left_out_and_the_scale_falls_until_it_fits(head):
    made = engine(2.0 ** 24, head, strength=64.0)
    before, taken, steps = held(made), False, 0
    while not taken:
        taken, steps = step(made), steps + 1
        after = held(made)
        same = all((before[name] == after[name]).all() for name in before if name != SCALE_STATE)
        assert same is not taken and made.gradients_finite() and steps < 24
    assert steps > 3 and after[SCALE_STATE].tolist() == [2.0 ** (25 - steps), 1]
    np.testing.assert_allclose(after["momentum:factor"],
                               first_momentum(1, head, 64.0), rtol=2e-3, atol=2e-3)


def test_a_gradient_that_is_infinite_without_scaling_is_a_defect():
    made = engine(2)
    made._scale.value = 1.0
    made.forward_backward(*batch())
    made.executors[0].grad_dict["factor"][:] = np.inf
    assert not made.update(0.1) and not made.gradients_finite()


def test_a_restart_keeps_the_scale():
    made = engine(2.0 ** 24, strength=64.0)
    for number in range(12):
        step(made, number, 0.01)
    other = engine(2.0 ** 24, strength=64.0)
    other.restart(held(made))
    for one in (made, other):
        for number in range(12, 15):
            step(one, number, 0.01)
    left, right = held(made), held(other)
    assert set(left) == set(right) and all((left[name] == right[name]).all() for name in left)


def settings(loss="arcface", **flags):
    network = dataclasses.replace(TINY, fp16=bool(flags.get("fp16")))
    return dataclasses.replace(resolve("y1", loss, "own", {"per_batch_size": 4, **flags}), network=network)


def run_form(chosen, classes, images, program_of=training_program):
    """What MXNet executes under the settings `chosen`."""
    made = compose(chosen.network, chosen.loss, classes, images)
    return executed(program_of(made), (images, 3, 112, 112), chosen.numerics)


def test_a_float16_run_has_a_scale_unless_the_original_is_asked_for():
    whole, backbone = (run_form(settings(fp16=True), 30, 4, kind) for kind in (training_program, backbone_program))
    assert whole.constants[SCALE].item() == 65536.0
    assert {name for name in whole.trained if name not in whole.scaled} == {"fc7_weight"}
    assert backbone.scaled == whole.scaled and SCALE in backbone.constants
    for program in (whole, backbone):
        held = DataParallel(program, [mx.cpu()], 4, (112, 112, 3)).executors[0].arg_dict
        assert held["conv_1_conv2d_weight"].dtype is np.float16 and held[SCALE].dtype is np.float32
    for flags in ({"fp16": True, "original": True}, {"fp16": True, "loss_scale": 1.0}, {}):
        assert SCALE not in run_form(settings(**flags), 30, 4).symbol.list_arguments()


def kinds(symbol, **given):
    """How many operators of each kind give each type."""
    inner = symbol.get_internals()
    given.update({name: "float32" for name in inner.list_arguments()})
    types = dict(zip(inner.list_outputs(), to_mxnet(inner).infer_type(**given)[1]))
    operators = {node.name: node.op for node in symbol.nodes() if node.op != "amp_cast"}
    return Counter((operators[name[:-7]], str(kind)) for name, kind in types.items()
                   if operators.get(name[:-7], "null") != "null" and name.endswith("_output"))


def bfloat16_and_float32(images=4):
    return [run_form(settings("nsoftmax", bf16=flag, loss_s=4.0), 30, images) for flag in (True, False)]


def test_bfloat16_covers_the_convolutions_and_float32_the_parameters_and_the_head():
    low, full = bfloat16_and_float32()
    assert low.trained == full.trained and low.auxiliary == full.auxiliary
    found = kinds(low.symbol, softmax_label="float32")
    assert found["Convolution", BFLOAT16] > 10 and not found["Convolution", str(np.float32)]
    assert found["Activation", BFLOAT16] > 10 and not found["FullyConnected", BFLOAT16]


def filled(made, images):
    """A program on one CPU context, with He's initial weights."""
    parallel = DataParallel(made, [mx.cpu()], images, (112, 112, 3))
    rng, held = np.random.RandomState(0), parallel.executors[0]
    arrays = {}
    for name in made.trained:
        first = 0.25 if name.endswith("relu_gamma") else INITIAL.get(name.rsplit("_", 1)[-1])
        shape = held.arg_dict[name].shape
        arrays[name] = np.full(shape, first, np.float32) if first is not None else np.asarray(
            rng.randn(*shape) * np.sqrt(2 / np.prod(shape[1:])), np.float32)
    parallel.set_parameters(arrays, {name: np.ones(held.aux_dict[name].shape, np.float32)
                                     for name in made.auxiliary})
    parallel.set_optimizer(0.9, 0.0, "uniform")
    return parallel


def cosine(left, right):
    return float((left * right).sum() / np.linalg.norm(left) / np.linalg.norm(right))


@mxnet_bfloat16
def test_a_bfloat16_step_is_near_the_float32_step():
    """With AVX-512 alone too: without AVX-512 BF16 oneDNN imitates it."""
    rng = np.random.RandomState(1)
    data = np.kron(rng.randint(0, 256, (16, 3, 4, 4)), np.ones((28, 28)))  # images that differ, unlike noise
    data, label = np.asarray(data, np.float32), np.arange(16, dtype=np.float32)
    low, full = (filled(made, 16) for made in bfloat16_and_float32(16))
    losses = []
    for made in (low, full):
        mx.random.seed(1)  # one dropout mask
        losses.append(float(made.forward_backward(data, label).losses[0]))
    assert losses[0] == pytest.approx(losses[1], rel=0.01) and losses[0] != losses[1]
    for name in full.program.trained:
        if name.endswith("_weight"):
            kept = [made.executors[0].grad_dict[name].asnumpy() for made in (low, full)]
            assert kept[0].dtype == np.float32 and cosine(*kept) > 0.9, (name, cosine(*kept))
    assert low.update(0.1) and low.gradients_finite()


def test_sums_of_both_kinds_are_float32():
    data = sym.Variable("data")
    both = sym.Convolution(data, num_filter=3, kernel=(1, 1), name="conv") + data
    assert kinds(bfloat16_form(both)) == {("Convolution", BFLOAT16): 1, ("elemwise_add", str(np.float32)): 1}


def test_where_there_is_no_bfloat16_it_is_refused(tmp_path):
    processor = tmp_path / "cpuinfo"
    processor.write_text("flags : avx2 avx512f avx512_bf16\n")
    require_bfloat16([mx.cpu()], processor)
    with pytest.raises(InputError, match="--bf16: MXNet 1.9.1 has it on CPUs only"):
        require_bfloat16([mx.gpu(0)], processor)
    processor.write_text("flags : avx2 avx512f\n")
    with pytest.raises(InputError, match="--bf16: this processor has no avx512_bf16"):
        require_bfloat16([mx.cpu()], processor)


@pytest.mark.parametrize("flags, said", [({"fp16": True, "bf16": True}, "--fp16 --bf16: one of the two"),
                                         ({"loss_scale": 1000.0}, "--loss-scale 1000: a power of two"),
                                         ({"loss_scale": 0.5}, "--loss-scale 0.5"),
                                         ({"loss_scale": float("nan")}, "--loss-scale nan")])
def test_impossible_precisions_are_refused(flags, said):
    with pytest.raises(InputError, match=said):
        PrecisionSettings(**flags)
