from arcface_mxnet.engines.mxnet.partial_fc import SampledCentres
from arcface_mxnet.engines.sampling import Rule, places_of
from arcface_mxnet.recognition.losses import LossSettings
from tests.recognition import head_lab as lab

import numpy as np
import pytest

ARCFACE = LossSettings(loss_m2=0.5)
LOSSES = {"arcface": ARCFACE, "subcentre": LossSettings(loss_name="subcentre", loss_m2=0.5, loss_K=3)}
CLASSES = 100


def sampled(loss=ARCFACE, count=1, rate=0.2, seed=3):
    return lab.start(lab.class_parallel(loss, count, CLASSES, SampledCentres, rule=Rule(seed, rate)), loss, CLASSES)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_rate_one_is_the_full_head(name, count):
    loss = LOSSES[name]
    plain, every = lab.start(lab.plain(loss, count, CLASSES), loss, CLASSES), sampled(loss, count, 1.0)
    expected, found = (lab.run(engine, 20, classes=CLASSES) for engine in (plain, every))
    np.testing.assert_allclose(found, expected, rtol=2e-4)
    lab.assert_same(plain, every, 3e-4)


def test_the_batch_is_always_in_and_the_others_are_drawn_evenly():
    rule, labels = Rule(5, 0.2), np.array([3, 41, 3, 99, 50])
    times = np.zeros(CLASSES)
    for step in range(2000):
        chosen = rule.choose(labels, 0, CLASSES, labels.size, step)
        assert chosen.size == 20 and (np.diff(chosen) > 0).all()
        times[chosen] += 1
    assert (times[[3, 41, 99, 50]] == 2000).all()
    others = np.delete(times, [3, 41, 99, 50])
    assert np.abs(others - 2000 * 16 / 96).max() < 4.5 * np.sqrt(2000 * 16 / 96 * 80 / 96)


def test_the_sample_is_a_function_of_seed_and_step():
    labels = np.array([1, 2])
    first = Rule(5, 0.2).choose(labels, 0, CLASSES, 2, 7)
    assert (first == Rule(5, 0.2).choose(labels, 0, CLASSES, 2, 7)).all()
    assert not (first == Rule(5, 0.2).choose(labels, 0, CLASSES, 2, 8)).all()
    assert not (first == Rule(6, 0.2).choose(labels, 0, CLASSES, 2, 7)).all()


def test_a_sample_is_never_smaller_than_the_batch():
    labels = np.arange(60, 90)
    chosen = Rule(0, 0.01).choose(labels, 50, 150, labels.size, 1)
    assert (chosen == labels - 50).all()


def test_places_are_found_in_the_sample_and_missing_ones_said():
    assert places_of(np.array([12, 10, 19, 5, 18]), np.array([0, 2, 8]), 10).tolist() == [1, 0, -1, -1, 2]


@pytest.mark.parametrize("count", [1, 2])
def test_rows_that_are_not_seen_keep_value_and_momentum(count):
    engine = sampled(count=count)
    lab.run(engine, 3, classes=CLASSES)
    before = engine.restart_arrays()
    data, label = lab.batch(3, CLASSES)
    engine.forward_backward(data, label)
    engine.update(0.1)
    after = engine.restart_arrays()
    seen = np.concatenate([first + rows.asnumpy() for (first, _), rows in
                           zip(engine.centres.shards, engine.centres._rows)])
    assert set(label.astype(int)) <= set(seen)
    for name in ("arg:fc7_weight", "momentum:fc7_weight"):
        changed = np.flatnonzero((before[name] != after[name]).any(axis=1))
        assert changed.tolist() == seen.tolist()


def test_one_step_is_that_of_float64_over_the_sample():
    engine = sampled()
    start = {name: array.astype(float) for name, array in engine.restart_arrays().items()}
    data, label = lab.batch(0, CLASSES)
    engine.forward_backward(data, label)
    engine.update(0.1)
    rows, label = engine.centres._rows[0].asnumpy(), label.astype(int)
    features = engine.backbone.executors[0].outputs[0].asnumpy().astype(float)
    weight = start["arg:fc7_weight"][rows]
    lengths = np.linalg.norm(weight, axis=1, keepdims=True)
    cosine = features @ (weight / lengths).T
    target = (np.arange(lab.BATCH), np.searchsorted(rows, label))
    logits, theta = 64 * cosine, np.arccos(cosine[target])
    logits[target] = 64 * np.cos(theta + 0.5)
    assert (theta + 0.5 < np.pi).all()
    error = np.exp(logits - logits.max(axis=1, keepdims=True))
    error /= error.sum(axis=1, keepdims=True)
    error[target] -= 1
    error *= 64 / lab.BATCH
    error[target] *= np.sin(theta + 0.5) / np.sin(theta)
    towards = error.T @ features
    unit = weight / lengths
    gradient = (towards - unit * (towards * unit).sum(axis=1, keepdims=True)) / lengths
    expected = weight - 0.1 * (gradient + 5e-4 * weight)
    found = engine.restart_arrays()["arg:fc7_weight"][rows]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_the_same_restart_draws_the_same_samples():
    engine = sampled(count=2)
    lab.run(engine, 3, classes=CLASSES)
    other = sampled(count=2)
    other.restart(engine.restart_arrays())
    for one in (engine, other):
        lab.run(one, 3, first=3, classes=CLASSES)
    lab.assert_same(engine, other, 0.0)
