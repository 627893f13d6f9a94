"""Pair lists of every published form become packs, and packs become files again."""
from arcface_mxnet.datasets.make_pairs import Pair, deal_into_folds, flatten_pack, pack_pairs, read_pair_list
from arcface_mxnet.datasets.manifest import check
from arcface_mxnet.datasets.pairs import read_pack
from arcface_mxnet.datasets.prepare import main
from arcface_mxnet.runtime.errors import InputError

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def written(tmp_path, text):
    path = tmp_path / "pairs.txt"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("text", [
    "1\t1\nAnn\t1\t4\nAnn\t1\tBob Lee\t12\n", "2\nAnn\t1\t4\nAnn\t1\tBob Lee\t12\n",
    "Ann\t1\t4\nAnn\t1\tBob Lee\t12\n"])
def test_lfw_form(tmp_path, text):
    assert read_pair_list(written(tmp_path, text)) == [
        Pair("Ann/Ann_0001.jpg", "Ann/Ann_0004.jpg", True),
        Pair("Ann/Ann_0001.jpg", "Bob Lee/Bob Lee_0012.jpg", False)]


@pytest.mark.parametrize("text", ["a/1.jpg b/2.jpg 1\nc.jpg d.jpg 0\n", "a/1.jpg\tb/2.jpg\t1\nc.jpg\td.jpg\t0\n",
                                  "1 a/1.jpg b/2.jpg\n0 c.jpg d.jpg\n"])
def test_labelled_forms(tmp_path, text):
    assert read_pair_list(written(tmp_path, text)) == [Pair("a/1.jpg", "b/2.jpg", True), Pair("c.jpg", "d.jpg", False)]


def test_paths_with_blanks_are_kept_between_tabs(tmp_path):
    assert read_pair_list(written(tmp_path, "Jörg A/1.jpg\tb c.jpg\t1\n")) == [Pair("Jörg A/1.jpg", "b c.jpg", True)]


def test_lists_sorted_by_kind_are_dealt_into_folds(tmp_path):
    """CALFW and CPLFW name all genuine pairs first; ten folds in that order would be of one kind each."""
    lines = [f"A_{i:04d}.jpg {i // 2 + 1}\nA_{i + 500:04d}.jpg {i // 2 + 1}\n" for i in range(20)]
    lines += [f"B_{i:04d}.jpg 0\nC_{i:04d}.jpg 0\n" for i in range(20)]
    listed = read_pair_list(written(tmp_path, "".join(lines)))
    assert [pair.same for pair in listed] == [True] * 20 + [False] * 20
    pairs = deal_into_folds(listed)
    assert [pair.same for pair in pairs] == [True, False] * 20
    assert [pair.first for pair in pairs if pair.same] == [f"A_{i:04d}.jpg" for i in range(20)]


def test_mixed_lists_keep_their_order():
    pairs = [Pair("a", "b", same) for same in (True, False, True, False)]
    assert deal_into_folds(pairs) == pairs


def cfp_folder(root):
    protocol = root / "Protocol"
    protocol.mkdir(parents=True)
    for kind in ("F", "P"):
        lines = [f"{i} ../Data/Images/001/{'frontal' if kind == 'F' else 'profile'}/{i:02d}.jpg\n" for i in (1, 2, 3)]
        (protocol / f"Pair_list_{kind}.txt").write_text("".join(lines))
    for split in ("FP", "FF"):
        for fold in ("01", "02"):
            place = protocol / "Split" / split / fold
            place.mkdir(parents=True)
            (place / "same.txt").write_text("1,2\n" if fold == "01" else "2,3\n")
            (place / "diff.txt").write_text("3,1\n")
    return root


def test_cfp_folder(tmp_path):
    root = cfp_folder(tmp_path / "cfp")
    frontal, profile = "Data/Images/001/frontal/{:02d}.jpg", "Data/Images/001/profile/{:02d}.jpg"
    assert read_pair_list(root) == [
        Pair(frontal.format(1), profile.format(2), True), Pair(frontal.format(3), profile.format(1), False),
        Pair(frontal.format(2), profile.format(3), True), Pair(frontal.format(3), profile.format(1), False)]
    assert read_pair_list(root, "cfp-ff")[0] == Pair(frontal.format(1), frontal.format(2), True)


@pytest.mark.parametrize("text,form,said", [
    ("", "auto", "no pairs"), ("a b c d e\n", "lfw", "line 1 is not of the form lfw"),
    ("a.jpg b.jpg 2\n", "labels", "line 1"), ("a.jpg b.jpg 1\nc.jpg 0\n", "labels", "line 2"),
    ("a.jpg 1\n", "calfw", "lacks its second line"), ("a.jpg 1\nb.jpg 0\n", "calfw", "line 2.*token"),
    ("a.jpg b.jpg 1\n", "agedb", "line 1"), ("a b 1\n", "other", "unknown pair list form")])
def test_bad_lists_are_refused_by_line(tmp_path, text, form, said):
    with pytest.raises(InputError, match=said):
        read_pair_list(written(tmp_path, text), form)


def test_bad_cfp_folders_are_named(tmp_path):
    with pytest.raises(InputError, match="Pair_list_F.txt"):
        read_pair_list(tmp_path)
    root = cfp_folder(tmp_path / "cfp")
    (root / "Protocol" / "Split" / "FP" / "02" / "diff.txt").write_text("9,1\n")
    with pytest.raises(InputError, match="02/diff.txt: line 1"):
        read_pair_list(root)


def test_the_published_lists_parse_to_their_counts(fixtures):
    official = read_pair_list(fixtures / "lfw" / "pairs.txt")
    labelled = read_pair_list(fixtures / "lfw" / "pairs_label.txt")
    assert len(official) == 6000 and [pair.same for pair in official] == ([True] * 300 + [False] * 300) * 10
    assert official == labelled
    assert len({name for pair in official for name in pair[:2]}) == 7701
    assert len(read_pair_list(fixtures / "lfw" / "pairsDevTest.txt")) == 1000


@pytest.fixture
def images(tmp_path):
    root = tmp_path / "images"
    for name in ("a/1.jpg", "b/2.png", "Carl Öz/Carl Öz_0001.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture = np.full((112, 112, 3), len(name) * 9, np.uint8)
        (root / name).write_bytes(cv2.imencode(name[-4:], picture)[1].tobytes())
    return root


def test_a_pack_holds_the_files_byte_for_byte(tmp_path, images):
    pairs = [Pair("a/1.jpg", "b/2.jpg", True), Pair("Carl Öz_0001.jpg", "a/1.jpg", False)]
    pack_pairs(pairs, images, tmp_path / "own.bin")
    pack = read_pack(tmp_path / "own.bin")
    files = [(images / name).read_bytes() for name in ("a/1.jpg", "b/2.png", "Carl Öz/Carl Öz_0001.jpg", "a/1.jpg")]
    assert pack.images == files and pack.same.tolist() == [True, False]
    assert check(tmp_path, ["own.bin"]) is not None


def test_flat_and_back_gives_the_same_pack(tmp_path, images):
    pack_pairs([Pair("a/1.jpg", "b/2.png", True), Pair("b/2.png", "a/1.jpg", False)], images, tmp_path / "own.bin")
    assert flatten_pack(tmp_path / "own.bin", tmp_path / "flat") == 2
    assert sorted(path.name for path in (tmp_path / "flat").iterdir()) == [
        "000000_a.jpg", "000000_b.png", "000001_a.png", "000001_b.jpg", "pairs_label.txt"]
    assert not main(["pairs", str(tmp_path / "flat" / "pairs_label.txt"), str(tmp_path / "again.bin"), "--images",
                     str(tmp_path / "flat")])
    before, again = read_pack(tmp_path / "own.bin"), read_pack(tmp_path / "again.bin")
    assert again.images == before.images and again.same.tolist() == before.same.tolist()


def test_python_2_packs_are_laid_flat(tmp_path, fixtures):
    assert not main(["pairs", str(fixtures / "packs" / "small_lfw.bin"), str(tmp_path / "flat"), "--flat"])
    files = sorted((tmp_path / "flat").glob("*.*g"))
    assert len(files) == 20 and all(cv2.imread(str(path)).shape == (112, 112, 3) for path in files)
    assert read_pack(fixtures / "packs" / "small_lfw.bin").images[3] == files[3].read_bytes()


def test_unusable_images_are_named_and_nothing_is_written(tmp_path, images):
    (images / "big.jpg").write_bytes(cv2.imencode(".jpg", np.zeros((120, 112, 3), np.uint8))[1].tobytes())
    (images / "no.jpg").write_bytes(b"text")
    for name, said in (("big.jpg", "is 120x112, not 112x112"), ("no.jpg", "no image"), ("gone.jpg", "not found")):
        with pytest.raises(InputError, match=f"{name}: .*{said}"):
            pack_pairs([Pair("a/1.jpg", name, True)], images, tmp_path / "own.bin")
    assert not (tmp_path / "own.bin").exists()


def test_an_existing_pack_is_kept(tmp_path, images):
    (tmp_path / "own.bin").write_bytes(b"mine")
    with pytest.raises(InputError, match="own.bin: exists"):
        pack_pairs([Pair("a/1.jpg", "b/2.jpg", True)], images, tmp_path / "own.bin")
    assert (tmp_path / "own.bin").read_bytes() == b"mine"


def test_the_image_folder_must_be_given(tmp_path):
    with pytest.raises(InputError, match="--images"):
        main(["pairs", str(written(tmp_path, "a b 1\n")), str(tmp_path / "own.bin")])


NAMES = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp", "Zs"), blacklist_characters="\\"),
                min_size=1, max_size=8)


@settings(max_examples=60)
@given(st.lists(st.tuples(NAMES, NAMES, st.booleans()), min_size=1, max_size=6))
def test_labelled_lists_come_back_as_they_were_written(tmp_path_factory, rows):
    """Any path without blanks in a `path TAB path TAB 0/1` list, whatever its letters (but both slashes separate)."""
    path = tmp_path_factory.mktemp("list") / "pairs.txt"
    path.write_text("".join(f"{a}/x y.jpg\t{b}.png\t{int(same)}\n" for a, b, same in rows), encoding="utf-8")
    assert read_pair_list(path, "labels") == [Pair(f"{a}/x y.jpg", f"{b}.png", same) for a, b, same in rows]


@pytest.mark.parametrize("content", ["a/1.jpg\tb/2.jpg\t1\r\n".encode("utf-16"), b"\xef\xbb\xbfa\\1.jpg b\\2.jpg 1\r",
                                     b"\n a/1.jpg\t b/2.jpg \t1"])
def test_lists_of_other_systems(tmp_path, content):
    (tmp_path / "pairs.txt").write_bytes(content)
    assert read_pair_list(tmp_path / "pairs.txt", "labels") == [Pair("a/1.jpg", "b/2.jpg", True)]


@pytest.mark.parametrize("form,content,said", [
    ("labels", b"a b 1\nc\0 d 0\n", "line 2: a NUL"),
    ("labels", b"a b 2\n", "line 1 is not of the form labels .*found 'a b 2'"),
    ("lfw", b"Ann 1 " + b"9" * 5000 + b"\n", "line 1 is not of the form lfw"),
    ("lfw", "Ann 1 \u00b2\n".encode(), "line 1 is not"),
    ("lfw", b"Ann 1 99999999\n", "line 1: '99999999' is not a picture"),
    ("calfw", b"a " + b"9" * 5000 + b"\n", "line 1 is not"),
    ("labels", "a é 1\n".encode("latin-1"), "line 1: byte 2 .0xe9. is not UTF-8")])
def test_lists_that_are_none_are_named_by_line(tmp_path, form, content, said):
    (tmp_path / "pairs.txt").write_bytes(content)
    with pytest.raises(InputError, match=f"pairs.txt: {said}"):
        read_pair_list(tmp_path / "pairs.txt", form)
