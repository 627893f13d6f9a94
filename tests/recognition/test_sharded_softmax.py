from arcface_mxnet.engines.mxnet import class_centres
from arcface_mxnet.engines.mxnet.class_centres import ClassBlock, Summary, merge
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.engines.sampling import split
from arcface_mxnet.recognition import presets
from arcface_mxnet.recognition.engine.setup import FAMILIES, check_family
from arcface_mxnet.recognition.losses import LossSettings
from arcface_mxnet.recognition.settings import part_of
from arcface_mxnet.runtime.errors import InputError
from tests.recognition import head_lab as lab

import numpy as np
import pytest

ARCFACE = LossSettings(loss_m2=0.5)


def forms_of_presets():
    """The presets the head takes, by name: the first of each combination of margins, scale and number of centres."""
    forms = {}
    for name, preset in presets.LOSSES.items():
        loss = part_of(LossSettings, preset)
        if loss.loss_name in FAMILIES:
            margins = (loss.loss_m1 != 1, loss.loss_m2 != 0, loss.loss_m3 != 0)
            forms.setdefault((margins, loss.loss_s, loss.loss_K), (name, loss))
    return dict(forms.values())


LOSSES = forms_of_presets()
LOSSES.update(original=LossSettings(loss_m2=0.5, loss_s=16.0, original=True),  # no probability underflows
              head2018=LossSettings(loss_m2=0.5, head_2018=True),
              every_margin=LossSettings(loss_m1=0.9, loss_m2=0.4, loss_m3=0.15, loss_s=16.0, original=True))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Several pieces a shard, the last one shorter."""
    monkeypatch.setattr(class_centres, "PIECE", 7)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_twenty_steps_end_where_the_plain_head_ends(name, count):
    plain, sharded = (lab.start(make(LOSSES[name], count), LOSSES[name]) for make in (lab.plain, lab.class_parallel))
    expected, found = lab.run(plain, 20), lab.run(sharded, 20)
    for left, right in zip(expected, found):
        assert right[0] == pytest.approx(left[0], rel=2e-4)
        assert right[1] == left[1]
    lab.assert_same(plain, sharded, 3e-4)


def test_gradients_are_those_of_float64():
    rng = np.random.RandomState(1)
    weight, features = rng.randn(20, 6), rng.randn(5, 6)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    labels = np.array([0, 19, 7, 7, 13])
    block = ClassBlock(mx.nd.array(weight), 20, 5, 16.0)
    cosines = block.target_cosines(mx.nd.array(features), labels)
    targets = cosines * 16.0 - 3.0
    summary = block.summarise(targets)
    share = mx.nd.exp(targets - summary.log_sum)
    towards_features = block.backward(summary.log_sum, targets, (share - 1) * 16.0 / 5, 1 / 5)

    def loss(weight, features):
        logits = 16.0 * features @ (weight / np.linalg.norm(weight, axis=1, keepdims=True)).T
        logits[np.arange(5), labels] -= 3.0
        return np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(5), labels])

    entropy = (summary.log_sum - targets).asnumpy().mean()
    assert entropy == pytest.approx(loss(weight, features), rel=1e-5)
    for value, gradient, wrt in ((weight, block.gradient, 0), (features, towards_features, 1)):
        for index in [(0, 0), (1, 5), (4, 2), (3, 1)]:
            shift = np.zeros_like(value)
            shift[index] = 1e-6
            both = [[weight, features], [weight, features]]
            both[0][wrt], both[1][wrt] = value + shift, value - shift
            slope = (loss(*both[0]) - loss(*both[1])) / 2e-6
            assert gradient.asnumpy()[index] == pytest.approx(slope, rel=1e-4, abs=1e-5)


def test_the_softmax_of_parts_is_that_of_the_whole_at_any_size():
    logits = np.array([[-300.0, 2.0, 80.0, 80.5], [-90.0, -91.0, -400.0, -95.0]])
    parts = [Summary(mx.nd.array(np.logaddexp.reduce(part, axis=1)), mx.nd.array(part.max(axis=1)))
             for part in (logits[:, :1], logits[:, 1:3], logits[:, 3:])]
    whole = merge(parts)
    np.testing.assert_allclose(whole.log_sum.asnumpy(), np.logaddexp.reduce(logits, axis=1), rtol=1e-6)
    np.testing.assert_allclose(whole.largest.asnumpy(), logits.max(axis=1))


@pytest.mark.parametrize("before, after", [(1, 3), (3, 2), (2, 1)])
def test_a_restart_point_loads_into_another_number_of_contexts(before, after):
    engine = lab.start(lab.class_parallel(ARCFACE, before), ARCFACE)
    lab.run(engine, 3)
    moved = lab.start(lab.class_parallel(ARCFACE, after), ARCFACE)
    moved.restart(engine.restart_arrays())
    for one in (engine, moved):
        lab.run(one, 3, first=3)
    lab.assert_same(engine, moved)


def test_a_restart_point_moves_between_the_plain_and_the_sharded_head():
    plain, sharded = lab.start(lab.plain(ARCFACE), ARCFACE), lab.class_parallel(ARCFACE, 2)
    lab.run(plain, 3)
    sharded.set_optimizer(0.9, 5e-4, "uniform")
    sharded.restart(plain.restart_arrays())
    back = lab.start(lab.plain(ARCFACE), ARCFACE)
    back.restart(sharded.restart_arrays())
    lab.assert_same(plain, back, 0.0)
    for engine in (plain, sharded):
        lab.run(engine, 3, first=3)
    lab.assert_same(plain, sharded)


def test_the_same_restart_gives_the_same_bits():
    engine = lab.start(lab.class_parallel(ARCFACE, 3), ARCFACE)
    lab.run(engine, 2)
    other = lab.start(lab.class_parallel(ARCFACE, 3), ARCFACE)
    other.restart(engine.restart_arrays())
    for one in (engine, other):
        lab.run(one, 2, first=2)
    lab.assert_same(engine, other, 0.0)


def test_no_context_holds_the_logits_of_another():
    engine = lab.class_parallel(ARCFACE, 3)
    widths = [sum(piece.outputs[0].shape[1] for piece in block._pieces) for block in engine.centres.blocks]
    assert widths == [last - first for first, last in split(lab.CLASSES, 3)] == [12, 12, 13]


def test_numbers_that_are_not_finite_are_seen():
    engine = lab.start(lab.class_parallel(ARCFACE, 2), ARCFACE)
    lab.run(engine, 1)
    assert engine.gradients_finite() and engine.parameters_finite()
    engine.centres.blocks[1].gradient[0, 0] = np.inf
    assert not engine.gradients_finite()
    engine.centres.weights[1][0, 0] = np.nan
    assert not engine.parameters_finite()


def test_what_the_head_cannot_do_is_said():
    with pytest.raises(InputError, match="--head sharded: works for margins on the target logit .* not for curricular"):
        check_family(LossSettings(loss_name="curricular", loss_m2=0.5), "sharded")
    with pytest.raises(InputError, match="2 identities do not fill 3 shards"):
        lab.class_parallel(ARCFACE, 3, classes=2)
