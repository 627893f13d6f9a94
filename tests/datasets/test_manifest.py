"""The manifest names what a set holds and refuses changed bytes, wherever the change is."""
import hashlib
import json
import os
import zlib

from arcface_mxnet.datasets import manifest
from arcface_mxnet.datasets.pairs import write_pack
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest


@pytest.fixture
def folder(tmp_path, make_set):
    images = make_set(tmp_path, [2, 3, 1])
    manifest.describe_set(tmp_path, "drawn", "none")
    write_pack(tmp_path / "lfw.bin", images[0], [True])
    manifest.describe_pack(tmp_path / "lfw.bin", "drawn too")
    return tmp_path


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def test_what_it_says_is_so(folder):
    told = json.loads((folder / "manifest.json").read_text())
    for name, entry in told["files"].items():
        data = (folder / name).read_bytes()
        assert entry == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert set(told["files"]) == {"train.rec", "train.idx", "property", "train.crc", "lfw.bin"}
    assert told["parts"]["record_set"]["identities"] == 3 and told["parts"]["record_set"]["images"] == 6
    assert told["parts"]["pack lfw"]["pairs"] == 1 and told["tool"].startswith("arcface-mxnet")
    data, lines = (folder / "train.rec").read_bytes(), (folder / "train.idx").read_text().split("\n")[:-1]
    offsets = sorted((int(line.split("\t")[1]), int(line.split("\t")[0])) for line in lines)
    ends = [offset for offset, _ in offsets[1:]] + [len(data)]
    crcs = np.fromfile(folder / "train.crc", dtype="<u4")
    for (offset, key), end in zip(offsets, ends):
        assert crcs[key] == zlib.crc32(data[offset:end])


def test_the_short_hash_stands_for_the_bytes(folder, tmp_path_factory, make_set):
    first = manifest.check(folder)
    assert first == manifest.check(folder, thorough=True) and len(first) == 12
    other = tmp_path_factory.mktemp("other")
    images = make_set(other, [2, 3, 1])
    without_pack = manifest.describe_set(other, "another source, the same bytes")
    assert without_pack != first
    write_pack(other / "lfw.bin", images[0], [True])
    assert manifest.describe_pack(other / "lfw.bin", "x") == first


def test_a_folder_without_manifest_has_no_hash(tmp_path, make_set):
    make_set(tmp_path, [1])
    assert manifest.check(tmp_path) is None


@pytest.mark.parametrize("name", ["train.rec", "train.idx", "property", "train.crc", "lfw.bin"])
def test_any_flipped_bit_is_refused_by_name(folder, name):
    flip(folder / name, os.path.getsize(folder / name) // 2)
    with pytest.raises(InputError, match=f"{name}: its bytes are not those of its manifest"):
        manifest.check(folder)
    others = [other for other in manifest.SET_FILES + ("lfw.bin",) if other != name]
    assert manifest.check(folder, others) is not None


@pytest.mark.parametrize("change,message", [(lambda path: path.unlink(), "listed in manifest.json but not there"),
                                            (lambda path: path.write_bytes(b"x"), "has 1 bytes, its manifest says")])
def test_missing_and_resized_files_are_named(folder, change, message):
    change(folder / "lfw.bin")
    with pytest.raises(InputError, match="lfw.bin: " + message):
        manifest.check(folder)


def test_a_large_file_is_read_again_once_anything_touched_it(folder, monkeypatch):
    monkeypatch.setattr(manifest, "ALWAYS_READ", 0)
    monkeypatch.setattr(manifest, "_SETTLED_SECONDS", -1.0)
    read = []
    monkeypatch.setattr(manifest, "sha256", lambda path: read.append(path.name) or
                        hashlib.sha256(path.read_bytes()).hexdigest())
    manifest.check(folder)
    assert sorted(read) == sorted(manifest.SET_FILES + ("lfw.bin",))
    read.clear()
    manifest.check(folder)
    assert read == []
    before = (folder / "train.rec").stat()
    flip(folder / "train.rec", 500)
    os.utime(folder / "train.rec", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(InputError, match="train.rec: its bytes"):
        manifest.check(folder)
    assert manifest.check(folder, ["train.idx"]) and read == ["train.rec"]


def test_bytes_that_change_after_the_check_are_caught_when_read(folder):
    records = RecordSet.open(folder)
    key = int(records.keys[2])
    position = records.index.position(key)
    flip(folder / "train.rec", int(records.index.offsets[position]) + 60)
    with pytest.raises(InputError, match=f"record {key} is not what its checksum says"):
        records.read(key)
    assert records.read(key + 1)


@pytest.mark.parametrize("content", ["[]", "{}", '{"files": {"train.rec": 1}}', "not json"])
def test_a_broken_manifest_is_named(folder, content):
    (folder / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=r"manifest\.json: "):
        manifest.check(folder)


def test_checksums_of_another_set_are_refused(folder):
    (folder / "train.crc").write_bytes(b"1234")
    with pytest.raises(InputError, match="holds 1 checksums for 10 records"):
        RecordSet.open(folder)


def test_the_short_hash_stands_for_the_bytes_of_each_file_and_its_name():
    def of(digest, name="train.rec"):
        return manifest.short_hash({"files": {name: {"bytes": 3, "sha256": digest}}})
    assert len(of("a" * 64)) == 12 and len({of("a" * 64), of("b" * 64), of("a" * 64, "train.idx")}) == 3


@pytest.mark.parametrize("name", ["../train.rec", "/etc/hostname", "a/b", "", "x" * 300, "a\0", "."])
def test_a_manifest_names_files_of_its_folder_alone(tmp_path, name):
    (tmp_path / "manifest.json").write_text(json.dumps({"files": {name: {"bytes": 1, "sha256": "00"}}, "parts": {}}))
    with pytest.raises(InputError, match="no manifest of a set"):
        manifest.check(tmp_path)


def test_a_pack_is_the_published_one_by_name_number_and_no_manifest(tmp_path):
    path = tmp_path / "lfw.bin"
    write_pack(path, [b"picture"] * 4, [True, False])
    assert manifest.published_pack(path, 6000) and not manifest.published_pack(path, 600)
    assert not manifest.published_pack(tmp_path / "mine.bin", 6000)
    manifest.describe_pack(path, "drawn faces")
    assert not manifest.published_pack(path, 6000)
