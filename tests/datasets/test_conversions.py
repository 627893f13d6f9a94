"""shuffle, unpack, subset: what goes in comes out, in the requested layout."""
import os
from collections import Counter

from arcface_mxnet.datasets import manifest, prepare
from arcface_mxnet.datasets.build import build
from arcface_mxnet.datasets.image_sources import open_source
from arcface_mxnet.datasets.pairs import write_pack
from arcface_mxnet.datasets.records import RecordSet, read_names, write_names
from arcface_mxnet.datasets.subset_merge import subset
from arcface_mxnet.datasets.unpack import folder_names
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.runtime.errors import InputError

import cv2
import numpy as np
import pytest


@pytest.fixture
def source(tmp_path, make_set):
    make_set(tmp_path / "set", [1 + identity % 7 for identity in range(21)])
    return tmp_path / "set"


def images(folder):
    """{(class, bytes): how often} of a set."""
    with RecordSet.open(folder) as records:
        return Counter(records.read(key) for key in records.keys.tolist())


def test_shuffled_records_are_what_mxnets_iterator_reads(source, tmp_path):
    write_pack(source / "lfw.bin", [b"a", b"b"], [True])
    assert prepare.main(["shuffle", str(source), str(tmp_path / "out"), "--seed", "3", "--copy-packs"]) == 0
    out = tmp_path / "out"
    assert images(out) == images(source) and (out / "lfw.bin").exists() and not (out / "train.idx").exists()
    lines = (out / "property").read_text().splitlines()
    assert lines[:3] == ["21,112,112", str(sum(images(source).values())), "shuffled"] and len(lines) == 4
    assert manifest.check(out, thorough=True)
    iterator = mx.io.ImageRecordIter(path_imgrec=str(out / "train.rec"), data_shape=(3, 112, 112), batch_size=4,
                                     preprocess_threads=1, shuffle=False)
    batch = next(iterator)
    with RecordSet.open(out) as records:
        stored = [records.record(place) for place in range(4)]
        assert [record.id for record in stored] == [0, 1, 2, 3]
        assert batch.label[0].asnumpy().tolist() == [record.labels[0] for record in stored]
        first = mx.image.imdecode(stored[0].encoded).asnumpy().transpose(2, 0, 1)
        assert np.array_equal(batch.data[0][0].asnumpy(), first)
        labels = records.labels
    assert (np.diff(labels) < 0).any()
    prepare.main(["shuffle", str(source), str(tmp_path / "again"), "--seed", "3"])
    assert (tmp_path / "again" / "train.rec").read_bytes() == (out / "train.rec").read_bytes()


def test_unpacked_and_built_again_is_the_same_set(source, tmp_path):
    assert prepare.main(["unpack", str(source), str(tmp_path / "photos")]) == 0
    assert sorted(os.listdir(tmp_path / "photos"))[:2] == ["000000", "000001"]
    build(open_source(tmp_path / "photos"), tmp_path / "again")
    for name in ("train.rec", "train.idx", "property"):
        assert (tmp_path / "again" / name).read_bytes() == (source / name).read_bytes()


def test_unpacked_files_keep_bytes_and_colours(tmp_path, picture):
    (tmp_path / "in" / "Zoë").mkdir(parents=True)
    red = np.zeros((112, 112, 3), dtype=np.uint8)
    red[..., 2] = 200
    cv2.imwrite(str(tmp_path / "in" / "Zoë" / "red.png"), red)
    cv2.imwrite(str(tmp_path / "in" / "Zoë" / "face.jpg"), picture(0, 0))
    build(open_source(tmp_path / "in"), tmp_path / "set")
    prepare.main(["unpack", str(tmp_path / "set"), str(tmp_path / "out")])
    files = sorted((tmp_path / "out" / "Zoë").iterdir())
    assert [path.name for path in files] == ["000001.jpg", "000002.png"]
    assert np.array_equal(cv2.imread(str(files[1])), red)
    assert files[0].read_bytes() == (tmp_path / "in" / "Zoë" / "face.jpg").read_bytes()


def test_names_that_cannot_be_folders_become_numbers():
    names = {0: "Ann", 1: "../../etc", 2: "", 3: ".hidden", 4: "bob", 5: "BOB", 6: "x" * 300, 7: "7", 8: "a\\b"}
    assert folder_names(names) == {0: "Ann"}


def test_a_subset_keeps_proportions(source, tmp_path):
    subset(source, tmp_path / "out", identities=7, images=4, seed=1)
    kept = RecordSet.open(tmp_path / "out")
    assert kept.identities == kept.num_classes == 7 and kept.labels.tolist() == sorted(kept.labels.tolist())
    counts = np.bincount(kept.labels)
    assert sorted(counts.tolist()) == [1, 2, 3, 4, 4, 4, 4], "one identity of each size 1..7, at most 4 images"
    names, original = read_names(tmp_path / "out"), images(source)
    for key in kept.keys.tolist():
        label, encoded = kept.read(key)
        assert original[(int(names[label]), encoded)] == 1
    assert manifest.check(tmp_path / "out", thorough=True)
    subset(source, tmp_path / "same", identities=7, images=4, seed=1)
    subset(source, tmp_path / "other", identities=7, images=4, seed=2)
    assert images(tmp_path / "same") == images(tmp_path / "out") != images(tmp_path / "other")


def test_images_of_a_subset_are_drawn_from_all(tmp_path, make_set):
    (stored,) = make_set(tmp_path / "set", [9])
    drawn = set()
    for seed in range(6):
        subset(tmp_path / "set", tmp_path / str(seed), images=3, seed=seed)
        drawn |= {encoded for _, encoded in images(tmp_path / str(seed))}
    assert drawn <= set(stored) and len(drawn) > 6


def test_a_subset_by_the_command_and_its_limits(source, tmp_path):
    assert prepare.main(["subset", str(source), str(tmp_path / "out"), "--min-images", "6"]) == 0
    assert RecordSet.open(tmp_path / "out").identities == 6
    with pytest.raises(InputError, match="--identities 22: it has 21"):
        prepare.main(["subset", str(source), str(tmp_path / "no"), "--identities", "22"])
    with pytest.raises(InputError, match="--images-per-identity 0"):
        prepare.main(["subset", str(source), str(tmp_path / "no"), "--images-per-identity", "0"])
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("verb", ["shuffle", "unpack", "subset"])
def test_nothing_is_written_over_and_nothing_half_appears(source, tmp_path, verb, monkeypatch):
    (tmp_path / "there").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        prepare.main([verb, str(source), str(tmp_path / "there")])
    read, calls = RecordSet.read, []

    def full(self, key):
        calls.append(key)
        if len(calls) > 5:
            raise OSError(28, "No space left on device")
        return read(self, key)
    monkeypatch.setattr(RecordSet, "read", full)
    with pytest.raises(OSError):
        prepare.main([verb, str(source), str(tmp_path / "out")])
    assert sorted(os.listdir(tmp_path)) == ["set", "there"] and (tmp_path / "there").read_text() == "mine"


@pytest.mark.parametrize("content", ["no tab\n", "x\tname\n", "0\ta\n0\tb\n"])
def test_a_broken_names_file_is_named(tmp_path, content):
    (tmp_path / "identities.tsv").write_text(content)
    with pytest.raises(InputError, match="identities.tsv: line"):
        read_names(tmp_path)


def test_names_come_back(tmp_path):
    names = {0: "Zoë Å", 3: "b\udcff"}
    write_names(tmp_path, names)
    assert read_names(tmp_path) == names
