"""Cleaning by angles: what is ranked, asked, decided and written, against double loops and planted mistakes."""
import json
import re
from html.parser import HTMLParser

from arcface_mxnet.datasets.clean import examine, per_class, questions, rank_images, select
from arcface_mxnet.datasets.embedding_angles import angles_to, close_pairs, dominant_centre, nearest
from arcface_mxnet.datasets.inspect_set import Decisions, Doubt, Question, read_decisions, write_page
from arcface_mxnet.datasets.prepare import main
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest

DIMENSIONS = 32
COUNTS = [6, 5, 4, 5]


def unit(vector):
    return vector / np.linalg.norm(vector)


@pytest.fixture
def planted(tmp_path, make_set):
    """Four identities: in 0 the last image is somebody else, 3 is the same person as 1; 2 is clean."""
    images = make_set(tmp_path / "set", COUNTS)
    generator = np.random.default_rng(0)
    people = np.linalg.qr(generator.normal(size=(DIMENSIONS, DIMENSIONS)))[0]
    rows = []
    for label, count in enumerate(COUNTS):
        person = people[1 if label == 3 else label]
        rows += [unit(person + 0.05 * generator.normal(size=DIMENSIONS)) for _ in range(count)]
    rows[5] = unit(people[10] + 0.05 * generator.normal(size=DIMENSIONS))
    np.save(tmp_path / "set.npy", (np.stack(rows) * generator.uniform(5, 30, (20, 1))).astype(np.float32))
    return tmp_path, images, np.stack(rows)


def findings_of(folder, **options):
    with RecordSet.open(folder / "set") as records:
        return records, examine(records, folder / "set.npy", **options)


def test_angles_equal_a_double_loop(planted):
    folder, _, rows = planted
    records, found = findings_of(folder)
    for place in range(20):
        own = [rows[other] for other in range(20) if records.labels[other] == records.labels[place]]
        centre = unit(sum(own))
        assert found.angles[place] == pytest.approx(np.degrees(np.arccos(rows[place] @ centre)), abs=1e-3)


def test_close_identities_equal_a_double_loop():
    centres = np.random.default_rng(1).normal(size=(60, 4))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    cosines = [(i, j, centres[i] @ centres[j]) for i in range(60) for j in range(i + 1, 60)]
    slow = [pair for pair in cosines if pair[2] >= 0.8]
    fast = close_pairs(centres, 0.8)
    assert [pair[:2] for pair in fast] == [pair[:2] for pair in sorted(slow, key=lambda pair: -pair[2])]
    assert [pair[2] for pair in fast] == pytest.approx(sorted((pair[2] for pair in slow), reverse=True))
    best, cosine = nearest(centres[:10], centres[10:])
    assert best.tolist() == [max(range(50), key=lambda j: centres[i] @ centres[10 + j]) for i in range(10)]
    assert cosine == pytest.approx((centres[:10] @ centres[10:].T).max(1))


def test_the_dominant_sub_centre_is_that_of_most_images():
    """Seven images of one person and four of another under one name: the mean lies between, the sub-centre does not."""
    generator = np.random.default_rng(2)
    people = np.eye(8)[:2]
    rows = np.stack([unit(people[int(i >= 7)] + 0.02 * generator.normal(size=8)) for i in range(11)])
    assert angles_to(people[:1], dominant_centre(rows))[0] > 20
    assert angles_to(people[:1], dominant_centre(rows, sub_centres=2))[0] < 3
    assert angles_to(people[:1], dominant_centre(rows, given=5 * np.eye(8)[[3, 1, 0]]))[0] < 1e-6
    assert np.allclose(dominant_centre(rows[:2], sub_centres=3), unit(rows[:2].sum(0)))  # too few to divide


def test_what_is_beyond_the_angle_goes_and_the_rest_stays(planted):
    folder, images, _ = planted
    records, found = findings_of(folder)
    groups = select(records, found, max_angle=50)
    assert [(label, len(places)) for label, places in groups] == [(0, 5), (1, 5), (2, 4), (3, 5)]
    assert 5 not in groups[0][1]
    assert [pair[:2] for pair in found.pairs] == [(1, 3)]


def test_decisions_overrule_the_machine(planted):
    folder, _, _ = planted
    records, found = findings_of(folder)
    key = records.keys.tolist()
    decided = Decisions(keep=frozenset([key[5]]), drop=frozenset([key[0]]), same=frozenset([(1, 3)]))
    groups = select(records, found, 50, decided)
    assert [(label, len(places)) for label, places in groups] == [(0, 5), (1, 10), (2, 4)]
    assert 5 in groups[0][1] and 0 not in groups[0][1]
    apart = Decisions(different=frozenset([(1, 3)]))
    assert len(select(records, found, 50, apart, merge_cosine=0.5)) == 4
    assert len(select(records, found, 50, merge_cosine=0.5)) == 3
    assert len(select(records, found, 50, min_images=5)) == 3


def test_joining_is_transitive(planted):
    folder, _, _ = planted
    records, found = findings_of(folder)
    groups = select(records, found, 180, Decisions(same=frozenset([(2, 3), (1, 2), (0, 3)])))
    assert [(label, len(places)) for label, places in groups] == [(0, 20)]


class Page(HTMLParser):
    """What a browser would read of the page: ticked and unticked keys, pairs, pictures."""

    def __init__(self, text):
        super().__init__()
        self.keys, self.pairs, self.pictures = {}, [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag == "input" and "data-key" in found:
            self.keys[int(found["data-key"])] = "checked" in found
        if tag == "input" and "data-pair" in found and "checked" in found:
            self.pairs.append((found["value"], [int(one) for one in found["data-pair"].split(",")]))
        self.pictures += tag == "img" and found["src"].startswith("data:image/jpeg;base64,")


def test_review_and_back(planted):
    """Report, the decisions its page would save, then the cleaned set: one dropped image, one joined pair."""
    folder, images, _ = planted
    command = ["clean", str(folder / "set"), "--features", str(folder / "set.npy"), "--degrees", "50"]
    assert not main([*command, "--report", str(folder / "report")])
    page = Page((folder / "report" / "review.html").read_text())
    assert page.keys == {6: True} and page.pairs == [("undecided", [1, 3])] and page.pictures == 8 + 1 + 4
    assert not (folder / "clean").exists()
    decisions = {"keep": [], "drop": [6], "same": [[3, 1]], "different": [], "undecided": [[0, 2]]}
    (folder / "decisions.json").write_text(json.dumps(decisions))
    assert not main([*command, "--decisions", str(folder / "decisions.json"), "--out", str(folder / "clean")])
    with RecordSet.open(folder / "clean") as cleaned:
        assert np.bincount(cleaned.labels).tolist() == [5, 10, 4]
        stored = [cleaned.read(int(key))[1] for key in cleaned.keys]
    assert stored == images[0][:5] + images[1] + images[3] + images[2]
    assert (folder / "clean" / "identities.tsv").read_text() == "0\t0\n1\t1\n2\t2\n"


def test_ranks_are_listed(planted):
    folder, _, _ = planted
    assert not main(["clean", str(folder / "set"), "--features", str(folder / "set.npy"), "--report",
                     str(folder / "report")])
    rows = [line.split("\t") for line in (folder / "report" / "ranks.tsv").read_text().splitlines()[1:]]
    assert sorted(int(row[0]) for row in rows) == list(range(1, 21))
    worst = [row for row in rows if row[1] == "0"][-1]
    assert worst[0] == "6" and float(worst[2]) > 60 and worst[3] == "5"
    assert re.match(r"1\t3\t0\.9", (folder / "report" / "same.tsv").read_text().splitlines()[1])


def test_the_page_shows_the_worst_first_and_no_more_than_asked(planted):
    folder, _, _ = planted
    with RecordSet.open(folder / "set") as records:
        found = examine(records, folder / "set.npy")
        asked = [question for question in questions(records, found, 1.0, most=7) if question.doubts]
        doubts = [doubt for question in asked for doubt in question.doubts]
    assert len(doubts) == 7 and doubts[0].key == 6
    assert all(doubt.drop for doubt in doubts)


def test_names_on_the_page_are_escaped(tmp_path):
    asked = [Question("<script>alert(1)</script>", [Doubt(3, "a & b", False)])]
    write_page(tmp_path / "page.html", "<b>", "in & out", asked, lambda key: b"\xff\xd8picture")
    text = (tmp_path / "page.html").read_text()
    assert "<script>alert" not in text and "&lt;script&gt;" in text and "<b>" not in text and "a &amp; b" in text


@pytest.mark.parametrize("text,said", [
    ("[]", "not the decisions"), ('{"other": []}', "not the decisions"), ('{"drop": ["1"]}', "'drop' should be"),
    ('{"drop": [true]}', "'drop' should be"), ('{"same": [[1]]}', "'same' should be"), ("{", "not valid JSON"),
    ('{"drop": [4], "keep": [4]}', "image 4 is decided both ways"),
    ('{"same": [[1, 2]], "different": [[2, 1]]}', "decided both ways"),
    ('{"same": [[1, 2]], "undecided": [[2, 1]]}', "decided both ways"),
    ('{"undecided": [[1]]}', "'undecided' should be")])
def test_bad_decisions_are_refused(tmp_path, text, said):
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(InputError, match=f"d.json: .*{said}"):
        read_decisions(tmp_path / "d.json")


def test_decisions_of_another_set_are_refused(planted):
    records, found = findings_of(planted[0])
    with pytest.raises(InputError, match="image 99"):
        select(records, found, 50, Decisions(drop=frozenset([99])))
    with pytest.raises(InputError, match="class 7"):
        select(records, found, 50, Decisions(same=frozenset([(0, 7)])))


def test_embeddings_that_do_not_fit_are_refused(planted):
    folder, _, rows = planted
    cases = {"few.npy": rows[:-1], "flat.npy": rows[:, 0], "whole.npy": np.zeros((20, 4), int),
             "nan.npy": rows * np.nan, "zero.npy": rows * 0}
    for name, array in cases.items():
        np.save(folder / name, array)
        with RecordSet.open(folder / "set") as records, pytest.raises(InputError, match=name):
            examine(records, folder / name)
    (folder / "text.npy").write_text("no array")
    for name in ("text.npy", "gone.npy"):
        with RecordSet.open(folder / "set") as records, pytest.raises(InputError, match=name):
            examine(records, folder / name)
    np.save(folder / "centres.npy", rows[:7])
    with RecordSet.open(folder / "set") as records, pytest.raises(InputError, match="centres.npy.*4 classes"):
        examine(records, folder / "set.npy", centres=folder / "centres.npy")


def test_thresholds_that_leave_nothing_write_nothing(planted):
    folder, _, _ = planted
    with pytest.raises(InputError, match="nothing would be left"):
        main(["clean", str(folder / "set"), "--features", str(folder / "set.npy"), "--degrees", "0", "--out",
              str(folder / "out")])
    assert not (folder / "out").exists()
    with pytest.raises(InputError, match="--report DIR"):
        main(["clean", str(folder / "set"), "--features", str(folder / "set.npy")])


def at(degrees):
    return [np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]


@pytest.mark.parametrize("max_angle, expected", [
    (75.0, [0, 1, 3, 4, 5, 6]),  # identity 0: two images each side, the first centre counts, 74 degrees is just within
    (25.0, [0, 1, 4, 5])])  # identity 1: the second centre
def test_trained_sub_centres_decide_by_the_dominant_one(tmp_path, make_set, max_angle, expected):
    make_set(tmp_path / "two", [4, 3])
    rows = 5 * np.array([at(5), at(-20), at(88), at(74), at(195), at(210), at(170)])
    with RecordSet.open(tmp_path / "two") as records:
        centres = per_class(np.array([at(0), at(90), at(180), at(200)]), records, 2, "centres")
        groups = select(records, rank_images(records, rows, "rows", given=centres), max_angle)
        assert sorted(place for _, places in groups for place in places) == expected
        with pytest.raises(InputError, match="is not k x 2 classes"):
            per_class(np.ones((3, 2)), records, 2, "centres")
