"""Bad input to recognition/train.py: one line that names the file, record or flag, status 2, nothing written over."""
import json
import shutil
import struct
import subprocess
import sys

from arcface_mxnet.datasets.images import encode_jpeg
from arcface_mxnet.datasets.pairs import write_pack
from arcface_mxnet.recognition import train
from arcface_mxnet.recognition.presets import NETWORKS
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import write_checksum

import numpy as np
import pytest

TINY = {"net_name": "fmobilefacenet", "emb_size": 16, "net_output": "GDC", "net_multiplier": 0.125,
        "net_blocks": (1, 1, 1, 1)}


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    monkeypatch.setitem(NETWORKS, "tiny", TINY)


@pytest.fixture
def faces(tiny_faces, tmp_path):
    """A copy of the tiny set to be spoiled, without the manifest that would notice at once."""
    folder = tmp_path / "faces"
    shutil.copytree(tiny_faces, folder)
    for name in ("manifest.json", "train.crc"):
        if (folder / name).exists():
            (folder / name).unlink()
    return folder


def refused(folder, run, *more):
    """The one line that training on `folder` ends with."""
    with pytest.raises(InputError) as error:
        train.main(["--network", "tiny", "--dataset", "own", "--gpus", "cpu", "--per-batch-size", "16", "--max-steps",
                    "2", "--data-dir", str(folder), "--run-dir", str(run), *more])
    assert "\n" not in str(error.value)
    return str(error.value)


def test_data_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        train.main(["--network", "r100", "--loss", "arcface", "--dataset", "emore"])
    said = str(error.value)
    assert said.startswith(f"{tmp_path}/data/faces_emore: no training set; looked for train.rec, train.idx, property")
    assert "no such folder" in said and "--data-dir DIR" in said


def test_the_demo_without_its_faces_says_how_to_draw_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="run 'python datasets/prepare.py synthetic --out data/demo' or 'make demo'"):
        train.main(["--network", "tiny", "--dataset", "demo"])


@pytest.mark.parametrize("flag, value, said", [
    ("--network", "r51", "unknown network 'r51'; known: .*r50"), ("--loss", "x", "unknown loss 'x'"),
    ("--dataset", "x", "unknown dataset 'x'"), ("--gpus", "7", "--gpus 7"), ("--margins", "1,2", "--margins 1.0,2.0"),
])
def test_unknown_names_list_the_known_ones(flag, value, said):
    with pytest.raises(InputError, match=said):
        train.main([flag, value])


@pytest.mark.parametrize("name", ["train.rec", "train.idx", "property", "lfw.bin"])
@pytest.mark.parametrize("spoil", ["empty", "foreign"])
def test_an_empty_or_foreign_file_is_named(faces, tmp_path, name, spoil):
    (faces / name).write_bytes(b"" if spoil == "empty" else b"not what was expected here\n" * 9)
    said = refused(faces, tmp_path / "run")  # a .rec of other bytes is noticed by its index
    assert str(faces / name) in said or (name == "train.rec" and f"{faces / 'train.idx'}: " in said)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["train.rec", "train.idx", "property"])
def test_a_missing_file_is_named(faces, tmp_path, name):
    (faces / name).unlink()
    said = refused(faces, tmp_path / "run")
    assert str(faces) in said and name in said


@pytest.mark.parametrize("name", ["train.rec", "lfw.bin"])
def test_a_truncated_file_is_named(faces, tmp_path, name):
    content = (faces / name).read_bytes()
    (faces / name).write_bytes(content[:len(content) // 2])
    said = refused(faces, tmp_path / "run")
    assert str(faces / name.replace(".rec", "")) in said and "truncated" in said


@pytest.mark.parametrize("side, pairs, said", [
    (96, 10, "holds 96x96 pictures, the network takes 112x112"), (112, 3, "3 pairs, too few for 10 folds"),
    (0, 10, "image 0: its 9 bytes begin as no image")])
def test_a_pack_that_cannot_be_validated_is_named_before_any_step(faces, tmp_path, side, pairs, said):
    image = encode_jpeg(np.zeros((side, side, 3), np.uint8), 90) if side else b"no image."
    write_pack(faces / "cfp_fp.bin", [image] * 2 * pairs, [True, False] * (pairs // 2) + [True] * (pairs % 2))
    assert refused(faces, tmp_path / "run").startswith(f"{faces / 'cfp_fp.bin'}: {said}")
    assert not (tmp_path / "run").exists()


def spoil_record(faces, key, change):
    """Change the payload of one record in place; `change` gets (header 24 bytes, image) and returns the same sizes."""
    offset = dict(map(int, line.split("\t")) for line in (faces / "train.idx").read_text().splitlines())[key]
    content = bytearray((faces / "train.rec").read_bytes())
    length = struct.unpack("<I", content[offset + 4:offset + 8])[0] & (1 << 29) - 1
    payload = bytes(content[offset + 8:offset + 8 + length])
    content[offset + 8:offset + 8 + length] = change(payload)
    (faces / "train.rec").write_bytes(content)


def test_a_record_that_is_no_image_is_named(faces, tmp_path):
    for key in range(1, 97):
        spoil_record(faces, key, lambda payload: payload[:24] + bytes(len(payload) - 24))
    said = refused(faces, tmp_path / "run")
    assert str(faces / "train.rec") in said and "record " in said


def test_a_label_out_of_range_is_named(faces, tmp_path):
    for key in range(1, 97):
        spoil_record(faces, key, lambda payload: struct.pack("<If", 0, 4000.0) + payload[8:])
    said = refused(faces, tmp_path / "run")
    assert "label 4000" in said and str(faces / "train.rec") in said


def test_a_verification_pack_that_was_asked_for_is_not_skipped(faces, tmp_path):
    said = refused(faces, tmp_path / "run", "--val-targets", "lfw,cplfw")
    known = "agedb_30, cfp_fp, lfw, or none for no validation"
    assert said == f"{faces / 'cplfw'}.bin: not found; --val-targets can be: {known}"
    for pack in faces.glob("*.bin"):
        pack.unlink()
    assert f"there is no pack in {faces}, leave --val-targets out" in refused(faces, tmp_path / "run", "--val-targets",
                                                                              "lfw")


def test_none_is_no_validation(faces, tmp_path):
    trained = train.main(["--network", "tiny", "--dataset", "own", "--gpus", "cpu", "--per-batch-size", "16",
                          "--max-steps", "1", "--verbose", "1", "--data-dir", str(faces), "--run-dir",
                          str(tmp_path / "run"), "--val-targets", "none"])
    stored = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert trained == 0 and stored["settings"]["data"]["val_targets"] == [] and stored["validation_sets"] == []


def test_another_set_than_the_preset_says(faces, tmp_path):
    said = refused(faces, tmp_path / "run", "--dataset", "emore")
    assert "85742" in said and str(faces) in said


def test_a_batch_larger_than_the_set(faces, tmp_path):
    assert "--per-batch-size" in refused(faces, tmp_path / "run", "--per-batch-size", "97")


def test_a_filter_that_leaves_nobody(faces, tmp_path):
    assert "no identity has 9 images" in refused(faces, tmp_path / "run", "--images-filter", "9")


def test_half_precision_on_the_cpu(faces, tmp_path):
    assert refused(faces, tmp_path / "run", "--fp16").startswith("--fp16")


def test_a_standing_run_is_left_as_it_was(faces, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "settings.json").write_text("{}")
    assert "--resume" in refused(faces, tmp_path / "run")
    assert (tmp_path / "run" / "settings.json").read_text() == "{}"


def test_resume_takes_no_other_setting(tmp_path):
    with pytest.raises(InputError, match="leave out --lr"):
        train.main(["--resume", "--run-dir", str(tmp_path), "--lr", "0.1"])
    with pytest.raises(InputError, match="say which run with --run-dir"):
        train.main(["--resume"])


@pytest.fixture(scope="module")
def trained(tiny_faces, tmp_path_factory):
    """A run of two steps with a saved checkpoint."""
    NETWORKS["tiny"] = TINY
    folder = tmp_path_factory.mktemp("trained") / "run"
    train.main(["--network", "tiny", "--dataset", "own", "--gpus", "cpu", "--per-batch-size", "16", "--max-steps", "2",
                "--verbose", "2", "--val-targets", "lfw", "--data-dir", str(tiny_faces), "--run-dir", str(folder)])
    del NETWORKS["tiny"]
    return folder


def test_a_flipped_byte_in_a_pretrained_checkpoint(trained, faces, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    path = copy / "model-0001.params"
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)
    assert str(path) in refused(faces, tmp_path / "run", "--pretrained", f"{copy / 'model'},1")


def test_a_pretrained_checkpoint_of_another_shape(trained, faces, tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS, "tiny", {**TINY, "net_multiplier": 0.25})
    said = refused(faces, tmp_path / "run", "--pretrained", f"{trained / 'model'},1")
    assert "has shape" in said and "--network" in said


def test_resuming_on_a_set_that_has_changed(trained, tiny_faces, tmp_path):
    settings = json.loads((trained / "settings.json").read_text())
    assert settings["data_manifest"]
    settings["data_manifest"] = "0" * 12
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    (copy / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="is not the set this run was started on"):
        train.main(["--resume", "--run-dir", str(copy), "--gpus", "cpu"])


def test_a_full_disk_while_saving_keeps_the_restart_point(trained, tmp_path, monkeypatch):
    import resource
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    before = {path.name: path.read_bytes() for path in (copy / "last").iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as error:  # one line for the user
            train.main(["--resume", "--run-dir", str(copy), "--gpus", "cpu", "--max-steps", "4"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.filename.endswith(".params")  # the step's, or the checkpoint's where accuracy was the best yet
    assert {path.name: path.read_bytes() for path in (copy / "last").iterdir()} == before


def test_checksums_beside_checkpoints_are_right(trained, tmp_path):
    beside = (trained / "model-0001.params.sha256").read_text()
    assert beside.split()[0] == write_checksum(shutil.copy(trained / "model-0001.params", tmp_path / "copy.params"))


def test_a_run_directory_has_one_writer(tiny_faces, tmp_path):
    """A second --resume while the first runs would write the same files."""
    code = ("import sys, time\nfrom arcface_mxnet.runtime.locks import claimed\n"
            "with claimed(sys.argv[1]):\n    print('held', flush=True)\n    time.sleep(60)\n")
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE)
    try:
        other.stdout.readline()
        assert f"run: is being written by process {other.pid} on" in refused(tiny_faces, tmp_path / "run")
        assert not (tmp_path / "run" / "settings.json").exists()
    finally:
        other.kill()
        other.wait()
