"""Checkpoints: round trip, names, and every way in which the files can be wrong."""
import json
import shutil
from pathlib import Path

from arcface_mxnet.graph.checkpoint import Checkpoint, embedding_only, load, parse_model, save
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.mx import mx

import numpy
import pytest


def _network(weight="pre_fc1_weight", filters=4, head=False):
    data = mx.sym.Variable("data")
    net = mx.sym.Convolution(data, num_filter=filters, kernel=(3, 3), stride=(8, 8), no_bias=True, name="conv0")
    net = mx.sym.BatchNorm(net, fix_gamma=False, name="bn0")
    net = mx.sym.FullyConnected(net, weight=mx.sym.Variable(weight), num_hidden=6, name="pre_fc1")
    net = mx.sym.BatchNorm(net, fix_gamma=True, eps=2e-5, name="fc1")
    if head:
        net = mx.sym.FullyConnected(net, num_hidden=5, no_bias=True, name="fc7")
        net = mx.sym.SoftmaxOutput(net, name="softmax")
    return net


def _filled(symbol, seed=0):
    random = numpy.random.RandomState(seed)
    args, _, aux = symbol.infer_shape(data=(1, 3, 112, 112))
    arrays = {name: mx.nd.array(random.rand(*shape).astype("float32") + 0.1)
              for name, shape in zip(symbol.list_arguments(), args) if name != "data" and "label" not in name}
    states = {name: mx.nd.array(random.rand(*shape).astype("float32") + 0.1)
              for name, shape in zip(symbol.list_auxiliary_states(), aux)}
    return Checkpoint(symbol, arrays, states)


@pytest.fixture
def stored(tmp_path):
    checkpoint = _filled(_network())
    save(checkpoint, str(tmp_path / "model"), 3)
    return str(tmp_path / "model"), checkpoint


def _equal(left, right):
    assert set(left) == set(right)
    for name in left:
        assert left[name].asnumpy().tobytes() == right[name].asnumpy().tobytes(), name


def _refused(prefix, epoch=3, **options):
    with pytest.raises(InputError) as caught:
        load(prefix, epoch, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_round_trip_is_exact_and_readable_by_mxnet(stored):
    prefix, checkpoint = stored
    ours = load(prefix, 3)
    symbol, args, aux = mx.model.load_checkpoint(prefix, 3)
    assert ours.symbol.tojson() == symbol.tojson() == checkpoint.symbol.tojson()
    for other_args, other_aux in ((ours.args, ours.aux), (args, aux)):
        _equal(other_args, checkpoint.args)
        _equal(other_aux, checkpoint.aux)


def test_files_of_mxnet_itself_load_without_checksums(tmp_path):
    checkpoint = _filled(_network())
    mx.model.save_checkpoint(str(tmp_path / "model"), 3, checkpoint.symbol, checkpoint.args, checkpoint.aux)
    _equal(load(str(tmp_path / "model"), 3).args, checkpoint.args)


def test_missing_files_are_named(stored):
    prefix, _ = stored
    assert f"{prefix}-0007.params: not found; there are model-0003.params" in _refused(prefix, 7)
    assert "nowhere-symbol.json: not found" in _refused(str(Path(prefix).parent / "nowhere"))


def test_truncated_parameters_are_refused(stored):
    prefix, _ = stored
    path = Path(f"{prefix}-0003.params")
    path.write_bytes(path.read_bytes()[:-9])
    assert "model-0003.params" in _refused(prefix)
    Path(f"{path}.sha256").unlink()
    assert "truncated" in _refused(prefix)


@pytest.mark.parametrize("which", ["-0003.params", "-symbol.json"])
def test_a_flipped_byte_is_found(stored, which):
    prefix, _ = stored
    path = Path(prefix + which)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    message = _refused(prefix)
    assert path.name in message and "damaged" in message


def test_a_file_that_is_no_graph_is_refused(stored):
    prefix, _ = stored
    Path(f"{prefix}-symbol.json.sha256").unlink()
    for content in ("", "{", "[1]", json.dumps({"nodes": 3})):
        Path(f"{prefix}-symbol.json").write_text(content)
        assert "not an MXNet symbol" in _refused(prefix)


def test_arrays_without_names_are_refused(stored):
    prefix, _ = stored
    Path(f"{prefix}-0003.params.sha256").unlink()
    mx.nd.save(f"{prefix}-0003.params", [mx.nd.zeros(2)])
    assert "without names" in _refused(prefix)
    mx.nd.save(f"{prefix}-0003.params", {"conv0_weight": mx.nd.zeros(2)})
    assert "'conv0_weight' is neither" in _refused(prefix)


def test_disagreement_names_the_parameter(stored):
    prefix, _ = stored
    assert "lacks parameter bn1_gamma" in _refused(prefix, symbol=mx.sym.BatchNorm(_network(), name="bn1"))
    assert "has parameter bn0_beta" in _refused(prefix, symbol=_network().get_internals()["conv0_output"])
    message = _refused(prefix, symbol=_network(filters=5))
    assert "conv0_weight" in message and "(4, 3, 3, 3)" in message and "(5, 3, 3, 3)" in message


def test_an_unknown_image_size_is_found(tmp_path):
    checkpoint = _filled(_network())
    size = 84  # not a common size; the dense layer fits only this one
    args, _, _ = checkpoint.symbol.infer_shape(data=(1, 3, size, size))
    shape = dict(zip(checkpoint.symbol.list_arguments(), args))["pre_fc1_weight"]
    checkpoint.args["pre_fc1_weight"] = mx.nd.ones(shape)
    save(checkpoint, str(tmp_path / "other"), 0)
    assert load(str(tmp_path / "other"), 0).args["pre_fc1_weight"].shape == shape


@pytest.mark.parametrize("stored_name,wanted", [("fc1_weight", "pre_fc1_weight"), ("pre_fc1_weight", "fc1_weight")])
def test_the_two_names_of_the_dense_weight_are_one(tmp_path, stored_name, wanted):
    checkpoint = _filled(_network(stored_name))
    save(checkpoint, str(tmp_path / "model"), 0)
    loaded = load(str(tmp_path / "model"), 0, symbol=_network(wanted))
    assert stored_name not in loaded.args
    assert (loaded.args[wanted].asnumpy() == checkpoint.args[stored_name].asnumpy()).all()


def test_embedding_only_cuts_and_drops_the_head(tmp_path):
    checkpoint = _filled(_network(head=True))
    cut = embedding_only(checkpoint)
    assert cut.symbol.list_outputs() == ["fc1_output"]
    assert set(checkpoint.args) - set(cut.args) == {"fc7_weight"}
    save(cut, str(tmp_path / "model"), 0)
    load(str(tmp_path / "model"), 0)
    assert "fc7_weight" not in load_with_head(checkpoint, tmp_path).args
    with pytest.raises(InputError, match="no fc1_output"):
        embedding_only(Checkpoint(mx.sym.SoftmaxOutput(mx.sym.Variable("data"), name="softmax"), {}, {}))


def load_with_head(checkpoint, folder):
    """The cut graph beside parameters that still hold the head, as older tools leave them."""
    save(checkpoint, str(folder / "full"), 0)
    return load(str(folder / "full"), 0, symbol=embedding_only(checkpoint).symbol)


@pytest.mark.parametrize("text", ["models/model", "model,", ",1", "model,x", "model,-1"])
def test_a_model_flag_of_another_form_is_refused(text):
    with pytest.raises(InputError, match="PREFIX,EPOCH"):
        parse_model(text)


def test_a_model_flag_is_split():
    assert parse_model("a,b/model,12") == ("a,b/model", 12)


def test_a_failed_save_leaves_the_earlier_files(stored, monkeypatch):
    prefix, checkpoint = stored

    def full_disk(path, values):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mx.nd, "save", full_disk)
    with pytest.raises(OSError):
        save(_filled(_network(), seed=1), prefix, 3)
    monkeypatch.undo()
    _equal(load(prefix, 3).args, checkpoint.args)
    assert not list(Path(prefix).parent.glob(".*tmp"))


def test_published_checkpoints_load(fixtures):
    loaded = load(str(fixtures / "published_y1" / "model"), 0)
    assert "fc1_weight" in loaded.args and len(loaded.args) == 184 and len(loaded.aux) == 100
    other = load(str(fixtures / "mobileface_v1" / "MobileFace_Identification_V1"), 0)
    assert other.symbol.list_outputs() == ["l2normalization1_output"]
    for name in ("det1", "det2", "det3", "det4"):
        load(str(fixtures / "mtcnn" / name), 1)


def test_a_foreign_graph_is_refused(fixtures, tmp_path):
    shutil.copy(fixtures / "published_graphs" / "r50-am-lfw-symbol.json", tmp_path / "model-symbol.json")
    shutil.copy(fixtures / "published_y1" / "model-0000.params", tmp_path / "model-0000.params")
    assert "lacks parameter conv0_weight" in _refused(str(tmp_path / "model"), 0)
