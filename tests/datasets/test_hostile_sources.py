"""Folders, archives and lists from strangers: named and refused, or read as they were meant; nothing is waited for."""
import bz2
import io
import os
import struct
import tarfile
import zipfile

from arcface_mxnet.datasets import image_sources, prepare
from arcface_mxnet.datasets.image_sources import from_list, open_source
from arcface_mxnet.evaluation.sources import folder_source
from arcface_mxnet.runtime.errors import InputError

import cv2
import numpy as np
import pytest

PICTURE = cv2.imencode(".jpg", np.full((112, 112, 3), 90, np.uint8))[1].tobytes()


@pytest.fixture
def photos(tmp_path):
    for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(PICTURE)
    return tmp_path / "in"


def hostile_jpeg():
    """A real JPEG whose header claims 30,000 x 30,000: decoded it took 5 GB."""
    data = bytearray(PICTURE)
    place = data.index(b"\xff\xc0") + 5
    data[place:place + 4] = struct.pack(">HH", 30000, 30000)
    return bytes(data)


@pytest.mark.parametrize("content,said", [
    (hostile_jpeg(), "b/1.jpg is a JPEG that claims 30000x30000, more than its [0-9]* bytes can hold"),
    (b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 999, "b/1.jpg is JPEG 2000; JPEG, PNG"),
    (PICTURE[:-3], "b/1.jpg is cut off before its end")])
def test_pictures_that_no_decoder_should_see(photos, tmp_path, content, said):
    (photos / "b" / "1.jpg").write_bytes(content)
    with pytest.raises(InputError, match=said):
        prepare.main(["build", str(photos), str(tmp_path / "out")])


@pytest.mark.parametrize("make,said", [
    (os.mkfifo, "is a pipe, not a file"), (lambda path: os.symlink("/dev/zero", path), "is a device, not a file"),
    (lambda path: os.symlink(path, path), "is a loop of links"),
    (lambda path: os.symlink("x", path), "is a link to nowhere")])
def test_what_stands_in_a_folder_in_place_of_a_picture_is_named(photos, make, said):
    make(photos / "b" / "0.jpg")
    with pytest.raises(InputError, match=rf"b/0\.jpg:? {said}"):
        open_source(photos)


def test_a_pipe_that_is_no_picture_by_its_name_is_passed_over(photos):
    os.mkfifo(photos / "b" / "control")
    assert open_source(photos).passed_over == ["b/control"]


def test_a_picture_that_has_become_a_pipe_is_not_waited_for(photos, tmp_path):
    source = open_source(photos)
    (photos / "b" / "1.jpg").unlink()
    os.mkfifo(photos / "b" / "1.jpg")
    with pytest.raises(OSError, match="no regular file"):
        source.read(2)


def tar_of(path, change):
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("p/a.jpg")
        entry.size = len(PICTURE)
        archive.addfile(entry, io.BytesIO(PICTURE))
    content = bytearray(path.read_bytes())
    change(content)
    content[148:156] = b"%06o\0 " % (sum(content[:148]) + 8 * 32 + sum(content[156:512]))
    path.write_bytes(content)
    return path


def put(place, value):
    def change(content):
        content[place:place + len(value)] = value
    return change


@pytest.mark.parametrize("change,said", [
    (put(124, b"\xff" * 11 + b"\x80"), "p/a.jpg has a negative size"),
    (put(124, b"77777777777\0"), "p/a.jpg has 8589934591 bytes"),
    (put(156, b"6"), "p/a.jpg is a pipe"), (put(156, b"3"), "p/a.jpg is a device"),
    (put(156, b"2"), "p/a.jpg is a link"),
    (put(0, b"/etc/a.jpg"), "/etc/a.jpg leads outside"), (put(0, b"../../a.jpg"), "../../a.jpg leads outside")])
def test_hostile_headers_of_a_tar(tmp_path, change, said):
    with pytest.raises(InputError, match=f"evil.tar: {said}"):
        open_source(tar_of(tmp_path / "evil.tar", change))


def test_members_larger_than_a_picture_are_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(image_sources, "MOST_BYTES", len(PICTURE) - 1)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("p/film.mp4", bytes(9999))
        archive.writestr("p/a.jpg", PICTURE)
    for place in (tmp_path / "a.zip", tar_of(tmp_path / "a.tar", lambda content: None)):
        with pytest.raises(InputError, match=f"p/a.jpg has {len(PICTURE)} bytes, more than the {len(PICTURE) - 1}"):
            open_source(place)


def test_zips_of_other_methods_and_damaged_ones(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("p/a.jpg", bz2.compress(b"") or PICTURE)
    with pytest.raises(InputError, match="p/a.jpg is packed in a way that is not read .method 12."):
        open_source(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("p/a.jpg", PICTURE)
    whole = (tmp_path / "b.zip").read_bytes()
    for place in range(len(whole) - 80, len(whole), 3):
        (tmp_path / "c.zip").write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1:])
        try:
            source = open_source(tmp_path / "c.zip")
            source.read(0)
        except (InputError, OSError) as error:
            assert "\n" not in str(error)


def test_names_are_shown_on_one_line(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../\x1b[31mred\nline.jpg", PICTURE)
    with pytest.raises(InputError) as caught:
        open_source(tmp_path / "a.zip")
    assert r"..\x1b" not in str(caught.value) and r"/\x1b[31mred\nline.jpg leads outside" in str(caught.value)


def test_tiff_by_its_flag(tmp_path, photos):
    (photos / "b" / "2.tif").write_bytes(cv2.imencode(".tif", np.full((112, 112, 3), 40, np.uint8))[1].tobytes())
    assert open_source(photos).passed_over == ["b/2.tif"]
    assert prepare.main(["build", str(photos), str(tmp_path / "out"), "--tiff"]) == 0
    (photos / "b" / "2.tif").rename(photos / "b" / "2.jpg")
    with pytest.raises(InputError, match="b/2.jpg is a TIFF, which is read only with --tiff"):
        prepare.main(["build", str(photos), str(tmp_path / "two")])


LINES = "1\ta/1.jpg\t0\n1\tb/1.jpg\t1\n"


@pytest.mark.parametrize("content", [
    LINES.encode("utf-8-sig"), LINES.encode("utf-16"), LINES.replace("\n", "\r\n").encode(),
    LINES.replace("\n", "\r").encode(),
    LINES.replace("/", "\\").encode(), LINES.rstrip().encode(), LINES.replace("\t0", "\t 0 ").encode(),
    b"0\t0.000000\ta/1.jpg\n1\t1.000000\tb/1.jpg\n"])
def test_lists_as_other_programs_write_them(photos, content):
    (photos / "train.lst").write_bytes(content)
    source = from_list(photos / "train.lst")
    assert source.names == ["a/1.jpg", "b/1.jpg"] and source.labels.tolist() == [0, 1] and source.read(1) == PICTURE


@pytest.mark.parametrize("content,said", [
    (b"1\ta/1.jpg\t0\n1\ta/\x002.jpg\t0\n", "line 2: a NUL character"),
    ("1\ta/é.jpg\t0\n".encode("latin-1"), "line 1: byte 4 .0xe9. is not"),
    (b"1\ta/1.jpg\t" + b"9" * 5000 + b"\n", "line 1 has label '9999"),
    (b"1\ta/1.jpg\t1e300\n", "line 1 has label '1e300'"),
    (b"1\ta/1.jpg\tnan\n", "line 1 has label 'nan'"),
    (b"1\ta/1.jpg\t0\tnan\t1\t1\t1\n", "line 1: a box or points: 'nan' is not .*not finite"),
    (b"1 a/1.jpg 0\n", "line 1: 1 columns separated by tabs"), (b"1\t\t0\n", "line 1: an empty path"),
    (b"1\ta\t0\n", "line 1: .*a: is a folder"),
    (b"1\t" + b"x" * 5000 + b"\t0\n", "line 1: .*longer than a file system takes")])
def test_lists_that_are_none_are_named_by_line(photos, content, said):
    (photos / "train.lst").write_bytes(content)
    with pytest.raises(InputError, match=f"train.lst: {said}") as caught:
        from_list(photos / "train.lst")
    assert "\n" not in str(caught.value)


def test_names_that_no_list_can_hold(photos):
    (photos / "b" / "x\ny.jpg").write_bytes(PICTURE)
    with pytest.raises(InputError, match=r"the name 'b/x\\ny.jpg' holds a line end"):
        open_source(photos)
    for name in (b"x\ny.jpg", b"\xe9.jpg"):
        place = os.path.join(os.fsencode(photos), b"c")
        os.makedirs(place, exist_ok=True)
        with open(os.path.join(place, name), "wb") as stream:
            stream.write(PICTURE)
        with pytest.raises(InputError, match="holds a line end, or is not UTF-8; rename the file"):
            folder_source(photos / "c")
        os.unlink(os.path.join(place, name))


def test_a_member_without_a_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", PICTURE)
    whole = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(whole.replace(b"x", b"\0", 2) if whole.count(b"x") == 2 else
                                     b"\0".join(whole.rsplit(b"x", 1)))
    with pytest.raises(InputError, match="a member without a name|holds no image"):
        open_source(tmp_path / "a.zip")
