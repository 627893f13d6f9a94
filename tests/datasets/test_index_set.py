"""An index is made anew from whole records, byte for byte the writer's; what is not whole is named."""
import shutil

from arcface_mxnet.datasets import prepare
from arcface_mxnet.datasets.index_set import make_index
from arcface_mxnet.datasets.recordio import frame, pack_image
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.runtime.errors import InputError

import cv2
import numpy as np
import pytest


def picture(seed, size=112):
    return cv2.imencode(".jpg", np.random.default_rng(seed).integers(0, 255, (size, size, 3), np.uint8))[1].tobytes()


def plain(folder, ids=lambda number: number, sizes=(112,) * 6, form="2,112,112"):
    """A set without a header, as im2rec writes it: six pictures of two people."""
    folder.mkdir()
    writer = mx.recordio.MXIndexedRecordIO(str(folder / "train.idx"), str(folder / "train.rec"), "w")
    for number, size in enumerate(sizes):
        header = mx.recordio.IRHeader(0, number // 3, ids(number), 0)
        writer.write_idx(number, mx.recordio.pack(header, picture(number, size)))
    writer.close()
    if form:
        (folder / "property").write_text(form)
    return folder


def images(folder):
    with RecordSet.open(folder) as records:
        return [records.read(int(key)) for key in records.keys]


@pytest.mark.parametrize("ids", [lambda number: number, lambda number: 7])
def test_a_lost_index_comes_back_as_it_was(tmp_path, ids):
    folder = plain(tmp_path / "a", ids)
    before, wanted = (folder / "train.idx").read_bytes(), images(folder)
    (folder / "train.idx").unlink()
    with pytest.raises(InputError, match=r"train.idx: not found beside train.rec; make it anew from the records with "
                                         r"`python datasets/prepare.py index`"):
        RecordSet.open(folder)
    assert prepare.main(["index", str(folder)]) == 0
    assert (folder / "train.idx").read_bytes() == before and images(folder) == wanted
    assert not (folder / "train.idx.before").exists()


def test_a_damaged_index_is_kept_beside(tmp_path, capsys):
    """Half of its offsets are -1 (apache/mxnet#8103)."""
    folder = plain(tmp_path / "a")
    before = (folder / "train.idx").read_text()
    lines = before.splitlines()
    bad = "\n".join(lines[:4] + [line.split("\t")[0] + "\t18446744073709551615" for line in lines[4:]]) + "\n"
    (folder / "train.idx").write_text(bad)
    with pytest.raises(InputError, match="train.idx: line 5: .* is not `key<TAB>offset`.*prepare.py index`"):
        RecordSet.open(folder)
    assert prepare.main(["index", str(folder)]) == 0
    assert (folder / "train.idx").read_text() == before and (folder / "train.idx.before").read_text() == bad
    assert "6 records (what stood there is train.idx.before)" in capsys.readouterr().out


def test_a_set_with_identity_ranges_gets_the_same_index(tmp_path, tiny_faces):
    folder = tmp_path / "a"
    shutil.copytree(tiny_faces, folder)
    before = (folder / "train.idx").read_bytes()
    (folder / "train.idx").unlink()
    make_index(folder)
    assert (folder / "train.idx").read_bytes() == before and images(folder) == images(tiny_faces)


def test_a_missing_property_is_derived(tmp_path, capsys):
    folder = plain(tmp_path / "a", form="")
    (folder / "train.idx").unlink()
    assert prepare.main(["index", str(folder)]) == 0
    assert (folder / "property").read_text() == "2,112,112\n" and "property: 2,112,112" in capsys.readouterr().out
    (folder / "property").write_text("9,112,112\n")
    assert make_index(folder) == (6, False) and (folder / "property").read_text() == "9,112,112\n"


def test_pictures_of_two_sizes_have_no_property(tmp_path):
    folder = plain(tmp_path / "a", sizes=(112, 112, 112, 96, 112, 112), form="")
    before = (folder / "train.idx").read_bytes()
    with pytest.raises(InputError, match="record 0 is 112x112, record 3 96x96; a set holds one size"):
        make_index(folder)
    assert (folder / "train.idx").read_bytes() == before


@pytest.mark.parametrize("change,said", [
    (lambda data: data[:-9], "at byte [0-9]*, after 5 whole records: the file ends inside a record"),
    (lambda data: data[:40] + b"junk" + data[44:] + b"junk", "after 6 whole records"),
    (lambda data: b"", "train.rec: empty"),
    (lambda data: b"what is this, then", "at byte 0, after 0 whole records: no record starts here"),
    (lambda data: b"\x0a\x23\xd7\xce\x04\0\0\0abcd", "shorter than the header of an image record")])
def test_records_that_are_not_whole_are_named(tmp_path, change, said):
    folder = plain(tmp_path / "a")
    before = (folder / "train.idx").read_bytes()
    (folder / "train.rec").write_bytes(change((folder / "train.rec").read_bytes()))
    with pytest.raises(InputError, match=said):
        make_index(folder)
    assert (folder / "train.idx").read_bytes() == before


def test_a_set_of_another_base_name_is_named(tmp_path):
    folder = plain(tmp_path / "a")
    for ending in (".rec", ".idx"):
        (folder / f"train{ending}").rename(folder / f"val{ending}")
    for arguments in (["verify", str(folder)], ["unpack", str(folder), str(tmp_path / "out")], ["index", str(folder)],
                      ["inspect", str(folder)], ["shuffle", str(folder), str(tmp_path / "out")]):
        with pytest.raises(InputError, match="the folder holds val.rec; name the file itself"):
            prepare.main(arguments)
    (folder / "val.idx").unlink()
    assert prepare.main(["index", str(folder / "val.rec")]) == 0
    assert len(images(folder / "val.rec")) == 6


def test_records_without_ids_are_counted_and_a_header_at_the_end_is_key_0(tmp_path):
    """Images 1 and 2, the range of their identity, and the header that points at it; every id is 0."""
    records = [pack_image(0, 0, picture(0)), pack_image(0, 0, picture(1)), pack_image([1, 3], 0, b""),
               pack_image([3, 4], 0, b"")]
    (tmp_path / "train.rec").write_bytes(b"".join(frame(one) for one in records))
    assert make_index(tmp_path) == (4, True)
    assert [line.split("\t")[0] for line in (tmp_path / "train.idx").read_text().splitlines()] == ["1", "2", "3", "0"]
    assert [label for label, _ in images(tmp_path)] == [0, 0] and (tmp_path / "property").read_text() == "1,112,112\n"
