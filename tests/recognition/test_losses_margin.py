import math

from arcface_mxnet.engines.mxnet.convert import to_mxnet
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses import LossSettings, attach
from arcface_mxnet.recognition.losses.arcface import margin_cosine
from arcface_mxnet.runtime.errors import InputError
from tests.recognition.loss_lab import differences, log_softmax, run, unit

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

MARGINS = {
    "softmax": (1.0, 0.0, 0.0), "sphereface": (1.35, 0.0, 0.0), "arcface": (1.0, 0.5, 0.0),
    "cosface": (1.0, 0.0, 0.35), "cm1": (1.0, 0.3, 0.2), "cm2": (0.9, 0.4, 0.15), "all": (1.2, 0.4, 0.1),
}
FIGURE_4B = {  # paper, Fig. 4b, at 20, 30 ... 100 degrees, computed by another program (docs/original.md, section 8.6)
    "sphereface": (0.8910, 0.7604, 0.5878, 0.3827, 0.1564, -0.0785, -0.3090, -0.5225, -0.7071),
    "arcface": (0.6607, 0.5203, 0.3641, 0.1968, 0.0236, -0.1504, -0.3198, -0.4794, -0.6245),
    "cosface": (0.5897, 0.5160, 0.4160, 0.2928, 0.1500, -0.0080, -0.1764, -0.3500, -0.5236),
    "cm1": (0.5966, 0.4796, 0.3419, 0.1877, 0.0217, -0.1510, -0.3251, -0.4955, -0.6569),
    "cm2": (0.6056, 0.4939, 0.3663, 0.2259, 0.0763, -0.0788, -0.2357, -0.3905, -0.5394),
}
ANGLES = np.radians(np.linspace(0.5, 179.5, 180))


def reference(theta, m1, m2, m3):
    """cos(m1 theta + m2) - m3, continued below past pi; written from the angle, where the graph has the cosine."""
    out = []
    for angle in np.atleast_1d(theta):
        total = m1 * angle + m2
        if total <= math.pi:
            out.append(math.cos(total) - m3)
        else:
            delta = (m1 * math.pi + m2 - math.pi) / m1
            out.append(math.cos(angle) - delta * math.sin(delta) - m3)
    return np.array(out)


def evaluate(cosine, margins, dtype=np.float64):
    """Value and gradient of the margin function at given cosines."""
    variable = sym.Variable("cosine")
    symbol = sym.MakeLoss(margin_cosine(variable, *margins) * 1.0)
    array = mx.nd.array(cosine, dtype=dtype)
    gradient = mx.nd.zeros(array.shape, dtype=dtype)
    executor = to_mxnet(symbol).bind(mx.cpu(), {"cosine": array}, args_grad={"cosine": gradient})
    value = executor.forward(is_train=True)[0].asnumpy()
    executor.backward()
    return value, gradient.asnumpy()


@pytest.mark.parametrize("name", MARGINS)
def test_value_and_gradient_at_180_angles_equal_float64_numpy(name):
    margins = MARGINS[name]
    value, gradient = evaluate(np.cos(ANGLES), margins)
    np.testing.assert_allclose(value, reference(ANGLES, *margins), atol=1e-12)
    step = 1e-7
    cosine = np.cos(ANGLES)
    above, below = reference(np.arccos(cosine + step), *margins), reference(np.arccos(cosine - step), *margins)
    np.testing.assert_allclose(gradient, (above - below) / (2 * step), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", FIGURE_4B)
def test_curves_of_figure_4b(name):
    value, _ = evaluate(np.cos(np.radians(np.arange(20, 101, 10))), MARGINS[name])
    np.testing.assert_allclose(value, FIGURE_4B[name], atol=5.1e-5)


@pytest.mark.parametrize("name", MARGINS)
def test_finite_in_float32_at_the_ends_and_beyond(name):
    m1, m2, _ = MARGINS[name]
    corner = math.cos((math.pi - m2) / m1)
    cosine = np.array([1.0000014, 1.0, np.nextafter(np.float32(1), 0), corner, np.nextafter(np.float32(corner), 1),
                       np.nextafter(np.float32(corner), -2), -1.0, -1.0000014])
    value, gradient = evaluate(cosine, MARGINS[name], np.float32)
    assert np.isfinite(value).all() and np.isfinite(gradient).all()
    assert (gradient >= -1e-6).all() and (np.abs(gradient) < 1500).all()


@given(st.integers(50, 200), st.integers(0, 150), st.integers(0, 50))
@settings(max_examples=40)
def test_target_logit_never_rises_with_the_angle(m1, m2, m3):
    value, _ = evaluate(np.cos(np.linspace(0, math.pi, 1441)), (m1 / 100, m2 / 100, m3 / 100))
    assert (np.diff(value) <= 1e-9).all()


def head_loss(values, margins, scale):
    cosine = unit(values["embedding"]) @ unit(values["fc7_weight"]).T
    logits = scale * cosine
    for row, label in enumerate(values["softmax_label"].astype(int)):
        logits[row, label] = scale * reference(np.arccos(cosine[row, label]), *margins)[0]
    rows = np.arange(len(logits))
    return -log_softmax(logits)[rows, values["softmax_label"].astype(int)].mean()


def batch(seed, classes=6, images=5, size=4):
    rng = np.random.RandomState(seed)
    return {"embedding": rng.randn(images, size), "fc7_weight": rng.randn(classes, size),
            "softmax_label": rng.randint(0, classes, images).astype(np.float64)}


def make_head(margins, scale=8.0, classes=6, images=5, size=4, **more):
    m1, m2, m3 = margins
    chosen = LossSettings(loss_s=scale, loss_m1=m1, loss_m2=m2, loss_m3=m3, **more)
    return attach(sym.Variable("embedding", shape=(images, size)), chosen, classes, images)


@pytest.mark.parametrize("name", MARGINS)
def test_loss_and_gradients_of_the_head(name):
    values = batch(3)
    result = run(make_head(MARGINS[name]), values)
    loss = lambda shifted: head_loss(shifted, MARGINS[name], 8.0)  # noqa: E731
    np.testing.assert_allclose(result.outputs["loss"], [loss(values)], rtol=1e-9)
    for variable in ("embedding", "fc7_weight"):
        np.testing.assert_allclose(result.gradients[variable], differences(loss, values, variable), atol=2e-7)


@pytest.mark.parametrize("form", ["original", "head_2018"])
def test_published_forms_agree_with_the_default_before_pi(form):
    values = batch(4)
    near = unit(values["fc7_weight"])[values["softmax_label"].astype(int)] + 0.3 * unit(values["embedding"])
    values["embedding"] = near  # targets well before pi - m
    default = run(make_head((1, 0.5, 0)), values, np.float32)
    published = run(make_head((1, 0.5, 0), **{form: True}), values, np.float32)  # one_hot is float32 there
    for role in ("probability", "loss"):
        np.testing.assert_allclose(published.outputs[role], default.outputs[role], rtol=2e-5)
    np.testing.assert_allclose(published.gradients["embedding"], default.gradients["embedding"], atol=2e-6)


def test_original_has_the_published_defects_and_the_default_has_not():
    vector = np.ones((1, 3)) * np.float32(0.7)
    values = {"embedding": vector, "fc7_weight": np.vstack([vector, -vector]), "softmax_label": np.zeros(1)}
    original = run(make_head((1, 0.5, 0), 64.0, 2, 1, 3, original=True), values, np.float32)
    default = run(make_head((1, 0.5, 0), 64.0, 2, 1, 3), values, np.float32)
    assert not np.isfinite(original.gradients["embedding"]).all()
    assert np.isfinite(default.gradients["embedding"]).all() and np.isfinite(default.outputs["loss"]).all()


def opposite_target_logit(**form):
    """The target logit / s at 180 degrees, read back from the probabilities of two classes."""
    values = {"embedding": np.array([[-1.0, 1e-4]]), "fc7_weight": np.array([[1.0, 0.0], [0.0, 1.0]]),
              "softmax_label": np.zeros(1)}
    probability = run(make_head((1, 0.5, 0), 4.0, 2, 1, 2, **form), values, np.float32).outputs["probability"][0]
    return np.log(probability[0] / probability[1]) / 4.0


def test_past_pi_the_original_rises_again_and_the_others_go_on_down():
    assert opposite_target_logit(original=True) == pytest.approx(math.cos(math.pi + 0.5), abs=1e-3)
    for form in ({}, {"head_2018": True}):
        assert opposite_target_logit(**form) == pytest.approx(-1 - 0.2397127693, abs=1e-3)


def test_output_names_and_weights_are_the_published_ones():
    for more in ({}, {"original": True}, {"head_2018": True}):
        head = make_head((1, 0.5, 0), **more)
        assert head.symbol.list_outputs()[:3] == ["blockgrad0_output", "softmax_output", "blockgrad1_output"]
        assert head.symbol.list_arguments() == ["embedding", "fc7_weight", "softmax_label"]
        assert head.roles[:3] == ("embedding", "probability", "loss")


def test_reported_loss_is_finite_when_the_target_probability_underflows():
    values = {"embedding": np.array([[-1.0, 0.0]]), "fc7_weight": np.array([[1.0, 0.0], [-1.0, 0.0]]),
              "softmax_label": np.zeros(1)}
    loss = run(make_head((1, 0, 0), 64.0, 2, 1, 2), values, np.float32).outputs["loss"]
    assert loss[0] == pytest.approx(-math.log(1e-37), rel=1e-3)


def test_target_angle_statistic_is_the_angle():
    values = {"embedding": np.array([[1.0, 1.0]]), "fc7_weight": np.eye(2), "softmax_label": np.zeros(1)}
    outputs = run(make_head((1, 0.5, 0), 8.0, 2, 1, 2), values).outputs
    assert outputs["stat:target_angle"] == pytest.approx(45.0)


@pytest.mark.parametrize("margins", [(0.0, 0.5, 0.0), (1.0, -0.1, 0.0), (1.0, 1.6, 0.0), (1.0, 0.0, -0.1)])
def test_margins_that_make_no_sense_are_refused(margins):
    with pytest.raises(InputError, match="margins"):
        make_head(margins)


def test_the_2018_head_refuses_other_margins():
    with pytest.raises(InputError, match="head-2018"):
        make_head((1, 0.3, 0.2), head_2018=True)
