"""Packs of every era are read, nothing else is; what is written comes back."""
import pickle

from arcface_mxnet.datasets.pairs import PairPack, decode, read_pack, write_pack
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.mx import mx

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

# Written by hand as Python 2 pickles it at protocols 0 and 2: str is S'..' or U (SHORT_BINSTRING).
PYTHON2 = {
    0: b"((lp0\nS'\\xff\\xd8one'\np1\naS'two'\np2\na(lp3\nI01\natp4\n.",
    2: b"\x80\x02]q\x00(U\x05\xff\xd8oneq\x01U\x03twoq\x02e]q\x03\x88a\x86q\x04.",
}


@pytest.mark.parametrize("protocol", sorted(PYTHON2))
def test_python_2_packs_open(tmp_path, protocol):
    (tmp_path / "lfw.bin").write_bytes(PYTHON2[protocol])
    pack = read_pack(tmp_path / "lfw.bin")
    assert pack.name == "lfw" and pack.images == [b"\xff\xd8one", b"two"] and pack.same.tolist() == [True]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("as_array", [False, True])
@pytest.mark.parametrize("truth", [list, np.array, lambda same: [np.bool_(value) for value in same]])
def test_every_form_of_python_3_packs_opens(tmp_path, protocol, as_array, truth):
    images = [b"\xff\xd8one", b"", b"three", b"four"]
    stored = [np.frombuffer(image, dtype=np.uint8).reshape(-1, 1) for image in images] if as_array else images
    (tmp_path / "p.bin").write_bytes(pickle.dumps((stored, truth([True, False])), protocol=protocol))
    pack = read_pack(tmp_path / "p.bin")
    assert pack.images == images and pack.same.tolist() == [True, False] and pack.same.dtype == bool


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.binary(), st.binary(), st.booleans()), min_size=1, max_size=8))
def test_what_is_written_comes_back(tmp_path_factory, pairs):
    path = tmp_path_factory.mktemp("pack") / "any.bin"
    images = [image for pair in pairs for image in pair[:2]]
    write_pack(path, images, [pair[2] for pair in pairs])
    pack = read_pack(path)
    assert pack.images == images and pack.same.tolist() == [pair[2] for pair in pairs] and len(pack) == len(pairs)
    plain, same = pickle.loads(path.read_bytes())  # noqa: S301 (just written here)
    assert plain == images and same == pack.same.tolist() and all(type(value) is bool for value in same)


class Calls:
    """Pickles as a call of any function, as an attack does."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


# `bytes` is admitted under its Python 2 name only, as old protocols write empty bytes.
@pytest.mark.parametrize("function,name,protocol", [(bytes, "builtins.bytes", 4)] + [
    (function, name, protocol) for protocol in (0, 2, 4) for function, name in [
        (eval, "eval"), (__import__, "__import__"), (getattr, "getattr"), (np.load, "numpy.load"), (open, "open")]])
def test_anything_else_is_refused_by_its_dotted_name(tmp_path, function, name, protocol):
    (tmp_path / "evil.bin").write_bytes(pickle.dumps(Calls(function, "1"), protocol=protocol))
    with pytest.raises(InputError, match=rf"evil\.bin: .*it asks for \S*{name}, which no pack needs"):
        read_pack(tmp_path / "evil.bin")


def test_nothing_is_run_before_it_is_refused(tmp_path):
    marker = tmp_path / "run"
    (tmp_path / "evil.bin").write_bytes(pickle.dumps(([Calls(marker.touch)], [True])))
    with pytest.raises(InputError, match="pathlib|getattr"):
        read_pack(tmp_path / "evil.bin")
    assert not marker.exists()


@pytest.mark.parametrize("array", [np.array([b"x", None], dtype=object), np.zeros(4), np.zeros(4, dtype=np.int32)])
def test_arrays_of_anything_but_bytes_are_refused(tmp_path, array):
    (tmp_path / "p.bin").write_bytes(pickle.dumps(([array, array], [True])))
    with pytest.raises(InputError, match="where only uint8 and bool belong"):
        read_pack(tmp_path / "p.bin")


@pytest.mark.parametrize("content,message", [
    (b"", "no verification pack"), (b"PK\3\4 a zip", "no verification pack"), (b"\x80\x04N.", "not a pair of images"),
    (pickle.dumps(([b"a", b"b"], [True]))[:-9], "no verification pack"),
    (pickle.dumps(([b"a"], [True])), "holds 1 images for 1 pairs"), (pickle.dumps(([], [])), "holds 0 images"),
    (pickle.dumps(([1, 2], [True])), "image 0 is a int"), (pickle.dumps({"a": 1}), "not a pair of images"),
    (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f", "no verification pack|damaged"),
])
def test_foreign_files_give_one_line(tmp_path, content, message):
    (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_pack(tmp_path / "x.bin")
    assert str(caught.value).startswith(str(tmp_path / "x.bin")) and "\n" not in str(caught.value)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(InputError, match="none.bin: not found"):
        read_pack(tmp_path / "none.bin")
    with pytest.raises(InputError, match="is a folder"):
        read_pack(tmp_path)


def test_writer_refuses_counts_that_do_not_fit(tmp_path):
    with pytest.raises(InputError, match="3 images for 1 pairs"):
        write_pack(tmp_path / "x.bin", [b"a", b"b", b"c"], [True])
    assert list(tmp_path.iterdir()) == []


def test_decoding_is_mxnets_and_batch_by_batch(fixtures):
    pack = read_pack(fixtures / "packs" / "small_lfw.bin")
    assert len(pack) == 10 and pack.same.all()
    batches = list(pack.decoded(8))
    assert [batch.shape for batch in batches] == [(8, 3, 112, 112), (8, 3, 112, 112), (4, 3, 112, 112)]
    assert batches[0].dtype == np.uint8
    for image, pixels in zip(pack.images, np.concatenate(batches)):
        assert np.array_equal(pixels, mx.image.imdecode(image).asnumpy().transpose(2, 0, 1))


def test_the_pack_of_the_first_lfw_fold(fixtures):
    pack = read_pack(fixtures / "lfw" / "lfw112_fold1_600.bin")
    assert len(pack) == 600 and int(pack.same.sum()) == 300
    assert next(pack.decoded(4)).shape == (4, 3, 112, 112)


def test_undecodable_and_odd_sized_images_are_named(picture):
    good = mx.recordio.unpack(mx.recordio.pack_img(mx.recordio.IRHeader(0, 0, 0, 0), picture(0, 0)))[1]
    small = mx.recordio.unpack(mx.recordio.pack_img(mx.recordio.IRHeader(0, 0, 0, 0), picture(0, 0, 56)))[1]
    with pytest.raises(InputError, match="mine: image 5: its 7 bytes"):
        list(PairPack("mine", [good] * 5 + [b"nothing"], np.ones(3, dtype=bool)).decoded(2))
    with pytest.raises(InputError, match="image 1 is 56x56, those before it 112x112"):
        decode([good, small])
    assert decode([]).shape[0] == 0
