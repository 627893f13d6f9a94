"""--engine auto with an ONNX file: the engines that run files are measured, ONNX Runtime judges, the note says so."""
import json
import time

from arcface_mxnet.datasets.pairs import write_pack
from arcface_mxnet.engines import choice, onnx_file
from arcface_mxnet.engines.base import FILE_ENGINES, Numerics, Place, installed, place
from arcface_mxnet.evaluation import library, verification
from arcface_mxnet.evaluation.embedder import Embedder
from arcface_mxnet.graph.checkpoint import save
from arcface_mxnet.graph.to_onnx import onnx_model
from arcface_mxnet.recognition import extract
from arcface_mxnet.runtime.errors import InputError, Notice
from tests.engines.test_contract import checkpoint, expected, images
from tests.engines.test_onnx_int8 import IMAGES, int8_model
from tests.engines.test_onnx_int8 import network as for_int8

import cv2
import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
RUNTIMES = [name for name in FILE_ENGINES if name in installed()]
SIDE = images(1).shape[2]


@pytest.fixture
def file(tmp_path):
    (tmp_path / "model.onnx").write_bytes(onnx_model(checkpoint(), (3, SIDE, SIDE)).SerializeToString())
    return tmp_path / "model.onnx"


class Fake:
    """An engine that runs any file: the mean of each channel, `off` from the true one, after `seconds`."""

    def __init__(self, name, seconds=0.0, off=0.0, fails=""):
        self.NAME, self.seconds, self.off, self.fails = name, seconds, off, fails

    def version(self):
        return "1"

    def describe(self, devices, numerics):
        return self.NAME

    def on_gpu(self, devices):
        return 0

    def run_file(self, path, devices, model):
        if self.fails == "load":
            raise InputError("no such operator")
        return self.run

    def run(self, pictures):
        if self.fails == "run":
            raise RuntimeError("no kernel")
        time.sleep(self.seconds)
        return (pictures.mean(axis=(2, 3)) * (1 + self.off)).astype(np.float32)


def fakes(*engines, refused=()):
    return Place(choice, choice.Places(tuple(Place(one, None) for one in engines), refused))


def chosen(file, *engines, refused=()):
    embedder = Embedder(file, fakes(*engines, refused=refused), 4)
    with pytest.warns(Notice, match="no stored graph of MXNet to compare with") as told:
        rows = embedder.embed(images(6))
    record, = embedder.about()["choices"]
    return rows, record, str(told[0].message)


@pytest.mark.parametrize("narrow", [True, False])
def test_the_fastest_that_agrees_with_onnx_runtime_is_taken(file, narrow, monkeypatch):
    """On a processor without VNNI, where the weights of eight-bit layers are looked at, and on one with it."""
    monkeypatch.setattr(onnx_file, "adds_in_16_bits", lambda: narrow)
    judge, other = Fake("onnxruntime", 0.1), Fake("openvino", 0.0, 5e-6)
    rows, record, told = chosen(file, Fake("mxnet"), other, judge)
    assert record["taken"] == "openvino" and record["images"] == 4 and record["judge"].startswith("onnxruntime 1 (")
    assert told.startswith(f"--engine auto takes openvino; on 4 images beside {record['judge']}: onnxruntime ")
    first, second = record["measured"]
    assert (first["engine"], first["difference"]) == ("onnxruntime", 0.0)
    assert second["difference"] == pytest.approx(5e-6, rel=0.1)
    np.testing.assert_array_equal(rows, other.run(images(6).astype(np.float32)))
    other.off = 1e-2
    rows, record, told = chosen(file, Fake("mxnet"), other, judge)
    assert record["taken"] == "onnxruntime" and "images/s, 1.0e-02 off, too far" in told
    np.testing.assert_array_equal(rows, judge.run(images(6).astype(np.float32)))


@pytest.mark.parametrize("moment, reason", [("load", "no such operator"), ("run", "no kernel")])
def test_an_engine_that_fails_is_named_and_a_judge_that_fails_ends_it(file, moment, reason):
    _, record, told = chosen(file, Fake("openvino", fails=moment), Fake("onnxruntime"))
    assert record["taken"] == "onnxruntime" and "openvino not: " in told
    assert reason in record["measured"][1]["why"]
    with pytest.raises(InputError, match=reason):
        Embedder(file, fakes(Fake("openvino"), Fake("onnxruntime", fails=moment)), 4).embed(images(6))


def test_the_judge_is_the_other_engine_where_onnx_runtime_is_not(file):
    _, record, _ = chosen(file, Fake("mxnet"), Fake("openvino"), refused=(("onnxruntime", "no GPU"), ("torch", "none")))
    assert record["taken"] == "openvino" and record["judge"].startswith("openvino 1 (")
    assert [one["why"] for one in record["measured"]] == ["no GPU", ""]


def test_where_no_engine_runs_files_the_command_that_installs_one_is_given(file):
    with pytest.raises(InputError, match=r"neither is installed; install one with 'pip install .*\[onnxruntime\]'"):
        Embedder(file, fakes(Fake("mxnet"), Fake("torch")))
    with pytest.raises(InputError, match="^no GPU$"):
        Embedder(file, fakes(Fake("mxnet"), refused=(("torch", "none"), ("openvino", "no GPU"))))
    with pytest.raises(InputError, match="an ONNX file runs as it is; leave out the flags of precision"):
        Embedder(file, fakes(Fake("onnxruntime")), numerics=Numerics(bf16=True))


def test_installed_engines_embed_as_float64_and_exact_measures_nothing(file):
    embedder, pictures = Embedder.load(str(file), place("auto", "cpu"), 4), images(5)
    assert embedder.image_size == (SIDE, SIDE)
    with pytest.raises(InputError, match="does not take images of shape"):
        embedder.embed(pictures[:, :1])
    with pytest.warns(Notice, match="--engine auto takes "):
        rows = embedder.embed(pictures)
    wanted = expected(checkpoint(), pictures)
    assert np.abs(rows - wanted).max() < 1e-5 * np.abs(wanted).max()
    record, = embedder.about()["choices"]
    assert [one["engine"] for one in record["measured"]] == RUNTIMES
    assert embedder.about()["engine"] == f"engine auto, the fastest of {', '.join(RUNTIMES)}, float32"
    exact = Embedder.load(str(file), place("auto", "cpu"), 4, exact=True)
    np.testing.assert_array_equal(exact.embed(pictures), library.load(str(file), None, "cpu", 4).embed(pictures))
    assert "choices" not in exact.about()


def test_of_an_eight_bit_file_the_note_says_by_how_much_the_other_differs(tmp_path):
    path = tmp_path / "int8.onnx"
    path.write_bytes(int8_model(for_int8(), IMAGES).SerializeToString())
    embedder = Embedder.load(str(path), place("auto", "cpu"), len(IMAGES))
    with pytest.warns(Notice, match="engines round eight-bit ones each in its own way"):
        rows = embedder.embed(IMAGES)
    record, = embedder.about()["choices"]
    by_name = {name: Embedder.load(str(path), place(name, "cpu"), len(IMAGES)).embed(IMAGES) for name in RUNTIMES}
    right = by_name[FILE_ENGINES[0]].astype(np.float64)
    for one in record["measured"]:
        apart = max(np.linalg.norm(got - want) / np.linalg.norm(want)
                    for got, want in zip(by_name[one["engine"]], right))
        assert one["difference"] == pytest.approx(apart, rel=1e-3)
        assert one["engine"] != record["taken"] or apart <= 1e-5
    np.testing.assert_array_equal(rows, by_name[record["taken"]])


@pytest.mark.parametrize("kind", ["checkpoint", "file"])
def test_the_choice_is_stored_with_an_extraction_and_a_result(kind, file, tmp_path, capsys):
    save(checkpoint(), str(tmp_path / "model"), 1)
    model, there = (f"{tmp_path}/model,1", installed()) if kind == "checkpoint" else (str(file), RUNTIMES)
    coded = [cv2.imencode(".png", picture.transpose(1, 2, 0))[1].tobytes() for picture in images(8)]
    write_pack(tmp_path / "toy.bin", coded, [True, False] * 2)
    common = ["--model", model, "--engine", "auto", "--gpus", "cpu", "--out", f"{tmp_path}/out"]
    with pytest.warns(Notice, match="--engine auto takes "):
        extract.main([*common, "--images", f"{tmp_path}/toy.bin", "--size", f"{SIDE},{SIDE}"])
    ran, = json.loads((tmp_path / "out" / "extraction.json").read_text())["ran"]
    with pytest.warns(Notice, match="--engine auto takes "):
        verification.main([*common, "--data-dir", str(tmp_path), "--target", "toy", "--folds", "2"])
    about = json.loads((tmp_path / "out" / "result.json").read_text())["toy"]["about"]
    for stored in (ran, about["notes"]):
        assert stored["engine"].startswith("engine auto") and stored["choices"][0]["taken"] in there
        assert [one["engine"] for one in stored["choices"][0]["measured"]] == there
