"""IJB: modes, templates, 1:1 and both 1:N definitions against loops and scikit-learn."""
from arcface_mxnet.evaluation.ijb.identification import identify_separate, identify_union
from arcface_mxnet.evaluation.ijb.metadata import (
    Subjects,
    TemplatePairs,
    read_faces,
    read_media,
    read_pairs,
    read_subjects,
)
from arcface_mxnet.evaluation.ijb.templates import Mode, Templates, pool
from arcface_mxnet.evaluation.ijb.verification import FARS, pair_scores, verify, without_collinear
from arcface_mxnet.evaluation.metrics import roc
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st


def slow_mode(features, flipped, scores, text):
    """The scripts' order: flip, norm, detector score."""
    made = []
    for row, feature in enumerate(features.astype(float)):
        if text.endswith("F1"):
            feature = np.concatenate([feature, flipped[row]])
        elif text.endswith("F2"):
            feature = feature + flipped[row]
        if "N0" in text and np.linalg.norm(feature):
            feature = feature / np.linalg.norm(feature)
        made.append(feature * scores[row] if "D1" in text else feature)
    return np.array(made)


def slow_templates(features, templates, media):
    """Per template: the sum over its media of the mean of their images, L2-normalised."""
    ids, rows = sorted(set(templates.tolist())), []
    for one in ids:
        total = np.zeros(features.shape[1])
        for medium in set(media[templates == one].tolist()):
            chosen = [features[row] for row in range(len(features)) if templates[row] == one and media[row] == medium]
            total += sum(chosen) / len(chosen)
        rows.append(total / np.linalg.norm(total) if np.linalg.norm(total) else total)
    return np.array(ids), np.array(rows)


@pytest.mark.parametrize("text", [f"N{n}D{d}F{f}" for n in (0, 1) for d in (0, 1) for f in (0, 1, 2)])
def test_modes_and_templates(text):
    generator = np.random.default_rng(0)
    features, flipped = generator.standard_normal((2, 40, 6)).astype(np.float32)
    scores, templates, media = generator.random(40), generator.integers(0, 9, 40) * 7, generator.integers(0, 4, 40)
    features[5] = flipped[5] = 0
    templates[0] = 1000
    mode = Mode.parse(text)
    applied = mode.apply(features, flipped, scores)
    np.testing.assert_allclose(applied, slow_mode(features, flipped, scores, text), atol=1e-6)
    pooled = pool(lambda rows: mode.apply(features[rows], flipped[rows], scores[rows]), templates, media)
    ids, rows = slow_templates(slow_mode(features, flipped, scores, text), templates, media)
    np.testing.assert_array_equal(pooled.ids, ids)
    np.testing.assert_allclose(pooled.features, rows, atol=1e-6)


def test_blocks_of_images_do_not_change_templates(monkeypatch):
    generator = np.random.default_rng(1)
    features, templates, media = generator.random((50, 4)), generator.integers(0, 7, 50), generator.integers(0, 3, 50)
    whole = pool(lambda rows: features[rows], templates, media)
    monkeypatch.setattr("arcface_mxnet.evaluation.ijb.templates.IMAGES_AT_ONCE", 7)
    np.testing.assert_allclose(pool(lambda rows: features[rows], templates, media).features, whole.features, atol=1e-7)


def test_images_that_cancel_out_leave_a_zero_template():
    assert not pool(lambda rows: np.array([[1.0, 0], [-1, 0]])[rows], np.zeros(2, int), np.arange(2)).features.any()


@pytest.mark.parametrize("text", ["N2D0F0", "n1d1f2", "N1D1", "N1D1F3", ""])
def test_unknown_modes_are_refused(text):
    with pytest.raises(InputError, match="--mode"):
        Mode.parse(text)


def test_a_mode_says_what_it_lacks():
    with pytest.raises(InputError, match="--flipped-features"):
        Mode.parse("N0D0F2").apply(np.ones((1, 2)), None, None)
    with pytest.raises(InputError, match="detector scores"):
        Mode.parse("N0D1F0").apply(np.ones((1, 2)), None, None)


def units(count, seed=0, dimensions=8):
    rows = np.random.default_rng(seed).standard_normal((count, dimensions))
    return Templates(np.arange(count) * 3 + 5, (rows / np.linalg.norm(rows, axis=1)[:, None]).astype(np.float32))


def random_pairs(templates, count, seed):
    generator = np.random.default_rng(seed)
    left, right = generator.integers(0, len(templates.ids), (2, count))
    scores = np.sum(templates.features[left] * templates.features[right], axis=1)
    same = generator.random(count) < 0.1 + 0.4 * np.clip(scores, 0, 1)
    same[:2] = True, False
    return TemplatePairs(templates.ids[left].astype(np.int32), templates.ids[right].astype(np.int32), same), scores


@pytest.mark.parametrize("share", ["dense", "sparse"])
def test_pair_scores_are_products_of_templates(share, monkeypatch):
    monkeypatch.setattr("arcface_mxnet.evaluation.ijb.verification._LEFT_AT_ONCE", 16)
    monkeypatch.setattr("arcface_mxnet.evaluation.ijb.verification._SPARSE", 0 if share == "dense" else 2)
    templates = units(60)
    pairs, scores = random_pairs(templates, 500, 1)
    np.testing.assert_allclose(pair_scores(templates, pairs), scores, atol=1e-6)


@pytest.mark.parametrize("dimensions", [128, 512, 1024])
def test_equal_pairs_score_equal_in_every_block(dimensions, monkeypatch):
    """Rounding depends on the shape of a product, so blocks are of one shape: the last one (1 or 5 rows) too."""
    monkeypatch.setattr("arcface_mxnet.evaluation.ijb.verification._LEFT_AT_ONCE", 16)
    monkeypatch.setattr("arcface_mxnet.evaluation.ijb.identification._PROBES_AT_ONCE", 16)
    for count in (33, 37):
        templates = units(count + 12, dimensions, dimensions)
        templates.features[:count] = templates.features[0]
        left, right = np.repeat(templates.ids[:count], 12), np.tile(templates.ids[count:], count)
        scores = pair_scores(templates, TemplatePairs(left, right, left > right))
        assert len(np.unique(scores)) == 12
        gallery = Subjects(templates.ids[count:], np.arange(12))
        probes = Subjects(templates.ids[:count], np.arange(count) % 12)
        place = int(np.argmax(scores[:12]))
        result = identify_union(templates, [gallery], probes, (1 / 3,))
        assert result.tpir[1 / 3] == 0  # each threshold is the common best score, and no mate is above it
        assert result.thresholds[1 / 3] == (pytest.approx(float(scores[place]), abs=1e-6),)


def published_rule(same, scores):
    far, tar, _ = sklearn.metrics.roc_curve(same, scores)
    far, tar = np.flipud(far), np.flipud(tar)
    return [tar[min(zip(abs(far - wanted), range(len(far))))[1]] for wanted in FARS]


@pytest.mark.parametrize("levels", [None, 3, 20])
@pytest.mark.parametrize("count", [12, 300, 5000])
def test_the_curve_and_tar_are_scikit_learns(count, levels):
    templates = units(40)
    if levels:
        templates = Templates(templates.ids, np.round(templates.features * levels) / 16)
    pairs, _ = random_pairs(templates, count, 2)
    scores = pair_scores(templates, pairs)
    result = verify(templates, pairs)
    far, tar, _ = sklearn.metrics.roc_curve(pairs.same, scores)
    np.testing.assert_allclose(result.curve.far, far, atol=1e-12)
    np.testing.assert_allclose(result.curve.tar, tar, atol=1e-12)
    assert list(result.tar.values()) == pytest.approx(published_rule(pairs.same, scores), abs=1e-12)


def test_close_scores_do_not_tie_and_the_curve_is_that_of_the_scripts():
    """Pooled and scored one by one in float64, as the scripts do it; in float32 most of these cosines would tie."""
    generator = np.random.default_rng(5)
    features = (1 + 1e-2 * generator.standard_normal((300, 16))).astype(np.float32)
    template, media = np.repeat(np.arange(100), 3), np.tile([0, 0, 1], 100)
    templates = pool(lambda rows: features[rows], template, media)
    pairs, _ = random_pairs(templates, 4000, 6)
    pairs = TemplatePairs(*(part[pairs.first != pairs.second] for part in pairs))  # a cosine of 1 is all rounding
    _, slow = slow_templates(features.astype(float), template, media)
    scores = np.sum(slow[pairs.first] * slow[pairs.second], axis=-1)
    assert len(np.unique(scores.astype(np.float32))) < 1500 < 2000 < len(np.unique(scores))
    result = verify(templates, pairs)
    far, tar, _ = sklearn.metrics.roc_curve(pairs.same, scores)
    np.testing.assert_allclose(result.curve.far, far, atol=1e-12)
    np.testing.assert_allclose(result.curve.tar, tar, atol=1e-12)
    assert list(result.tar.values()) == pytest.approx(published_rule(pairs.same, scores), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_tar_is_read_from_the_curve_that_scikit_learn_leaves(seed):
    """Pairs listed as genuine and as impostor rise along a diagonal whose inner points the scripts do not see."""
    templates = units(30, seed)
    left, right = np.repeat(templates.ids[:10], 6), np.tile(templates.ids[10:16], 10)
    twice = TemplatePairs(np.tile(left, 2), np.tile(right, 2), np.arange(120) < 60)
    scores = pair_scores(templates, twice)
    found = list(verify(templates, twice).tar.values())
    assert found == pytest.approx(published_rule(twice.same, scores), abs=1e-12)
    far, tar, _ = sklearn.metrics.roc_curve(twice.same, scores, drop_intermediate=False)
    assert found[-1] != tar[np.argmin(abs(far - FARS[-1]))]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40))
def test_collinear_points_are_dropped_as_scikit_learn_does(rows):
    scores, same = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows])
    if same.all() or not same.any():
        return
    curve = without_collinear(roc(scores, same), int(same.sum()), int((~same).sum()))
    far, tar, _ = sklearn.metrics.roc_curve(same, scores)
    np.testing.assert_allclose(curve.far, far)
    np.testing.assert_allclose(curve.tar, tar)


def test_verify_refuses_one_class_and_unknown_templates():
    templates = units(4)
    ids = templates.ids.astype(np.int32)
    with pytest.raises(InputError, match="both kinds"):
        verify(templates, TemplatePairs(ids[:2], ids[2:], np.array([True, True])))
    with pytest.raises(InputError, match="template 6 has no image"):
        verify(templates, TemplatePairs(ids[:2], np.array([6, 5], np.int32), np.array([True, False])))


def lists(templates, seed):
    """Two galleries of 6 and 5 subjects and 40 probes, one mate each in one of them."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(templates.ids))
    first, second, rest = np.sort(order[:6]), np.sort(order[6:11]), np.sort(order[11:51])
    subjects = generator.permutation(100)[:11]
    return ([Subjects(templates.ids[first], subjects[:6]), Subjects(templates.ids[second], subjects[6:])],
            Subjects(templates.ids[rest], generator.choice(subjects, 40)))


def scored(templates, gallery, probes):
    features = dict(zip(templates.ids.tolist(), templates.features.astype(float)))
    return [(subject, [(other, float(features[probe] @ features[template]))
                       for template, other in zip(gallery.templates.tolist(), gallery.subjects.tolist())])
            for probe, subject in zip(probes.templates.tolist(), probes.subjects.tolist())]


def slow_union(templates, galleries, probes, fpirs):
    union = Subjects(*(np.concatenate(parts) for parts in zip(*galleries)))
    mates, others, ranks = [], [], []
    for subject, scores in scored(templates, union, probes):
        own = next(score for other, score in scores if other == subject)
        rest = [score for other, score in scores if other != subject]
        mates.append(own)
        others += rest
        ranks.append(sum(score >= own for score in rest))
    others.sort(reverse=True)
    limits = [others[int(np.ceil(len(mates) * fpir)) - 1] for fpir in fpirs]
    return [np.mean(np.array(ranks) < k) for k in (1, 5, 10)], [np.mean(np.array(mates) > limit) for limit in limits]


def slow_separate(templates, galleries, probes, fpirs):
    hits, rates = [0, 0, 0], []
    for gallery in galleries:
        mated, outside = [], []
        for subject, scores in scored(templates, gallery, probes):
            own = [score for other, score in scores if other == subject]
            rest = [score for other, score in scores if other != subject]
            if own:
                mated.append((own[0], max(rest)))
                for place, k in enumerate((1, 5, 10)):
                    hits[place] += sum(score >= own[0] for score in rest) < k
            else:
                outside.append(max(rest))
        outside.sort(reverse=True)
        limits = [outside[max(int(len(outside) * fpir) - 1, 0)] for fpir in fpirs]
        rates.append([np.mean([own > best and own > limit for own, best in mated]) for limit in limits])
    return [hit / len(probes.templates) for hit in hits], np.mean(rates, axis=0).tolist()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("fast, slow", [(identify_union, slow_union), (identify_separate, slow_separate)])
def test_identification_equals_the_slow_one(fast, slow, seed, monkeypatch):
    monkeypatch.setattr("arcface_mxnet.evaluation.ijb.identification._PROBES_AT_ONCE", 13)
    templates = units(60, seed, dimensions=3)
    if seed == 0:
        templates = Templates(templates.ids, np.round(2 * templates.features) / 2)
    if seed == 1:
        templates = Templates(templates.ids, np.zeros_like(templates.features))
    galleries, probes = lists(templates, seed)
    result = fast(templates, galleries, probes, (0.01, 0.1, 0.5))
    ranks, rates = slow(templates, galleries, probes, (0.01, 0.1, 0.5))
    assert list(result.rank.values()) == pytest.approx(ranks)
    assert list(result.tpir.values()) == pytest.approx(rates)


def test_identification_refuses_lists_that_do_not_belong_together():
    templates = units(60)
    galleries, probes = lists(templates, 3)
    lost = Subjects(probes.templates, np.r_[1000, probes.subjects[1:]])
    with pytest.raises(InputError, match="has no mate"):
        identify_union(templates, galleries, lost)
    with pytest.raises(InputError, match="has two templates"):
        identify_union(templates, [galleries[0], galleries[0]], probes)
    with pytest.raises(InputError, match="template 7 has no image"):
        identify_separate(templates, galleries, Subjects(np.r_[7, probes.templates[1:]], probes.subjects))
    everyone = Subjects(probes.templates, np.full(40, galleries[0].subjects[0]))
    with pytest.raises(InputError, match="with and without a mate"):
        identify_separate(templates, galleries, everyone)


@pytest.mark.parametrize("read,text,said", [
    (read_pairs, "1 2 0\n5000000000 3 1\n",
     "line 2: '5000000000' is not a whole number from -2147483648 to 2147483647"),
    (read_pairs, "1 2 0\n" + "9" * 30 + " 3 1\n", "line 2: .*it has 30 digits"),
    (read_pairs, "1 2 257\n", "line 1: label 257 is not"),
    (read_pairs, "1 2 0\n1 3\n", "line 2: 2 columns"), (read_pairs, "1 2 nan\n", "line 1: 'nan' .*not finite"),
    (read_media, "a 1 " + "9" * 5000 + "\n", "line 1: .*it has 5000 digits"),
    (read_media, "a\0 1 2\n", "line 1: a NUL"),
    (read_media, "", "not the published form"),
    (read_faces, "a " + "1 " * 10 + "inf\n", "line 1 holds a number that is not finite"),
    (lambda path: read_subjects([path]), "TEMPLATE_ID,SUBJECT_ID\n1," + "9" * 40 + "\n", "no list with TEMPLATE_ID"),
    (lambda path: read_subjects([path]), "A,B\n1,2\n", "no list with TEMPLATE_ID")])
def test_lists_of_numbers_that_are_none_are_named_by_line(tmp_path, read, text, said):
    """A number that does not fit its column wrapped around, and then named another template."""
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(InputError, match=f"list.txt: .*{said}"):
        read(tmp_path / "list.txt")


def test_a_quote_in_a_name_is_a_letter(tmp_path):
    (tmp_path / "list.txt").write_bytes(b'\xef\xbb\xbf"a 1 2\r\nb" 3 4\r\n')
    assert read_media(tmp_path / "list.txt").images.tolist() == ['"a', 'b"']
