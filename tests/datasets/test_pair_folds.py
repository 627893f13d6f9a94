"""Folds of a pack: what of a list is dealt, and which packs give no figure or another one than they seem to."""
from arcface_mxnet.datasets.images import encode_jpeg
from arcface_mxnet.datasets.pair_folds import check_pack, dealt_order, folds_of_one_kind
from arcface_mxnet.datasets.pairs import PairPack
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


def pack(same, selves=(), side=8):
    images = [encode_jpeg(np.full((side, side, 3), number, np.uint8)) for number in range(2)]
    pairs = [images[0:1] * 2 if number in selves else images for number in range(len(same))]
    return PairPack("p", [image for pair in pairs for image in pair], np.array(same, bool))


@given(genuine=st.integers(20, 60), impostor=st.integers(20, 60), seed=st.integers(0, 99))
def test_dealt_folds_hold_both_kinds_alike(genuine, impostor, seed):
    same = np.array([True] * genuine + [False] * impostor)
    if seed % 2:
        same = same[::-1]
    order = dealt_order(same)
    assert sorted(order.tolist()) == list(range(len(same)))
    folds = [same[part] for part in np.array_split(order, 10)]
    shares = [part.mean() for part in folds]
    assert folds_of_one_kind(same[order]) == 0
    assert max(shares) - min(shares) <= 2 / min(map(len, folds))  # a pair more or less of each kind
    for kind in (True, False):  # the order within a kind is kept
        assert np.all(np.diff(order[same[order] == kind]) > 0)


def test_lists_whose_folds_hold_both_kinds_stay_as_they_are():
    official = ([True] * 30 + [False] * 30) * 10  # LFW's: 300 and 300 a fold
    for same in (official, [True, False] * 50, [True] * 5 + [False] * 100):
        assert dealt_order(np.array(same)).tolist() == list(range(len(same)))


@pytest.mark.parametrize("same, folds, size, said", [
    ([True, False] * 3, 10, None, "6 pairs, too few for 10 folds"), ([True] * 20, 10, None, "all 20 pairs are genuine"),
    ([False] * 20, 10, None, "all 20 pairs are impostor"), ([True, False] * 10, -1, None, "--folds -1: at least 1"),
    ([True, False] * 10, 10, (112, 112), "holds 8x8 pictures, the network takes 112x112; make the pack again from")])
def test_packs_without_a_figure_are_refused(same, folds, size, said):
    with pytest.raises(InputError, match=said):
        check_pack(pack(same), "d/p.bin", folds, size)


def test_packs_with_another_figure_are_noted():
    assert check_pack(pack([True, False] * 10), "p.bin") == []
    by_kind, = check_pack(pack([True] * 10 + [False] * 10), "p.bin")
    assert by_kind.startswith("p.bin: 10 of 10 folds hold one kind of pair")
    selves, = check_pack(pack([True, False] * 10, selves=(0, 4, 6)), "p.bin")
    assert selves.startswith("p.bin: 3 pairs show a picture with itself")
