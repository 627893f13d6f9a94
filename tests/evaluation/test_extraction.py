"""Extraction: every kind of source, a run stopped anywhere goes on to the same bytes, unreadable images listed."""
import json

from arcface_mxnet.datasets.align import REFERENCE_112
from arcface_mxnet.datasets.detect import Face
from arcface_mxnet.datasets.pairs import write_pack
from arcface_mxnet.datasets.records import RecordWriter
from arcface_mxnet.engines.base import place
from arcface_mxnet.engines.mxnet import engine
from arcface_mxnet.evaluation import embedder, extraction
from arcface_mxnet.evaluation.extraction import Preparing, extract
from arcface_mxnet.evaluation.sources import folder_source, list_source, open_source
from arcface_mxnet.graph.checkpoint import save
from arcface_mxnet.recognition import extract as command
from arcface_mxnet.runtime.errors import InputError

import cv2
import numpy as np
import pytest


def picture(number, side=16, ending=".png"):
    image = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
    return image, cv2.imencode(ending, image)[1].tobytes()


@pytest.fixture
def folder(tmp_path):
    """12 pictures of 3 people, the fifth unreadable, beside a file that is no image."""
    root = tmp_path / "faces"
    for number in range(12):
        place = root / f"person{number % 3}" / f"{number:02d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"broken" if number == 5 else picture(number)[1])
    (root / "notes.txt").write_text("no image")
    return root


def means(images):
    """A stand-in for a network: the mean of each channel and the top left pixel."""
    return np.hstack([images.mean(axis=(2, 3)), images[:, :, 0, 0]]).astype(np.float32)


def expected(folder):
    rows = []
    for path in sorted(folder.rglob("*.png")):
        image = cv2.imread(str(path))
        rows.append(np.full(6, np.nan) if image is None else means(image[None, ..., ::-1].transpose(0, 3, 1, 2))[0])
    return np.array(rows, np.float32)


def test_a_folder_is_embedded_in_order_with_the_unreadable_listed(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(extraction, "BLOCK", 5)
    result = extract(folder_source(folder), means, tmp_path / "out", {"model": "m"}, (16, 16))
    rows = np.load(tmp_path / "out" / "embeddings.npy")
    np.testing.assert_allclose(rows, expected(folder), rtol=1e-6)
    assert result.rows == 12 and result.dimensions == 6
    assert [(row, name) for row, name, _ in result.unreadable] == [(9, "person2/05.png")]
    ids = (tmp_path / "out" / "ids.txt").read_text().split("\n")
    assert ids[:2] == ["person0/00.png", "person0/03.png"] and ids[-1] == "" and len(ids) == 13
    assert (tmp_path / "out" / "labels.txt").read_text().split() == ["0"] * 4 + ["1"] * 4 + ["2"] * 4
    assert "person2/05.png" in (tmp_path / "out" / "unreadable.txt").read_text()


def test_unreadable_images_can_be_left_out(folder, tmp_path):
    result = extract(folder_source(folder), means, tmp_path / "out", {}, (16, 16), drop_unreadable=True)
    rows = np.load(tmp_path / "out" / "embeddings.npy")
    np.testing.assert_allclose(rows, np.delete(expected(folder), 9, axis=0), rtol=1e-6)
    assert result.rows == 11 and len((tmp_path / "out" / "ids.txt").read_text().splitlines()) == 11


class Stopped(Exception):
    pass


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(folder, tmp_path, monkeypatch, calls):
    extract(folder_source(folder), means, tmp_path / "whole", {"model": "m"}, (16, 16))
    monkeypatch.setattr(extraction, "BLOCK", 4)
    seen = []

    def failing(images):
        if len(seen) == calls:
            raise Stopped
        seen.append(len(images))
        return means(images)

    with pytest.raises(Stopped):
        extract(folder_source(folder), failing, tmp_path / "out", {"model": "m"}, (16, 16))
    assert not (tmp_path / "out" / "embeddings.npy").exists()
    counted = []
    extract(folder_source(folder), lambda images: counted.append(len(images)) or means(images), tmp_path / "out",
            {"model": "m"}, (16, 16))
    assert len(counted) == 3 - calls
    for name in ("embeddings.npy", "ids.txt", "labels.txt", "unreadable.txt"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("moment", ["before the rename", "after the rename"])
def test_a_stop_while_finishing_does_no_harm(folder, tmp_path, monkeypatch, moment):
    extract(folder_source(folder), means, tmp_path / "whole", {}, (16, 16), drop_unreadable=True)
    real = extraction.os.replace

    def replace(source, target):
        if str(target).endswith("embeddings.npy"):
            if moment == "after the rename":
                real(source, target)
            raise Stopped
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(extraction.os, "replace", replace)
        with pytest.raises(Stopped):
            extract(folder_source(folder), means, tmp_path / "out", {}, (16, 16), drop_unreadable=True)
    extract(folder_source(folder), means, tmp_path / "out", {}, (16, 16), drop_unreadable=True)
    assert (tmp_path / "out" / "embeddings.npy").read_bytes() == (tmp_path / "whole" / "embeddings.npy").read_bytes()
    assert json.loads((tmp_path / "out" / "extraction.json").read_text())["complete"]


def test_another_run_in_the_folder_is_refused(folder, tmp_path):
    extract(folder_source(folder), means, tmp_path / "out", {"model": "a", "flip": "sum"}, (16, 16))
    with pytest.raises(InputError, match="belongs to another extraction \\(model differ\\)"):
        extract(folder_source(folder), means, tmp_path / "out", {"model": "b", "flip": "sum"}, (16, 16))
    (tmp_path / "bad").mkdir()
    for number in range(2):
        (tmp_path / "bad" / f"{number}.jpg").write_bytes(b"no")
    with pytest.raises(InputError, match="none of its 2 images can be read"):
        extract(folder_source(tmp_path / "bad"), means, tmp_path / "out2", {}, (16, 16))


def test_records_packs_and_lists_are_sources(folder, tmp_path):
    pictures = [picture(number, ending=".jpg")[1] for number in range(4)]
    write_pack(tmp_path / "toy.bin", pictures, [True, False])
    pack = open_source(tmp_path / "toy.bin")
    assert pack.names == ["0_0", "0_1", "1_0", "1_1"] and pack.read(2) == pictures[2]
    (tmp_path / "list.txt").write_text("# two faces\nperson1/01.png\t7\nperson0/03.png\t2\n")
    listed = open_source(tmp_path / "list.txt", folder)
    assert listed.names == ["person1/01.png", "person0/03.png"] and listed.labels.tolist() == [7, 2]
    assert listed.read(0) == (folder / "person1" / "01.png").read_bytes()
    with RecordWriter(tmp_path / "set", (16, 16)) as writer:
        writer.add(0, pictures[:2])
        writer.add(1, pictures[2:])
    records = open_source(tmp_path / "set")
    assert records.names == ["1", "2", "3", "4"] and records.labels.tolist() == [0, 0, 1, 1]
    assert records.read(3) == pictures[3]


def test_unusable_sources_are_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere: not found"):
        open_source(tmp_path / "nowhere")
    (tmp_path / "list.txt").write_text("a.png\t1\nb.png\n")
    with pytest.raises(InputError, match="line 2: a class on some lines only"):
        list_source(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text("a.png\tx\n")
    with pytest.raises(InputError, match="line 1: 'x' is not a class .the form is PATH<TAB>CLASS.$"):
        list_source(tmp_path / "list.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no image in it"):
        folder_source(tmp_path / "empty")


def test_the_batch_fits_the_memory(monkeypatch, tmp_path, small):
    checkpoint = small()
    save(checkpoint, str(tmp_path / "model"), 0)
    each = embedder.activation_bytes(checkpoint.symbol, (16, 16))
    assert each > 4 * (3 * 16 * 16 + 3 * 8 * 7 * 7)
    for free, exact, batch in ((1 << 40, True, 64), (1 << 40, False, 8), (4 * each * 9, True, 8), (1, False, 1)):
        monkeypatch.setattr(engine, "free_bytes", lambda devices, free=free: free)
        assert embedder.fitting_batch_size(f"{tmp_path}/model,0", (16, 16), place("mxnet", "cpu"), exact=exact) == batch


def test_the_command_embeds_a_folder_with_two_models(folder, tmp_path, capsys, small):
    save(small(0), str(tmp_path / "one"), 0)
    save(small(4, 7), str(tmp_path / "two"), 3)
    command.main(["--model", f"{tmp_path}/one,0|{tmp_path}/two,3", "--images", str(folder), "--size", "16,16",
                  "--flip", "sum", "--gpus", "cpu", "--out", str(tmp_path / "out")])
    rows = np.load(tmp_path / "out" / "embeddings.npy")
    assert rows.shape == (12, 12) and np.isnan(rows[9]).all() and np.isfinite(np.delete(rows, 9, 0)).all()
    assert "1 images could not be used" in capsys.readouterr().out


class FoundInTheMiddle:
    """A detector of one face in every picture that is not black in the middle."""

    def detect(self, bgr):
        middle = np.array([bgr.shape[1], bgr.shape[0]]) / 2
        if not bgr[int(middle[1]), int(middle[0])].any():
            return []
        points = REFERENCE_112 - 56 + middle
        return [Face(np.concatenate([points.min(0), points.max(0)]), 0.9, points)]


def test_pictures_of_another_size_are_refused_or_scaled_or_aligned_by_name(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    (root / "a.png").write_bytes(picture(0, 224)[1])
    with pytest.raises(InputError, match="a.png: is 224x224, not 112x112; align the faces .--detector., or scale"):
        extract(folder_source(root), means, tmp_path / "strict", {})
    extract(folder_source(root), means, tmp_path / "scaled", {}, prepare=Preparing((112, 112), resize=True))
    small = cv2.resize(picture(0, 224)[0], (112, 112))[None, ..., ::-1].transpose(0, 3, 1, 2)
    np.testing.assert_allclose(np.load(tmp_path / "scaled" / "embeddings.npy"), means(small), rtol=1e-6)
    (root / "black.png").write_bytes(cv2.imencode(".png", np.zeros((150, 120, 3), np.uint8))[1].tobytes())
    with pytest.raises(InputError, match="black.png: it is 150x120, which does not scale to 112x112; align"):
        extract(folder_source(root), means, tmp_path / "shape", {}, prepare=Preparing((112, 112), resize=True))
    done = extract(folder_source(root), means, tmp_path / "aligned", {},
                   prepare=Preparing((112, 112), detector=FoundInTheMiddle()))
    assert [(row, reason) for row, _, reason in done.unreadable] == [(1, "shows no face that was found")]
    middle = picture(0, 224)[0][56:168, 56:168][None, ..., ::-1].transpose(0, 3, 1, 2)
    np.testing.assert_allclose(np.load(tmp_path / "aligned" / "embeddings.npy")[0], means(middle)[0], rtol=1e-6)


def test_one_image_is_a_source(tmp_path):
    (tmp_path / "photo.JPG").write_bytes(picture(3, ending=".jpg")[1])
    source = open_source(tmp_path / "photo.JPG")
    assert list(source.names) == ["photo.JPG"] and source.read(0) == picture(3, ending=".jpg")[1]
