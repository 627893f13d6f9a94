"""The IJB meta files and `python -m arcface_mxnet.evaluation.ijb`, end to end from features and from crops."""
import json

from arcface_mxnet.datasets.align import REFERENCES, align
from arcface_mxnet.datasets.images import decode_rgb
from arcface_mxnet.engines.base import place
from arcface_mxnet.evaluation.embedder import Embedder
from arcface_mxnet.evaluation.ijb import templates
from arcface_mxnet.evaluation.ijb.__main__ import main
from arcface_mxnet.evaluation.ijb.metadata import meta_path, read_faces, read_media, read_pairs, read_subjects
from arcface_mxnet.evaluation.ijb.templates import Mode, pool
from arcface_mxnet.evaluation.ijb.verification import verify
from arcface_mxnet.graph.checkpoint import save
from arcface_mxnet.runtime.errors import InputError
from tests.evaluation.small_network import network

import cv2
import numpy as np
import pytest

CPU = place("mxnet", "cpu")


@pytest.fixture
def ijbc(tmp_path):
    """A little IJB-C: 12 subjects with a gallery template (two lists) and two probe templates each, of 3 images."""
    generator = np.random.default_rng(0)
    subjects = np.r_[np.arange(12), np.repeat(np.arange(12), 2)]
    templates = np.arange(len(subjects)) + 100
    meta = tmp_path / "meta"
    meta.mkdir()
    tid, sid = np.repeat(templates, 3), np.repeat(subjects, 3)
    mid = np.arange(len(tid)) // 2
    names = [f"{row + 1}.jpg" for row in range(len(tid))]
    points = REFERENCES[(112, 112)][None] + generator.normal(0, 1, (len(tid), 5, 2))
    scores = generator.uniform(0.5, 1, len(tid))
    (meta / "ijbc_face_tid_mid.txt").write_text("".join(f"{n} {t} {m}\n" for n, t, m in zip(names, tid, mid)))
    (meta / "ijbc_name_5pts_score.txt").write_text("".join(
        f"{name} {' '.join(f'{value:.3f}' for value in five.ravel())} {score:.4f}\n"
        for name, five, score in zip(names, points, scores)))
    (meta / "ijbc_template_pair_label.txt").write_text("".join(
        f"{left} {right} {int(one == other)}\n" for left, one in zip(templates[:12], subjects)
        for right, other in zip(templates[12:], subjects[12:])))
    for name, chosen in (("gallery_G1", range(6)), ("gallery_G2", range(6, 12)), ("probe_mixed", range(12, 36))):
        (meta / f"ijbc_1N_{name}.csv").write_text("TEMPLATE_ID,SUBJECT_ID,FILENAME\n" + "".join(
            f"{templates[row]},{subjects[row]},x.jpg\n" * 2 for row in chosen))
    features = generator.standard_normal((2, 1, 8)) + generator.standard_normal((2, 12, 8))[:, sid] \
        + generator.normal(0, 0.7, (2, len(tid), 8))
    np.save(tmp_path / "F.npy", features[0].astype(np.float32))
    np.save(tmp_path / "F2.npy", features[1].astype(np.float32))
    return tmp_path, features.astype(np.float32), tid, mid, scores


def run(root, task, *more, out="out"):
    main([task, "--target", "ijbc", "--meta", str(root / "meta"), "--features", str(root / "F.npy"), "--out",
          str(root / out), *more])
    return json.loads((root / out / "result.json").read_text())


def test_meta_files_are_read_as_written(ijbc):
    root, _, tid, mid, scores = ijbc
    media = read_media(meta_path(root, "ijbc", "face_tid_mid.txt"))
    np.testing.assert_array_equal(media.templates, tid)
    np.testing.assert_array_equal(media.media, mid)
    faces = read_faces(meta_path(root / "meta", "ijbc", "name_5pts_score.txt"))
    assert media.images.tolist() == faces.names.tolist() and faces.points.shape == (108, 5, 2)
    np.testing.assert_allclose(faces.scores, scores, atol=1e-4)
    pairs = read_pairs(meta_path(root, "ijbc", "template_pair_label.txt"))
    assert len(pairs.same) == 288 and pairs.same.sum() == 24
    probes = read_subjects([meta_path(root, "ijbc", "1N_probe_mixed.csv")])
    assert len(probes.templates) == 24 and probes.subjects.tolist() == np.repeat(np.arange(12), 2).tolist()


@pytest.mark.parametrize("name, content, message", [
    ("face_tid_mid.txt", "1.jpg 5\n", "2 columns where 3"), ("face_tid_mid.txt", "1.jpg x 5\n", "published form"),
    ("face_tid_mid.txt", "", "published form"), ("template_pair_label.txt", "1 2 1\n1 2 7\n", "line 2: label 7"),
    ("template_pair_label.txt", "1 2 1\n1 2\n", "published form"),
    ("name_5pts_score.txt", "a " + "1 " * 10 + "inf\n", "line 1 holds a number")])
def test_damaged_meta_files_are_one_line(tmp_path, name, content, message):
    (tmp_path / f"ijbb_{name}").write_text(content)
    read = {"face_tid_mid.txt": read_media, "template_pair_label.txt": read_pairs, "name_5pts_score.txt": read_faces}
    with pytest.raises(InputError, match=message) as caught:
        read[name](tmp_path / f"ijbb_{name}")
    assert "\n" not in str(caught.value) and f"ijbb_{name}" in str(caught.value)


def test_damaged_subject_lists(tmp_path):
    (tmp_path / "a.csv").write_text("TEMPLATE_ID,SUBJECT_ID\n1,2\n1,3\n")
    with pytest.raises(InputError, match="template 1 has two subjects"):
        read_subjects([tmp_path / "a.csv"])
    (tmp_path / "a.csv").write_text("TEMPLATE,SUBJECT_ID\n1,2\n")
    with pytest.raises(InputError, match="no list with TEMPLATE_ID"):
        read_subjects([tmp_path / "a.csv"])
    with pytest.raises(InputError, match="not found"):
        read_subjects([tmp_path / "b.csv"])
    for content in ("TEMPLATE_ID,SUBJECT_ID\n", ""):
        (tmp_path / "a.csv").write_text(content)
        with pytest.raises(InputError, match=r"a\.csv: ") as caught:
            read_subjects([tmp_path / "a.csv"])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["gallery_G1", "gallery_G2", "probe_mixed"])
def test_a_list_of_nobody_is_one_line(ijbc, name):
    path = ijbc[0] / f"meta/ijbc_1N_{name}.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(InputError, match=f"ijbc_1N_{name}.csv: names no template"):
        run(ijbc[0], "identify")


def test_verify_writes_the_protocols_figures(ijbc, capsys):
    root, features, tid, mid, scores = ijbc
    found = run(root, "verify", "--flipped-features", str(root / "F2.npy"))
    assert set(found) == {"ijbc_N0D0F0", "ijbc_N1D1F2"}
    pairs = read_pairs(root / "meta/ijbc_template_pair_label.txt")
    scores = read_faces(root / "meta/ijbc_name_5pts_score.txt").scores
    for name in ("N0D0F0", "N1D1F2"):
        applied = Mode.parse(name).apply(features[0], features[1], scores)
        expected = verify(pool(lambda rows, applied=applied: applied[rows], tid, mid), pairs)
        assert found[f"ijbc_{name}"]["tar"] == {str(far): rate for far, rate in expected.tar.items()}
    assert "95.60" not in (root / "out/result.md").read_text()  # the paper's figure is of the published lists
    assert (root / "out/ijbc_N0D0F0_roc.png").exists() and "1:1 N1D1F2: TAR %" in capsys.readouterr().out


def test_identify_gives_both_definitions(ijbc):
    found = run(ijbc[0], "identify", "--mode", "N1D0F0")
    assert set(found) == {"ijbc_N1D0F0_union", "ijbc_N1D0F0_separate"}
    assert set(found["ijbc_N1D0F0_union"]["rank"]) == {"1", "5", "10"}
    assert found["ijbc_N1D0F0_separate"]["gallery"] == [6, 6] and found["ijbc_N1D0F0_union"]["gallery"] == [12]
    assert found["ijbc_N1D0F0_separate"]["rank"]["1"] >= found["ijbc_N1D0F0_union"]["rank"]["1"]


def test_a_list_that_is_not_the_published_one_is_said(ijbc, capsys):
    found = run(ijbc[0], "verify", "--mode", "N0D0F0")
    told = capsys.readouterr().err
    assert "\n" not in told.rstrip("\n") and told.startswith("warning: ijbc: not the published lists (")
    assert "288 pairs instead of 15,658,489" in told and "24 genuine pairs instead of 19,557" in told
    assert "36 templates instead of 23,124" in told and "108 images instead of 469,375" in told
    assert found["ijbc_N0D0F0"]["published_lists"] is False
    assert "288 pairs instead of 15,658,489" in found["ijbc_N0D0F0"]["about"]["notes"]["not the published lists"]
    assert "| ijbc (not the published lists) 1:1 N0D0F0: TAR" in (ijbc[0] / "out/result.md").read_text()
    found = run(ijbc[0], "identify", "--mode", "N0D0F0")
    told = capsys.readouterr().err
    assert "\n" not in told.rstrip("\n") and "6 templates of gallery 1 instead of 1,772" in told
    assert "24 probe templates instead of 19,593" in told and not found["ijbc_N0D0F0_union"]["published_lists"]


def test_the_published_lists_pass_in_silence(ijbc, monkeypatch, capsys):
    """A pair list cut at a line boundary is told from the whole one; the whole one is not commented on."""
    root = ijbc[0]
    monkeypatch.setitem(templates.PUBLISHED_SIZES, "ijbc", {
        "images": 108, "templates": 36, "pairs": 288, "genuine pairs": 24, "probe templates": 24,
        "templates of gallery 1": 6, "templates of gallery 2": 6})
    for task in ("verify", "identify"):
        found = run(root, task, "--mode", "N0D0F0")
        assert capsys.readouterr().err == ""
        assert all(entry["published_lists"] for entry in found.values())
        table = (root / "out/result.md").read_text()
        assert "not the published" not in table and ("v4 Table 8" in table) == (task == "identify")
    path = root / "meta/ijbc_template_pair_label.txt"
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()[:-1]))
    run(root, "verify", "--mode", "N0D0F0")
    assert capsys.readouterr().err.startswith("warning: ijbc: not the published lists (287 pairs instead of 288, "
                                                "23 genuine pairs instead of 24)")


def test_the_counts_are_those_of_the_facts():
    ijbb, ijbc = (templates.PUBLISHED_SIZES[target] for target in ("ijbb", "ijbc"))
    assert ijbc["pairs"] == 19_557 + 15_638_932 and ijbb["pairs"] - ijbb["genuine pairs"] == 8_000_000
    assert ijbc["templates of gallery 1"] + ijbc["templates of gallery 2"] == 3_531


def test_crops_are_aligned_by_their_points_and_embedded_both_ways(ijbc):
    root = ijbc[0]
    save(network(), str(root / "model"), 0)
    generator = np.random.default_rng(2)
    (root / "crops").mkdir()
    for row in range(108):
        blocks = generator.integers(0, 255, (7, 7, 3), np.uint8)
        cv2.imwrite(str(root / f"crops/{row + 1}.jpg"), cv2.resize(blocks, (120, 120)))
    arguments = ["verify", "--target", "ijbc", "--meta", str(root), "--model", f"{root / 'model'},0", "--gpus", "cpu",
                 "--mode", "N1D1F2", "--out", str(root / "run")]
    with pytest.raises(InputError, match="--images"):
        main(arguments)
    main([*arguments, "--images", str(root / "crops")])
    stored = np.load(root / "run/ijbc_embeddings/embeddings.npy")
    faces = read_faces(root / "meta/ijbc_name_5pts_score.txt")
    aligned = [align(decode_rgb((root / "crops" / name).read_bytes()), points)
               for name, points in zip(faces.names[:9], faces.points)]
    images = np.stack(aligned).transpose(0, 3, 1, 2)
    expected = Embedder.load(f"{root / 'model'},0", CPU).embed(images, "concatenate")
    np.testing.assert_allclose(stored[:9], expected, rtol=1e-4, atol=1e-5)
    (root / "crops/4.jpg").write_bytes(b"torn")
    with pytest.raises(InputError, match="1 images cannot be read, the first: 4.jpg"):
        main([*arguments[:-1], str(root / "again"), "--images", str(root / "crops")])


@pytest.mark.parametrize("more, message", [
    (["--mode", "N1D1F2"], "--flipped-features"), (["--mode", "N9"], "--mode N9"),
    (["--meta", "nowhere"], "not found")])
def test_bad_flags_are_one_line(ijbc, more, message):
    with pytest.raises(InputError, match=message) as caught:
        run(ijbc[0], "verify", *more)
    assert "\n" not in str(caught.value)


def test_features_that_do_not_fit_are_refused(ijbc):
    root = ijbc[0]
    np.save(root / "F.npy", np.ones((5, 8), np.float32))
    with pytest.raises(InputError, match="5 rows where 108 are needed"):
        run(root, "verify")
    np.save(root / "F.npy", np.full((108, 8), np.nan, np.float32))
    with pytest.raises(InputError, match="not finite"):
        run(root, "verify")
