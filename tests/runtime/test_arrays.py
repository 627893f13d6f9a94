"""NumPy's files are read as NumPy reads them, where they are whole; headers are never evaluated."""
import io
import zipfile

from arcface_mxnet.runtime.arrays import create_array, load_array, load_arrays
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

TYPES = st.sampled_from(["?", "i1", "<u2", ">i4", "<i8", "<f2", ">f4", "<f8", "U3", "S2"])
SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@settings(max_examples=80)
@given(values=TYPES.flatmap(lambda kind: arrays.arrays(np.dtype(kind), SHAPES)), fortran=st.booleans())
def test_every_array_of_numbers_and_text_comes_back(tmp_path_factory, values, fortran):
    folder = tmp_path_factory.mktemp("npy")
    values = np.asfortranarray(values) if fortran and values.ndim else values
    np.save(folder / "a.npy", values)
    found = load_array(folder / "a.npy", "r")
    assert found.dtype == values.dtype and found.shape == values.shape
    np.testing.assert_array_equal(found, values)
    np.savez(folder / "a.npz", values, named=values)
    for name, stored in load_arrays(folder / "a.npz", "r").items():
        assert name in ("arr_0", "named") and stored.dtype == values.dtype
        np.testing.assert_array_equal(stored, values)


def saved(values):
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


GOOD = saved(np.arange(12, dtype="<f4").reshape(3, 4))


def headed(text, data=b"\0" * 48):
    line = text.encode("latin-1").ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + len(line).to_bytes(2, "little") + line + data


@pytest.mark.parametrize("header", [
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }",
    "{'shape':(3,4),'fortran_order':False,'descr':'<f4'}",
    '{"descr": \'<f4\', "fortran_order": False, "shape": (3L, 4L)}',
    " {'descr': '<f4', 'fortran_order': False, 'shape': (12,)}"])
def test_headers_as_other_programs_write_them(tmp_path, header):
    (tmp_path / "a.npy").write_bytes(headed(header))
    assert load_array(tmp_path / "a.npy", "r").size == 12


@pytest.mark.parametrize("content,said", [
    (b"", "it is empty"), (b"\x93NUMPY", "does not begin as one"), (b"PK\3\4", "does not begin as one"),
    (GOOD[:9], "ends inside"),
    (GOOD[:60], "ends inside"), (GOOD[:-1], "175 bytes where float32 of shape .3, 4. takes 176"),
    (GOOD + b"\0", "half written"),
    (GOOD[:6] + b"\4\0" + GOOD[8:], "format 4.0"), (b"\x93NUMPY\2\0\xff\xff\xff\x7f", "a header of 2147483647 bytes"),
    (headed("{'descr': '|O', 'fortran_order': False, 'shape': (3, 4), }"), "Python objects, which are never read"),
    (headed("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3, 4), }"), "records of several fields"),
    (headed("{'descr': '<c8', 'fortran_order': False, 'shape': (3, 4), }"), "neither a number nor text"),
    (headed("{'descr': '<f3', 'fortran_order': False, 'shape': (3, 4), }"), "neither a number nor text"),
    (headed("{'descr': '<f4', 'fortran_order': False, 'shape': (3, -4), }"), "header .* is damaged"),
    (headed("{'descr': '<f4', 'fortran_order': 0, 'shape': (3, 4), }"), "header .* is damaged"),
    (headed("{'descr': '<f4', 'descr': '<f4', 'shape': (3, 4), }"), "header .* is damaged"),
    (headed("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), 'x': True}"), "header .* is damaged"),
    (headed("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }"), "half written"),
    (headed("{'descr': '<f4', 'fortran_order': False, 'shape': (3,, 4)}"), "its shape"),
    (headed("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1, " * 33 + ")}"), "its shape"),
    (headed("__import__('os').system('true')"), "header .* is damaged"), (headed("(" * 100), "header .* is damaged"),
    (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer")])
def test_what_is_no_array_is_named(tmp_path, content, said):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match=f"a.npy: .*{said}"):
        load_array(tmp_path / "a.npy", "extract it again")


def test_the_flipped_bit_of_the_header(tmp_path):
    """One bit turns the brace that closes the header's dictionary into another sign: a SyntaxError in NumPy."""
    place = GOOD.index(b"}")
    (tmp_path / "a.npy").write_bytes(GOOD[:place] + bytes([GOOD[place] ^ 0x40]) + GOOD[place + 1:])
    with pytest.raises(InputError, match="a.npy: no whole .npy array .its header .* is damaged.; extract it again$"):
        load_array(tmp_path / "a.npy", "extract it again")


def npz(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("members,said", [
    ({"a.txt": b"x"}, "'a.txt' is no .npy"), ({"a.npy": b"x"}, "'a.npy': it does not begin"),
    ({"a.npy": GOOD[:-1]}, "half written"),
    ({"a.npy": headed("{'descr': '|O', 'fortran_order': False, 'shape': (3, 4), }")},
     "'a.npy': it holds Python objects")])
def test_members_that_are_no_arrays_are_named(tmp_path, members, said):
    with pytest.raises(InputError, match=f"z.npz: no whole .npz of arrays .*{said}.*; r$"):
        load_arrays(npz(tmp_path / "z.npz", members), "r")


def test_an_archive_that_is_cut_off_or_too_large(tmp_path):
    path = npz(tmp_path / "z.npz", {"a.npy": GOOD})
    with pytest.raises(InputError, match="take 176 bytes, more than the 99"):
        load_arrays(path, "r", 99)
    for end in (0, 30, 100, path.stat().st_size - 1):
        path.write_bytes(npz(tmp_path / "y.npz", {"a.npy": GOOD}).read_bytes()[:end])
        with pytest.raises(InputError, match="z.npz: no whole .npz"):
            load_arrays(path, "r")


def test_space_is_claimed_before_it_is_mapped(full_disk):
    made = create_array(full_disk / "a.npy", (5, 3))
    made[:] = np.arange(15).reshape(5, 3)
    made.flush()
    np.testing.assert_array_equal(np.load(full_disk / "a.npy"), np.arange(15, dtype=np.float32).reshape(5, 3))
    with pytest.raises(OSError, match="No space left") as error:
        create_array(full_disk / "b.npy", (1 << 20, 3))
    assert error.value.filename == str(full_disk / "b.npy") and not (full_disk / "b.npy").exists()
