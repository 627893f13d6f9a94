"""Templates from sets: sums by hand, learned quality against known blur, the loss and its gradient in float64."""
from arcface_mxnet.engines.mxnet.convert import to_mxnet
from arcface_mxnet.engines.mxnet.fitting import fit, initialise
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.evaluation import aggregate
from arcface_mxnet.evaluation.aggregate import aggregate as pooled
from arcface_mxnet.evaluation.aggregate import rule_weights
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest


def slow_template(rows, weights):
    total = sum(weight * row / (np.linalg.norm(row) or 1) for row, weight in zip(rows, weights))
    return total / (np.linalg.norm(total) or 1)


def test_templates_are_weighted_means_of_unit_rows():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20, 5)).astype(np.float32) * rng.uniform(1, 9, (20, 1)).astype(np.float32)
    groups = rng.choice(["b", "a", "single", "z"], 20)
    groups[7] = "alone"
    for rule, weights in (("mean", np.ones(20)), ("norm", np.linalg.norm(rows, axis=1)), ("detector", rng.random(20))):
        names, templates = pooled(rows, groups, rule_weights(rule, rows, weights))
        assert names == sorted(set(groups))
        for name, template in zip(names, templates):
            inside = groups == name
            np.testing.assert_allclose(template, slow_template(rows[inside].astype(float), weights[inside]), atol=1e-6)
    names, templates = pooled(rows, groups, rule_weights("norm", rows))
    raw = rows[groups == "a"].sum(axis=0)
    np.testing.assert_allclose(templates[names.index("a")], raw / np.linalg.norm(raw), atol=1e-6)


def test_a_set_without_any_weight_is_its_mean_and_zero_rows_stay_out():
    rows = np.array([[2.0, 0], [0, 4], [0, 0]])
    _, templates = pooled(rows, ["a", "a", "b"], np.zeros(3))
    np.testing.assert_allclose(templates, [[np.sqrt(0.5), np.sqrt(0.5)], [0, 0]])


@pytest.mark.parametrize("groups, weights, words", [
    (["a"], None, "2 embeddings, 1 groups"),
    (["a", "b"], np.array([1.0, -1]), "weight 1 is -1"),
    (["a", "b"], np.array([np.nan, 1]), "weight 0 is nan"),
])
def test_unusable_sets_are_refused(groups, weights, words):
    with pytest.raises(InputError, match=words):
        pooled(np.ones((2, 3)), groups, weights)


def blurred(seed, people, each=16, dimensions=24):
    """Unit identities with blur, told by a norm that falls with it."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), each)
    centres = rng.normal(size=(people, dimensions))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    blur = rng.uniform(0.2, 3, len(labels))
    rows = centres[labels] + rng.normal(size=(len(labels), dimensions)) * blur[:, None] / np.sqrt(dimensions)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows * (20 / (1 + blur))[:, None]).astype(np.float32), labels, blur


def closeness(embeddings, labels, weights):
    """Mean cosine of a person's two half-sets, less that of different people."""
    halves = [f"{label:03d}{'ab'[row % 2]}" for row, label in enumerate(labels)]
    templates = pooled(embeddings, halves, weights)[1]
    cosine = templates[0::2] @ templates[1::2].T
    same = np.eye(len(cosine), dtype=bool)
    return cosine[same].mean() - cosine[~same].mean()


def test_quality_is_learned_without_labels_of_quality():
    rows, labels, _ = blurred(0, 40)
    plan = aggregate.QualityPlan(steps=150)
    learnt = aggregate.train_quality(rows, labels, plan)
    others, people, blur = blurred(1, 20)
    found = aggregate.predict_quality(learnt, others, block=50)
    assert ((found > 0) & (found < 1)).all()
    assert np.corrcoef(found, blur)[0, 1] < -0.6
    assert closeness(others, people, found) > closeness(others, people, None) + 0.02
    again = aggregate.train_quality(rows, labels, plan)
    assert all((learnt.args[name] == again.args[name]).all() for name in learnt.args)


def test_what_was_learned_holds_the_statistics_of_the_last_step():
    """MXNet's executor lets a read of them overtake the backward pass that writes them."""
    rng = np.random.default_rng(4)
    batches = [{"data_rows": rng.normal(size=(3 * 16 * 8, 64))} for _ in range(12)]
    symbol, shapes = aggregate.set_triplet_symbol(16, 8, 0.5), {"data_rows": batches[0]["data_rows"].shape}
    mean = np.zeros(64)
    for count, batch in enumerate(batches, 1):
        found = fit(symbol, shapes, rng, ("sgd", {}), [(0.0, one) for one in batches[:count]])
        mean = 0.9 * mean + 0.1 * batch["data_rows"].mean(axis=0)
        np.testing.assert_allclose(found.aux["quality_bn_moving_mean"], mean, atol=1e-5)


def test_the_set_loss_is_its_formula_and_so_is_its_gradient():
    rng = np.random.default_rng(2)
    data = aggregate.quality_inputs(rng.normal(size=(3 * 2 * 4, 6)) * rng.uniform(1, 5, (24, 1)))
    loss = aggregate.set_triplet_symbol(2, 4, 0.5)
    executor = to_mxnet(loss).simple_bind(mx.cpu(), data_rows=data.shape)
    initialise(executor, rng)
    weight = executor.arg_dict["quality_fc2_weight"]
    stored = weight.asnumpy().astype(float)

    def by_hand(last):
        value = {name: array.asnumpy().astype(float) for name, array in executor.arg_dict.items()}
        rows = (data - data.mean(axis=0)) / np.sqrt(data.var(axis=0) + 1e-5) + value["quality_bn_beta"]
        hidden = np.tanh(rows @ value["quality_fc1_weight"].T + value["quality_fc1_bias"])
        mu = (1 / (1 + np.exp(-(hidden @ last.T + value["quality_fc2_bias"])))).reshape(6, 4)
        sets = data[:, :-1].astype(float).reshape(6, 4, -1)
        pooled = [sum(m * r for m, r in zip(ms, rs)) / sum(ms) for ms, rs in zip(mu, sets)]
        losses = [max(0, np.sum((pooled[i] - pooled[i + 2]) ** 2) - np.sum((pooled[i] - pooled[i + 4]) ** 2) + 0.5)
                  for i in range(2)]
        return np.mean(losses)

    executor.arg_dict["data_rows"][:] = data
    found = executor.forward(is_train=True)[0].asscalar()
    executor.backward()
    assert found == pytest.approx(by_hand(stored), rel=1e-4) and found > 0
    for column in (0, 5, 40):
        step = np.zeros_like(stored)
        step[0, column] = 1e-5
        slope = (by_hand(stored + step) - by_hand(stored - step)) / 2e-5
        assert executor.grad_dict["quality_fc2_weight"].asnumpy()[0, column] == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_too_few_images_to_learn_from_are_refused():
    with pytest.raises(InputError, match="two classes of 8 images; found 1"):
        aggregate.train_quality(np.ones((12, 3)), np.repeat([0, 1], [9, 3]), aggregate.QualityPlan(steps=1))


def test_the_command_aggregates_by_each_rule(tmp_path, capsys):
    rows, labels, blur = blurred(3, 6)
    np.save(tmp_path / "f.npy", rows)
    (tmp_path / "groups.txt").write_text("".join(f"person {label}\n" for label in labels))
    (tmp_path / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
    (tmp_path / "scores.txt").write_text("".join(f"{1 / value}\n" for value in blur))
    common = ["--features", str(tmp_path / "f.npy"), "--groups", str(tmp_path / "groups.txt")]
    extra = {"detector": ["--scores", str(tmp_path / "scores.txt")],
             "quality": ["--train-features", str(tmp_path / "f.npy"), "--train-labels", str(tmp_path / "labels.txt"),
                         "--max-steps", "5"]}
    for rule in aggregate.RULES:
        aggregate.main([*common, "--rule", rule, *extra.get(rule, []), "--out", str(tmp_path / rule)])
        stored = np.load(tmp_path / rule / "embeddings.npy")
        assert stored.shape == (6, 24) and (tmp_path / rule / "ids.txt").read_text().startswith("person 0\n")
    expected = pooled(rows, [f"person {label}" for label in labels], 1 / blur)[1]
    np.testing.assert_allclose(np.load(tmp_path / "detector" / "embeddings.npy"), expected, atol=1e-6)
    aggregate.main([*common, "--rule", "quality", "--quality-model", f"{tmp_path}/quality/quality,0",
                 "--out", str(tmp_path / "q2")])
    np.testing.assert_array_equal(np.load(tmp_path / "q2" / "embeddings.npy"),
                                  np.load(tmp_path / "quality" / "embeddings.npy"))
    for rule, words in (("detector", "needs --scores"), ("quality", "needs --quality-model")):
        with pytest.raises(InputError, match=words):
            aggregate.main([*common, "--rule", rule, "--out", str(tmp_path / "no")])
    (tmp_path / "scores.txt").write_text("x\n" * len(rows))
    with pytest.raises(InputError, match="scores.txt: line 1: 'x' is not a number"):
        aggregate.main([*common, "--rule", "detector", *extra["detector"], "--out", str(tmp_path / "no")])
