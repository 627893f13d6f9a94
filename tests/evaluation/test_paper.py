"""paper.json: every number once, by table and row, and the figures that the benchmarks take out of it."""
import re
from pathlib import Path

from arcface_mxnet.evaluation.paper import ANGLES, PAIRS, RANK_1, TABLE_6, figure, published, published_tar, table
from arcface_mxnet.runtime.errors import InputError

import pytest

REFERENCE = Path("/work/shared/reference/paper_tables.md")
SECTIONS = {"table2": "1.2", "table3": "1.3", "table4": "1.4", "table5": "1.5", "table6": "1.6", "table7": "1.7",
            "table8": "1.8", "table9": "1.9", "subcentre": "1.10", "ijb_notebooks": "3.6", "zoo": "5.1"}


def test_rows_have_a_cell_for_each_column_and_names_of_their_own():
    for name in [*SECTIONS, "table1", "table8_pami"]:
        printed = table(name)
        assert all(len(row.values) == len(printed.columns) for row in printed.rows)
        assert len({row.name for row in printed.rows}) == len(printed.rows)
        assert printed.source and printed.label


@pytest.mark.parametrize("name", SECTIONS)
def test_every_number_stands_in_the_reference_section(name):
    if not REFERENCE.exists():
        pytest.skip("the reference tables are not part of the repository")
    text = REFERENCE.read_text(encoding="utf-8")
    start = re.search(rf"^## {SECTIONS[name]} ", text, re.MULTILINE)
    section = text[start.end():text.index("\n## ", start.end())]
    known = {float(number) for number in re.findall(r"(?<![\w.])\d*\.?\d+", section)}
    for row in table(name).rows:
        for value in row.values:
            assert not isinstance(value, float) or value in known, f"{row.name}: {value}"


def test_figures_of_the_benchmarks_are_the_cells_they_name():
    assert PAIRS["lfw"] == (99.83, "Table 4, MS1MV2, R100, ArcFace (v3)")
    assert (PAIRS["calfw"].value, PAIRS["cplfw"].value, PAIRS["ytf"].value) == (95.45, 92.08, 98.02)
    assert (PAIRS["cfp_fp"].value, PAIRS["agedb_30"].value, PAIRS["cfp_ff"].value) == (98.27, 98.28, 99.83)
    assert ANGLES["W-EC"] == {"NS": 44.26, "ArcFace": 14.29, "Intra-L": 8.83, "Inter-L": 46.85}
    assert ANGLES["Inter2"]["Triplet-L"] == 55.94 and len(ANGLES) == 6
    assert TABLE_6["small"][True][:2] == (91.75, 93.69) and TABLE_6["large"][False][:2] == (81.03, 96.98)
    assert published("large", True, 10) is None and published("large", True, 1_000_000).verification == 98.48
    assert RANK_1 == pytest.approx({"ijbb": 0.945, "ijbc": 0.9572})


@pytest.mark.parametrize("target, mode, far, value", [
    ("ijbb", "N0D0F0", 1e-4, 0.942), ("ijbc", "N0D0F0", 1e-4, 0.956), ("ijbb", "N0D0F0", 1e-6, 0.3828),
    ("ijbc", "N1D1F2", 1e-1, 0.9908), ("ijbb", "N1D1F2", 1e-5, 0.9082)])
def test_tar_of_ijb_by_mode_and_rate(target, mode, far, value):
    assert published_tar(target, mode, far)[0] == value


def test_what_is_not_published_is_none_and_not_a_number():
    assert published_tar("ijbb", "N0D0F1", 1e-4) is None and published_tar("ijbb", "N1D1F2", 5e-4) is None
    assert table("table4").figure("Baidu", "YTF").value is None
    with pytest.raises(InputError, match="unknown column of table4 'CFP'"):
        table("table4").figure("Baidu", "CFP")
    with pytest.raises(InputError, match="unknown table of the paper"):
        table("table99")
    with pytest.raises(InputError, match="fig4b"):
        figure("fig5")
