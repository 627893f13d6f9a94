"""Safetensors: what the format's own description says, both ways, and one line for whatever is damaged."""
import json
import struct

from arcface_mxnet.graph.checkpoint import Checkpoint, load, load_params, parse_model, save_folder
from arcface_mxnet.graph.safetensors_file import read_safetensors, write_safetensors
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import verify_checksum
from tests.evaluation.small_network import network

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def encoded(header, data=b""):
    text = json.dumps(header).encode() if isinstance(header, dict) else header
    return struct.pack("<Q", len(text)) + text + data


def entry(kind="F32", shape=(2,), first=0, last=8):
    return {"dtype": kind, "shape": list(shape), "data_offsets": [first, last]}


def test_arrays_of_every_type_come_back(tmp_path):
    kinds = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?")
    arrays = {kind: np.arange(6).reshape(2, 3).astype(kind) for kind in kinds}
    write_safetensors(tmp_path / "a.safetensors", arrays, {"colour": "RGB"})
    again = read_safetensors(tmp_path / "a.safetensors")
    assert list(again) == list(arrays)
    for name, value in arrays.items():
        assert again[name].dtype == value.dtype
        np.testing.assert_array_equal(again[name], value)


def test_the_bytes_are_those_of_the_format(tmp_path):
    write_safetensors(tmp_path / "a", {"w": np.array([1.0, -2.0], np.float32)}, {"colour": "RGB"})
    content = (tmp_path / "a").read_bytes()
    length, = struct.unpack("<Q", content[:8])
    assert length % 8 == 0
    assert json.loads(content[8:8 + length]) == {"__metadata__": {"colour": "RGB"}, "w": entry()}
    assert content[8 + length:] == struct.pack("<ff", 1.0, -2.0)


def test_a_foreign_file_with_bfloat16_is_read(tmp_path):
    (tmp_path / "a").write_bytes(encoded({"b": entry("BF16", (2,), 4, 8), "a": entry("F16", (2,), 0, 4)},
                                         np.array([1, -2], "<f2").tobytes() + struct.pack("<HH", 0x3F80, 0xC040)))
    read = read_safetensors(tmp_path / "a")
    assert read["b"].tolist() == [1.0, -3.0] and read["a"].tolist() == [1.0, -2.0]


@pytest.mark.parametrize("content, said", [
    (b"", "not a .safetensors file"), (b"\xff" * 16, "not a .safetensors file"),
    (encoded(b"nonsense"), "not valid JSON"),
    (encoded(b"[1, 2]"), "no JSON object"), (encoded(b"\xff\xfe\xfd"), "not UTF-8"),
    (encoded({"a": entry()}, b"1234567"), "'a' claims bytes 0 to 8 of 7"),
    (encoded({"a": entry()}, b"123456789"), "1 bytes belong to no array"),
    (encoded({"a": entry(), "b": entry()}, b"12345678"), "'b' claims bytes 0 to 8 of 8, where 8 is next"),
    (encoded({"a": entry(first=-8, last=0)}), "is described by"), (encoded({"a": entry("F31")}), "is described by"),
    (encoded({"a": entry(shape=(3,))}, b"12345678"), "in 8 bytes; the file is damaged"),
    (encoded({"a": entry(shape=[True, 2])}, b"12345678"), "is described by"), (encoded({"a": 5}), "is described by"),
    (encoded({"a": entry()}, struct.pack("<ff", 1, np.nan)), "'a' has values that are not finite"),
])
def test_damage_is_one_line(tmp_path, content, said):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        read_safetensors(tmp_path / "a")
    assert str(tmp_path / "a") in str(caught.value) and "\n" not in str(caught.value)


@settings(max_examples=60)
@given(at=st.integers(0, 200), value=st.integers(0, 255), length=st.integers(0, 240))
def test_any_change_is_read_or_refused(tmp_path_factory, at, value, length):
    path = tmp_path_factory.mktemp("fuzz") / "a"
    write_safetensors(path, {"w": np.ones((3, 4), np.float32), "v": np.ones(5, np.int64)}, {"k": "v"})
    content = bytearray(path.read_bytes())
    content[at % len(content)] = value
    path.write_bytes(bytes(content[:length or None]))
    try:
        for array in read_safetensors(path).values():
            assert array.nbytes <= len(content)
    except InputError as error:
        assert "\n" not in str(error)


def test_a_folder_is_named_as_a_checkpoint_is(tmp_path):
    checkpoint = network()
    path = save_folder(checkpoint, tmp_path / "out", {"input": "data"})
    assert verify_checksum(path) and parse_model(str(tmp_path / "out")) == (str(tmp_path / "out" / "model"), 0)
    again = load(*parse_model(str(tmp_path / "out")))
    assert isinstance(again, Checkpoint) and again.symbol.tojson() == checkpoint.symbol.tojson()
    for name, value in {**checkpoint.args, **checkpoint.aux}.items():
        np.testing.assert_array_equal({**again.args, **again.aux}[name], value)
    assert set(load_params(path)[1]) == set(checkpoint.aux)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="the folder holds no model.safetensors; give PREFIX,EPOCH"):
        parse_model(str(tmp_path / "empty"))
