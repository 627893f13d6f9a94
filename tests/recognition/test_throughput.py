"""The benchmark command: its cells are real measurements of the right thing, its table holds them."""
import json

from arcface_mxnet.recognition import throughput
from arcface_mxnet.recognition.throughput import PAPER, measure, prepare, size_megabytes, table
from arcface_mxnet.runtime.errors import InputError

import pytest


@pytest.mark.slow
def test_a_row_is_measured_and_written(tmp_path, capsys):
    throughput.main(["--networks", "demo", "--precisions", "stored,fast", "--batch-sizes", "1", "--rounds", "2",
                    "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    stored = json.loads((tmp_path / "benchmark.json").read_text())
    assert (tmp_path / "benchmark.md").read_text() == printed
    assert [(row["network"], row["precision"]) for row in stored["rows"]] == [("demo", "stored"), ("demo", "fast")]
    for row in stored["rows"]:
        assert row["ms_per_face"]["1"] > 0 and row["peak_mb"] > 50
        assert f"{row['ms_per_face']['1']:.2f}" in printed


def test_the_papers_figures_stand_beside_ours():
    row = {"network": "r50", "precision": "fast", "ms_per_face": {"1": 70.123, "32": 60.0}, "size_mb": 174.4,
           "flops": 12612791296, "peak_mb": 900.0, "parameters": 1}
    text = table({"machine": {"processor": "P", "cores": 2, "mxnet": "1.9.1"}, "rows": [row, {**row, "network": "y1"}],
                  "paper": PAPER})
    assert "| r50 | fast | 70.12 | 60.00 | 174.4 | 8.9, 160 | 12.61 | 900 |" in text
    assert "| y1 | fast | 70.12 | 60.00 | 174.4 | - | 12.61 | 900 |" in text


def test_the_size_of_the_published_network_is_its_files(fixtures):
    from arcface_mxnet.graph.checkpoint import load
    size = (fixtures / "published_y1" / "model-0000.params").stat().st_size / 1e6
    assert abs(size_megabytes(load(str(fixtures / "published_y1" / "model"), 0)) - size) < 0.01


@pytest.mark.parametrize("flags,message", [
    (["--networks", "r51"], "unknown network 'r51'"), (["--precisions", "int4"], "unknown precision 'int4'"),
    (["--batch-sizes", "0"], "--batch-sizes 0"), (["--rounds", "-1"], "--rounds -1")])
def test_wrong_flags_are_refused(flags, message):
    with pytest.raises(InputError, match=message):
        throughput.main(flags)


def test_one_cell_names_its_network_and_runs_what_was_saved(tmp_path):
    row = prepare("demo", "fast", str(tmp_path / "model"))
    assert row["network"] == "demo" and row["parameters"] > 1e5 and row["flops"] > 1e7
    assert list(measure("demo", str(tmp_path / "model"), [2], 1)["ms_per_face"]) == ["2"]
