"""The export command: each form on disk, its card, and what it refuses."""
import json
import os
import subprocess
import sys
from pathlib import Path

from arcface_mxnet.engines.base import place
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.engines.mxnet.untrained import untrained
from arcface_mxnet.evaluation.embedder import Embedder
from arcface_mxnet.evaluation.results import About, Entry, write_results
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.checkpoint import load, save
from arcface_mxnet.recognition import export
from arcface_mxnet.recognition.export import calibration_images
from arcface_mxnet.recognition.networks import NetworkSettings, build
from arcface_mxnet.recognition.settings import resolve
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import sha256, verify_checksum
from tests.processor import mxnet_bfloat16

import cv2
import numpy
import pytest

CPU = place("mxnet", "cpu")

SMALL = NetworkSettings(net_name="fmobilefacenet", net_output="GDC", emb_size=16, net_multiplier=0.25,
                        net_blocks=(1, 1, 1, 1))
IMAGE = (1, 3, 112, 112)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A stored training checkpoint, head included: PREFIX,EPOCH."""
    prefix = str(tmp_path_factory.mktemp("model") / "model")
    embedding = build(SMALL)
    full = sym.SoftmaxOutput(sym.FullyConnected(embedding, num_hidden=4, no_bias=True, name="fc7"),
                                name="softmax")
    checkpoint = untrained(embedding, IMAGE, images=16)
    args = {**checkpoint.args, "fc7_weight": numpy.ones((4, 16), "float32")}
    save(type(checkpoint)(full, args, checkpoint.aux), prefix, 2)
    return f"{prefix},2"


def _card(path):
    return path.with_name(f"{path.name}.card.md").read_text(encoding="utf-8")


def test_slim_is_the_published_form_with_a_description(model, tmp_path, capsys):
    export.main(["slim", "--model", model, "--out", str(tmp_path / "slim")])
    made = load(str(tmp_path / "slim"), 0)
    assert made.symbol.list_outputs() == ["fc1_output"] and "fc7_weight" not in made.args
    assert made.symbol.tojson() == build(SMALL).tojson()
    mx.model.load_checkpoint(str(tmp_path / "slim"), 0)
    stored = json.loads((tmp_path / "slim-symbol.json").read_text(encoding="utf-8"))
    assert stored["attrs"]["colour"] == ["str", "RGB"]
    for name in ("slim-symbol.json", "slim-0000.params"):
        assert verify_checksum(tmp_path / name)
    card = _card(tmp_path / "slim-0000.params")
    assert "(x - 127.5) * 0.0078125, inside the graph" in card and "160 MB (R50), 250 MB (R100)" in card
    assert "slim-0000.params: " in capsys.readouterr().out


def test_onnx_is_written_with_its_difference(model, tmp_path, capsys):
    export.main(["onnx", "--model", model, "--out", str(tmp_path / "model.onnx")])
    assert (tmp_path / "model.onnx").exists() and "largest difference to the stored graph" in capsys.readouterr().out
    assert "| opset | 13 |" in _card(tmp_path / "model.onnx")


@pytest.mark.parametrize("form,name", [("slim", "model"), ("safetensors", "folder"), ("torch", "y1.npz")])
def test_a_full_disk_is_one_line_and_leaves_no_file(tmp_path, full_disk, form, name):
    settings = NetworkSettings(net_name="fmobilefacenet", net_output="GDC", emb_size=128)
    save(untrained(build(settings), IMAGE, images=2), str(tmp_path / "y1"), 0)
    done = subprocess.run([sys.executable, export.__file__, form, "--model", f"{tmp_path}/y1,0", "--out",
                           str(full_disk / name)], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if not line.startswith(("note:", "["))]
    assert done.returncode == 2 and len(said) == 1 and f"error: {full_disk / name}" in said[0], done.stderr
    assert "No space left on device" in said[0] and not [path for path in full_disk.rglob("*") if path.is_file()]


def test_torch_and_back(tmp_path):
    """A network with a public definition goes out as .npz and comes back; the scaling is described."""
    settings = NetworkSettings(net_name="fmobilefacenet", net_output="GDC", emb_size=128)
    given = untrained(build(settings), IMAGE, images=2)
    save(given, str(tmp_path / "y1"), 0)
    export.main(["torch", "--model", f"{tmp_path}/y1,0", "--out", str(tmp_path / "y1.npz")])
    with numpy.load(tmp_path / "y1.npz") as state:
        assert state["conv_sep.layers.0.weight"].shape == (512, 128, 1, 1)
    assert "(x / 255 - 0.5) / 0.5, outside the network" in _card(tmp_path / "y1.npz")
    export.main(["from-torch", "--state", str(tmp_path / "y1.npz"), "--network", "y1", "--out",
                 str(tmp_path / "back")])
    back = load(str(tmp_path / "back"), 0)
    for name, value in given.args.items():
        if name != "fc1_gamma" and name != "pre_fc1_bias":
            numpy.testing.assert_allclose(back.args[name], value, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_read_is_refused(model, tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 no archive")
    for state, message in (("missing.npz", "not found"), ("broken.npz", "no whole .npz")):
        with pytest.raises(InputError, match=message):
            export.main(["from-torch", "--state", str(tmp_path / state), "--network", "y1", "--out",
                         str(tmp_path / "x")])
    (tmp_path / "good.npz").write_bytes(b"")
    with pytest.raises(InputError, match="unknown network 'y9'"):
        export.main(["from-torch", "--state", str(tmp_path / "good.npz"), "--network", "y9", "--out",
                     str(tmp_path / "x")])
    with pytest.raises(InputError, match="no public PyTorch definition"):
        export.main(["torch", "--model", _other(tmp_path), "--out", str(tmp_path / "x.npz")])
    assert not (tmp_path / "x.npz").exists()


def _other(folder):
    settings = NetworkSettings(net_name="fmobilefacenet", net_output="J", emb_size=8, net_multiplier=0.25)
    save(untrained(build(settings), IMAGE, images=2), str(folder / "other"), 0)
    return f"{folder}/other,0"


@pytest.mark.parametrize("form,precision", [("int8", "int8, calibrated on 12 images"),
                                            pytest.param("bf16", "bfloat16", marks=mxnet_bfloat16)])
def test_reduced_precision_is_a_checkpoint_that_embeds(model, tmp_path, form, precision):
    """Calibrated on the drawn faces; evaluated as any checkpoint, near the full network."""
    options = ["--count", "12"] if form == "int8" else []
    export.main([form, "--model", model, "--out", str(tmp_path / form), *options])
    assert precision in _card(tmp_path / f"{form}-0000.params")
    faces = calibration_images((3, 112, 112), None, 6, seed=5)
    full, reduced = (Embedder.load(one, CPU).embed(faces).astype("float64")
                     for one in (model, f"{tmp_path / form},0"))
    assert (full != reduced).any()
    cosine = (full * reduced).sum(1) / numpy.linalg.norm(full, axis=1) / numpy.linalg.norm(reduced, axis=1)
    assert cosine.min() > 0.95


def test_without_avx512_bfloat16_is_refused_in_a_line(model, tmp_path):
    """In a process of its own: MXNet repeats an error of its engine in what comes after."""
    command = Path(__file__).parents[2] / "recognition" / "export.py"
    done = subprocess.run([sys.executable, str(command), "bf16", "--model", model, "--out", str(tmp_path / "low")],
                          capture_output=True, text=True, env={**os.environ, "DNNL_MAX_CPU_ISA": "AVX2"})
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: MXNet failed in this network (could not create a primitive descriptor iterator); oneDNN has no kernel "
        "for one of its layers on this processor, and none of bfloat16 without AVX-512: take the float32 checkpoint")
    assert not list(tmp_path.iterdir())


def test_int8_calibrates_on_the_images_given(model, tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    for number, face in enumerate(calibration_images((3, 112, 112), None, 3)):
        cv2.imwrite(str(folder / f"{number}.png"), face.transpose(1, 2, 0)[..., ::-1])
    export.main(["int8", "--model", model, "--images", str(folder), "--out", str(tmp_path / "model")])
    assert "calibrated on 3 images" in _card(tmp_path / "model-0000.params")
    with pytest.raises(InputError, match="--count 0"):
        export.main(["int8", "--model", model, "--count", "0", "--out", str(tmp_path / "none")])


def front_matter(text):
    """The YAML block of a card, by YAML's own reader."""
    yaml = pytest.importorskip("yaml")
    assert text.startswith("---\n")
    return yaml.safe_load(text[4:text.index("\n---\n")])


def test_a_folder_for_hubs_is_a_model_everywhere(model, tmp_path):
    """The folder is --model: it embeds to the bits, and exports again; hashes and results follow it."""
    out = tmp_path / "small"
    export.main(["safetensors", "--model", model, "--out", str(out), "--license", "mit", "--data-terms", "a: \"b\" #c"])
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md", "model-symbol.json", "model-symbol.json.sha256", "model.safetensors", "model.safetensors.sha256"]
    images = numpy.random.RandomState(0).randint(0, 256, (2, *IMAGE[1:])).astype("uint8")
    assert numpy.array_equal(Embedder.load(str(out), CPU).embed(images), Embedder.load(model, CPU).embed(images))
    export.main(["slim", "--model", str(out), "--out", str(tmp_path / "again")])
    assert load(str(tmp_path / "again"), 0).symbol.tojson() == build(SMALL).tojson()
    card = (out / "README.md").read_text(encoding="utf-8")
    fields = front_matter(card)
    assert fields["license"] == "mit" and fields["training_data_terms"] == 'a: "b" #c'
    assert fields["library_name"] == "arcface-mxnet" and "training_data" not in fields
    assert "| training data | not stated |" in card and "# small" in card


def test_a_card_says_the_run_and_what_was_measured_on_this_model(model, tmp_path):
    settings = resolve("demo", "arcface", "emore", {"data_dir": "somewhere"})
    (tmp_path / "settings.json").write_text(json.dumps({"settings": settings.as_json(), "data_manifest": "abc123"}))
    save(load(model[:-2], 2), str(tmp_path / "model"), 1)
    results = {name: tmp_path / name for name in ("ours", "others")}
    for folder, digest in ((results["ours"], sha256(tmp_path / "model-0001.params")), (results["others"], "0" * 64)):
        about = About("verification", "10 folds", {"model-0001.params": digest}, {})
        write_results(folder, {"lfw": Entry({"accuracy": 0.9783}, about)})
    given = ["slim", "--model", f"{tmp_path}/model,1", "--out", str(tmp_path / "slim")]
    export.main([*given, "--results", str(results["ours"])])
    card = _card(tmp_path / "slim-0000.params")
    fields = front_matter(card)
    assert fields["training_data"].startswith("MS1M") and fields["training_data"].endswith("manifest abc123")
    assert "withdrew" in fields["training_data_terms"] and fields["license_name"] == "not-stated"
    metric, = fields["model-index"][0]["results"][0]["metrics"]
    assert metric == {"type": "accuracy", "value": 97.83} and "| accuracy, lfw | 97.83 % |" in card
    assert "| recipe | demo, arcface, ms1mv2; rate 0.1" in card
    with pytest.raises(InputError, match="lfw was measured on another model"):
        export.main([*given, "--results", str(results["others"])])
