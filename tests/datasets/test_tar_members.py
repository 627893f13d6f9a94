"""A tar's members are those Python's reader finds, and a hostile header is refused by its member's name."""
import io
import tarfile

from arcface_mxnet.datasets.tar_members import BLOCK, BadArchive, Member, tar_members

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
NAMES = ["a/1.jpg", "ünï/" + "x" * 90 + ".jpg", "p" * 60 + "/" + "q" * 70 + ".jpg", "./dir/a b.jpg"]


def members(path):
    with open(path, "rb") as stream:
        return list(tar_members(stream))


def packed(path, form=tarfile.GNU_FORMAT, names=NAMES, **changes):
    with tarfile.open(path, "w", format=form) as archive:
        folder = tarfile.TarInfo("dir")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for number, name in enumerate(names):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = 400 * number, 1.5
            for key, value in changes.items():
                setattr(entry, key, value)
            archive.addfile(entry, io.BytesIO(bytes(400 * number)))
    return path


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_members_are_those_of_pythons_reader(tmp_path, form):
    names = NAMES if form == "ustar" else NAMES + ["long/" + "y" * 300 + "/z.jpg"]
    path = packed(tmp_path / "a.tar", FORMATS[form], names)
    with tarfile.open(path) as archive:
        wanted = [Member(one.name, one.offset_data, one.size) for one in archive if one.isreg()]
    assert members(path) == wanted and len(wanted) == len(names)


@pytest.mark.parametrize("kind,said", [(tarfile.LNKTYPE, "a hard link"), (tarfile.SYMTYPE, "a link"),
                                       (tarfile.CHRTYPE, "a device"),
                                       (tarfile.BLKTYPE, "a device"), (tarfile.FIFOTYPE, "a pipe"),
                                       (tarfile.GNUTYPE_SPARSE, "a sparse"),
                                       (b"7", "a contiguous"), (b"Z", "of the unknown kind 'Z'")])
def test_other_kinds_of_members_are_named(tmp_path, kind, said):
    with pytest.raises(BadArchive, match=f"^p/evil.jpg is {said}.* no need of"):
        members(packed(tmp_path / "a.tar", names=["p/evil.jpg"], type=kind, linkname="p/evil.jpg"))


def edited(path, size=None, pax=None):
    """A tar of one file with another size in its header (12 bytes), or a pax header before it."""
    entry = tarfile.TarInfo("p/a.jpg")
    header = bytearray(entry.tobuf(tarfile.USTAR_FORMAT))
    if size is not None:
        header[124:136] = size
        header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
    before = b""
    if pax is not None:
        extra = tarfile.TarInfo("h")
        extra.type, extra.size = b"x", len(pax)
        before = extra.tobuf(tarfile.USTAR_FORMAT) + pax.ljust(-(-len(pax) // BLOCK) * BLOCK, b"\0")
    path.write_bytes(before + bytes(header) + b"\0" * 2 * BLOCK)
    return path


@pytest.mark.parametrize("size,said", [
    (b"\x80" + (-128 & (1 << 88) - 1).to_bytes(11, "big"), "p/a.jpg has [0-9]* bytes by its header, 1024 are left"),
    (b"\xff" * 11 + b"\x80", "p/a.jpg has a negative size"),
    (b"-0000000200\0", "has the size '-0000000200', which is no number"),
    (b"77777777777\0", "p/a.jpg has 8589934591 bytes by its header, 1024 are left; it is cut off"),
    (b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7, "p/a.jpg has 9223372036854775807 bytes"),
    (b"00000000009\0", "is no number")])
def test_sizes_that_are_none_are_named(tmp_path, size, said):
    with pytest.raises(BadArchive, match=said):
        members(edited(tmp_path / "a.tar", size))


@pytest.mark.parametrize("pax,said", [
    (b"10 size=-1\n", "damaged|size of"), (b"11 size=-1\n", "a size of '-1' in a pax header"),
    (b"9999 path=a\n", "damaged pax"),
    (b"0 path=a\n", "damaged pax"), (b"path=a\n", "damaged pax"), (b"10 path=a\n" * 9999, "a name of 99990 bytes"),
    (b"23 size=9999999999999\n\0", "damaged|bytes by its header"), (b"22 GNU.sparse.major=1\n", "a sparse file"),
    (b"13 path=a\0b\n", "holds a NUL|damaged")])
def test_pax_headers_that_are_none(tmp_path, pax, said):
    with pytest.raises(BadArchive, match=said):
        members(edited(tmp_path / "a.tar", pax=pax))


def test_what_is_no_tar_or_cut_off(tmp_path):
    whole = packed(tmp_path / "a.tar").read_bytes()
    for content, said in ((b"", "no uncompressed tar"), (b"x" * 2000, "no header of a tar at byte 0"),
                          (b"\x1f\x8b" + whole[2:], "no header"),
                          (whole[:700], "no uncompressed tar, or cut off"), (whole[:BLOCK * 9 + 30], "cut off")):
        (tmp_path / "b.tar").write_bytes(content)
        with pytest.raises(BadArchive, match=said):
            members(tmp_path / "b.tar")


@settings(max_examples=150)
@given(changes=st.lists(st.tuples(st.integers(0, 12 * BLOCK - 1), st.integers(0, 255)), min_size=1, max_size=4),
       form=st.sampled_from(sorted(FORMATS)))
def test_damaged_archives_end(tmp_path_factory, changes, form):
    """No header makes the walk go back or beyond the file."""
    path = packed(tmp_path_factory.mktemp("tar") / "a.tar", FORMATS[form])
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[place] = value
    path.write_bytes(content)
    try:
        found = members(path)
        assert all(one.start + one.size <= len(content) for one in found)
        assert [one.start for one in found] == sorted({one.start for one in found})
    except BadArchive as error:
        assert "\n" not in str(error)
