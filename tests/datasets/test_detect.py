"""Both real detectors on a real photograph; suppression and the choice of one face on made ones."""
from arcface_mxnet.datasets.align import open_detector
from arcface_mxnet.datasets.detect import Face, Mtcnn, Scrfd, _thin, choose, letterbox, suppress
from arcface_mxnet.runtime.errors import InputError

import cv2
import numpy as np
import pytest


def face(x1, y1, x2, y2, score=0.9):
    return Face(np.array([x1, y1, x2, y2], float), score, np.zeros((5, 2)))


@pytest.fixture(scope="module")
def photograph(fixtures):
    return cv2.imread(str(fixtures / "photographs" / "insightface_t1.jpg"))


@pytest.fixture(scope="module")
def by_scrfd(fixtures, photograph):
    return Scrfd(fixtures / "scrfd" / "scrfd_500m_kps.onnx").detect(photograph)


@pytest.fixture(scope="module")
def by_mtcnn(fixtures, photograph):
    return Mtcnn(fixtures / "mtcnn").detect(photograph)


def test_both_find_the_six_faces(by_scrfd, by_mtcnn):
    assert len(by_scrfd) == 6 and len(by_mtcnn) == 6
    for found in (by_scrfd, by_mtcnn):
        assert sorted(one.score for one in found) == [one.score for one in found][::-1]
        for one in found:
            left, right, nose, left_mouth, right_mouth = one.points
            assert left[0] < right[0] and left_mouth[0] < right_mouth[0]
            assert max(left[1], right[1]) < nose[1] < max(left_mouth[1], right_mouth[1])
            assert (one.points > one.box[:2] - 5).all() and (one.points < one.box[2:] + 5).all()


def test_their_points_agree(by_scrfd, by_mtcnn):
    apart = []
    for one in by_scrfd:
        nearest = min(by_mtcnn, key=lambda other: np.abs(other.points - one.points).sum())
        apart.append(np.linalg.norm(nearest.points - one.points, axis=1))
    assert np.mean(apart) < 5.0 and np.median(apart) < 4.0  # pixels; the photograph is 1280 wide


def test_points_follow_the_photograph_when_it_is_shifted(fixtures, photograph, by_scrfd):
    moved = cv2.copyMakeBorder(photograph, 32, 0, 64, 0, cv2.BORDER_CONSTANT)
    again = Scrfd(fixtures / "scrfd" / "scrfd_500m_kps.onnx").detect(moved)
    assert len(again) == 6
    for one in by_scrfd:
        nearest = min(again, key=lambda other: np.abs(other.points - one.points - (64, 32)).sum())
        assert np.abs(nearest.points - one.points - (64, 32)).mean() < 4.0


def test_an_empty_picture_has_no_face(fixtures):
    grey = np.full((300, 400, 3), 127, np.uint8)
    assert Scrfd(fixtures / "scrfd" / "scrfd_500m_kps.onnx").detect(grey) == []
    assert Mtcnn(fixtures / "mtcnn").detect(grey) == []
    assert Mtcnn(fixtures / "mtcnn").detect(grey[:10, :10]) == []


def test_overlapping_faces_are_thinned_to_the_surest():
    faces = [face(0, 0, 10, 10, 0.6), face(1, 1, 11, 11, 0.9), face(30, 30, 40, 40, 0.7)]
    assert [one.score for one in suppress(faces, 0.4)] == [0.9, 0.7]
    assert suppress([], 0.4) == []


def test_suppression_equals_an_obvious_one():
    generator = np.random.default_rng(3)
    corner = generator.uniform(0, 50, (60, 2))
    boxes, scores = np.hstack([corner, corner + generator.uniform(5, 40, (60, 2))]), generator.uniform(size=60)

    def share(a, b, smaller):
        inner = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
        areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
        return inner / (min(areas) if smaller else sum(areas) - inner)

    for smaller in (False, True):
        kept = []
        for index in sorted(range(60), key=lambda i: -scores[i]):
            if all(share(boxes[index], boxes[other], smaller) <= 0.3 for other in kept):
                kept.append(index)
        assert _thin(boxes, scores, 0.3, smaller).tolist() == kept


def test_the_chosen_face_is_large_and_in_the_middle():
    small_middle, large_corner, middle = face(45, 45, 55, 55), face(0, 0, 30, 30), face(30, 30, 60, 60)
    assert choose([large_corner, middle, small_middle], 100, 100) is middle
    assert choose([], 100, 100) is None


@pytest.mark.parametrize("shape", [(100, 300), (300, 100), (640, 640), (7, 5)])
def test_a_letterbox_keeps_the_shape_and_says_its_scale(shape):
    fitted, scale = letterbox(np.full((*shape, 3), 255, np.uint8), (640, 640))
    assert fitted.shape == (640, 640, 3) and scale == pytest.approx(640 / max(shape))
    assert abs(int((fitted[:, :, 0] > 0).sum()) - shape[0] * shape[1] * scale ** 2) < 1300


def test_another_onnx_model_is_refused_by_name(tmp_path):
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    value = [onnx.helper.make_tensor_value_info(name, 1, [1, 3, 640, 640]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", value[:1], value[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(InputError, match="other.onnx: has 1 outputs"):
        Scrfd(tmp_path / "other.onnx")


def test_an_unknown_detector_is_refused():
    with pytest.raises(InputError, match="known: mtcnn, scrfd, yunet"):
        open_detector("haar", "x")


def test_another_models_file_is_no_yunet(fixtures):
    with pytest.raises(InputError, match="give YuNet's .onnx file"):
        open_detector("yunet", fixtures / "scrfd" / "scrfd_500m_kps.onnx")
