"""Checkpoints: round trip, names, and every way in which the files can be wrong."""
import dataclasses
import json
import shutil
from pathlib import Path

from arcface_mxnet.engines.mxnet.convert import ndarrays, to_mxnet, to_numpy
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.graph import checkpoint as checkpoints
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.checkpoint import Checkpoint, embedding_only, in_float32, load, parse_model, save, save_folder
from arcface_mxnet.graph.params_file import write_arrays
from arcface_mxnet.recognition.networks import NetworkSettings, build
from arcface_mxnet.runtime.errors import InputError

import numpy
import pytest


def _network(weight="pre_fc1_weight", filters=4, head=False):
    data = sym.Variable("data")
    net = sym.Convolution(data, num_filter=filters, kernel=(3, 3), stride=(8, 8), no_bias=True, name="conv0")
    net = sym.BatchNorm(net, fix_gamma=False, name="bn0")
    net = sym.FullyConnected(net, weight=sym.Variable(weight), num_hidden=6, name="pre_fc1")
    net = sym.BatchNorm(net, fix_gamma=True, eps=2e-5, name="fc1")
    if head:
        net = sym.FullyConnected(net, num_hidden=5, no_bias=True, name="fc7")
        net = sym.SoftmaxOutput(net, name="softmax")
    return net


def _filled(symbol, seed=0):
    random = numpy.random.RandomState(seed)
    args, _, aux = symbol.infer_shape(data=(1, 3, 112, 112))
    arrays = {name: random.rand(*shape).astype("float32") + numpy.float32(0.1)
              for name, shape in zip(symbol.list_arguments(), args) if name != "data" and "label" not in name}
    states = {name: random.rand(*shape).astype("float32") + numpy.float32(0.1)
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
        assert left[name].tobytes() == right[name].tobytes(), name


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
    for other_args, other_aux in ((ours.args, ours.aux), (to_numpy(args), to_numpy(aux))):
        _equal(other_args, checkpoint.args)
        _equal(other_aux, checkpoint.aux)


def test_files_of_mxnet_itself_load_without_checksums(tmp_path):
    checkpoint = _filled(_network())
    mx.model.save_checkpoint(str(tmp_path / "model"), 3, to_mxnet(checkpoint.symbol), ndarrays(checkpoint.args),
                             ndarrays(checkpoint.aux))
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
    mx.nd.save(f"{prefix}-0003.params", {"conv0_weight": mx.nd.zeros(2), "arg:other": mx.nd.zeros(2)})
    assert "'conv0_weight' is neither" in _refused(prefix)


def test_names_without_a_kind_are_told_apart_by_the_graph(stored):
    prefix, checkpoint = stored
    Path(f"{prefix}-0003.params.sha256").unlink()
    write_arrays(f"{prefix}-0003.params", {**checkpoint.args, **checkpoint.aux})
    loaded = load(prefix, 3)
    _equal(loaded.args, checkpoint.args)
    _equal(loaded.aux, checkpoint.aux)


def test_half_precision_becomes_float32_in_graph_and_parameters(tmp_path):
    """As MXNet's fp16 training saves it: casts in the graph, float16 parameters, BatchNorm's in float32."""
    settings = NetworkSettings(num_layers=18, emb_size=8, net_multiplier=0.125)
    plain, half = build(settings), build(dataclasses.replace(settings, fp16=True))
    values = _filled(plain)
    lowered = {name: value if name.startswith("bn") else value.astype("float16") for name, value in values.args.items()}
    for number, symbol in enumerate((plain, half)):
        save(Checkpoint(symbol, lowered, values.aux), str(tmp_path / f"m{number}"), 0)
        loaded = load(str(tmp_path / f"m{number}"), 0)
        assert loaded.symbol.tojson() == plain.tojson()
        assert {value.dtype.name for value in {**loaded.args, **loaded.aux}.values()} == {"float32"}
        numpy.testing.assert_array_equal(loaded.args["conv0_weight"], lowered["conv0_weight"].astype("float32"))


def test_bfloat16_casts_stay():
    low = sym.amp_cast(sym.Variable("data"), dtype="bfloat16", name="down")
    graph = sym.amp_cast(sym.Convolution(low, kernel=(1, 1), num_filter=2, name="c"), dtype="float32", name="up")
    assert in_float32(graph).tojson() == graph.tojson()
    other = sym.amp_cast(sym.amp_cast(sym.Variable("data"), dtype="float16"), dtype="float32")
    assert in_float32(sym.relu(other, name="r")).tojson() == sym.relu(sym.Variable("data"), name="r").tojson()


def test_the_one_free_variable_is_the_image(tmp_path):
    named = sym.FullyConnected(sym.Variable("picture"), num_hidden=2, name="fc1")
    values = {"fc1_weight": numpy.ones((2, 768), "float32"), "fc1_bias": numpy.zeros(2, "float32")}
    save(Checkpoint(named, values, {}), str(tmp_path / "m"), 0)
    assert load(str(tmp_path / "m"), 0).symbol.list_arguments() == ["data", "fc1_weight", "fc1_bias"]
    two = sym.FullyConnected(sym.Variable("picture") + sym.Variable("other"), num_hidden=2, name="fc1")
    save(Checkpoint(two, values, {}), str(tmp_path / "m"), 1)
    assert "lacks parameter picture" in _refused(str(tmp_path / "m"), epoch=1)


def test_disagreement_names_the_parameter(stored):
    prefix, _ = stored
    assert "lacks parameter bn1_gamma" in _refused(prefix, symbol=sym.BatchNorm(_network(), name="bn1"))
    assert "has parameter bn0_beta" in _refused(prefix, symbol=_network().get_internals()["conv0_output"])
    message = _refused(prefix, symbol=_network(filters=5))
    assert "conv0_weight" in message and "(4, 3, 3, 3)" in message and "(5, 3, 3, 3)" in message


def test_an_unknown_image_size_is_found(tmp_path):
    checkpoint = _filled(_network())
    size = 84  # not a common size; the dense layer fits only this one
    args, _, _ = checkpoint.symbol.infer_shape(data=(1, 3, size, size))
    shape = dict(zip(checkpoint.symbol.list_arguments(), args))["pre_fc1_weight"]
    checkpoint.args["pre_fc1_weight"] = numpy.ones(shape, "float32")
    save(checkpoint, str(tmp_path / "other"), 0)
    assert load(str(tmp_path / "other"), 0).args["pre_fc1_weight"].shape == shape


@pytest.mark.parametrize("stored_name,wanted", [("fc1_weight", "pre_fc1_weight"), ("pre_fc1_weight", "fc1_weight")])
def test_the_two_names_of_the_dense_weight_are_one(tmp_path, stored_name, wanted):
    checkpoint = _filled(_network(stored_name))
    save(checkpoint, str(tmp_path / "model"), 0)
    loaded = load(str(tmp_path / "model"), 0, symbol=_network(wanted))
    assert stored_name not in loaded.args
    assert (loaded.args[wanted] == checkpoint.args[stored_name]).all()


def test_embedding_only_cuts_and_drops_the_head(tmp_path):
    checkpoint = _filled(_network(head=True))
    cut = embedding_only(checkpoint)
    assert cut.symbol.list_outputs() == ["fc1_output"]
    assert set(checkpoint.args) - set(cut.args) == {"fc7_weight"}
    save(cut, str(tmp_path / "model"), 0)
    load(str(tmp_path / "model"), 0)
    assert "fc7_weight" not in load_with_head(checkpoint, tmp_path).args
    with pytest.raises(InputError, match="no fc1_output"):
        embedding_only(Checkpoint(sym.SoftmaxOutput(sym.Variable("data"), name="softmax"), {}, {}))


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

    monkeypatch.setattr(checkpoints, "write_arrays", full_disk)
    with pytest.raises(OSError):
        save(_filled(_network(), seed=1), prefix, 3)
    monkeypatch.undo()
    _equal(load(prefix, 3).args, checkpoint.args)
    assert not list(Path(prefix).parent.glob(".*tmp"))


@pytest.mark.parametrize("writer", ["write_arrays", "write_safetensors"])
def test_a_failed_save_leaves_no_graph_without_parameters(tmp_path, monkeypatch, writer):
    def full_disk(path, *_):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, writer, full_disk)
    with pytest.raises(OSError):
        if writer == "write_arrays":
            save(_filled(_network(), seed=1), str(tmp_path / "model"), 0)
        else:
            save_folder(_filled(_network(), seed=1), tmp_path, {})
    assert not list(tmp_path.iterdir())


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
