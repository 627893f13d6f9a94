"""The built-in faces: the same bytes from the same seed, a solid head, disjoint people, the published layouts."""
import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from arcface_mxnet.datasets.ages import AGES_FILE
from arcface_mxnet.datasets.align import REFERENCE_112, similarity
from arcface_mxnet.datasets.faces.head import height_field, rotation, view
from arcface_mxnet.datasets.faces.identity import (
    FIRST_NUMBER,
    MARKS,
    MIXTURES,
    PURPOSE_SIZE,
    TRAITS,
    draw_identity,
    ranges_of,
)
from arcface_mxnet.datasets.faces.nuisance import FRONTAL, OLD, PROFILE, YOUNG, NuisanceRanges, draw_nuisance
from arcface_mxnet.datasets.faces.render import render
from arcface_mxnet.datasets.faces.studio import on_workers, sit, sittings
from arcface_mxnet.datasets.manifest import check
from arcface_mxnet.datasets.pairs import decode, read_pack
from arcface_mxnet.datasets.prepare import main
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.datasets.synthetic import draw_pack, write_dataset
from arcface_mxnet.runtime.errors import InputError
from tests.processor import HAS_AVX512

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PLAIN = replace(NuisanceRanges(), glasses_rate=0.0, hat_rate=0.0, hand_rate=0.0, noise_most=0.5, blur_most=0.0)


def picture(number=3, image=0, **changes):
    nuisance = replace(draw_nuisance(PLAIN, 1, number, image), **changes)
    return render(draw_identity(1, number), nuisance)


def test_the_same_seed_draws_the_same_bytes_on_any_number_of_workers():
    numbers, images = range(5), range(10)
    alone = list(sittings("train", numbers, images, seed=4, workers=1))
    shared = list(sittings("train", numbers, images, seed=4, workers=2))
    assert [sitting.images for sitting in alone] == [sitting.images for sitting in shared]
    assert alone[3].images == sit(3, "train", images, 4).images  # whoever is drawn before
    assert alone[0].images[7:] == sit(0, "train", (7, 8, 9), 4).images


def test_the_order_is_kept_while_few_wait_for_a_worker():
    assert list(on_workers(abs, range(-30, 0), 4, 2)) == list(range(30, 0, -1))
    assert list(on_workers(abs, [], 4, 2)) == []


@pytest.mark.slow
def test_a_signal_to_all_processes_that_draw_is_told_in_a_line(tmp_path):
    """As of a terminal or a service manager: the workers end first, then the command hears of both."""
    command = [sys.executable, "datasets/prepare.py", "synthetic", "--out", str(tmp_path / "faces")]
    drawing = subprocess.Popen(command, cwd=ROOT, start_new_session=True, text=True, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE)
    while drawing.poll() is None and not os.listdir(tmp_path):
        time.sleep(0.05)
    time.sleep(3)  # about one for the workers to start, and the drawing takes half a minute
    os.killpg(drawing.pid, signal.SIGTERM)
    _, said = drawing.communicate(timeout=60)
    assert drawing.returncode == 128 + signal.SIGTERM, said
    assert "Traceback" not in said and said.endswith("terminated\n"), said
    assert os.listdir(tmp_path) == []


def test_pixels_do_not_depend_on_the_threads_of_opencv():
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        one = picture().image
        cv2.setNumThreads(4)
        assert np.array_equal(one, picture().image)
    finally:
        cv2.setNumThreads(threads)


CHOSEN = """
import hashlib, sys
from arcface_mxnet.datasets.faces.studio import sit
chosen = [("train", 2, 28), ("train", 5, 4), ("train", 9, 4), *(("train", n, n) for n in range(20, 32)),
          *((purpose, first + n, n) for purpose, first in (("cfp_fp", 2_000_000), ("agedb_30", 3_000_000))
            for n in range(4))]
drawn = b"".join(sit(person, purpose, [image], 1).images[0] for purpose, person, image in chosen)
print(hashlib.sha256(drawn).hexdigest())
"""
# On x86-64, whatever the Python (3.8 to 3.14), NumPy (1.23 to 2.5) and C library; OpenCV resizes and warps with other
# instructions elsewhere.
DRAWN = "d73a8503131747cbe4e122c3f811e83ab3c1953891beb268cfe4599bdf2d24e9"


def numpys_kernels() -> str:
    """The processor features by which NumPy chooses kernels here, as NPY_DISABLE_CPU_FEATURES takes them."""
    core = importlib.import_module("numpy._core" if hasattr(np, "_core") else "numpy.core")
    features = core._multiarray_umath
    return " ".join(name for name in features.__cpu_dispatch__ if features.__cpu_features__[name])


@pytest.mark.skipif(platform.machine() != "x86_64", reason="OpenCV's kernels are others there")
@pytest.mark.parametrize("name, value", [
    ("OPENBLAS_CORETYPE", "Nehalem"), ("OPENBLAS_CORETYPE", "Haswell"),
    pytest.param("OPENBLAS_CORETYPE", "SkylakeX", marks=pytest.mark.skipif(not HAS_AVX512, reason="has no AVX-512")),
    ("NPY_DISABLE_CPU_FEATURES", numpys_kernels()), ("OMP_NUM_THREADS", "1")])
def test_pixels_do_not_depend_on_the_kernels_of_the_machine(name, value):
    """Linear algebra drew a picture otherwise by up to 2 grey levels, NumPy's exp and sin by up to 12."""
    other = subprocess.run([sys.executable, "-c", CHOSEN], env={**os.environ, name: value}, check=True,
                           capture_output=True, text=True)
    assert other.stdout.strip() == DRAWN


def test_seed_person_and_image_each_change_the_picture():
    first = sit(0, "train", (0,), 1).images[0]
    others = [sit(0, "train", (0,), 2), sit(1, "train", (0,), 1), sit(0, "train", (1,), 1)]
    assert all(other.images[0] != first for other in others)


def test_an_identity_is_a_vector_of_independent_traits():
    codes = np.stack([draw_identity(1, number).code for number in range(400)])
    assert codes.shape == (400, len(TRAITS) + 4 * MARKS)
    assert np.abs(codes).max() <= 1 and np.abs(codes.mean(0)).max() < 0.15
    correlation = np.corrcoef(codes.T) - np.eye(codes.shape[1])
    assert np.abs(correlation).max() < 0.25


def test_no_two_purposes_share_a_person():
    starts = sorted(FIRST_NUMBER.values())
    assert all(later - earlier >= PURPOSE_SIZE for earlier, later in zip(starts, starts[1:]))


def test_faces_lie_on_the_reference_points():
    drawn = [picture(number, landmark_noise=np.zeros((5, 2)), yaw=0.0, pitch=0.0) for number in range(12)]
    off = np.stack([face.landmarks - REFERENCE_112 for face in drawn])
    assert np.sqrt((off ** 2).sum(2)).mean() < 3.5  # people differ; the crop is aligned
    assert np.abs(off.mean(1)).max() < 1e-9  # a least-squares fit leaves no shift


def test_turning_the_head_moves_features_as_on_a_solid():
    """The nose tip stands out towards the camera, so under yaw it moves further than the eyes, to the same side."""
    t, n = draw_identity(1, 3).traits(), replace(draw_nuisance(PLAIN, 1, 3, 0), pitch=0.0, roll=0.0)
    placed = np.array([[30.0, 0.0, 56.0], [0.0, 30.0, 56.0]])

    def across(yaw):
        return render(draw_identity(1, 3), replace(n, yaw=yaw), placed).landmarks[:, 0]

    turned = across(0.4) - across(0.0)
    assert turned[2] > turned[0] + 2 and turned[2] > turned[1] + 2 and turned[:2].min() > 3
    assert np.allclose(across(0.0) - across(-0.4), turned, atol=6)
    field = height_field(t, n, 30.0)
    covers = [view(t, field, rotation(replace(n, yaw=yaw)), placed, 112).cover.sum() for yaw in (0.0, 1.1)]
    assert abs(covers[0] - covers[1]) > 50  # another outline from the side


def test_the_lamp_lights_its_own_side():
    face = picture(yaw=0.0, light=np.array([0.9, 0.0, 0.44]), ambient=0.4, exposure=1.0).image.astype(float)
    other = picture(yaw=0.0, light=np.array([-0.9, 0.0, 0.44]), ambient=0.4, exposure=1.0).image.astype(float)
    left, right = (slice(40, 80), slice(25, 45)), (slice(40, 80), slice(67, 87))
    assert face[right].mean() > face[left].mean() + 20
    assert other[left].mean() > other[right].mean() + 20


@pytest.mark.parametrize("change", [dict(glasses=True), dict(hat=True), dict(hand=True), dict(smile=1.5),
                                    dict(mouth_open=2.0), dict(squint=1.0), dict(age_drift=40.0), dict(blur=2.0),
                                    dict(noise=20.0), dict(makeup=1.0), dict(hair_change=np.full(4, 1.5))])
def test_every_nuisance_is_seen(change):
    plain = picture(number=5).image.astype(float)
    assert np.abs(picture(number=5, **change).image - plain).mean() > 0.3


def test_ranges_mean_what_they_say():
    def yaws(ranges):
        return np.degrees([abs(draw_nuisance(ranges, 1, number, 0).yaw) for number in range(300)])

    low, high = PROFILE.yaw_range
    assert yaws(PROFILE).min() >= low and yaws(PROFILE).max() <= high
    assert yaws(FRONTAL).max() < low / 2
    young, old = ([draw_nuisance(ranges, 1, number, 0).age_drift for number in range(300)] for ranges in (YOUNG, OLD))
    assert np.mean(old) - np.mean(young) >= 30
    assert sum(weight for weight, _ in MIXTURES["train"]) == pytest.approx(1.0)
    seen = [ranges_of("train", 1, number, 0) for number in range(2000)]
    for weight, ranges in MIXTURES["train"]:
        assert sum(one is ranges for one in seen) / 2000 == pytest.approx(weight, abs=0.04)


def test_the_dataset_has_the_published_layout(tiny_faces):
    with RecordSet.open(tiny_faces) as records:
        assert (records.identities, records.images, records.image_size) == (12, 96, (112, 112))
        assert records.header == (97, 109)
        assert np.array_equal(records.labels, np.repeat(np.arange(12), 8))
        images = decode([records.read(int(key))[1] for key in records.keys[:16]])
    assert images.shape == (16, 3, 112, 112)
    ages = [line.split("\t") for line in (tiny_faces / AGES_FILE).read_text().splitlines()]
    assert [int(key) for key, _ in ages] == list(range(1, 97))
    assert all(17 <= float(age) < 90 for _, age in ages)
    assert check(tiny_faces) is not None


@pytest.mark.parametrize("name", ["lfw", "cfp_fp", "agedb_30"])
def test_packs_hold_ten_folds_of_both_kinds(tiny_faces, name):
    pack = read_pack(tiny_faces / f"{name}.bin")
    assert pack.same.reshape(10, 4).tolist() == [[True, True, False, False]] * 10
    firsts = pack.images[0::2]
    for fold in range(10):  # nobody is in two folds: an impostor pair takes pictures of the fold's own people
        own = set(pack.images[8 * fold:8 * fold + 4])
        assert set(pack.images[8 * fold + 4:8 * fold + 8]) == own
    assert len(set(firsts)) == 20 and len(set(pack.images)) == 40


def test_packs_and_training_share_no_picture(tiny_faces):
    with RecordSet.open(tiny_faces) as records:
        seen = {records.read(int(key))[1] for key in records.keys}
    for name in ("lfw", "cfp_fp", "agedb_30"):
        assert not seen & set(read_pack(tiny_faces / f"{name}.bin").images)


def test_genuine_pairs_are_one_person_and_impostor_pairs_two():
    images, same = draw_pack("cfp_fp", 40, seed=9, workers=1)
    start = FIRST_NUMBER["cfp_fp"]
    people = {data: number for number in range(20) for data in sit(start + number, "cfp_fp", (0, 1), 9).images}
    for number, genuine in enumerate(same):
        assert (people[images[2 * number]] == people[images[2 * number + 1]]) == genuine


def test_a_second_call_keeps_the_set_and_another_set_is_refused(tmp_path):
    folder = write_dataset(tmp_path / "faces", 2, 2, 40, seed=1, workers=1)
    before = (folder / "train.rec").read_bytes()
    assert write_dataset(folder, 2, 2, 40, seed=1, workers=1) == folder
    with pytest.raises(InputError, match="another built-in dataset is there"):
        write_dataset(folder, 2, 2, 40, seed=2, workers=1)
    assert (folder / "train.rec").read_bytes() == before
    again = write_dataset(tmp_path / "again", 2, 2, 40, seed=1, workers=1)
    assert (again / "train.rec").read_bytes() == before
    assert json.loads((again / "synthetic.json").read_text())["seed"] == 1


def test_an_interrupted_call_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("arcface_mxnet.datasets.synthetic.describe_set", fail)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "faces", 1, 1, 40, workers=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("pairs", [0, 20, 50])
def test_pairs_that_do_not_fill_folds_are_refused(pairs):
    with pytest.raises(InputError, match="multiple of 20"):
        draw_pack("lfw", pairs, seed=1)


def test_a_files_own_folder_is_never_written_over(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="exists already"):
        write_dataset(tmp_path, 1, 1, 40)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_megaface_layout(tmp_path):
    assert not main(["synthetic", "--out", str(tmp_path / "mf"), "--kind", "megaface", "--identities", "3",
                     "--images-per-identity", "2", "--distractors", "5", "--processes", "1"])
    probes = (tmp_path / "mf" / "facescrub_lst").read_text().split()
    others = (tmp_path / "mf" / "megaface_lst").read_text().split()
    assert len(probes) == 6 and len(others) == 5
    for names, folder, depth in ((probes, "facescrub_images", 2), (others, "megaface_images", 3)):
        assert all(len(name.split("/")) == depth for name in names)
        assert all((tmp_path / "mf" / folder / name).exists() for name in names)


def test_templates_have_media_and_the_published_lists(tmp_path):
    assert not main(["synthetic", "--out", str(tmp_path / "ijb"), "--kind", "templates", "--identities", "2",
                     "--images-per-identity", "4"])
    meta = tmp_path / "ijb" / "IJBC" / "meta"
    faces = [line.split() for line in (meta / "ijbc_face_tid_mid.txt").read_text().splitlines()]
    assert [int(template) for _, template, _ in faces] == [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4
    for template in "1234":
        media = [medium for _, tid, medium in faces if tid == template]
        assert len(set(media)) == 3 and media[2] == media[3]  # two stills and one video
    assert len({medium for *_, medium in faces}) == 12  # no medium is in two templates
    pairs = (meta / "ijbc_template_pair_label.txt").read_text().splitlines()
    assert pairs == ["1 2 1", "1 4 0", "3 2 0", "3 4 1"]
    points = [line.split() for line in (meta / "ijbc_name_5pts_score.txt").read_text().splitlines()]
    assert [row[0] for row in points] == [row[0] for row in faces] and all(len(row) == 12 for row in points)
    rows = (meta / "ijbc_1N_gallery_G2.csv").read_text().splitlines()
    assert rows[0].startswith("TEMPLATE_ID,SUBJECT_ID") and all(row.startswith("3,2,") for row in rows[1:])


def test_photographs_come_with_their_points(tmp_path):
    """Aligning a photograph by its points gives the reference: the points are where the features were drawn."""
    assert not main(["synthetic", "--out", str(tmp_path / "photos"), "--kind", "photographs", "--identities", "1",
                     "--images-per-identity", "1"])
    name, *values = (tmp_path / "photos" / "points.txt").read_text().split()
    image = cv2.imread(str(tmp_path / "photos" / name))
    points = np.array(values, float).reshape(5, 2)
    assert image.shape == (320, 320, 3) and (points > 20).all() and (points < 300).all()
    matrix = similarity(points, REFERENCE_112)
    assert np.abs(points @ matrix[:, :2].T + matrix[:, 2] - REFERENCE_112).max() < 12
