"""What every engine must do, whichever library it is; an engine enrols by its line in engines.base.ENGINES."""
import math

from arcface_mxnet.engines.base import (
    ALONE,
    ENGINES,
    FILE_ENGINES,
    Centres,
    Numerics,
    default_engine,
    engine,
    installed,
    place,
)
from arcface_mxnet.engines.sampling import Rule
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.runtime.errors import InputError
from tests.engines import step_lab as lab

import numpy as np
import pytest

EMBED, TRAIN = installed(), installed(trains=True)
SHAPE = (lab.SIDE, lab.SIDE, 3)


def checkpoint(seed=0):
    arguments, auxiliary = lab.first(seed)
    del arguments["fc7_weight"]
    chance = np.random.RandomState(seed + 1)
    auxiliary = {name: value + chance.rand(*value.shape).astype(np.float32) for name, value in auxiliary.items()}
    return Checkpoint(lab.embedding(), arguments, auxiliary)


def images(count, seed=2):
    return np.random.RandomState(seed).randint(0, 256, (count, 3, lab.SIDE, lab.SIDE)).astype(np.uint8)


def embed(name, model, pictures, batch_size=4, exact=False):
    where = place(name, "cpu")
    return where.engine.network(model, where.devices, exact).embed(pictures, batch_size)


def expected(model, pictures):
    """The network of step_lab in NumPy, float64."""
    value = {name: array.astype(np.float64) for name, array in {**model.args, **model.aux}.items()}

    def norm(x, name, fixed=False):
        shape = (1, -1) + (1,) * (x.ndim - 2)
        mean, variance, beta, gamma = (value[f"{name}_{part}"].reshape(shape)
                                       for part in ("moving_mean", "moving_var", "beta", "gamma"))
        return (x - mean) / np.sqrt(variance + 2e-5) * (1 if fixed else gamma) + beta

    def patches(x):
        return np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))

    x = (pictures.astype(np.float64) - 127.5) * 0.0078125
    x = norm(np.einsum("ncyxhw,ochw->noyx", patches(x), value["conv0_weight"]), "bn0")
    x = np.where(x > 0, x, 0.25 * x)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    x = x + norm(np.einsum("ncyxhw,chw->ncyx", patches(padded), value["conv1_weight"][:, 0]), "bn1")
    x = x.reshape(len(x), -1) @ value["pre_fc1_weight"].T + value["pre_fc1_bias"]
    return norm(x, "fc1", fixed=True)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("name", EMBED)
def test_embeddings_are_those_of_float64_for_any_batch_size_and_type(name, exact):
    model, pictures = checkpoint(), images(9)
    wanted = expected(model, pictures)
    for given, batch_size in ((pictures, 4), (pictures.astype(np.float32), 9), (pictures, 1)):
        found = embed(name, model, given, batch_size, exact)
        assert found.dtype == np.float32 and found.shape == (9, lab.SIZE)
        assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("name", EMBED)
def test_new_values_are_taken_and_the_given_ones_stay(name):
    first, second, where = checkpoint(), checkpoint(5), place(name, "cpu")
    network = where.engine.network(first, where.devices)
    before = network.embed(images(3), 2)
    network.update(second.args, second.aux)
    np.testing.assert_allclose(network.embed(images(3), 2), embed(name, second, images(3)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(embed(name, first, images(3), 2), before)


@pytest.mark.parametrize("operator", ["gather_nd", "scatter_nd"])
@pytest.mark.parametrize("name", EMBED)
def test_an_index_out_of_range_in_a_file_ends_in_one_line(name, operator):
    """MXNet's scatter_nd would write there."""
    rows, places = sym.Flatten(sym.Variable("data")), sym.Variable("places")
    width = 3 * lab.SIDE * lab.SIDE
    found = sym.gather_nd(rows, places) if operator == "gather_nd" else sym.scatter_nd(rows, places, shape=(4, width))
    model = Checkpoint(found, {"places": np.full((1, 4), 1e6, np.float32)}, {})
    with pytest.raises(InputError) as caught:
        embed(name, model, images(4), exact=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", EMBED)
def test_a_precision_is_kept_or_refused(name):
    where, model = place(name, "cpu"), checkpoint()
    try:
        network = where.engine.network(model, where.devices, False, Numerics(bf16=True))
    except InputError as error:
        assert f"--engine {name}: runs float32 alone" in str(error)
        return
    wanted = expected(model, images(4))
    difference = np.abs(network.embed(images(4), 4) - wanted).max() / np.abs(wanted).max()
    assert 1e-5 < difference < 0.05


@pytest.mark.parametrize("name", EMBED)
def test_an_engine_says_what_and_where_it_is(name):
    where = place(name, "cpu")
    assert where.engine.NAME == name
    assert where.describe().startswith(f"engine {name} {where.engine.version()}, cpu")
    assert where.engine.on_gpu(where.devices) == 0 and where.engine.free_bytes(where.devices) > 2 ** 20
    for flag in ("cpu:0", "cpu:x"):
        with pytest.raises(InputError, match=f"--gpus {flag}: "):
            place(name, flag)


def step(name, replicas=1, dropped=0.0, centres=None, fresh=True):
    where = place(name, f"cpu:{replicas}")
    program = lab.backbone(dropped) if centres else lab.program(lab.BATCH // replicas, dropped)
    made = where.engine.step(program, where.devices, lab.BATCH, SHAPE, centres=centres,
                             workers=where.engine.workers(where.devices, "device"))
    if fresh:
        made.set_parameters(*lab.first())
    made.set_optimizer(0.9, 5e-4, "uniform")
    return made


SHARDED = Centres(lab.CLASSES, 1, lab.SIZE, 8.0, 1e-37)
SAMPLED = Centres(lab.CLASSES, 1, lab.SIZE, 8.0, 1e-37, None, Rule(1, 0.5))
KINDS = {"one": {}, "two replicas": {"replicas": 2}, "sharded": {"centres": SHARDED},
         "sampled": {"centres": SAMPLED, "replicas": 2}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TRAIN)
def test_a_step_learns_and_a_restart_repeats_it_to_the_bit(name, kind):
    whole, begun, resumed = (step(name, dropped=0.2, fresh=part < 2, **KINDS[kind]) for part in range(3))
    assert whole.batch_size == lab.BATCH and whole.replicas == KINDS[kind].get("replicas", 1)
    losses = lab.run(whole, range(12))
    lab.run(begun, range(7))
    resumed.restart(begun.restart_arrays())
    lab.run(resumed, range(7, 12))
    left, right = whole.restart_arrays(), resumed.restart_arrays()
    assert set(left) == set(right)
    for key, value in left.items():
        np.testing.assert_array_equal(right[key], value, err_msg=key)
    assert np.mean(losses[-3:]) < losses[0] and whole.gradients_finite() and whole.parameters_finite()


@pytest.mark.parametrize("name", TRAIN)
def test_restart_arrays_have_the_names_all_engines_read(name):
    made = step(name, replicas=2)
    lab.run(made, range(1))
    saved, (arguments, auxiliary) = made.restart_arrays(), lab.first()
    assert set(saved) == {*(f"arg:{key}" for key in arguments), *(f"momentum:{key}" for key in arguments),
                          *(f"aux:{key}" for key in auxiliary),
                          *(f"context:{part}:{key}" for key in auxiliary for part in range(2))}
    assert all(isinstance(value, np.ndarray) for value in saved.values())
    for key in auxiliary:
        mean = (saved[f"context:0:{key}"] + saved[f"context:1:{key}"]) / 2
        np.testing.assert_allclose(saved[f"aux:{key}"], mean, rtol=1e-6, atol=1e-7)
    found = made.parameters()
    for kind, part in zip(("arg:", "aux:"), found):
        assert {f"{kind}{key}" for key in part} == {key for key in saved if key.startswith(kind)}


@pytest.mark.parametrize("name", TRAIN)
def test_an_outcome_counts_and_averages_as_its_outputs_say(name):
    made = step(name, replicas=2)
    outcome = made.forward_backward(*lab.batch(0))
    assert outcome.images == lab.BATCH and len(outcome.losses) == len(outcome.correct) == 2
    assert 0 <= sum(map(float, outcome.correct)) <= lab.BATCH
    assert float(outcome.losses[0]) == pytest.approx(math.log(lab.CLASSES), abs=3)
    assert made.update(0.1) is True


@pytest.mark.parametrize("name", TRAIN)
def test_what_is_not_finite_is_seen(name):
    made = step(name)
    images, label = lab.batch(0)
    made.forward_backward(np.full_like(images, np.nan), label)
    assert not made.gradients_finite()
    made.update(0.1)
    assert not made.parameters_finite()


@pytest.mark.parametrize("name", TRAIN)
def test_a_process_alone_is_its_only_worker(name):
    where = place(name, "cpu")
    workers = where.engine.workers(where.devices, "device")
    assert (workers.rank, workers.size, workers.part) == (ALONE.rank, ALONE.size, (0, 1))
    assert workers.agree(None) is None and workers.agree(15) == 15


def test_an_engine_that_is_not_installed_is_named_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="--engine torch: torch is not installed; install it with 'make setup"):
        engine("torch")
    with pytest.raises(InputError, match="no engine is installed"):
        default_engine()


def test_an_engine_that_does_not_load_is_said_in_one_line(monkeypatch):
    def fails(name):
        raise ImportError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr("importlib.import_module", fails)
    name = EMBED[0]
    with pytest.raises(InputError, match=f"--engine {name}: {name} is installed but does not load .libcudart.so.13"):
        engine(name)


def test_an_unknown_engine_is_named_with_the_known_ones():
    with pytest.raises(InputError, match="unknown engine 'tensorflow'"):
        engine("tensorflow")
    assert default_engine() in ENGINES


@pytest.mark.parametrize("name", EMBED)
def test_the_engines_that_run_onnx_files_are_named(name):
    assert hasattr(engine(name), "run_file") == (name in FILE_ENGINES)
