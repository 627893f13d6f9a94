"""paper.json: every number once, by table and row, and the figures that the benchmarks take out of it."""
from arcface_mxnet.evaluation.paper import (
    ANGLES,
    NO_FIGURE,
    PAIRS,
    RANK_1,
    TABLE_6,
    figure,
    published_angle,
    published_ijb_tar,
    published_iqiyi,
    published_megaface,
    published_trillion_pairs,
    table,
)
from arcface_mxnet.runtime.errors import InputError

import pytest

# numbers of a table, their sum, and the sum of each times its place, as compared cell by cell with the printed tables
SUMS = {"table2": (68, 6509.2, 224059.1), "table3": (28, 1244.67, 18464.17), "table4": (22, 2143.46, 24749.83),
        "table5": (18, 1626.42, 15581.87), "table6": (31, 2548.19, 43410.821), "table7": (22, 18.862, 222.221),
        "table8": (10, 697.752, 4311.908), "table9": (5, 430.77, 1310.28), "subcentre": (38, 3504.19, 69256.35),
        "ijb_notebooks": (168, 149.864, 12929.716), "zoo": (17, 1652.85, 14786.49),
        "table8_pami": (32, 2784.54, 48362.27)}


def test_rows_have_a_cell_for_each_column_and_names_of_their_own():
    for name in [*SUMS, "table1"]:
        printed = table(name)
        assert all(len(row.values) == len(printed.columns) for row in printed.rows)
        assert len({row.name for row in printed.rows}) == len(printed.rows)
        assert printed.source and printed.label


@pytest.mark.parametrize("name", SUMS)
def test_numbers_are_those_that_were_compared_with_the_print(name):
    numbers = [value for row in table(name).rows for value in row.values if isinstance(value, float)]
    places = sum(place * number for place, number in enumerate(numbers, 1))
    assert (len(numbers), round(sum(numbers), 3), round(places, 3)) == SUMS[name]


def test_figures_of_the_benchmarks_are_the_cells_they_name():
    assert PAIRS["lfw"] == (99.83, "Table 4, MS1MV2, R100, ArcFace (v3)")
    assert (PAIRS["calfw"].value, PAIRS["cplfw"].value, PAIRS["ytf"].value) == (95.45, 92.08, 98.02)
    assert (PAIRS["cfp_fp"].value, PAIRS["agedb_30"].value, PAIRS["cfp_ff"].value) == (98.27, 98.28, 99.83)
    assert ANGLES["W-EC"] == {"NS": 44.26, "ArcFace": 14.29, "Intra-L": 8.83, "Inter-L": 46.85}
    assert ANGLES["Inter2"]["Triplet-L"] == 55.94 and len(ANGLES) == 6
    assert TABLE_6["small"][True][:2] == (91.75, 93.69) and TABLE_6["large"][False][:2] == (81.03, 96.98)
    assert RANK_1 == pytest.approx({"ijbb": 0.945, "ijbc": 0.9572})


@pytest.mark.parametrize("target, mode, far, value", [
    ("ijbb", "N0D0F0", 1e-4, 0.942), ("ijbc", "N0D0F0", 1e-4, 0.956), ("ijbb", "N0D0F0", 1e-6, 0.3828),
    ("ijbc", "N1D1F2", 1e-1, 0.9908), ("ijbb", "N1D1F2", 1e-5, 0.9082)])
def test_tar_of_ijb_by_mode_and_rate(target, mode, far, value):
    assert published_ijb_tar(target, mode, far)[0] == value


@pytest.mark.parametrize("distractors, probes, persons, value", [
    (1_000_000, 3530, 80, 98.48), (10, 3530, 80, None), (1_000_000, 3529, 80, None), (1_000_000, 3530, 79, None)])
def test_megafaces_figures_are_of_its_lists(distractors, probes, persons, value):
    found = published_megaface("large", True, distractors, probes, persons)
    assert (found and found.verification) == value


@pytest.mark.parametrize("name, loss, classes, images, value", [
    ("W-EC", "ArcFace", 10572, 490623, 14.29), ("Inter1", "Triplet-L", 10572, 490623, 50.23),
    ("Intra2", "NS", 5749, 13233, 33.97), ("Intra2", "NS", 10572, 490623, None), ("Intra1", "NS", 5749, 13233, None),
    ("Intra2", "NS", 5749, 13232, None), ("W-EC", "Triplet-L", 10572, 490623, None)])
def test_angles_are_of_casia_and_lfw(name, loss, classes, images, value):
    found = published_angle(name, loss, classes, images)
    assert found == (value, f"Table 3, CASIA R50 {loss}") if value else found is NO_FIGURE


def test_trillion_pairs_are_of_the_servers_lists_at_the_papers_rates():
    assert published_trillion_pairs("MS1MV2", 1_862_120, (1e-3, 1e-9)) == (
        (80.968, "Table 8, MS1MV2"), (78.6, "Table 8, MS1MV2"))
    assert published_trillion_pairs("CASIA", 1_862_120, (1e-2, 1e-9)) == (NO_FIGURE, (21.452, "Table 8, CASIA"))
    assert published_trillion_pairs("CASIA", 1_862_120, (1e-3, 1e-8)) == ((26.643, "Table 8, CASIA"), NO_FIGURE)
    assert published_trillion_pairs("MS1MV2", 1_862_119, (1e-3, 1e-9)) == (NO_FIGURE, NO_FIGURE)


@pytest.mark.parametrize("step, persons, videos, value", [
    ("centre", 4934, 172_835, 79.8), ("mlp", 4934, 172_835, 86.4), ("ensemble", 4934, 172_835, 88.26),
    ("context", 4934, 172_835, 88.65), ("mlp", 4933, 172_835, None), ("mlp", 4934, 172_860, None)])
def test_iqiyi_is_of_its_test_videos(step, persons, videos, value):
    assert published_iqiyi(step, persons, videos).value == value


def test_what_is_not_published_is_none_and_not_a_number():
    assert published_ijb_tar("ijbb", "N0D0F1", 1e-4) is None and published_ijb_tar("ijbb", "N1D1F2", 5e-4) is None
    assert table("table4").figure("Baidu", "YTF").value is None
    with pytest.raises(InputError, match="unknown column of table4 'CFP'"):
        table("table4").figure("Baidu", "CFP")
    with pytest.raises(InputError, match="unknown table of the paper"):
        table("table99")
    with pytest.raises(InputError, match="fig4b"):
        figure("fig5")
