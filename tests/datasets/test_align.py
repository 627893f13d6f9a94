"""Alignment against an independent transform and another warp; folders of photographs; landmark files."""
from arcface_mxnet.datasets.align import (
    REFERENCE_112,
    REFERENCE_112X96,
    align,
    known_crop,
    open_detector,
    read_points,
    rescale,
    similarity,
)
from arcface_mxnet.datasets.align_folder import align_folder, find_by_detector, find_by_points
from arcface_mxnet.datasets.detect import Face
from arcface_mxnet.datasets.prepare import main
from arcface_mxnet.runtime.errors import InputError

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.transform import AffineTransform, warp


def complex_similarity(source, target):
    """The least-squares similarity as a quotient of complex numbers: another derivation, nothing of scikit-image."""
    z, w = source[:, 0] + 1j * source[:, 1], target[:, 0] + 1j * target[:, 1]
    a = np.vdot(z - z.mean(), w - w.mean()) / np.vdot(z - z.mean(), z - z.mean())
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def photograph(size=200, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
    return cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)


POINTS = np.array([[70.0, 80.0], [118.0, 74.0], [99.0, 104.0], [80.0, 130.0], [119.0, 126.0]])


def test_reference_points_are_the_published_ones():
    assert REFERENCE_112X96[:, 0].tolist() == [30.2946, 65.5318, 48.0252, 33.5493, 62.7299]
    assert REFERENCE_112X96[:, 1].tolist() == [51.6963, 51.5014, 71.7366, 92.3655, 92.2041]
    assert np.allclose(REFERENCE_112 - REFERENCE_112X96, [8.0, 0.0])


@given(st.lists(st.tuples(st.floats(-200, 200), st.floats(-200, 200)), min_size=5, max_size=5))
def test_the_transform_is_the_least_squares_similarity(points):
    source = np.array(points)
    if np.ptp(source, axis=0).max() < 1e-2:
        return
    matrix = similarity(source, REFERENCE_112)
    assert np.allclose(matrix, complex_similarity(source, REFERENCE_112), atol=1e-6)
    assert matrix[0, 0] == pytest.approx(matrix[1, 1]) and matrix[0, 1] == pytest.approx(-matrix[1, 0])


def test_mirrored_points_are_not_matched_by_a_reflection():
    assert np.linalg.det(similarity(REFERENCE_112 * (-1, 1), REFERENCE_112)[:, :2]) >= 0


@pytest.mark.parametrize("size,reference", [((112, 112), REFERENCE_112), ((112, 96), REFERENCE_112X96)])
def test_a_crop_equals_an_independent_warp(size, reference):
    image = photograph()
    matrix = np.vstack([complex_similarity(POINTS, reference), [0, 0, 1]])
    expected = warp(image, AffineTransform(matrix).inverse, output_shape=size, order=1, preserve_range=True)
    assert np.abs(align(image, POINTS, size).astype(float) - expected).mean() < 1.0


def test_a_real_photograph_equals_an_independent_warp(fixtures):
    image = cv2.imread(str(fixtures / "photographs" / "insightface_t1.jpg"))
    points = np.array([[775.0, 398.0], [817.0, 396.0], [787.0, 424.0], [781.0, 440.0], [813.0, 438.0]])
    matrix = np.vstack([complex_similarity(points, REFERENCE_112), [0, 0, 1]])
    expected = warp(image, AffineTransform(matrix).inverse, output_shape=(112, 112), order=1, preserve_range=True)
    assert np.abs(align(image, points).astype(float) - expected).mean() < 1.0


def test_points_land_on_the_reference():
    image = np.zeros((200, 200, 3), np.uint8)
    placed = REFERENCE_112 * 0.8 + (40, 30)
    for x, y in np.round(placed).astype(int):
        cv2.circle(image, (int(x), int(y)), 3, (255, 255, 255), -1)
    crop = align(image, np.round(placed))
    for x, y in REFERENCE_112:
        assert crop[int(round(y)), int(round(x)), 0] > 200


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.ones((4, 2)), np.full((5, 2), np.nan)])
def test_unusable_points_are_refused(points):
    with pytest.raises(InputError, match="points"):
        align(photograph(), points)


def test_unknown_sizes_are_refused():
    with pytest.raises(InputError, match="--size 96,112: crops are of 112,112 or 112,96"):
        known_crop((96, 112))
    assert known_crop((112, 96)) == (112, 96)
    with pytest.raises(InputError, match="known"):
        align(photograph(), POINTS, (224, 224))


def test_point_files_of_every_form(tmp_path):
    row = " ".join(str(value) for value in POINTS.reshape(-1))
    (tmp_path / "points.txt").write_text(
        f"# comment\na b/one.jpg\t{row.replace(' ', chr(9))}\nc/two.jpg {row}\n3.jpg {row} 0.98\n")
    read = read_points(tmp_path / "points.txt")
    assert list(read) == ["a b/one.jpg", "c/two.jpg", "3.jpg"]
    assert all(np.array_equal(points, POINTS) for points in read.values())


@pytest.mark.parametrize("text,said", [("a.jpg 1 2 3", "line 1"), ("", "no points"),
                                       ("a.jpg 1 2 3 4 5 6 7 8 9 x", "line 1"),
                                       ("a.jpg 1 2 3 4 5 6 7 8 9 nan", "line 1"),
                                       ("a.jpg 1 2 3 4 5 6 7 8 9 10\na.jpg 1 2 3 4 5 6 7 8 9 10", "line 2.*twice")])
def test_bad_point_files_are_refused_by_line(tmp_path, text, said):
    (tmp_path / "points.txt").write_text(text)
    with pytest.raises(InputError, match=said):
        read_points(tmp_path / "points.txt")


def test_points_follow_a_resized_picture():
    # pixel 0's centre of the small picture lies between pixels 0 and 1 of one twice as large
    assert np.allclose(rescale(np.array([[0.5, 0.5]]), 250, 125), [[0.0, 0.0]])


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())


def test_a_folder_is_aligned_and_what_is_missed_is_listed(tmp_path):
    source = tmp_path / "Fotos äöü"
    save(source / "Ann Lee" / "1.png", photograph(seed=1))
    save(source / "Ann Lee" / "2.png", photograph(seed=2))
    (source / "broken.jpg").write_bytes(b"no image")
    (source / "readme.txt").write_text("not a picture")
    before = sorted(path.read_bytes() for path in source.rglob("*") if path.is_file())
    report = align_folder(source, tmp_path / "crops", find_by_points({"Ann Lee/1.png": POINTS}), lossless=True)
    assert [name for name, _ in report.crops] == ["Ann Lee/1.png"]
    assert dict(report.missed)["Ann Lee/2.png"] == "no face found" and "unreadable" in dict(report.missed)["broken.jpg"]
    crop = cv2.imread(str(tmp_path / "crops" / "Ann Lee" / "1.png"))
    assert np.array_equal(crop, align(photograph(seed=1), POINTS))
    assert (tmp_path / "crops" / "not_found.tsv").read_text().count("\n") == 2
    assert np.allclose(read_points(tmp_path / "crops" / "points.tsv")["Ann Lee/1.png"], POINTS, atol=1e-3)
    assert sorted(path.read_bytes() for path in source.rglob("*") if path.is_file()) == before


class Finds:
    """A detector that finds two faces, or faces only in pictures with a margin around them."""

    def __init__(self, needs_room=False):
        self.needs_room = needs_room

    def detect(self, bgr):
        if self.needs_room and bgr.shape[0] < 300:
            return []
        shift = (bgr.shape[0] - 200) / 2
        points = [POINTS + shift, POINTS * 0.2 + shift]
        return [Face(np.concatenate([p.min(0) - 10, p.max(0) + 10]), 0.9, p) for p in reversed(points)]


def test_the_face_a_picture_is_of_is_taken_or_all_of_them():
    image = photograph()
    assert np.allclose(find_by_detector(Finds())("a", image), [POINTS])
    assert np.allclose(find_by_detector(Finds(), every=True)("a", image), [POINTS * 0.2, POINTS])


def test_pictures_without_room_are_looked_at_again_with_a_border():
    assert np.allclose(find_by_detector(Finds(needs_room=True))("a", photograph()), [POINTS])


def test_nothing_is_written_when_no_face_is_found_or_it_is_interrupted(tmp_path):
    save(tmp_path / "in" / "1.png", photograph())
    with pytest.raises(InputError, match="no crop could be made"):
        align_folder(tmp_path / "in", tmp_path / "out", find_by_points({}))

    def interrupted(name, image):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        align_folder(tmp_path / "in", tmp_path / "out", interrupted)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_two_pictures_never_become_one_crop(tmp_path):
    save(tmp_path / "in" / "1.png", photograph(seed=1))
    save(tmp_path / "in" / "1.bmp", photograph(seed=2))
    finder = find_by_points({"1.png": POINTS, "1.bmp": POINTS})
    with pytest.raises(InputError, match="would both become"):
        align_folder(tmp_path / "in", tmp_path / "out", finder)


def test_the_output_is_never_written_over(tmp_path):
    save(tmp_path / "in" / "1.png", photograph())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    with pytest.raises(InputError, match="out: exists already"):
        align_folder(tmp_path / "in", tmp_path / "out", find_by_points({"1.png": POINTS}))


@pytest.mark.parametrize("flags,said", [
    ([], "either --points"), (["--detector", "scrfd"], "needs --detector-model"),
    (["--detector", "scrfd", "--detector-model", "no.onnx"], "no.onnx: "),
    (["--detector", "yunet", "--detector-model", "no.onnx"], "no.onnx: "),
    (["--detector", "mtcnn", "--detector-model", "nowhere"], "det1-symbol.json: not found"),
    (["--points", "no.txt"], "no.txt: not found")])
def test_flags_that_cannot_be_used_are_named(tmp_path, flags, said):
    save(tmp_path / "in" / "1.png", photograph())
    with pytest.raises(InputError, match=said):
        main(["align", str(tmp_path / "in"), str(tmp_path / "out"), *flags])


def test_an_empty_or_missing_source_is_named(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "points.txt").write_text("a.jpg 1 2 3 4 5 6 7 8 9 10\n")
    for name, said in (("in", "holds no photograph"), ("gone", "not found")):
        with pytest.raises(InputError, match=said):
            main(["align", str(tmp_path / name), str(tmp_path / "out"), "--points", str(tmp_path / "points.txt")])


def test_a_panorama_is_not_looked_at_with_a_border():
    """The border around a picture of 32,000 x 60 would take 6 GB; a small picture gets one."""
    seen = []

    class Nobody:
        def detect(self, image):
            seen.append(image.shape[:2])
            return []

    find = find_by_detector(Nobody())
    assert find("x", np.zeros((60, 32000, 3), np.uint8)) == [] and seen == [(60, 32000)]
    assert find("x", np.zeros((40, 60, 3), np.uint8)) == [] and seen[1:] == [(40, 60), (100, 120)]


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 2000)])
def test_narrow_pictures_pass_a_detector(fixtures, shape):
    find = find_by_detector(open_detector("mtcnn", fixtures / "mtcnn"))
    assert find("x", np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)) == []
