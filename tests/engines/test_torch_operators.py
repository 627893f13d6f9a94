"""Single operators on PyTorch against MXNet, where the two differ by themselves."""
from arcface_mxnet.engines.draws import dropout_mask, mask_keys
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from arcface_mxnet.engines.torch.module import Interpreter, Run  # noqa: E402
from tests.engines import lab  # noqa: E402

X = sym.Variable("x")
Y = sym.Variable("y")
TIES = np.array([[1, 3, 3, 0], [2, 2, 2, 2], [-1, 0, 0, -5]], dtype=np.float32)
LIMITS = np.array([[-2, -1, 0, 1, 2, 0.5]], dtype=np.float32)
IMAGE = np.random.RandomState(0).randn(2, 3, 6, 6).astype(np.float32)
INDEX = np.array([-3, 0, 9], dtype=np.float32)
CASES = {
    "max gives every tie its gradient": (sym.max(X, axis=1), {"x": TIES}),
    "max of everything": (sym.max(X), {"x": TIES}),
    "max over two axes": (sym.max(X, axis=(1, 3), keepdims=True), {"x": np.round(IMAGE)}),
    "mean of everything": (sym.mean(X), {"x": TIES}),
    "sum over an axis": (sym.sum(X, axis=0, keepdims=True), {"x": TIES}),
    "clip at its limits": (sym.clip(X, -1, 1), {"x": LIMITS}),
    "maximum with a number at it": (sym.maximum(X, 1), {"x": LIMITS}),
    "minimum with a number at it": (sym.minimum(X, 1), {"x": LIMITS}),
    "relu at 0": (sym.relu(X), {"x": LIMITS}),
    "arccos outside": (sym.arccos(X), {"x": LIMITS}),
    "argmax of ties": (sym.argmax(X, axis=1), {"x": TIES}),
    "argmin of ties": (sym.argmin(X, axis=1), {"x": TIES}),
    "sort": (sym.sort(X, axis=1), {"x": TIES}),
    "topk": (sym.topk(X, k=2, axis=1), {"x": np.array([[1, 4, 3, 0], [9, 2, 5, 7]], dtype=np.float32)}),
    "topk of none is of all": (sym.topk(X, k=0, axis=1), {"x": np.array([[1, 4, 3, 0], [9, 2, 5, 7]], np.float32)}),
    "pick outside": (sym.pick(X, Y, axis=1), {"x": TIES, "y": INDEX}),
    "take outside and twice": (sym.take(X, Y), {"x": TIES, "y": np.array([1, 1, -4, 7], dtype=np.float32)}),
    "one_hot outside": (sym.one_hot(Y, depth=4, on_value=2.5, off_value=0.5) * X, {"x": TIES, "y": INDEX}),
    "where with NaN beside": (sym.where(X < 0.6, sym.sqrt(X), X), {"x": LIMITS}),
    "comparison": ((X <= 1) * X, {"x": LIMITS}),
    "softmax, a label of -1": (sym.SoftmaxOutput(X, Y, normalization="valid"),
                               {"x": TIES, "y": np.array([2, -1, 0], dtype=np.float32)}),
    "softmax, all labels -1": (sym.SoftmaxOutput(X, Y, normalization="valid"), {"x": TIES, "y": -np.ones(3, "f")}),
    "softmax, no normalization": (sym.SoftmaxOutput(X, Y, grad_scale=0.5), {"x": TIES, "y": np.zeros(3, "f")}),
    "MakeLoss of what is scaled after": (sym.MakeLoss(X) * 3, {"x": TIES}),
    "BlockGrad": (sym.BlockGrad(X) * X, {"x": TIES}),
    "L2Normalization of zeros": (sym.L2Normalization(X), {"x": np.zeros((2, 3), dtype=np.float32)}),
    "reshape in reverse": (sym.Reshape(X, shape=(-1, 0), reverse=True), {"x": IMAGE}),
    "slice from behind": (sym.slice_axis(X, axis=1, begin=-2, end=None), {"x": TIES}),
    "max pooling": (sym.Pooling(X, kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="max"), {"x": IMAGE}),
    "max pooling, full": (sym.Pooling(X, kernel=(3, 3), stride=(2, 2), pool_type="max", pooling_convention="full"),
                          {"x": IMAGE}),
    "average pooling counts padding": (sym.Pooling(X, kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="avg"),
                                       {"x": IMAGE}),
    "global pooling": (sym.Pooling(X, kernel=(1, 1), global_pool=True, pool_type="avg"), {"x": IMAGE}),
    "one slope for all channels": (sym.LeakyReLU(X, sym.Variable("g"), act_type="prelu"),
                                   {"x": IMAGE, "g": np.full(1, 0.3, dtype=np.float32)}),
    "convolution in groups": (sym.Convolution(X, sym.Variable("w"), kernel=(3, 3), num_filter=6, num_group=3,
                                              stride=(2, 2), dilate=(2, 2), pad=(2, 2), no_bias=True),
                              {"x": IMAGE, "w": np.random.RandomState(1).randn(6, 1, 3, 3).astype(np.float32)}),
    "mean over the other axes": (sym.mean(X, axis=1, exclude=True), {"x": IMAGE}),
    "max over the other axes": (sym.max(X, axis=(0, -1), exclude=True, keepdims=True), {"x": np.round(IMAGE)}),
    "sum but over no others": (sym.sum(X, exclude=True), {"x": TIES}),
    "softrelu": (sym.Activation(X, act_type="softrelu"), {"x": 12 * IMAGE}),
    "softsign": (sym.Activation(X, act_type="softsign"), {"x": IMAGE}),
    "elu": (sym.LeakyReLU(X, act_type="elu", slope=0.3), {"x": IMAGE}),
    "softmax of rows": (sym.SoftmaxActivation(X) * sym.Variable("w"), {"x": TIES, "w": TIES[::-1].copy()}),
    "softmax by channel": (sym.SoftmaxActivation(X, mode="channel") * X, {"x": IMAGE}),
    "dense layer of a map": (sym.FullyConnected(X, sym.Variable("w"), sym.Variable("b"), num_hidden=4),
                             {"x": IMAGE, "w": np.random.RandomState(1).randn(4, 108).astype(np.float32),
                              "b": np.arange(4, dtype=np.float32)}),
}


@pytest.mark.parametrize("name", CASES)
def test_operator_is_mxnets(name):
    pytest.importorskip("mxnet")
    symbol, values = CASES[name]
    trained = [variable for variable in values if variable != "y"]
    found, expected = (run(symbol, values, trained) for run in (lab.run_torch, lab.run_mxnet))
    assert found.outputs[0].shape == expected.outputs[0].shape
    assert lab.apart(found.outputs[0], expected.outputs[0]) < 2e-6
    for variable in trained:
        assert lab.apart(found.gradients[variable], expected.gradients[variable]) < 2e-6, variable


def test_indices_below_0_count_from_the_end():
    """The values alone: MXNet's gradient writes outside its memory there."""
    pytest.importorskip("mxnet")
    from arcface_mxnet.engines.mxnet.executor import forward
    symbol, given = sym.gather_nd(X, Y), {"x": TIES, "y": np.array([[-1, -0.5, 0.7, 2]], np.float32)}
    expected = forward(Checkpoint(symbol, {}, {}), given)[0]
    np.testing.assert_array_equal(lab.run_torch(symbol, given, ["x"]).outputs[0], expected)


@pytest.mark.parametrize("symbol", [sym.SoftmaxActivation(X), sym.SoftmaxOutput(X, Y)])
def test_a_softmax_of_maps_is_refused(symbol):
    with pytest.raises(InputError, match="of 4 axes.: not implemented on PyTorch"):
        lab.run_torch(symbol, {"x": IMAGE, "y": np.zeros((2, 6, 6), np.float32)}, ["x"])


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("shape", [(4, 3, 5, 5), (6, 3), (1, 3)])
def test_batch_norm_gives_mxnets_output_gradient_and_moving_statistics(shape, fixed):
    pytest.importorskip("mxnet")
    from arcface_mxnet.engines.mxnet.mx import mx
    symbol = sym.BatchNorm(X, fix_gamma=fixed, eps=2e-5, momentum=0.9, name="bn")
    chance = np.random.RandomState(2)
    values = {name: chance.randn(3).astype(np.float32) for name in ("bn_gamma", "bn_beta", "bn_moving_mean")}
    values.update(x=chance.randn(*shape).astype(np.float32) * 2 + 1, bn_moving_var=np.float32([1, 2, 3]))
    graph = symbol * sym.Variable("weight")
    values["weight"] = chance.randn(*shape).astype(np.float32)
    trained = ["x", "bn_gamma", "bn_beta"]
    executor = mx.sym.load_json(graph.tojson()).simple_bind(mx.cpu(), x=shape, weight=shape)
    executor.copy_params_from({name: mx.nd.array(values[name]) for name in values if "moving" not in name},
                              {name: mx.nd.array(values[name]) for name in values if "moving" in name})
    output = executor.forward(is_train=True)[0].asnumpy()
    executor.backward([mx.nd.ones(shape)])
    mx.nd.waitall()  # a read of statistics alone does not wait for the backward pass that writes them
    interpreter = Interpreter(graph)
    tensors = {name: torch.tensor(value, requires_grad=name in trained) for name, value in values.items()}
    statistics = interpreter.statistics({name: tensors[name] for name in interpreter.auxiliary},
                                        interpreter.batch_counts({"x": shape}))
    mine = interpreter(tensors, Run(statistics))[0]
    mine.sum().backward()
    statistics.blend()
    assert lab.apart(mine.detach().numpy(), output) < 2e-6
    for name in interpreter.auxiliary:
        assert lab.apart(statistics.moving[name].numpy(), executor.aux_dict[name].asnumpy()) < 1e-6, name
    for name in trained:
        gradient = tensors[name].grad
        expected = executor.grad_dict[name].asnumpy()
        np.testing.assert_allclose(np.zeros_like(expected) if gradient is None else gradient, expected, atol=2e-4)


def test_dropout_is_a_function_of_keys_and_place_in_the_whole_batch():
    graph = sym.Dropout(X, p=0.4, name="drop")
    keys = mask_keys(11, 0)
    x = torch.ones(6, 500)

    def run(part, first):
        return Interpreter(graph)({"x": part}, Run(keys=torch.tensor([keys]), first_row=first))[0].numpy()

    whole = run(x, 0)
    np.testing.assert_array_equal(whole, dropout_mask((6, 500), keys, 0.4))
    np.testing.assert_array_equal(np.concatenate([run(x[:4], 0), run(x[4:], 4)]), whole)
    assert abs((whole == 0).mean() - 0.4) < 0.03
    assert set(np.unique(whole)) == {0, np.float32(1) / np.float32(0.6)}
    assert (run(x, 6) != whole).any()


def test_what_is_not_implemented_is_said_with_the_node():
    with pytest.raises(InputError, match=r"node pool \(Pooling, pool_type=sum\)"):
        Interpreter(sym.Pooling(X, kernel=(2, 2), pool_type="sum", name="pool"))
    with pytest.raises(InputError, match=r"node both \(topk, ret_typ=both\).*--engine mxnet"):
        Interpreter(sym.topk(X, ret_typ="both", name="both")[0])


def test_values_are_let_go_after_their_last_use():
    """Inference holds no more maps than the widest cut of the graph."""
    chain = X
    for _ in range(6):
        chain = chain * 2.0
    held = []
    interpreter = Interpreter(chain)
    original = interpreter._network_steps
    interpreter._network_steps = [step._replace(call=lambda run, given, step=step: held.append(1) or step.call(
        run, given)) for step in original]
    assert interpreter({"x": torch.ones(1)}, Run())[0].item() == 64
    assert len(held) == 6
    assert all(step.finished == step.inputs for step in original)
