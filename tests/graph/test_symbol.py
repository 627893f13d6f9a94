"""Symbols written without MXNet: the same names, JSON and shapes as MXNet's."""
import threading

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.shape_inference import ShapeError
from arcface_mxnet.graph.symbol import Group, Initial, NameManager, Symbol, Variable
from arcface_mxnet.graph.symbol_json import read_json

import pytest


class _Mxnet:
    """MXNet's functions under the names of `sym`, so that one piece of code writes a graph with both."""

    def __init__(self, mx) -> None:
        self._mx = mx

    def Variable(self, name, init=None, **notes):  # noqa: N802
        made = init and self._mx.initializer.create(init.kind, **init.settings)
        return self._mx.sym.Variable(name, init=made, **notes)

    def __getattr__(self, name):
        return getattr(self._mx.name if name == "NameManager" else self._mx.sym, name)


@pytest.fixture
def theirs():
    return _Mxnet(pytest.importorskip("mxnet"))


def _network(of):
    data = of.Variable("data")
    body = (data - 127.5) * 0.0078125
    body = of.Convolution(body, num_filter=8, kernel=(3, 3), stride=(2, 2), pad=(1, 1), no_bias=True, name="conv0")
    body = of.LeakyReLU(of.BatchNorm(body, fix_gamma=False, eps=2e-5, name="bn0"), act_type="prelu", name="relu0")
    body = of.Pooling(of.Convolution(body, num_filter=8, kernel=(1, 1), num_group=4), kernel=(2, 2), stride=(2, 2),
                      pool_type="max") + 1
    body = of.identity(of.Dropout(of.Cast(of.Flatten(body), dtype="float32"), p=0.4), name="id")
    weight = of.Variable("w", shape=(5, 392), lr_mult=2.0, wd_mult=0, init=Initial("normal", {"sigma": 0.01}))
    return of.FullyConnected(body, of.L2Normalization(weight, mode="instance"), num_hidden=5, no_bias=True, name="fc1")


def _arithmetic(of):
    left, right = of.Variable("left", shape=(4, 6)), of.Variable("right", shape=(4, 6))
    made = [left + right, left - right, left * right, left / right, left + 1, 2 - left, left - 2.5, 3 * left,
            left / 4.0, 1.0 / left, -left, left < right, left <= 0.5, left > 1, left >= right, left > right,
            of.maximum(left, right), of.maximum(left, 1e-37), of.minimum(right, 2), of.minimum(2, right)]
    return of.Group(made)


def _operators(of):
    rows, label = of.Variable("rows", shape=(4, 6)), of.Variable("label", shape=(4,))
    places = of.stack(of.contrib.arange_like(label), of.clip(label, 0, 5))
    parts = of.split(rows, num_outputs=3, axis=1)
    return of.Group([
        of.pick(rows, label, axis=1), of.gather_nd(rows, places), of.scatter_nd(label, places, shape=(4, 6)),
        of.one_hot(label, depth=6, on_value=2.0, off_value=0.0), of.take(rows, label), of.expand_dims(label, 1),
        of.topk(rows, k=2, axis=1), of.sort(label), of.argmax(rows, axis=1), of.argmin(rows, axis=0),
        of.max(rows, axis=1), of.sum(rows, axis=1, keepdims=True), of.mean(rows),
        of.reshape(rows, shape=(2, -1, 0), reverse=True), of.reshape(rows, shape=(-1,)),
        of.slice_axis(rows, axis=1, begin=1, end=-1), of.slice_axis(rows, axis=0, begin=1, end=None),
        of.concat(*parts, dim=0), of.dot(rows, rows, transpose_b=True), of.where(rows > 0, rows, of.exp(rows)),
        of.broadcast_mul(rows, of.expand_dims(label, axis=1)), of.broadcast_like(of.expand_dims(label, 1), rows),
        of.SoftmaxOutput(rows, label=label, name="softmax", normalization="valid"), of.MakeLoss(of.mean(rows)),
        of.BlockGrad(rows), of.ones_like(label), of.batch_dot(of.expand_dims(rows, 0), of.expand_dims(rows, 0),
                                                              transpose_b=True)])


@pytest.mark.parametrize("write", (_network, _arithmetic, _operators))
def test_names_bytes_and_shapes_are_mxnets(theirs, write):
    with NameManager():
        ours = write(sym)
    with theirs.NameManager():
        reference = write(theirs)
    assert ours.tojson() == reference.tojson(remove_amp_cast=False)
    assert ours.list_outputs() == reference.list_outputs()
    assert ours.list_arguments() == reference.list_arguments()
    assert ours.list_auxiliary_states() == reference.list_auxiliary_states()
    assert ours.get_internals().list_outputs() == reference.get_internals().list_outputs()
    given = {"data": (2, 3, 28, 28)} if write is _network else {}
    assert ours.infer_shape(**given) == reference.infer_shape(**given)


def test_shapes_inside_published_graphs_are_mxnets(fixtures):
    """Of every node, parameters behind casts and labels included."""
    mx = pytest.importorskip("mxnet")
    for name, shape in (("published_y1/model", (2, 3, 112, 112)), ("published_graphs/r50-am-lfw", (1, 3, 112, 112)),
                        ("mobileface_v1/MobileFace_Identification_V1", (2, 1, 100, 100)),
                        ("mtcnn/det3", (1, 3, 48, 48))):
        text = (fixtures / f"{name}-symbol.json").read_text()
        ours = Symbol(read_json(text, name)).get_internals()
        assert ours.infer_shape(data=shape) == mx.sym.load_json(text).get_internals().infer_shape(data=shape)


def test_automatic_names_begin_anew_with_each_manager():
    data = Variable("data")
    with NameManager():
        assert [sym.relu(data).name, sym.relu(data).name, (data + 1).name] == ["relu0", "relu1", "_plusscalar0"]
        with NameManager():
            assert sym.relu(data).name == "relu0"
        assert sym.relu(data).name == "relu2"


def test_what_cannot_be_told_or_does_not_fit_is_said_by_node():
    data = Variable("data")
    net = sym.FullyConnected(sym.Convolution(data, kernel=(3, 3), num_filter=4, name="conv"), num_hidden=2, name="fc")
    assert net.infer_shape_partial()[1] == [None]
    with pytest.raises(ShapeError, match="the shape of data cannot be told"):
        net.infer_shape()
    for wrong in ((1, 3, 2, 2), (1, 3)):
        with pytest.raises(ShapeError, match=r"node conv \(Convolution\)"):
            net.infer_shape(data=wrong)
    with pytest.raises(ShapeError, match=r"node fc .*: an input has shape \(2, 9\), it needs \(2, 16\)"):
        net.infer_shape(data=(1, 3, 4, 4), fc_weight=(2, 9))
    far = sym.broadcast_to(Variable("one", shape=(1, 1)), shape=(2 ** 30, 2 ** 30), name="far")
    with pytest.raises(ShapeError, match=r"node far \(broadcast_to\): it would have shape"):
        far.infer_shape()


def test_wrong_uses_are_errors_at_once():
    data = Variable("data")
    for wrong in (lambda: sym.Convolution(data, kernel=(3, 3)), lambda: sym.Convolution(data, kernel=3, num_filter=2,
                                                                                        colour="red")):
        with pytest.raises(ValueError, match="missing|unknown attribute 'colour'"):
            wrong()
    for wrong in (lambda: sym.relu(3), lambda: sym.relu(data, 1), lambda: bool(data > 1), lambda: data + "1",
                  lambda: sym.FullyConnected(data, num_hidden=2, no_bias=True, bias=data)):
        with pytest.raises(TypeError):
            wrong()
    for name in ("no_such_operator", "_copy", "__wrapped__"):
        assert not hasattr(sym, name)
    with pytest.raises(KeyError):
        Group([data, data])["data"]


def test_each_thread_counts_for_itself():
    names = []
    with NameManager():
        sym.relu(Variable("data"))
        worker = threading.Thread(target=lambda: names.append(sym.relu(Variable("data")).name))
        worker.start()
        worker.join()
    assert names == ["relu0"]
