"""inspect says what a thing is: layout, counts, edition, and colours that are the wrong way round."""
import hashlib
import json
import os

from arcface_mxnet.datasets import manifest, prepare
from arcface_mxnet.datasets.inspect_set import colours, inspect, write_report
from arcface_mxnet.datasets.pairs import write_pack
from arcface_mxnet.datasets.records import RecordWriter
from arcface_mxnet.runtime.errors import InputError

import cv2
import numpy as np
import pytest


def face_coloured(number, channel=2):
    """A picture whose middle is skin-like: more of `channel` (BGR) than of the other end."""
    image = np.full((112, 112, 3), 90, dtype=np.uint8)
    image[..., channel] = 150
    image[:10, :10] = number
    return image


@pytest.fixture
def folder(tmp_path):
    with RecordWriter(tmp_path / "set") as writer:
        for identity, count in enumerate([1, 4, 2]):
            writer.add(identity, [face_coloured(number) for number in range(count)])
    manifest.describe_set(tmp_path / "set", "drawn")
    return tmp_path / "set"


def test_a_record_set(folder, tmp_path, capsys):
    found = inspect(folder)
    facts = found.facts
    assert facts["layout"] == "header and identity ranges, record 0 = [8, 11]"
    assert (facts["identities"], facts["images"], facts["property"], facts["labels"]) == (3, 7, "3,112,112", "scalar")
    assert sorted(found.counts.tolist()) == [1, 2, 4] and facts["sizes (sample)"] == {"112x112": 7}
    assert facts["images of an identity"] == "1 to 4, median 2, mean 2.3"
    assert facts["sha256"]["train.rec"] == hashlib.sha256((folder / "train.rec").read_bytes()).hexdigest()
    assert facts["manifest"] == manifest.check(folder) and "right way round" in facts["colours"]
    assert prepare.main(["inspect", str(folder), "--out", str(tmp_path / "report")]) == 0
    printed = capsys.readouterr().out
    assert "edition: none of the published sets" in printed and "identities: 3" in printed
    sheet = cv2.imread(str(tmp_path / "report" / "contact_sheet.jpg"))
    assert sheet.shape == (3 * 112, 4 * 112, 3)
    assert sheet[:100, 200:].mean() < 10 and sheet[120:, :224, 2].mean() > 120, "one picture in the first row"
    assert cv2.imread(str(tmp_path / "report" / "images_per_identity.png")) is not None
    assert json.loads((tmp_path / "report" / "report.json").read_text())["images"] == 7


def test_editions_go_by_counts(folder, monkeypatch):
    import dataclasses

    from arcface_mxnet.datasets import inspect_set
    from arcface_mxnet.datasets.catalog import TRAINING_SETS
    known = {"emore": dataclasses.replace(TRAINING_SETS["emore"], identities=3, images=7)}
    monkeypatch.setattr(inspect_set, "TRAINING_SETS", known)
    assert inspect(folder, checksums=False).facts["edition"] == "MS1MV2 = MS1M-ArcFace (emore)"


@pytest.mark.parametrize("megabytes,expected", [
    (79.7, "the one beside emore"), (76.5, "the one beside MS1M-RetinaFace"), (78.0, "an edition not known here")])
def test_the_editions_of_cfp_fp(tmp_path, megabytes, expected):
    image = cv2.imencode(".jpg", face_coloured(0))[1].tobytes()
    write_pack(tmp_path / "cfp_fp.bin", [image] * 14000, [True, False] * 3500)
    os.truncate(tmp_path / "cfp_fp.bin", int(megabytes * 1e6))  # a pickle may be followed by anything
    facts = inspect(tmp_path / "cfp_fp.bin", checksums=False).facts
    assert expected in facts["edition"] and facts["pairs"] == 7000 and facts["different images"] == 1


def test_a_pack_of_another_length_is_not_the_published_one(tmp_path):
    image = cv2.imencode(".jpg", face_coloured(0))[1].tobytes()
    write_pack(tmp_path / "lfw.bin", [image] * 4, [True, False])
    assert inspect(tmp_path / "lfw.bin").facts["edition"].startswith("NOT Labeled Faces in the Wild")


def test_swapped_channels_show():
    right = [face_coloured(number) for number in range(9)]
    assert "right way round" in colours(right).verdict
    assert "SWAPPED" in colours([picture[..., ::-1] for picture in right]).verdict
    assert colours([np.full((8, 8, 3), number, np.uint8) for number in range(5)]).verdict == "grey"


def test_real_faces_are_the_right_way_round(fixtures):
    found = inspect(fixtures / "lfw" / "lfw112_fold1_600.bin")
    assert "right way round" in found.facts["colours"] and found.facts["genuine"] == 300


def test_a_folder_of_images(tmp_path):
    for person, count in (("a", 2), ("b", 1)):
        (tmp_path / "in" / person).mkdir(parents=True)
        for number in range(count):
            cv2.imwrite(str(tmp_path / "in" / person / f"{number}.png"), face_coloured(number)[:60, :50])
    found = inspect(tmp_path / "in")
    assert found.facts["identities"] == 2 and found.facts["sizes (sample)"] == {"60x50": 3}
    write_report(found, tmp_path / "report")
    assert cv2.imread(str(tmp_path / "report" / "contact_sheet.jpg")).shape == (224, 224, 3)


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    write_pack(tmp_path / "x.bin", [b"no", b"image"], [True])
    with pytest.raises(InputError, match="x.bin: image 0: .*verify"):
        inspect(tmp_path / "x.bin")


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match="not found"):
        inspect(tmp_path / "none")
