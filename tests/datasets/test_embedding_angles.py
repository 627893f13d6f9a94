"""The perceptual hash against a plain one, and the search against comparing all pairs."""
from arcface_mxnet.datasets.embedding_angles import REACH, distances, hashes, near_pairs, thumbnail

import cv2
import numpy as np
import pytest


def plain_hash(image):
    """255 bits by OpenCV's own cosine transform of plain means, in float64."""
    half = image[::2].astype(np.float64).reshape(28, 2, 28, 4, 3).mean((1, 3))
    return cv2.dct(half @ (0.114, 0.587, 0.299))[:16, :16].ravel()[1:] > 0


def noisy(picture, identity):
    chance = np.random.default_rng(identity)
    fine = cv2.resize(chance.integers(0, 256, (28, 28, 3), dtype=np.uint8), (112, 112), interpolation=cv2.INTER_CUBIC)
    return cv2.addWeighted(picture(identity, 0), 0.6, fine, 0.4, 0)


def test_hash_is_the_sign_of_the_cosine_transform(picture):
    images = [noisy(picture, identity) for identity in range(20)]
    bits = np.unpackbits(hashes([thumbnail(image) for image in images]).view(np.uint8), axis=1)
    assert (bits[:, 255] == 0).all()
    moved = [int((row[:255] != plain_hash(image)).sum()) for row, image in zip(bits, images)]
    assert max(moved) <= 6 and np.mean(moved) <= 3, "grey levels are rounded: coefficients near 0 may change sign"


@pytest.mark.parametrize("shape", [(112, 112), (112, 96), (28, 28), (90, 60), (250, 250), (1, 1)])
def test_a_picture_of_one_colour_has_no_bits_and_size_does_not_matter(picture, shape):
    plain = [np.full((*shape, 3), grey, np.uint8) for grey in range(0, 256, 15)]
    assert not hashes([thumbnail(image) for image in plain]).any()
    large = noisy(picture, 3)
    if min(shape) > 80:
        again = cv2.resize(large, shape[::-1], interpolation=cv2.INTER_AREA)
        assert distances(hashes([thumbnail(large)]), hashes([thumbnail(again)]))[0] <= 12


def test_distances_are_differing_bits():
    chance = np.random.default_rng(0)
    first, second = chance.integers(0, 2 ** 63, (2, 50, 4), dtype=np.uint64)
    expected = [sum(bin(int(a) ^ int(b)).count("1") for a, b in zip(one, two)) for one, two in zip(first, second)]
    assert distances(first, second).tolist() == expected


def test_search_finds_what_comparing_all_pairs_finds():
    chance = np.random.default_rng(1)
    bits = chance.integers(0, 2, (400, 256), dtype=np.uint8)
    for place in range(0, 120, 2):  # neighbours 0 to 29 bits apart
        bits[place + 1] = bits[place]
        bits[place + 1, chance.choice(255, place // 4, replace=False)] ^= 1
    bits[300] = bits[299] = bits[298]
    found = np.packbits(bits, axis=1).view(np.uint64)
    pairs = near_pairs(found)
    everything = {(i, j) for i in range(400) for j in range(i) if (bits[i] != bits[j]).sum() <= REACH}
    chained = {tuple(sorted(pair, reverse=True)) for pair in zip(pairs.first.tolist(), pairs.second.tolist())}
    assert chained <= everything and (pairs.first < pairs.second).all()
    assert everything - chained <= {(300, 298)}, "equal hashes are chained: 298-299, 299-300"
    assert pairs.distance.tolist() == [int((bits[i] != bits[j]).sum()) for i, j in zip(pairs.first, pairs.second)]


def test_many_equal_pictures_cost_no_quadratic_work():
    pairs = near_pairs(np.zeros((20000, 4), dtype=np.uint64))
    assert len(pairs.first) == 19999 and (pairs.distance == 0).all()


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare(count):
    assert len(near_pairs(np.zeros((count, 4), dtype=np.uint64)).first) == 0
    assert hashes([]).shape == (0, 4)


def test_real_photographs_stay_near_after_recompression_and_apart_from_others(fixtures):
    from arcface_mxnet.datasets.pairs import read_pack
    images = [cv2.imdecode(np.frombuffer(image, np.uint8), 1)
              for image in dict.fromkeys(read_pack(fixtures / "lfw" / "lfw112_fold1_600.bin").images)]
    before = hashes([thumbnail(image) for image in images])
    again = [cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 1) for image in images]
    assert distances(before, hashes([thumbnail(image) for image in again])).max() <= REACH
    assert len(near_pairs(before).first) == 0
