"""Verdicts on the paper's statements: intervals against SciPy, each verdict from made-up tables, rows that exist."""
import math

from arcface_mxnet.evaluation import paper
from arcface_mxnet.recognition.reproduction import findings
from arcface_mxnet.recognition.reproduction.findings import FAILS, HOLDS, NOT_RUN, UNDECIDED, Statement, judge
from arcface_mxnet.runtime.files import write_json

import numpy as np
import pytest
from scipy import stats


def statement(gaps, **more):
    return Statement("s", "it says so", "section 1", "a minus b", "%", lambda tables: np.array(gaps), **more)


def test_the_interval_is_that_of_a_paired_t_test():
    one, other = np.array([90.1, 91.5, 89.7, 90.4]), np.array([88.0, 90.9, 89.0, 90.1])
    mean, low, high = findings.interval(one - other)
    expected = stats.ttest_rel(one, other).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high)) and mean == pytest.approx((one - other).mean())
    assert findings.interval([1.0]) == (1.0, -math.inf, math.inf)


@pytest.mark.parametrize("gaps, more, verdict", [
    ([1.0, 1.1, 0.9], {}, HOLDS), ([-1.0, -1.1, -0.9], {}, FAILS), ([1.0, -1.0, 0.5], {}, UNDECIDED),
    ([2.0], {}, UNDECIDED),
    ([-0.1, 0.0, 0.1], {"margin": 0.5}, HOLDS), ([3.0, 3.1, 2.9], {"margin": 0.5}, HOLDS),  # no worse than by a margin
    ([-2.0, -2.1, -1.9], {"margin": 0.5}, FAILS), ([-0.1, 0.0, 0.1], {"margin": 0.5, "both": True}, HOLDS),
    ([3.0, 3.1, 2.9], {"margin": 0.5, "both": True}, FAILS),
    ([0.4, 0.5, 0.6], {"margin": 0.5, "both": True}, UNDECIDED)])
def test_each_verdict(gaps, more, verdict):
    assert judge(statement(gaps, **more), {}).verdict == verdict


def test_the_seeds_it_would_take_decide():
    gaps = [1.0, -1.0, 0.9, 0.2, 0.1]
    needed = judge(statement(gaps), {}).seeds_needed
    mean, spread = np.mean(gaps), np.std(gaps, ddof=1)

    def decided(count):
        return stats.t.ppf(0.975, count - 1) * spread / np.sqrt(count) < mean
    assert decided(needed) and not decided(needed - 1)
    assert findings.seeds_needed([1.0, -1.0]) is None  # a mean of nothing


def test_a_table_decides_seed_by_seed(tmp_path):
    """ArcFace is ahead by 1 in every seed, though seeds differ by 20: paired it is sure, unpaired it would not be."""
    cells = [{"row": row, "column": pack, "values": [base + ahead for base in (60, 80, 95)]}
             for row, ahead in (("ArcFace (0.5)", 1.0), ("CosFace (0.35)", 0.0))
             for pack in ("LFW", "CFP-FP", "AgeDB-30")]
    cells[0]["values"][0] += 0.3
    write_json(tmp_path / "table2.json", {"cells": cells, "made_from": {"recipes": [{"steps": 600, "warm": 500}]}})
    found = {one.statement.name: one for one in findings.verdicts(findings.read_tables(tmp_path))}
    assert found["table2 CosFace"].verdict == HOLDS and found["table2 CosFace"].gaps == pytest.approx((1.1, 1.0, 1.0))
    assert found["table2 softmax"].verdict == NOT_RUN and found["intra compact"].verdict == NOT_RUN
    lines = findings.summary(list(found.values()), findings.read_tables(tmp_path))
    assert lines[0].startswith(f"{len(findings.STATEMENTS)} statements of the paper: 4 holds")
    assert lines[0].endswith("Steps of a run (of softmax before them): table2 600 (500).")
    assert "| ArcFace (0.5) is above CosFace (0.35) | section 3.2, Table 2 |" in "\n".join(lines)


def test_every_statement_names_cells_of_the_papers_tables():
    """A wrong row or column would read "not run" for ever: fill all cells of the tables and see each one judged."""
    tables = {}
    for name in ("table2", "table3", "table4", "table6", "table7", "subcentre"):
        printed = paper.table(name)
        tables[name] = {"cells": [{"row": row.name, "column": column, "values": [1.0, 2.0, 3.0]}
                                  for row in printed.rows for column in printed.columns]}
    assert [one.name for one in findings.STATEMENTS if judge(one, tables).verdict == NOT_RUN] == []
    assert len({one.name for one in findings.STATEMENTS}) == len(findings.STATEMENTS)
