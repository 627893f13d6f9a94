from arcface_mxnet.engines.mxnet.data_parallel import DataParallel, Program
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest

SHAPE = (4, 4, 3)
CLASSES, BATCH = 5, 8


def program(normalised=False):
    data, label = sym.Variable("data"), sym.Variable("softmax_label")
    body = sym.Convolution(data, num_filter=6, kernel=(3, 3), name="conv")
    if normalised:
        body = sym.BatchNorm(body, fix_gamma=False, name="bn")
    logits = sym.FullyConnected(body, num_hidden=CLASSES, name="fc7")
    softmax = sym.SoftmaxOutput(logits, label, normalization="valid", name="softmax")
    loss = sym.BlockGrad(-sym.log(sym.pick(softmax, label)))
    symbol = sym.Group([softmax, loss])
    return Program(symbol, ("probability", "loss"), {}, {}, symbol.attr_dict())


def parameters(of, seed=0):
    random = np.random.RandomState(seed)
    shapes = dict(zip(of.symbol.list_arguments(),
                      of.symbol.infer_shape(data=(BATCH, 3, 4, 4), softmax_label=(BATCH,))[0]))
    arguments = {name: np.asarray(random.randn(*shapes[name]) * 0.3, np.float32) for name in of.trained}
    auxiliary = {name: (np.zeros if "mean" in name else np.ones)(6, np.float32) for name in of.auxiliary}
    return arguments, auxiliary


def batch(seed=1):
    random = np.random.RandomState(seed)
    return random.rand(BATCH, 3, 4, 4).astype(np.float32), random.randint(0, CLASSES, BATCH).astype(np.float32)


def trained(contexts, steps=3, normalised=False, data=None):
    engine = DataParallel(program(normalised), [mx.cpu(index) for index in range(contexts)], BATCH, SHAPE)
    engine.set_parameters(*parameters(engine.program))
    engine.set_optimizer(0.9, 5e-4, "uniform")
    outcomes = []
    for step in range(steps):
        outcomes.append(engine.forward_backward(*(data or batch(step))))
        engine.update(0.1)
    return engine, outcomes


def test_two_contexts_give_the_gradients_of_one_at_the_same_global_batch():
    one, first = trained(1)
    two, second = trained(2)
    for name, array in one.parameters()[0].items():
        np.testing.assert_allclose(two.parameters()[0][name], array, rtol=1e-5, atol=1e-6)
    for left, right in zip(first, second):
        assert sum(float(value) for value in left.correct) == sum(float(value) for value in right.correct)
        assert float(left.losses[0]) == pytest.approx(np.mean([float(value) for value in right.losses]))


def test_each_context_is_fed_the_values_of_its_own_images():
    known = sym.Variable("ages", shape=(BATCH // 2,))
    symbol = sym.Group([*program().symbol, sym.BlockGrad(known * 2, name="doubled")])
    fed = Program(symbol, ("probability", "loss", "stat:doubled"), {}, {}, symbol.attr_dict(), ("ages",))
    assert fed.trained == program().trained
    engine = DataParallel(fed, [mx.cpu(0), mx.cpu(1)], BATCH, SHAPE)
    engine.set_parameters(*parameters(program()))
    engine.forward_backward(*batch(), {"ages": np.arange(BATCH, dtype=np.float32)})
    assert [executor.outputs[2].asnumpy().tolist() for executor in engine.executors] == [[0, 2, 4, 6], [8, 10, 12, 14]]


def with_state(first, following):
    """The program with a state of which each context computes another next value: from its own images."""
    before, base = sym.Variable("memory", shape=first.shape), program().symbol
    label = base.get_internals()["softmax_label"]
    symbol = sym.Group([*base, sym.BlockGrad(following(before, label))])
    return Program(symbol, ("probability", "loss", "state:memory"), {}, {"memory": first}, symbol.attr_dict())


def after_a_step(made, labels):
    engine = DataParallel(made, [mx.cpu(0), mx.cpu(1)], BATCH, SHAPE)
    engine.set_parameters(*parameters(program()))
    engine.forward_backward(batch()[0], np.asarray(labels, np.float32))
    values = [executor.arg_dict["memory"].asnumpy() for executor in engine.executors]
    assert np.array_equal(*values)
    return values[0]


def test_a_number_is_the_mean_over_contexts():
    made = with_state(np.array([10], np.float32), lambda before, label: before + sym.mean(label))
    assert after_a_step(made, [0, 0, 0, 0, 4, 4, 4, 4]) == [12]


def test_rows_of_a_memory_are_taken_whole_from_a_context_that_renewed_them():
    """A queue of identities is no quantity: the mean of two identities is a third one."""
    def renewed(before, label):
        rows = sym.stack(label + 10, label + 20, axis=1)
        place = sym.expand_dims(label, 0)
        seen = sym.scatter_nd(sym.ones_like(rows), place, shape=(CLASSES, 2))
        return sym.where(seen, sym.scatter_nd(rows, place, shape=(CLASSES, 2)), before)

    first = np.full((CLASSES, 2), 7, np.float32)
    memory = after_a_step(with_state(first, renewed), [0, 0, 1, 1, 3, 3, 1, 1])
    assert memory.tolist() == [[10, 20], [11, 21], [7, 7], [13, 23], [7, 7]]


def test_one_step_is_the_update_of_float64():
    engine, _ = trained(1, steps=1)
    start = {name: array.astype(float) for name, array in parameters(engine.program)[0].items()}
    data, label = batch(0)
    patches = np.stack([data[:, :, y:y + 3, x:x + 3].reshape(BATCH, -1) for y in range(2) for x in range(2)], axis=1)
    features = patches @ start["conv_weight"].reshape(6, -1).T + start["conv_bias"]
    flat = features.transpose(0, 2, 1).reshape(BATCH, -1)
    logits = flat @ start["fc7_weight"].T + start["fc7_bias"]
    error = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    error[np.arange(BATCH), label.astype(int)] -= 1
    gradient = {"fc7_weight": error.T @ flat / BATCH, "fc7_bias": error.sum(0) / BATCH}
    for name, value in gradient.items():
        expected = start[name] - 0.1 * (value + 5e-4 * start[name])
        np.testing.assert_allclose(engine.parameters()[0][name], expected, rtol=1e-5, atol=1e-6)


def test_statistics_of_contexts_are_averaged_when_saved():
    engine, _ = trained(2, normalised=True)
    mx.nd.waitall()
    means = [executor.aux_dict["bn_moving_mean"].asnumpy() for executor in engine.executors]
    assert np.abs(means[0] - means[1]).max() > 1e-4
    np.testing.assert_allclose(engine.parameters()[1]["bn_moving_mean"], np.mean(means, axis=0), rtol=1e-6)


@pytest.mark.parametrize("contexts", [1, 2])
def test_a_restart_goes_on_to_the_bit(contexts):
    straight, _ = trained(contexts, steps=3, normalised=True)
    saved = {name: array.copy() for name, array in straight.restart_arrays().items()}
    resumed = DataParallel(program(True), straight.contexts, BATCH, SHAPE)
    resumed.set_parameters(*parameters(resumed.program, seed=9))
    resumed.set_optimizer(0.9, 5e-4, "uniform")
    resumed.restart(saved)
    for engine in (straight, resumed):
        for step in (7, 8):
            engine.forward_backward(*batch(step))
            engine.update(0.1)
    left, right = straight.restart_arrays(), resumed.restart_arrays()
    assert set(left) == set(right)
    assert all((left[name] == right[name]).all() for name in left)


def test_states_are_fed_and_not_trained():
    data, label = sym.Variable("data"), sym.Variable("softmax_label")
    count = sym.Variable("count", shape=(1,))
    softmax = sym.SoftmaxOutput(sym.FullyConnected(data, num_hidden=CLASSES, name="fc7"), label, name="softmax")
    symbol = sym.Group([softmax, sym.BlockGrad(count * 2)])
    counted = Program(symbol, ("probability", "state:count"), {}, {"count": np.array([1.5], np.float32)}, {})
    engine = DataParallel(counted, [mx.cpu(0), mx.cpu(1)], BATCH, SHAPE)
    assert "count" not in engine.program.trained
    engine.set_parameters(*parameters(engine.program))
    engine.set_optimizer(0.9, 0.0, "uniform")
    for _ in range(3):
        engine.forward_backward(*batch())
        engine.update(0.1)
    assert engine.executors[1].arg_dict["count"].asscalar() == 12.0
    assert engine.restart_arrays()["fed:0:count"].item() == 12.0


def test_numbers_that_are_not_finite_are_seen():
    engine, _ = trained(2, steps=1)
    assert engine.gradients_finite() and engine.parameters_finite()
    engine.executors[1].grad_dict["fc7_bias"][2] = np.inf
    assert not engine.gradients_finite() and engine.parameters_finite()
    engine.executors[1].arg_dict["fc7_bias"][2] = np.nan
    assert not engine.parameters_finite()


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(InputError, match="a global batch of 9 does not divide among 2 contexts"):
        DataParallel(program(), [mx.cpu(0), mx.cpu(1)], 9, SHAPE)
