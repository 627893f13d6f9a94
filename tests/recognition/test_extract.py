"""The extract command on networks that take grey images or pixels that are already scaled."""
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.checkpoint import Checkpoint, save
from arcface_mxnet.recognition import extract
from arcface_mxnet.runtime.errors import InputError

import cv2
import numpy as np
import pytest


def network(folder, name, channels):
    """A dense layer over all pixels of 24x24 images, kept as PREFIX,EPOCH; and its weights."""
    symbol = sym.FullyConnected(sym.Flatten(sym.Convolution(
        sym.Variable("data"), num_filter=1, kernel=(1, 1), name="conv")), num_hidden=3, name="fc1")
    random = np.random.RandomState(channels)
    values = {"conv_weight": random.randn(1, channels, 1, 1), "conv_bias": random.randn(1),
              "fc1_weight": random.randn(3, 576), "fc1_bias": random.randn(3)}
    save(Checkpoint(symbol, {key: value.astype("float32") for key, value in values.items()}, {}), str(folder / name), 0)
    return f"{folder / name},0", values


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "pictures").mkdir()
    images = np.random.RandomState(0).randint(0, 256, (5, 24, 24, 3)).astype("uint8")
    for number, image in enumerate(images):
        cv2.imwrite(str(tmp_path / "pictures" / f"{number}.png"), image[:, :, ::-1])
    return tmp_path / "pictures", images


def expected(values, pixels):
    """The network by hand, (n, c, h, w) to (n, 3)."""
    maps = np.einsum("nchw,c->nhw", pixels, values["conv_weight"].ravel()) + values["conv_bias"]
    return maps.reshape(len(maps), -1) @ values["fc1_weight"].T + values["fc1_bias"]


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_networks_get_grey_images_and_pixels_are_scaled_as_told(tmp_path, pictures, channels):
    folder, images = pictures
    model, values = network(tmp_path, "model", channels)
    extract.main(["--model", model, "--images", str(folder), "--size", "24,24", "--pixels", "100,50", "--gpus",
                  "cpu", "--out", str(tmp_path / "out")])
    pixels = images.transpose(0, 3, 1, 2).astype(float)
    if channels == 1:
        pixels = np.rint(pixels[:, :1] * 0.299 + pixels[:, 1:2] * 0.587 + pixels[:, 2:] * 0.114)
    found = np.load(tmp_path / "out" / "embeddings.npy")
    rounding = 0.3 if channels == 1 else 1e-3  # a grey value half-way between two may go either way
    np.testing.assert_allclose(found, expected(values, (pixels - 100) / 50), atol=rounding)
    with pytest.raises(InputError, match="belongs to another extraction"):
        extract.main(["--model", model, "--images", str(folder), "--size", "24,24", "--gpus", "cpu", "--out",
                      str(tmp_path / "out")])


@pytest.mark.parametrize("text", ["127.5", "1,0", "a,b", "nan,1", "1,2,3"])
def test_pixels_that_are_no_scaling_are_refused(tmp_path, text):
    with pytest.raises(InputError, match="--pixels"):
        extract.main(["--model", "m,0", "--images", str(tmp_path), "--out", str(tmp_path / "o"), "--pixels", text])


def test_a_grey_and_a_colour_network_cannot_be_joined(tmp_path, pictures):
    models = "|".join(network(tmp_path, f"m{channels}", channels)[0] for channels in (1, 3))
    with pytest.raises(InputError, match="extract them one by one"):
        extract.main(["--model", models, "--images", str(pictures[0]), "--size", "24,24", "--gpus", "cpu",
                      "--out", str(tmp_path / "o")])


def test_a_published_grey_network_gives_its_authors_features(fixtures, tmp_path):
    """MobileFace V1 on its authors' 200 crops; within a person the two rows of their file may be swapped."""
    folder = fixtures / "mobileface_v1"
    extract.main(["--model", f"{folder / 'MobileFace_Identification_V1'},0", "--images",
                  str(folder / "LFW-Aligned-100Pair"), "--size", "100,100", "--pixels", "127.5,127.5", "--gpus",
                  "cpu", "--out", str(tmp_path / "out")])
    pairs = [array.reshape(100, 2, 256) / np.linalg.norm(array, axis=1).reshape(100, 2, 1)
             for array in (np.load(tmp_path / "out" / "embeddings.npy"),
                           np.loadtxt(folder / "feature_LFW-Aligned-100Pair.txt"))]
    straight, swapped = (np.sum(pairs[0] * pairs[1][:, order], axis=2).min(axis=1) for order in ([0, 1], [1, 0]))
    assert np.maximum(straight, swapped).min() > 1 - 1e-6
