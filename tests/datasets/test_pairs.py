"""Packs of every era are read, nothing else is; what is written comes back."""
import pickle

from arcface_mxnet.datasets.pairs import PairPack, decode, read_pack, write_pack
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.runtime.errors import InputError

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


@settings(max_examples=40)
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


@pytest.mark.parametrize("array,kind", [(np.array([b"x", None], dtype=object), "objects"), (np.zeros(4), "float64"),
                                        (np.zeros(4, dtype=np.int32), "int32")])
def test_images_as_arrays_of_anything_but_bytes_are_refused(tmp_path, array, kind):
    (tmp_path / "p.bin").write_bytes(pickle.dumps(([array, array], [True])))
    with pytest.raises(InputError, match=f"image 0 is an array of {kind}, not of bytes"):
        read_pack(tmp_path / "p.bin")


@pytest.mark.parametrize("array", [np.array([1 + 2j]), np.array(["a"]), np.zeros(2, [("a", int)]),
                                   np.array(["2020-01-01"], "M8[D]")])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_arrays_of_other_types_are_refused_before_they_are_made(tmp_path, array, protocol):
    (tmp_path / "p.bin").write_bytes(pickle.dumps((array, [True]), protocol=protocol))
    with pytest.raises(InputError, match="which no pack needs"):
        read_pack(tmp_path / "p.bin")


@pytest.mark.parametrize("content,message", [
    (b"", "no verification pack"), (b"PK\3\4 a zip", "no verification pack"), (b"\x80\x04N.", "not a pair of images"),
    (pickle.dumps(([b"a", b"b"], [True]))[:-9], "no verification pack"),
    (pickle.dumps(([b"a"], [True])), "holds 1 images for 1 pairs"), (pickle.dumps(([], [])), "holds 0 images"),
    (pickle.dumps(([1, 2], [True])), "image 0 is a int"), (pickle.dumps({"a": 1}), "which no pack needs"),
    (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f", "no verification pack|damaged"),
])
def test_foreign_files_give_one_line(tmp_path, content, message):
    (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_pack(tmp_path / "x.bin")
    assert str(caught.value).startswith(str(tmp_path / "x.bin")) and "\n" not in str(caught.value)


PICTURES = [b"\xff\xd8one", b"two", b"three", b"four"]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("same", [
    [True, False], (1, 0), [1.0, 0.0], b"\1\0", bytearray(b"\1\0"), [np.int64(1), np.int8(0)],
    [np.float32(1), np.False_],
    np.array([1, 0], object), *(np.array([1, 0], kind) for kind in ("?", "i1", "u1", "<i8", ">i8", ">u2", "<f4",
                                                                    ">f8"))])
def test_truth_values_of_every_type_that_holds_0_and_1(tmp_path, same, protocol):
    (tmp_path / "p.bin").write_bytes(pickle.dumps((PICTURES, same), protocol=protocol))
    assert read_pack(tmp_path / "p.bin").same.tolist() == [True, False]


@pytest.mark.parametrize("same,said", [
    (["1", "0"], "pair 0 is the text '1'"), ([True, "0"], "pair 1 is the text '0'"), ([b"1", b"0"], "the text '1'"),
    ([1, 2], "pair 1 is 2"), ([1, None], "pair 1 is a NoneType"), ([float("nan"), 0], "pair 0 is nan"),
    (np.array([1, np.nan]), "pair 1 is nan"), (np.array([1, -1]), "pair 1 is -1"),
    (np.array([0.5, 1]), "pair 0 is 0.5"),
    (np.array([True, "0"], object), "pair 1 is the text '0'"), (np.array([[1], [0]]), "shape \\(2, 1\\)"),
    (b"10", "pair 0 is 49")])
def test_truth_values_that_are_not_0_or_1_are_refused(tmp_path, same, said):
    """'0' is not false, NaN is not true: an original pack holds neither."""
    (tmp_path / "p.bin").write_bytes(pickle.dumps((PICTURES, same)))
    with pytest.raises(InputError, match=rf"p\.bin: no verification pack \(.*{said}"):
        read_pack(tmp_path / "p.bin")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("images", [[bytearray(image) for image in PICTURES], tuple(PICTURES),
                                    np.array(PICTURES, object),
                                    [np.frombuffer(image, np.int8) for image in PICTURES]])
def test_images_in_every_type_that_holds_bytes(tmp_path, images, protocol):
    (tmp_path / "p.bin").write_bytes(pickle.dumps((images, [True, False]), protocol=protocol))
    assert read_pack(tmp_path / "p.bin").images == PICTURES


@pytest.mark.parametrize("content,said", [
    (b"K\1r\0\0\0\x10.", "at place 268435456 after 2 instructions"),  # 8 bytes that took 3.5 GB
    (b"K\1p999999999\n.", "at place 999999999"), (b"K\1p-1\n.", "remembers something"),
    (b"\x80\4\x8e" + b"\xff" * 8, "announces 18446744073709551615 bytes where 0 are left"),
    (b"\x80\4\x95" + b"\xff" * 8 + b"N.", "a frame longer than the file"),
    (b"T\xff\xff\xff\xffN.", "announces -1 bytes"),
    (b"\x8a\xff" + b"\1" * 255 + b".", "a number of 255 bytes"),
    (b"\x8b\xff\xff\xff\x7f.", "instruction '.x8b' at byte 0"),
    (b"I" + b"1" * 5000 + b"\n.", "a longer number"), (b"L" + b"1" * 5000 + b"L\n.", "a longer number"),
    (b"\x80\7N.", "protocol 7"), (b"}.", "instruction"), (b"\x81.", "instruction"), (b"Pname\n.", "instruction"),
    (b"cnumpy\ndtype\n(S'O9'\ntR.", "an array of 'O9'"), (b"B\xff\xff\xff\x7f.", "it announces 2147483647 bytes")])
def test_a_pickle_is_measured_before_it_is_run(tmp_path, content, said):
    (tmp_path / "p.bin").write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_pack(tmp_path / "p.bin")


def test_what_is_made_is_no_larger_than_the_file(tmp_path):
    """A long text encoded over and over by instructions of a few bytes, and an array whose bytes are a number."""
    again = b"c_codecs\nencode\n(g1\nVlatin1\ntR"
    (tmp_path / "p.bin").write_bytes(b"((lV" + b"x" * 9999 + b"\np1\na" + (again + b"a") * 99 + b"(lI01\natp4\n.")
    with pytest.raises(InputError, match="repeats its contents beyond its size"):
        read_pack(tmp_path / "p.bin")
    array = b"cnumpy.core.multiarray\n_reconstruct\n(tR" \
            b"(I1\n(I1000000000\ntcnumpy\ndtype\n(S'u1'\ntRI00\nI1000000000\ntb"
    (tmp_path / "p.bin").write_bytes(b"((l" + array + b"a(lI01\natp4\n.")
    with pytest.raises(InputError, match="without its bytes"):
        read_pack(tmp_path / "p.bin")


def test_a_picture_that_stands_in_many_pairs_is_held_once(tmp_path):
    array = np.frombuffer(b"one picture", np.uint8)
    (tmp_path / "p.bin").write_bytes(pickle.dumps(([array] * 6, [True] * 3)))
    images = read_pack(tmp_path / "p.bin").images
    assert images == [b"one picture"] * 6 and len({id(image) for image in images}) == 1


def test_what_git_lfs_leaves_is_named(tmp_path):
    (tmp_path / "lfw.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(InputError, match="lfw.bin: a Git LFS pointer.*git lfs pull"):
        read_pack(tmp_path / "lfw.bin")


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
    with pytest.raises(InputError, match="mine: image 3"):  # of the pack, wherever it stands among those decoded
        list(PairPack("mine", [good] * 3 + [b"nothing"], np.ones(2, dtype=bool)).decoded(2, [0, 3]))
    assert decode([]).shape[0] == 0
