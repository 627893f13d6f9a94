"""Checkpoints from strangers through the commands: one line and status 2, or the right embeddings."""
import json
import struct

from arcface_mxnet.datasets.pairs import write_pack
from arcface_mxnet.engines.base import place
from arcface_mxnet.evaluation import verification
from arcface_mxnet.evaluation.embedder import Embedder
from arcface_mxnet.graph.checkpoint import save
from arcface_mxnet.graph.params_file import read_arrays, write_arrays
from arcface_mxnet.recognition import export, extract, train
from arcface_mxnet.runtime.errors import InputError, Notice

import cv2
import numpy as np
import pytest


@pytest.fixture
def pictures(tmp_path):
    """A folder of three 16x16 pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        picture = np.random.RandomState(number).randint(0, 256, (16, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), picture)
    return folder


@pytest.fixture
def model(tmp_path, small):
    """PREFIX of a small checkpoint without checksums, so that its files may be changed."""
    prefix = tmp_path / "model"
    save(small(), str(prefix), 0)
    for beside in tmp_path.glob("model-*.sha256"):
        beside.unlink()
    return prefix


def _changed(prefix, change):
    """Change the graph of a checkpoint in place."""
    path = prefix.with_name(f"{prefix.name}-symbol.json")
    graph = json.loads(path.read_text())
    change(graph, {node["name"]: node for node in graph["nodes"]})
    path.write_text(json.dumps(graph))


def _native(graph, nodes):
    nodes["bn0"].update(op="_Native", attrs={"info": "0x4141414141"})


def _without_inputs(graph, nodes):
    nodes["fc1"]["inputs"] = []


def _zero_groups(graph, nodes):
    nodes["conv0"]["attrs"]["num_group"] = "0"


def _deep(prefix):
    prefix.with_name(f"{prefix.name}-symbol.json").write_text('{"nodes": ' + "[" * 3000 + "]" * 3000 + "}")


def _claimed_length(prefix):
    body = struct.pack("<Iiiqiii", 0xF993FAC9, 0, 1, 2, 1, 0, 0) + b"\0" * 8
    prefix.with_name(f"{prefix.name}-0000.params").write_bytes(
        struct.pack("<QQQ", 0x112, 0, 1) + body + struct.pack("<QQ", 1, 2 ** 32) + b"arg:a")


def _nan(prefix):
    path = prefix.with_name(f"{prefix.name}-0000.params")
    arrays = read_arrays(path)
    arrays["arg:pre_fc1_bias"][1] = np.nan
    write_arrays(path, arrays)


@pytest.mark.parametrize("spoil, said", [
    (lambda prefix: _changed(prefix, _native), "node bn0 (_Native): this operator runs code"),
    (lambda prefix: _changed(prefix, _without_inputs), "node fc1 (BatchNorm): it has 0 inputs"),
    (lambda prefix: _changed(prefix, _zero_groups), "node conv0 (Convolution): num_group is '0'"),
    (_deep, "nested more than 24 levels deep"),
    (_claimed_length, "the file ends inside name 1 of 1"),
    (_nan, "arg:pre_fc1_bias has 1 values that are not finite, the first at (1,)"),
], ids=["native", "no-inputs", "zero-groups", "deep", "length", "nan"])
def test_every_command_refuses_it_in_one_line(model, pictures, tmp_path, spoil, said, tiny_faces):
    spoil(model)
    pack = tmp_path / "packs" / "own.bin"
    pack.parent.mkdir()
    images = [path.read_bytes() for path in sorted(pictures.iterdir())] * 20
    write_pack(pack, images, np.arange(30) % 2 == 0)
    given = ["--model", f"{model},0"]
    for command in (
            lambda: extract.main([*given, "--images", str(pictures), "--size", "16,16", "--out", str(tmp_path)]),
            lambda: verification.main([*given, "--data-dir", str(pack.parent), "--target", "own", "--out",
                                       str(tmp_path / "v")]),
            lambda: export.main(["onnx", *given, "--out", str(tmp_path / "m.onnx")]),
            lambda: export.main(["int8", *given, "--out", str(tmp_path / "m8")]),
            lambda: train.main(["--network", "demo", "--loss", "softmax", "--dataset", "own", "--data-dir",
                                str(tiny_faces), "--gpus", "cpu", "--val-targets", "none", "--run-dir",
                                str(tmp_path / "run"), "--pretrained", f"{model},0"])):
        with pytest.raises(InputError) as caught:
            command()
        assert said in str(caught.value) and "\n" not in str(caught.value)


def test_values_that_are_not_finite_come_by_a_flag(model, pictures, tmp_path):
    _nan(model)
    given = ["--model", f"{model},0", "--images", str(pictures), "--size", "16,16", "--gpus", "cpu"]
    extract.main([*given, "--out", str(tmp_path / "nan"), "--allow-nonfinite"])
    assert np.isnan(np.load(tmp_path / "nan" / "embeddings.npy")).all(axis=0).sum() == 1


def test_an_operator_nobody_knows_runs_by_its_name(model, pictures, tmp_path):
    def unknown(graph, nodes):
        nodes["relu0"].update(op="LRN", attrs={"nsize": "3"}, inputs=nodes["relu0"]["inputs"][:1])

    _changed(model, unknown)
    path = model.with_name("model-0000.params")
    write_arrays(path, {name: value for name, value in read_arrays(path).items() if name != "arg:relu0_gamma"})
    given = ["--model", f"{model},0", "--images", str(pictures), "--size", "16,16", "--gpus", "cpu",
             "--out", str(tmp_path / "out")]
    with pytest.raises(InputError, match="admit it by --allow-operator LRN"):
        extract.main(given)
    with pytest.warns(Notice, match="LRN"):
        extract.main([*given, "--allow-operator", "LRN"])
    assert np.isfinite(np.load(tmp_path / "out" / "embeddings.npy")).all()


def test_a_network_of_another_size_or_colour_is_told_apart(model, pictures, tmp_path):
    given = ["--model", f"{model},0", "--images", str(pictures), "--gpus", "cpu", "--out", str(tmp_path / "out")]
    with pytest.raises(InputError, match="give --size as it was trained: 16,16 fits"):
        extract.main([*given, "--size", "20,20"])
    grey = read_arrays(model.with_name("model-0000.params"))
    grey["arg:conv0_weight"] = grey["arg:conv0_weight"][:, :1]
    write_arrays(model.with_name("model-0000.params"), grey)
    with pytest.raises(InputError, match="does not take images of shape .3, 16, 16.; it takes 1 channel"):
        Embedder.load(f"{model},0", place("mxnet", "cpu")).check((3, 16, 16))
