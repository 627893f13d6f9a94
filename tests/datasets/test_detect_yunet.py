"""YuNet's path through OpenCV, on a made model with the inputs, outputs, names and shapes of the published one.

Nobody here has the published weights. This model finds a face in each cell (of 8, 16 and 32 pixels) whose first pixel
is painted: blue is its class score, green its object score (OpenCV multiplies them and takes the root); box and points
stand in fixed places beside the cell. What OpenCV and we make of that is known from the description of the outputs.
"""
from arcface_mxnet.datasets.align import REFERENCE_112, read_points
from arcface_mxnet.datasets.align_folder import align_folder, find_by_detector
from arcface_mxnet.datasets.detect import YuNet
from arcface_mxnet.datasets.prepare import main
from arcface_mxnet.runtime.errors import InputError

import cv2
import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

STRIDES = (8, 16, 32)
CENTRE, SIZE = np.array([0.25, 0.5]), np.array([6.0, 8.0])  # of the box, in cells
POINTS = (REFERENCE_112 - 56) / 20  # in cells, from the cell's first pixel: left eye first, as in the picture


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Twelve outputs cls_8 ... kps_32 of shape (1, (640 / stride)^2, 1, 1, 4 or 10), input (1, 3, 640, 640) BGR."""
    nodes, constants, outputs = [], [], []

    def constant(name, value, kind=np.float32):
        constants.append(onnx.numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    heads = [("cls", [[1 / 255, 0, 0]], [0]), ("obj", [[0, 1 / 255, 0]], [0]),
             ("bbox", np.zeros((4, 3)), [*CENTRE, *np.log(SIZE)]), ("kps", np.zeros((10, 3)), POINTS.ravel())]
    for stride in STRIDES:
        first = np.zeros((3, 3, stride, stride))
        first[:, :, 0, 0] = np.eye(3)
        nodes.append(onnx.helper.make_node("Conv", ["input", constant(f"first{stride}", first)], [f"cells{stride}"],
                                           kernel_shape=[stride] * 2, strides=[stride] * 2))
        for head, weight, bias in heads:
            name, wide = f"{head}_{stride}", len(weight)
            weights = constant(f"{name}_w", np.reshape(weight, (-1, 3, 1, 1)))
            shape = constant(f"{name}_s", [1, -1, wide], np.int64)
            nodes += [onnx.helper.make_node("Conv", [f"cells{stride}", weights, constant(f"{name}_b", bias)],
                                            [f"{name}_map"], kernel_shape=[1, 1]),
                      onnx.helper.make_node("Transpose", [f"{name}_map"], [f"{name}_last"], perm=[0, 2, 3, 1]),
                      onnx.helper.make_node("Reshape", [f"{name}_last", shape], [name])]
    for head, weight, _ in heads:
        outputs += [onnx.helper.make_tensor_value_info(f"{head}_{stride}", 1, [1, (640 // stride) ** 2, len(weight)])
                    for stride in STRIDES]
    taken = onnx.helper.make_tensor_value_info("input", 1, [1, 3, 640, 640])
    graph = onnx.helper.make_graph(nodes, "yunet", [taken], outputs, constants)
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 11)], ir_version=6)
    onnx.checker.check_model(made)
    path = tmp_path_factory.mktemp("yunet") / "face_detection_yunet_made.onnx"
    onnx.save(made, path)
    return path


def painted(shape, *faces):
    """A dark picture with ((row, column), class score, object score) painted at each place."""
    picture = np.zeros((*shape, 3), np.uint8)
    for (row, column), of_class, of_object in faces:
        picture[row, column] = (round(255 * of_class), round(255 * of_object), 0)
    return picture


def expected(row, column, stride, scale=1.0):
    """(box, points) of the face painted there, as the description of the outputs has it."""
    first = np.array([column, row], float)
    middle, half = first + CENTRE * stride, SIZE * stride / 2
    return np.concatenate([middle - half, middle + half]) / scale, (first + POINTS * stride) / scale


@pytest.mark.parametrize("shape", [(640, 640), (200, 331), (75, 640), (41, 57)])
def test_box_points_and_score_of_one_face(model, shape):
    """At (8, 24) only the stride of 8 sees it; sizes that are no multiple of 32 are padded by OpenCV."""
    (face,) = YuNet(model).detect(painted(shape, ((8, 24), 0.9, 0.8)))
    box, points = expected(8, 24, 8)
    assert np.allclose(face.box, box, atol=1e-3) and np.allclose(face.points, points, atol=1e-3)
    assert face.score == pytest.approx(np.sqrt(round(0.9 * 255) * round(0.8 * 255)) / 255, abs=1e-5)
    left_eye, right_eye, nose, left_mouth, right_mouth = face.points
    assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0] and nose[1] < left_mouth[1]


def test_several_faces_the_surest_first_and_weak_ones_not(model):
    picture = painted((480, 600), ((40, 40), 0.8, 0.8), ((40, 200), 1, 1), ((200, 400), 0.9, 0.9),
                      ((296, 40), 0.6, 0.7))
    faces = YuNet(model).detect(picture)
    assert [round(face.score, 2) for face in faces] == [1.0, 0.9, 0.8]
    for face, place in zip(faces, [(40, 200), (200, 400), (40, 40)]):
        assert np.allclose(face.points, expected(*place, 8)[1], atol=1e-3)
    assert YuNet(model, threshold=0.5).detect(picture)[-1].score == pytest.approx(0.648, abs=2e-3)
    assert YuNet(model).detect(np.zeros((100, 100, 3), np.uint8)) == []


def test_faces_of_each_stride(model):
    """A cell of 16 pixels also is one of 8, one of 32 all three: of boxes that share their place the surest stays."""
    faces = YuNet(model).detect(painted((640, 640), ((320, 320), 1, 1)))
    assert {tuple(np.round(face.box[2:] - face.box[:2])) for face in faces} <= {(48, 64), (96, 128), (192, 256)}
    assert len(faces) == 3, "their overlap is a quarter, less than what counts as one"
    for face in faces:
        stride = round((face.box[2] - face.box[0]) / 6)
        assert np.allclose(face.points, expected(320, 320, stride)[1], atol=1e-2)


@pytest.mark.parametrize("shape", [(1280, 960), (960, 1280)])
def test_a_large_photograph_is_scaled_down_and_its_points_up_again(model, shape):
    picture = cv2.resize(painted((shape[0] // 2, shape[1] // 2), ((72, 200), 1, 1)), shape[::-1],
                         interpolation=cv2.INTER_NEAREST)
    (face,) = YuNet(model).detect(picture)
    box, points = expected(72, 200, 8, scale=0.5)
    assert np.allclose(face.box, box, atol=1e-2) and np.allclose(face.points, points, atol=1e-2)


def test_colours_go_in_as_blue_green_red(model):
    """Class score from blue: painted red, there is no face."""
    picture = painted((64, 64), ((8, 24), 1, 1))
    assert YuNet(model).detect(picture) and not YuNet(model).detect(picture[:, :, ::-1].copy())


def test_align_makes_the_crops_of_its_points(model, tmp_path):
    (tmp_path / "in").mkdir()
    two = painted((480, 600), ((40, 328), 0.9, 0.9), ((200, 104), 1, 1))
    cv2.imwrite(str(tmp_path / "in" / "two.png"), two)
    cv2.imwrite(str(tmp_path / "in" / "none.png"), np.zeros((90, 90, 3), np.uint8))
    assert main(["align", str(tmp_path / "in"), str(tmp_path / "out"), "--detector", "yunet", "--detector-model",
                 str(model), "--all-faces"]) == 0
    points = read_points(tmp_path / "out" / "points.tsv")
    assert sorted(points) == ["two.jpg", "two_1.jpg"], "left to right"
    for name, place in (("two.jpg", (200, 104)), ("two_1.jpg", (40, 328))):
        assert np.allclose(points[name], expected(*place, 8)[1], atol=2e-3)
        assert cv2.imread(str(tmp_path / "out" / name)).shape == (112, 112, 3)
    assert (tmp_path / "out" / "not_found.tsv").read_text() == "none.png\tno face found\n"
    report = align_folder(tmp_path / "in", tmp_path / "one", find_by_detector(YuNet(model)))
    assert [name for name, _ in report.crops] == ["two.jpg"]


def test_what_may_not_check_its_indices_is_not_given_to_opencv(model, tmp_path):
    hostile = onnx.load(model)
    hostile.graph.node[0].op_type = "GatherND"
    onnx.save(hostile, tmp_path / "hostile.onnx")
    with pytest.raises(InputError, match=r"GatherND\): not run by OpenCV .* give YuNet's \.onnx file"):
        YuNet(tmp_path / "hostile.onnx")
    (tmp_path / "cut.onnx").write_bytes(model.read_bytes()[:-7])
    with pytest.raises(InputError, match=r"cut\.onnx: no ONNX file .* give YuNet's \.onnx file"):
        YuNet(tmp_path / "cut.onnx")
