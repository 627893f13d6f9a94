"""Parameter files without MXNet: byte for byte what MXNet writes, and nothing believed before it is checked."""
import struct
from pathlib import Path

from arcface_mxnet.graph.params_file import as_float32, read_arrays, split_kinds, write_arrays
from arcface_mxnet.runtime.errors import InputError

import numpy
import pytest
from hypothesis import HealthCheck, given, settings, strategies

TYPES = ("float32", "float64", "float16", "uint8", "int32", "int8", "int64")


def _file(body: bytes, names=(b"arg:a",), count=1) -> bytes:
    """A parameter file of the given array bytes, with as many names as given."""
    text = b"".join(struct.pack("<Q", len(name)) + name for name in names)
    return struct.pack("<QQQ", 0x112, 0, count) + body + struct.pack("<Q", len(names)) + text


def _array(magic=0xF993FAC9, storage=0, shape=(2,), flag=0, values=b"\0" * 8, ndim=None) -> bytes:
    dimensions = len(shape) if ndim is None else ndim
    return struct.pack(f"<Iii{len(shape)}qiii", magic, storage, dimensions, *shape, 1, 0, flag) + values


def _arrays() -> "dict[str, numpy.ndarray]":
    random = numpy.random.RandomState(0)
    return {f"arg:{kind}": (random.normal(0, 9, (2, 3, index + 1))).astype(kind) for index, kind in enumerate(TYPES)}


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_bytes_are_mxnets(tmp_path):
    mx = pytest.importorskip("mxnet")
    arrays = _arrays()
    mx.nd.save(str(tmp_path / "theirs"), {name: mx.nd.array(value, dtype=value.dtype)
                                          for name, value in arrays.items()})
    write_arrays(tmp_path / "ours", arrays)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    read = read_arrays(tmp_path / "theirs")
    assert list(read) == list(arrays)
    assert all(read[name].dtype == value.dtype and (read[name] == value).all() for name, value in arrays.items())


def test_published_files_are_written_back_to_the_byte(fixtures, tmp_path):
    published = fixtures / "published_y1" / "model-0000.params"
    arrays = read_arrays(published)
    write_arrays(tmp_path / "again", arrays)
    assert len(arrays) == 284
    assert (tmp_path / "again").read_bytes() == published.read_bytes()


def test_the_oldest_form_is_read_as_mxnet_reads_it(fixtures):
    mx = pytest.importorskip("mxnet")
    path = fixtures / "mtcnn" / "det1-0001.params"
    arrays, theirs = read_arrays(path), mx.nd.load(str(path))
    assert set(arrays) == set(theirs)
    assert all((value == theirs[name].asnumpy()).all() for name, value in arrays.items())


def test_other_forms_and_bfloat16(tmp_path):
    values = struct.pack("<2f", 1.5, -2.0)
    first = struct.pack("<Iiqiii", 0xF993FAC8, 1, 2, 1, 0, 0) + values
    half = _array(flag=12, values=struct.pack("<2H", 0x3FC0, 0xC000))
    for body in (first, _array(0xF993FACA, values=values), struct.pack("<IIiii", 1, 2, 1, 0, 0) + values, half):
        read = read_arrays(_written(tmp_path / "a", _file(body)))["arg:a"]
        assert read.dtype == numpy.float32 and read.tolist() == [1.5, -2.0]


@pytest.mark.parametrize("content, said", [
    (b"", "not an MXNet parameter file"),
    (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "not an MXNet parameter file"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer, not the file"),
    (_file(b"", (), count=2 ** 40), "claims 1099511627776 arrays"),
    (_file(_array(shape=(2 ** 31, 2 ** 31))), "the file ends inside array 1 of 1, shape (2147483648, 2147483648)"),
    (_file(_array(shape=(-2,))), "shape (-2,)"),
    (_file(_array(ndim=2 ** 30)), "claims 1073741824 dimensions"),
    (_file(_array(ndim=-1)), "claims -1 dimensions"),
    (_file(_array(flag=77)), "value type 77"),
    (_file(_array(storage=2)), "storage type 2; only dense"),
    (_file(_array())[:-3], "the file ends inside name 1 of 1"),
    (_file(_array())[:50], "the file ends inside array 1 of 1"),
    (_file(_array()) + b"more", "4 bytes follow"),
    (_file(_array(), ()), "arrays without names"),
    (_file(_array(), (b"a", b"b")), "2 names for 1 arrays"),
    (_file(_array() * 2, (b"a", b"a"), 2), "two arrays are named a"),
    (_file(_array(), (b"\xff\xfe",)), "not UTF-8"),
    (_file(_array(), (b"arg:a\n",)), "name 1 of 1 is 'arg:a\\n'"),
    (_file(_array(values=struct.pack("<2f", 1, float("nan")))), "arg:a has 1 values that are not finite, the first at"),
])
def test_refusals_name_the_file_and_what_is_wrong(tmp_path, content, said):
    path = _written(tmp_path / "net-0000.params", content)
    with pytest.raises(InputError) as caught:
        read_arrays(path)
    text = str(caught.value)
    assert str(path) in text and said in text and "\n" not in text


def test_a_claimed_length_takes_no_memory(tmp_path):
    """A name of 4 GB in a file of 80 bytes."""
    content = _file(_array(), ())[:-8] + struct.pack("<QQ", 1, 2 ** 32) + b"arg:a"
    with pytest.raises(InputError, match="ends inside name 1 of 1: 4294967296 bytes are claimed, 5 are left"):
        read_arrays(_written(tmp_path / "a", content))


def test_values_that_are_not_finite_come_when_wanted(tmp_path):
    path = _written(tmp_path / "a", _file(_array(values=struct.pack("<2f", 1, float("inf")))))
    assert read_arrays(path, allow_nonfinite=True)["arg:a"].tolist() == [1, float("inf")]


def test_kinds_by_prefix_or_by_the_graph():
    one, two = numpy.ones(1), numpy.zeros(1)
    assert split_kinds({"arg:w": one, "aux:m": two}, (), "f") == ({"w": one}, {"m": two})
    assert split_kinds({"w": one, "m": two}, ["m"], "f") == ({"w": one}, {"m": two})
    with pytest.raises(InputError, match="f: 'w' is neither arg:NAME nor aux:NAME"):
        split_kinds({"arg:m": one, "w": two}, ["m"], "f")
    with pytest.raises(InputError, match="f: w is both"):
        split_kinds({"arg:w": one, "aux:w": two}, (), "f")


def test_half_and_double_as_float32():
    assert as_float32(numpy.array([0.1], "float16"), "w", "f").tolist() == [numpy.float16(0.1)]
    same = numpy.ones(2, "float32")
    assert as_float32(same, "w", "f") is same
    with pytest.raises(InputError, match="f: w has values beyond float32"):
        as_float32(numpy.array([1e300]), "w", "f")


def test_what_the_format_cannot_hold_is_not_written(tmp_path):
    for value in (numpy.float32(1), numpy.zeros((0, 2), "float32"), numpy.zeros(2, "complex64")):
        with pytest.raises(ValueError, match="w: a .params file cannot hold"):
            write_arrays(tmp_path / "a", {"w": numpy.asarray(value)})


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(strategies.data())
def test_damage_is_an_error_of_one_line(tmp_path, data):
    """Flipped bytes, cuts and growth: arrays or an InputError, nothing else, and never more values than bytes."""
    write_arrays(tmp_path / "whole", _arrays())
    content = bytearray((tmp_path / "whole").read_bytes())
    for _ in range(data.draw(strategies.integers(1, 4))):
        position = data.draw(strategies.integers(0, len(content) - 1))
        content[position] = data.draw(strategies.integers(0, 255))
    content = content[:data.draw(strategies.integers(0, len(content)))] if data.draw(strategies.booleans()) else content
    path = _written(tmp_path / "damaged", bytes(content))
    try:
        arrays = read_arrays(path)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert sum(array.nbytes for array in arrays.values()) <= len(content)
