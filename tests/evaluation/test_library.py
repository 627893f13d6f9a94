"""The library: its names and signatures are frozen, and each does what its description says."""
import inspect
import subprocess
import sys

import arcface_mxnet as arcface
from arcface_mxnet.datasets.align import align as align_points
from arcface_mxnet.datasets.detect import Face
from arcface_mxnet.evaluation import compare as command
from arcface_mxnet.evaluation import library
from arcface_mxnet.graph.checkpoint import save
from arcface_mxnet.runtime.errors import InputError
from tests.evaluation.small_network import network

import cv2
import numpy as np
import pytest

FROZEN = {
    "align": "(picture, face, size=(112, 112))",
    "compare": "(one, other, model, detector=None, flip='none')",
    "detect": "(picture, detector)",
    "embed": "(model, pictures, detector=None, flip='none')",
    "identities": "(folder, model, detector=None, flip='none')",
    "load": "(model, engine=None, devices=None, batch_size=32)",
    "open_detector": "(kind, model)",
    "read": "(picture)",
    "search": "(queries, gallery, k, backend='auto')",
    "Comparison": "(cosine, angle)",
    "Face": "(box, score, points)",
    "Identities": "(names, embeddings)",
    "Neighbours": "(rows, cosines)",
}
POINTS = np.array([[60, 70], [100, 72], [80, 95], [64, 120], [97, 121]], float)


class FoundAt:
    """A detector that finds one face, and remembers the pixels it was given."""

    def detect(self, bgr):
        self.seen = bgr
        return [Face(np.array([40.0, 40, 120, 140]), 0.9, POINTS)]


class FindsNothing:
    def detect(self, bgr):
        return []


def picture(seed, side=112):
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return cv2.resize(small, (side, side))


def png(rgb):
    return cv2.imencode(".png", rgb[:, :, ::-1])[1].tobytes()


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    where = tmp_path_factory.mktemp("network") / "model"
    save(network(), str(where), 0)
    return f"{where},0"


@pytest.fixture(scope="module")
def model(prefix):
    return arcface.load(prefix, devices="cpu")


def test_names_and_signatures_are_frozen():
    assert arcface.__all__ == library.__all__
    assert set(arcface.__all__) == {*FROZEN, "Embedder", "Picture"}
    for name, wanted in FROZEN.items():
        signature = inspect.signature(getattr(arcface, name))
        plain = [one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()]
        assert str(inspect.Signature(plain)) == wanted, name
    assert set(arcface.__all__) <= set(dir(arcface))
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        arcface.__getattr__("no_such_name")


def test_importing_the_package_loads_no_library():
    code = "import sys, arcface_mxnet; print([n for n in ('numpy', 'cv2', 'mxnet', 'torch') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_paths_bytes_and_arrays_are_one_picture(tmp_path):
    pixels = picture(1)
    (tmp_path / "a.png").write_bytes(png(pixels))
    for given in (pixels, png(pixels), tmp_path / "a.png", str(tmp_path / "a.png")):
        np.testing.assert_array_equal(arcface.read(given), pixels)
    np.testing.assert_array_equal(arcface.read(pixels[:, :, 0]), np.stack([pixels[:, :, 0]] * 3, axis=2))


@pytest.mark.parametrize("given, said", [
    (np.zeros((4, 4, 3), float), "float64"), (np.zeros((4, 4, 4), np.uint8), "uint8 .4, 4, 4."),
    (np.zeros((0, 4, 3), np.uint8), "uint8 .0, 4, 3."), (b"no image", "the picture given: "),
    ("absent.jpg", "absent.jpg: not found"), (".", "is a folder")])
def test_what_is_no_picture_is_refused(given, said):
    with pytest.raises(InputError, match=said):
        arcface.read(given)


def test_a_detector_sees_bgr_and_its_points_make_the_crop():
    photo, detector = picture(2, 160), FoundAt()
    found, = arcface.detect(photo, detector)
    np.testing.assert_array_equal(detector.seen, photo[:, :, ::-1])
    wanted = align_points(photo, POINTS)
    for face in (found, POINTS, detector):
        np.testing.assert_array_equal(arcface.align(png(photo), face), wanted)
    with pytest.raises(InputError, match="no face found"):
        arcface.align(photo, FindsNothing())


def test_embeddings_are_unit_rows_of_rgb_planes(model):
    crops = [picture(seed) for seed in range(3)]
    rows = arcface.embed(model, [crops[0], png(crops[1]), crops[2]])
    raw = model.embed(np.stack(crops).transpose(0, 3, 1, 2)).astype(np.float64)
    np.testing.assert_allclose(rows, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(arcface.embed(model, crops[0]), rows[:1], atol=1e-6)
    with pytest.raises(InputError, match="160x160, the network takes aligned crops of 112x112; align it"):
        arcface.embed(model, picture(1, 160))
    with pytest.raises(InputError, match="no pictures"):
        arcface.embed(model, [])


def test_two_pictures_compare_as_their_embeddings_do(model):
    one, other = picture(4), picture(5)
    rows = model.embed(np.stack([one, other]).transpose(0, 3, 1, 2)).astype(np.float64)
    cosine = rows[0] @ rows[1] / np.linalg.norm(rows[0]) / np.linalg.norm(rows[1])
    found = arcface.compare(one, other, model)
    assert found.cosine == pytest.approx(cosine, abs=1e-6)
    assert found.angle == pytest.approx(np.degrees(np.arccos(cosine)), abs=1e-3)
    assert arcface.compare(one, one, model).angle == pytest.approx(0, abs=0.05)
    assert arcface.compare(picture(2, 160), picture(3, 160), model, FoundAt()) == arcface.compare(
        align_points(picture(2, 160), POINTS), align_points(picture(3, 160), POINTS), model)


def test_people_of_a_folder_are_found_again(model, tmp_path):
    for person, seeds in (("ada", (1, 2)), ("bob", (3,))):
        (tmp_path / person).mkdir()
        for seed in seeds:
            (tmp_path / person / f"{seed}.png").write_bytes(png(picture(seed)))
    (tmp_path / "carol.png").write_bytes(png(picture(4)))
    known = arcface.identities(tmp_path, model)
    assert sorted(known.names) == ["ada", "bob", "carol"]
    both = arcface.embed(model, [picture(1), picture(2)]).astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(known.embeddings[known.names.index("ada")], both / np.linalg.norm(both), atol=1e-6)
    found = arcface.search(arcface.embed(model, [picture(3), picture(4)]), known.embeddings, 1)
    assert [known.names[row] for row in found.rows[:, 0]] == ["bob", "carol"]
    with pytest.raises(InputError, match="absent: not found"):
        arcface.identities(tmp_path / "absent", model)


def test_the_command_prints_what_the_library_returns(prefix, model, tmp_path, capsys):
    for name, seed in (("a.png", 6), ("b.png", 7)):
        (tmp_path / name).write_bytes(png(picture(seed)))
    command.main([str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--model", prefix, "--gpus", "cpu"])
    found = arcface.compare(picture(6), picture(7), model)
    assert capsys.readouterr().out == f"cosine {found.cosine:.4f}, angle {found.angle:.1f} degrees\n"
    with pytest.raises(InputError, match="--detector and --detector-model go together.*non-commercial"):
        command.main(["a.png", "b.png", "--model", prefix, "--detector", "scrfd"])
