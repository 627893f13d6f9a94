"""Record sets against MXNet's own reader and writer, in every layout (docs/original.md, section 1), and broken ones."""
import hashlib
from concurrent.futures import ThreadPoolExecutor

from arcface_mxnet.datasets.recordio import frame, pack_image
from arcface_mxnet.datasets.records import RecordSet, RecordWriter
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest


def write_indexed(folder, records):
    """A .rec and .idx of (key, label, bytes, id2) by MXNet's own writer."""
    folder.mkdir(exist_ok=True)
    writer = mx.recordio.MXIndexedRecordIO(str(folder / "train.idx"), str(folder / "train.rec"), "w")
    for key, label, encoded, id2 in records:
        writer.write_idx(key, mx.recordio.pack(mx.recordio.IRHeader(0, label, key, id2), encoded))
    writer.close()


def published(images, label=lambda identity: identity, first=1):
    """Records of the published layout (docs/original.md, section 1.3); keys from `first`."""
    records, ranges, key = [], [], first
    for identity, encoded in enumerate(images):
        begin = key
        for one in encoded:
            records.append((key, label(identity), one, 0))
            key += 1
        ranges.append([begin, key])
    start = key
    for bounds in ranges:
        records.append((key, bounds, b"", 0))
        key += 1
    return records + [(0, [start, key], b"", 1)]


IMAGES = [[bytes([65 + identity]) * (3 + number) for number in range(2 + identity % 3)] for identity in range(7)]
FLAT = [(identity, one) for identity, encoded in enumerate(IMAGES) for one in encoded]


def test_the_writer_makes_the_bytes_of_the_original_builder(tmp_path):
    write_indexed(tmp_path / "theirs", published(IMAGES))
    with RecordWriter(tmp_path / "ours") as writer:
        for identity, encoded in enumerate(IMAGES):
            writer.add(identity, encoded)
    for name in ("train.rec", "train.idx"):
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()
    assert (tmp_path / "ours" / "property").read_text() == "7,112,112\n"


# SHA-256 of what the original's RecBuilder wrote for IMAGES, its writer closed (docs/original.md, section 1.6).
THEIRS = {"train.rec": "d0b85748c9fb2ee239f7b656053cd8f95dfd86a2e2b9424526c56b0500bdcb9e",
          "train.idx": "211bf45de3150a7fe5a9082639c6a570c0f39d9d583e4b8c11af17800b3177d2",
          "property": "a991cace408e932538bb47a620b28e5e30c5acaa2d779218545b58355eca6907"}


def test_the_writer_makes_the_files_the_original_builder_made(tmp_path):
    with RecordWriter(tmp_path) as writer:
        for identity, encoded in enumerate(IMAGES):
            writer.add(identity, encoded)
    assert {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in THEIRS} == THEIRS


@pytest.mark.parametrize("label", [lambda identity: identity, lambda identity: [identity, 1]], ids=["scalar", "vector"])
def test_published_layout_is_read_with_either_label(tmp_path, label):
    write_indexed(tmp_path, published(IMAGES, label))
    with RecordSet.open(tmp_path) as records:
        assert records.header == (len(FLAT) + 1, len(FLAT) + 8)
        assert (records.images, records.identities, records.num_classes) == (len(FLAT), 7, 7)
        assert [records.read(int(key)) for key in records.keys] == FLAT
        assert records.labels.tolist() == [identity for identity, _ in FLAT]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("label", [lambda identity: identity, lambda identity: [identity, 0]], ids=["scalar", "vector"])
def test_layout_without_header_from_key_0_or_1(tmp_path, first, label):
    write_indexed(tmp_path, [(first + place, label(identity), one, 0) for place, (identity, one) in enumerate(FLAT)])
    with RecordSet.open(tmp_path / "train.rec") as records:
        assert records.header is None and records.identities == 7 and records.num_classes == 7
        assert [records.read(int(key)) for key in records.keys] == FLAT
        assert records.labels.tolist() == [identity for identity, _ in FLAT]


def test_a_shuffled_record_needs_no_index(tmp_path):
    write_indexed(tmp_path, [(place, identity, one, 0) for place, (identity, one) in enumerate(FLAT)])
    (tmp_path / "train.idx").unlink()
    (tmp_path / "property").write_text(f"7,112,112\n{len(FLAT)}\nshuffled\n2018-05-01 12:00:00\n")
    with RecordSet.open(tmp_path) as records:
        assert [records.read(int(key)) for key in records.keys] == FLAT
        assert records.properties.images == len(FLAT) and records.image_size == (112, 112)


def test_a_lost_index_of_an_ordinary_set_is_named(tmp_path, make_set):
    make_set(tmp_path, [2, 2])
    (tmp_path / "train.idx").unlink()
    with pytest.raises(InputError, match=r"train\.idx: not found"):
        RecordSet.open(tmp_path)


@pytest.mark.parametrize("header", [True, False])
def test_filter_keeps_labels_and_renumbers_on_request(tmp_path, header):
    everything = published(IMAGES)
    write_indexed(tmp_path, everything if header else [record for record in everything if record[2]])
    wanted = [(identity, one) for identity, one in FLAT if len(IMAGES[identity]) >= 4]
    kept = sorted({identity for identity, _ in wanted})
    plain = RecordSet.open(tmp_path, min_images=4)
    assert [plain.read(int(key)) for key in plain.keys] == wanted
    assert plain.identities == len(kept) and plain.labels.max() == max(kept)
    again = RecordSet.open(tmp_path, min_images=4, renumber=True)
    assert [again.read(int(key)) for key in again.keys] == [(kept.index(identity), one) for identity, one in wanted]
    assert again.num_classes == again.identities == len(kept)
    assert again.labels.tolist() == [kept.index(identity) for identity, _ in wanted]
    with pytest.raises(InputError, match="no identity has 99 images"):
        RecordSet.open(tmp_path, min_images=99)


@pytest.mark.parametrize("start", [2 ** 24 - 9, 2 ** 25 - 11])
def test_keys_above_the_float32_limit_are_exact(tmp_path, start):
    """Above 2^24 stored bounds are rounded (docs/original.md, section 1.3); ranges, A and B must come out exact."""
    records = published(IMAGES, first=start)
    write_indexed(tmp_path, records)
    bounds = [label for _, label, encoded, _ in records if not encoded]
    assert any(float(np.float32(bound)) != bound for pair in bounds for bound in pair), "the case would prove nothing"
    with RecordSet.open(tmp_path) as opened:
        assert opened.header == (start + len(FLAT), start + len(FLAT) + 7)
        assert opened.keys.tolist() == list(range(start, start + len(FLAT)))
        assert opened.ranges.counts.tolist() == [len(encoded) for encoded in IMAGES]
        assert [opened.read(int(key)) for key in opened.keys] == FLAT


def test_any_number_of_threads_may_read(tmp_path, make_set):
    flat = [one for encoded in make_set(tmp_path, [3] * 40) for one in encoded]
    records = RecordSet.open(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        assert [encoded for _, encoded in pool.map(records.read, records.keys.tolist() * 5)] == flat * 5


def test_check_expected_names_what_differs(tmp_path, make_set):
    make_set(tmp_path, [2, 3])
    records = RecordSet.open(tmp_path)
    records.check_expected(identities=2, images=5, size=(112, 112))
    with pytest.raises(InputError, match="has 2 identities, expected 85742"):
        records.check_expected(identities=85742)
    with pytest.raises(InputError, match="expected \\(112, 96\\)"):
        records.check_expected(size=(112, 96))


def test_writer_refuses_what_would_split_an_identity(tmp_path):
    with pytest.raises(InputError, match="label 0 after 1"), RecordWriter(tmp_path / "out") as writer:
        writer.add(1, [b"x"])
        writer.add(0, [b"y"])
    assert list((tmp_path / "out").iterdir()) == []


def test_an_interrupted_writer_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), RecordWriter(tmp_path) as writer:
        writer.add(0, [b"x"])
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")
    with pytest.raises(OSError), RecordWriter(tmp_path) as writer:
        writer.add(0, [b"x"])
        monkeypatch.setattr("os.fsync", full)
    assert not list(tmp_path.glob("*train*"))


def test_writer_never_writes_over_a_set(tmp_path, make_set):
    make_set(tmp_path, [1])
    before = (tmp_path / "train.rec").read_bytes()
    with pytest.raises(InputError, match="exists already"):
        RecordWriter(tmp_path)
    assert (tmp_path / "train.rec").read_bytes() == before


@pytest.mark.parametrize("images,remedy", [([b""], "is empty"), ([], "has no image")])
def test_writer_refuses_empty_images(tmp_path, images, remedy):
    with pytest.raises(InputError, match=remedy), RecordWriter(tmp_path) as writer:
        writer.add(0, images)


def damage(folder, name, change):
    path = folder / name
    data = change(path.read_bytes())
    path.unlink()
    if data is not None:
        path.write_bytes(data)


@pytest.mark.parametrize("name,change,message", [
    ("train.rec", lambda data: None, "train.rec: not found"),
    ("train.rec", lambda data: b"", "train.rec: empty"),
    ("train.rec", lambda data: data[:len(data) // 2], "truncated"),
    ("train.rec", lambda data: data[:-4], "truncated"),
    ("train.rec", lambda data: b"PK\3\4" * (len(data) // 4), "no record starts here"),
    ("train.idx", lambda data: b"", "train.idx: empty"),
    ("train.idx", lambda data: b"0\tzero\n", "train.idx: line 1: '0.*' is not `key<TAB>offset`"),
    ("train.idx", lambda data: data + b"77\n", "line 9: '77' is not"),
    ("train.idx", lambda data: b"\x89PNG" + bytes(range(256)), "train.idx: line 1"),
    ("train.idx", lambda data: data + data.splitlines(True)[1], "stands there twice"),
    ("train.idx", lambda data: b"".join(data.splitlines(True)[:-1]), "leaves out records"),
    ("train.idx", lambda data: b"".join(data.splitlines(True)[:4] + data.splitlines(True)[5:]),
     "ranges 5 to 8 that are not"),
    ("property", lambda data: b"", "property: has 0 lines; it should have one, `identities,height,width`"),
    ("property", lambda data: b"85742 112 112", "property: line 1: 1 columns separated by commas in '85742 112 112'"),
    ("property", lambda data: b"\xff\xfe\x00", "property: line 1: byte 2 .0x00. is not UTF-16"),
    ("property", lambda data: b"1" * 5000, "property: 5000 bytes where at most 4096 are read"),
    ("property", lambda data: b"1" * 4000 + b",112,112", "property: line 1: .* from 1 to [0-9]* .it has 4000 digits"),
    ("property", lambda data: b"3,112,40000", "property: line 1: '40000' is not a height or width from 1 to"),
    ("property", lambda data: b"3,112,\xc2\xb2", "property: line 1: '²' is not a height or width"),
    ("property", lambda data: b"3,112,112\nx\nshuffled\nnow\n", "property: line 2: 'x' is not a number of images"),
    ("property", lambda data: b"3,112,112\n5\nsorted\nnow\n", "property: line 3: 'sorted' where"),
    ("property", lambda data: b"3,112,112\n5\n", "has 2 lines; it should have one"),
    ("property", lambda data: b"2,112,112\n", "has label 2, but `property` says 2 identities"),
])
def test_bad_files_give_one_line_that_names_them(tmp_path, make_set, name, change, message):
    make_set(tmp_path, [2, 1, 1])
    damage(tmp_path, name, change)
    with pytest.raises(InputError, match=message) as caught:
        RecordSet.open(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("label", [-1.0, 1.5, 9.0, float("nan")])
def test_label_out_of_range_names_the_record(tmp_path, label):
    (tmp_path / "train.rec").write_bytes(frame(pack_image(0, 0, b"x")) + frame(pack_image(label, 1, b"y")))
    (tmp_path / "train.idx").write_text(f"0\t0\n1\t{len(frame(pack_image(0, 0, b'x')))}\n")
    (tmp_path / "property").write_text("3,112,112\n")
    records = RecordSet.open(tmp_path)
    with pytest.raises(InputError, match="record 1 has label"):
        records.read(1)
    with pytest.raises(InputError, match="has no record 7"):
        records.read(7)


def test_ranges_that_overlap_are_refused(tmp_path):
    records = published(IMAGES)
    key = len(FLAT) + 2
    records = [(key, [1, 4], b"", 0) if record[0] == key else record for record in records]
    write_indexed(tmp_path, records)
    with pytest.raises(InputError, match=r"identity range \d+ is \["):
        RecordSet.open(tmp_path)


def test_opening_reads_ranges_not_images(tmp_path, make_set, monkeypatch):
    make_set(tmp_path, [50] * 20)
    read = []
    raw = RecordSet.raw
    monkeypatch.setattr(RecordSet, "raw", lambda self, offset, length: read.append(length) or raw(self, offset, length))
    assert RecordSet.open(tmp_path).labels.size == 1000
    assert len(read) < 50 and sum(read) < 5000
