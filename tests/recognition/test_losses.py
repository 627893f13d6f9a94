"""Every loss of the presets: value and gradient against float64 NumPy, and a tiny set it must separate."""
import dataclasses

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses import LossSettings, attach, families
from arcface_mxnet.recognition.presets import LOSSES
from arcface_mxnet.runtime.errors import InputError
from tests.recognition.loss_lab import differences, run, separation
from tests.recognition.loss_references import REFERENCES

import numpy as np
import pytest

CLASSES, IMAGES, SIZE = 7, 12, 5
LABELS = {"identity": np.repeat([0, 3, 6], 4), "classification": np.array([0, 6, 3, 3, 1, 5, 2, 4, 6, 0, 1, 1]),
          "triplet": np.array([0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 0])}


def settings_of(name, **more):
    known = {field.name for field in dataclasses.fields(LossSettings)}
    return LossSettings(**{**{key: value for key, value in LOSSES[name].items() if key in known}, **more})


def make(name, **more):
    embedding = sym.Variable("embedding", shape=(IMAGES, SIZE))
    return attach(embedding, settings_of(name, **more), CLASSES, IMAGES)


RUNNING = {"curricular_t": (0.3, 0.7), "adaface_mean": (15.0, 3.0), "adaface_deviation": (6.0, 0.5),
           "adacos_scale": (7.0, 3.0), "sphereface_iteration": (150.0, 9000.0)}  # in the middle of a run, and late


def values_for(head, seed, extreme=False):
    """Random float64 values for every variable of a head; `extreme` puts embeddings on and against their centres.

    States are given values other than the first, so that a rule that only fits the first step is seen.
    """
    rng = np.random.RandomState(seed)
    shapes = dict(zip(head.symbol.list_arguments(), head.symbol.infer_shape(softmax_label=(IMAGES,))[0]))
    values = {name: rng.randn(*shape) for name, shape in shapes.items()}
    values["softmax_label"] = LABELS[head.order].astype(np.float64)
    if "embedding" in values:
        values["embedding"] *= rng.uniform(2, 30, (IMAGES, 1))  # lengths below, inside and above MagFace's range
    if "fc7_weight" in values and extreme:
        own = values["fc7_weight"].reshape(CLASSES, -1, SIZE)[values["softmax_label"].astype(int), 0]
        signs = np.array([1, -1, 1])[np.arange(IMAGES) % 3][:, None]
        values["embedding"] = signs * own + 0.05 * rng.randn(IMAGES, SIZE)
    if "fc7_bias" in values:
        values["fc7_weight"] *= 0.05  # free lengths: keep the softmax from saturating
    for name, first in head.states.items():
        values[name] = np.full(1, RUNNING[name][extreme]) if name in RUNNING else first.astype(np.float64)
    if "age_label" in values:
        values["age_label"][:] = -1  # unknown
        values["age_label"][::2] = [20, 31, 45, 60, 18, 77]
    if "identity_centres" in values:
        values["identity_centres"] = rng.randn(CLASSES, SIZE)
    return values


def total(roles):
    return sum(float(value) for role, value in roles.items() if role == "loss" or role.startswith("objective:"))


def test_every_family_has_a_reference_and_a_preset():
    assert set(REFERENCES) == set(families()) == {LOSSES[name].loss_name for name in LOSSES}


@pytest.mark.parametrize("extreme", [False, True], ids=["random", "extreme"])
@pytest.mark.parametrize("name", LOSSES)
def test_values_states_and_gradients_equal_float64_numpy(name, extreme):
    scale = {} if settings_of(name).loss_name in ("sphereface", "adacos") else {"loss_s": 6.0}
    head, settings = make(name, **scale), settings_of(name, **scale)
    values = values_for(head, 5, extreme)
    reference = REFERENCES[settings.loss_name]
    expected, result = reference(values, settings, values), run(head, values)
    for role, value in expected.items():
        np.testing.assert_allclose(result.outputs[role].ravel(), np.ravel(value), rtol=1e-7, atol=1e-9, err_msg=role)
    for variable, gradient in result.gradients.items():
        numeric = differences(lambda shifted: total(reference(shifted, settings, values)), values, variable)
        np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=2e-6, err_msg=variable)


@pytest.mark.parametrize("name", LOSSES)
def test_finite_in_float32_when_embeddings_lie_on_or_against_their_centres(name):
    head = make(name)
    values = values_for(head, 6)
    if "fc7_weight" in values:
        own = values["fc7_weight"].reshape(CLASSES, -1, SIZE)[values["softmax_label"].astype(int), 0]
        values["embedding"] = own * np.where(np.arange(IMAGES) % 2, 1, -1)[:, None]
    else:
        values["embedding"][:] = values["embedding"][0] * np.where(np.arange(IMAGES) % 2, 1, -1)[:, None]
    result = run(head, values, np.float32)
    for part in (result.outputs, result.gradients):
        assert all(np.isfinite(array).all() for array in part.values())


SEPARATED = {"ns_inter64": 0.75}  # at weight s the term moves centres away from one another and from their images


@pytest.mark.parametrize("name", LOSSES)
def test_a_tiny_set_is_separated(name):
    before, after = separation(settings_of(name))
    assert before < 0.6 and after > SEPARATED.get(name, 0.77)


@pytest.mark.parametrize("name", LOSSES)
def test_each_state_has_its_next_value_and_each_preset_its_source(name):
    head = make(name)
    assert {f"state:{state}" for state in head.states} == {role for role in head.roles if role.startswith("state:")}
    assert len(head.roles) == len(head.symbol.list_outputs()) and head.roles[0] == "embedding"
    assert "loss" in head.roles and settings_of(name).source
    assert all(array.dtype == np.float32 for array in head.states.values())


@pytest.mark.parametrize("name, margin", [("svam", lambda cosine: cosine - 0.35),
                                          ("svarc", lambda cosine: np.cos(np.arccos(cosine) + 0.5))])
def test_sv_softmax_equals_its_own_formula(name, margin):
    """arXiv 1812.11317: negatives above the changed target weigh exp(s (t - 1) (cos + 1)) as much, t = 1.2."""
    head = make(name, loss_s=6.0)
    values = values_for(head, 9)
    weight, rows = values["fc7_weight"], values["embedding"]
    cosine = (rows / np.linalg.norm(rows, axis=1, keepdims=True)) @ (weight / np.linalg.norm(weight, axis=1)[:, None]).T
    entropies, emphasised = [], 0
    for line, label in zip(cosine, values["softmax_label"].astype(int)):
        target, others = margin(line[label]), np.delete(line, label)
        hard = target < others
        emphasised += hard.sum()
        h = np.exp(6.0 * (1.2 - 1) * (others + 1) * hard)
        entropies.append(-np.log(np.exp(6.0 * target) / (np.exp(6.0 * target) + (h * np.exp(6.0 * others)).sum())))
    assert emphasised > 5
    np.testing.assert_allclose(run(head, values).outputs["loss"].ravel(), [np.mean(entropies)], rtol=1e-7)


def test_adaptive_mv_softmax_is_sv_softmax():
    """MV-Softmax's t is SV-Softmax's t - 1: at the published 0.2 and 1.2 the two are one loss, fixed ones another."""
    one, other, fixed = (settings_of(name, source="") for name in ("svarc", "mvarc", "mvam"))
    assert one == other and "svarc" in LOSSES["mvarc"].source
    assert fixed != settings_of("svam", source="") and fixed.options.fixed is True


def test_states_begin_as_published():
    def first(name):
        return {state: value.ravel().tolist() for state, value in make(name).states.items()}

    assert first("adaface") == {"adaface_mean": [20.0], "adaface_deviation": [100.0]}
    assert first("curricularface") == {"curricular_t": [0.0]}
    assert first("sphereface") == {"sphereface_iteration": [0.0]}
    assert first("adacos")["adacos_scale"] == pytest.approx([2 ** 0.5 * np.log(CLASSES - 1)])
    assert first("centre") == {"identity_centres": [0.0] * CLASSES * SIZE}


def test_unknown_family_option_and_impossible_batches_are_named():
    embedding = sym.Variable("embedding", shape=(10, SIZE))
    with pytest.raises(InputError, match="unknown loss family 'nothing'.*margin_softmax"):
        attach(embedding, LossSettings("nothing"), CLASSES, 10)
    with pytest.raises(InputError, match="unknown option of the loss centre 'wieght'; known: alpha, weight"):
        attach(embedding, LossSettings("centre", options={"wieght": 1.0}), CLASSES, 10)
    with pytest.raises(InputError, match="3 divides; take 9"):
        attach(embedding, settings_of("triplet_bag"), CLASSES, 10)
    with pytest.raises(InputError, match="images an identity"):
        attach(embedding, settings_of("qan"), CLASSES, 10)
    with pytest.raises(InputError, match="at least 2 identities"):
        attach(embedding, settings_of("arcface"), 1, 10)
    with pytest.raises(InputError, match="no known length"):
        attach(sym.Variable("features"), settings_of("arcface"), CLASSES, 10)
    with pytest.raises(InputError, match="loss_m1 1.5"):
        attach(embedding, settings_of("sphereface", loss_m1=1.5), CLASSES, 10)
