"""verify finds each kind of damage, names it, and says so by its exit status."""
import json

from arcface_mxnet.datasets import manifest, prepare
from arcface_mxnet.datasets.check import verify
from arcface_mxnet.datasets.pairs import write_pack
from arcface_mxnet.datasets.recordio import frame, pack_image
from arcface_mxnet.datasets.records import RecordSet, RecordWriter

import cv2
import numpy as np
import pytest


def distinct(seed):
    """A picture unlike any other."""
    coarse = np.random.default_rng(seed).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    return cv2.resize(coarse, (112, 112), interpolation=cv2.INTER_CUBIC)


def jpeg(image, quality=95):
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


@pytest.fixture
def folder(tmp_path):
    with RecordWriter(tmp_path / "set") as writer:
        for identity, count in enumerate([3, 2, 4]):
            writer.add(identity, [jpeg(distinct([identity, number])) for number in range(count)])
    manifest.describe_set(tmp_path / "set", "drawn")
    return tmp_path / "set"


def kinds(verdict):
    return [(finding.kind, finding.where) for finding in verdict.findings]


def test_a_sound_set(folder, capsys):
    verdict = verify(folder)
    assert (verdict.status, verdict.images, verdict.identities) == (0, 9, 3)
    assert verdict.manifest == manifest.check(folder)
    assert prepare.main(["verify", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "sound"


def plain(folder, images, labels, prop=None):
    """A set without header, manifest and checks, of any bytes and labels."""
    folder.mkdir()
    frames = [frame(pack_image(label, key, image)) for key, (image, label) in enumerate(zip(images, labels))]
    (folder / "train.rec").write_bytes(b"".join(frames))
    offsets = np.cumsum([0] + [len(one) for one in frames])
    (folder / "train.idx").write_text("".join(f"{key}\t{offsets[key]}\n" for key in range(len(frames))))
    if prop:
        (folder / "property").write_text(prop)
    return folder


GOOD = [jpeg(distinct(number)) for number in range(4)]


@pytest.mark.parametrize("images,labels,prop,expected", [
    (GOOD[:2] + [b"no image"], [0, 1, 2], "3,112,112", ("image", "record 2")),
    (GOOD[:2] + [GOOD[2][:-40]], [0, 1, 2], "3,112,112", ("image", "record 2")),
    (GOOD[:2] + [jpeg(distinct(9)[:100])], [0, 1, 2], "3,112,112", ("image", "record 2")),
    (GOOD[:3], [0, 7, 1], "2,112,112", ("label", "record 1")),
    (GOOD[:3], [0, 0.5, 1], "2,112,112", ("label", "record 1")),
    (GOOD[:3], [0, 1, 3], "4,112,112", ("labels", "class 2")),
    (GOOD[:3], [0, 1, 2], "5,112,112", ("property", "property")),
    (GOOD[:3], [0, 1, 2], "3,112,112\n9\nshuffled\n2018", ("property", "property")),
    (GOOD[:3], [0, 1, 2], None, ("property", "property")),
])
def test_each_kind_of_damage_is_found(tmp_path, images, labels, prop, expected):
    verdict = verify(plain(tmp_path / "set", images, labels, prop))
    assert expected in kinds(verdict) and verdict.status == 1


def test_a_flipped_bit_in_an_image_names_its_record(folder):
    with RecordSet.open(folder) as records:
        position = records.index.position(5)
        at = int(records.index.offsets[position]) + 200
    data = bytearray((folder / "train.rec").read_bytes())
    data[at] ^= 4
    (folder / "train.rec").write_bytes(bytes(data))
    verdict = verify(folder)
    assert kinds(verdict) == [("record", "record 5"), ("manifest", "train.rec")]
    assert verdict.status == 1


def test_a_changed_property_is_found_by_the_manifest(folder):
    (folder / "property").write_text("3,112,112")
    verdict = verify(folder)
    assert kinds(verdict) == [("manifest", "manifest.json")] and "property" in verdict.findings[0].what


def test_bytes_the_index_does_not_know(tmp_path):
    folder = plain(tmp_path / "set", GOOD, [0, 1, 2, 3], "4,112,112")
    lines = (folder / "train.idx").read_text().splitlines(True)
    (folder / "train.idx").write_text("".join(lines[:2] + lines[3:]))
    verdict = verify(folder)
    assert ("record", "record 1") in kinds(verdict)


@pytest.mark.parametrize("second,said", [
    (pack_image(1, 2, GOOD[1]), "class 0"), (pack_image([0, 7], 2, GOOD[1]), None), (pack_image(0, 2, b""), "no image"),
    (pack_image(0, 2, GOOD[1])[:20], "shorter"), (pack_image(0.25, 2, GOOD[1]), "0.25"),
    (pack_image(0, 2, GOOD[1] + bytes(-len(GOOD[1]) % 4) + b"\x0a\x23\xd7\xce"), None)])
def test_a_record_that_is_not_as_its_range_wants_it(tmp_path, second, said):
    """A label of another class; a vector of labels (sound); no image; half a header; a split record (sound)."""
    frames = [frame(pack_image(0, 1, GOOD[0])), frame(second), frame(pack_image(1, 3, GOOD[2]))]
    frames += [frame(pack_image(bounds, 4 + place, b"")) for place, bounds in enumerate([[1, 3], [3, 4]])]
    frames += [frame(pack_image([4, 6], 0, b"", 1))]
    offsets = np.cumsum([0] + [len(one) for one in frames])
    (tmp_path / "train.rec").write_bytes(b"".join(frames))
    lines = [f"{key}\t{offset}\n" for key, offset in zip([1, 2, 3, 4, 5, 0], offsets)]
    (tmp_path / "train.idx").write_text("".join(lines))
    (tmp_path / "property").write_text("2,112,112\n")
    verdict = verify(tmp_path)
    assert [(where, said in what) for _, where, what in verdict.findings] == ([("record 2", True)] if said else [])
    assert verdict.images == (2 if said else 3)


def test_a_set_that_cannot_be_opened_is_damaged(folder):
    data = (folder / "train.rec").read_bytes()
    (folder / "train.rec").write_bytes(data[:-60])
    verdict = verify(folder)
    assert verdict.status == 1 and "truncated" in verdict.findings[0].what


def test_duplicates_and_overlap(tmp_path, capsys):
    same = distinct(100)
    with RecordWriter(tmp_path / "set") as writer:
        writer.add(0, [jpeg(same), jpeg(distinct(1)), jpeg(cv2.GaussianBlur(same, (3, 3), 0.5))])
        writer.add(1, [jpeg(distinct(2)), jpeg(same, 60)])
    write_pack(tmp_path / "lfw.bin", [jpeg(distinct(3)), jpeg(distinct(1), 40), jpeg(distinct(4)), jpeg(distinct(4))],
               [False, True])
    verdict = verify(tmp_path / "set", [tmp_path / "lfw.bin"])
    assert [pair[:2] for pair in verdict.within] == [(1, 3)]
    assert {pair[:2] for pair in verdict.across} <= {(1, 5), (3, 5)} and verdict.across
    assert [hit[:3] for hit in verdict.overlap] == [(2, "lfw", 1)]
    assert verdict.status == 3 and not verdict.findings
    report = tmp_path / "report.json"
    assert prepare.main(["verify", str(tmp_path / "set"), "--packs", str(tmp_path / "lfw.bin"),
                         "--report", str(report)]) == 3
    assert json.loads(report.read_text())["overlap"][0][:3] == [2, "lfw", 1]
    assert "record 2 is image 1 of lfw" in capsys.readouterr().out


def test_threads_change_nothing(folder):
    assert verify(folder, threads=1) == verify(folder, threads=4)


@pytest.mark.parametrize("spoil,status", [(lambda images: images, 0), (lambda images: images[:3] + [b"x"], 1),
                                          (lambda images: images[:3] + [GOOD[3][:-30]], 1),
                                          (lambda images: images[:3] + [jpeg(distinct(5)[:100])], 1)])
def test_packs(tmp_path, spoil, status):
    write_pack(tmp_path / "lfw.bin", spoil(GOOD), [True, False])
    assert prepare.main(["verify", str(tmp_path / "lfw.bin")]) == status


def test_nothing_to_verify(tmp_path):
    from arcface_mxnet.runtime.errors import InputError
    with pytest.raises(InputError, match="not found"):
        verify(tmp_path / "nowhere")


def test_memory_does_not_grow_with_the_images(tmp_path):
    import tracemalloc
    image = jpeg(np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8), 100)
    peaks = []
    for times in (1, 3):
        folder = tmp_path / str(times)
        with RecordWriter(folder) as writer:
            for identity in range(20 * times):
                writer.add(identity, [image] * 30)
        tracemalloc.start()
        assert verify(folder, threads=1).images == 600 * times
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < (tmp_path / "3" / "train.rec").stat().st_size / 2 and peaks[1] < 1.2 * peaks[0]
