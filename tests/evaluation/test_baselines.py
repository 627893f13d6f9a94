"""The floor under a network: what raw pixels and principal components reach, and that the built-in task is above it."""
import json

from arcface_mxnet.datasets.pairs import write_pack
from arcface_mxnet.evaluation.baselines import SIDE, fit_pca, main, measure, raw_pixels, small_grey, training_images
from arcface_mxnet.runtime.errors import InputError

import cv2
import numpy as np
import pytest


def test_raw_pixels_ignore_brightness_only():
    images = np.random.default_rng(0).integers(10, 200, (2, 3, 8, 8)).astype(np.uint8)
    assert np.allclose(raw_pixels(images), raw_pixels(images + 20), atol=1e-4)
    assert np.allclose(raw_pixels(images)[1], images[1].reshape(-1) - images[1].mean(), atol=1e-4)


def test_small_images_are_area_averages_of_unit_contrast():
    images = np.random.default_rng(1).integers(0, 256, (2, 3, 2 * SIDE, 2 * SIDE)).astype(np.uint8)
    averages = images.reshape(2, 3, SIDE, 2, SIDE, 2).mean((3, 5)).transpose(0, 2, 3, 1).reshape(2, -1)
    expected = (averages - averages.mean(1, keepdims=True)) / averages.std(1, keepdims=True)
    assert np.allclose(small_grey(images), expected, atol=1e-3)


def test_components_equal_an_eigendecomposition():
    generator = np.random.default_rng(2)
    mixed = generator.normal(size=(40, 5)) * (30, 20, 13, 8, 5) @ generator.normal(size=(5, 3 * 56 * 56))
    images = np.clip(128 + mixed.reshape(40, 3, 56, 56), 0, 255).astype(np.uint8)
    rows = small_grey(images).astype(np.float64)
    centred = rows - rows.mean(0)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    expected = np.abs(vectors[:, ::-1][:, :5]) * np.sqrt(39)  # whitened scores, up to sign
    assert np.allclose(np.abs(fit_pca(images, components=5)(images)), expected, atol=3e-2)


def test_the_built_in_packs_are_measured(tiny_faces, tmp_path, capsys):
    main(["--data-dir", str(tiny_faces), "--target", "lfw", "--out", str(tmp_path / "floor.json")])
    figures = json.loads((tmp_path / "floor.json").read_text())
    assert set(figures["lfw"]) == {"raw pixels", "PCA"} and all(0 <= value <= 1 for value in figures["lfw"].values())
    assert f"lfw: raw pixels {figures['lfw']['raw pixels']:.4f}" in capsys.readouterr().out
    assert training_images(str(tiny_faces), 10).shape == (10, 3, 112, 112)


def test_identical_genuine_pairs_are_perfect(tiny_faces, tmp_path):
    generator = np.random.default_rng(3)
    coarse = generator.integers(0, 256, (80, 5, 5, 3), dtype=np.uint8)
    images = [cv2.imencode(".png", cv2.resize(one, (112, 112)))[1].tobytes() for one in coarse]
    ordered = [image for number in range(40) for image in (images[number], images[number + 40 * (number % 2)])]
    (tmp_path / "set").mkdir()
    for name in ("train.rec", "train.idx", "property"):
        (tmp_path / "set" / name).symlink_to(tiny_faces / name)
    write_pack(tmp_path / "set" / "own.bin", ordered, [number % 2 == 0 for number in range(40)])
    assert measure(str(tmp_path / "set"), ["own"])["own"]["raw pixels"] == 1.0


def test_a_missing_pack_is_named(tiny_faces):
    with pytest.raises(InputError, match="nope.bin: not found"):
        measure(str(tiny_faces), ["nope"])
