"""The report: every figure, hash and picture of the results, nothing loaded from elsewhere, foreign text escaped."""
import base64
import hashlib
import json
import re
from html.parser import HTMLParser

from arcface_mxnet.evaluation import report
from arcface_mxnet.evaluation.pairs import evaluate_pairs
from arcface_mxnet.evaluation.plots import Curve, draw_curves
from arcface_mxnet.evaluation.results import About, Entry, Row, write_results
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest

MODEL_HASH, DATA_HASH = (hashlib.sha256(text).hexdigest() for text in (b"model", b"data"))


def write(folder, target="lfw", what="LFW <accuracy>"):
    about = About("pairs", "flip & sum", {"model-0000.params": MODEL_HASH}, {"lfw.bin": DATA_HASH}, {"genuine": 300})
    curve = Curve("roc", "AUC", np.array([0.1, 1.0]), np.array([0.5, 1.0]), "FAR", "TAR")
    rows = [Row(what, 98.0, 99.83, "Table 4"), Row("Intra", 30.5, None, "", "degrees")]
    figures = {"accuracy": 0.98, "folds": [0.5] * 10, "cmc": list(np.arange(30.0)), "tar": {"1e-6": 0.25}, "auc": None}
    write_results(folder, {target: Entry(figures, about, rows, [curve])})


class Reader(HTMLParser):
    """Collects what a browser would load and whether every element closes."""

    def __init__(self):
        super().__init__()
        self.sources, self.open, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_holds_everything_and_loads_nothing(tmp_path, capsys):
    write(tmp_path / "a")
    write(tmp_path / "b", "cfp_fp")
    report.main(["--results", str(tmp_path / "a"), str(tmp_path / "b"), "--title", "y1 <test>", "--out",
                 str(tmp_path / "out")])
    page = (tmp_path / "out" / "report.html").read_text()
    reader = Reader()
    reader.feed(page)
    assert not reader.open
    pictures = [source for source in reader.sources if source.startswith("data:")]
    assert len(pictures) == 2 and all(source.startswith(("data:image/png;base64,", "#")) for source in reader.sources)
    assert base64.b64decode(pictures[0].split(",")[1]) == (tmp_path / "a" / "lfw_roc.png").read_bytes()
    text = "|".join(reader.text)
    for wanted in ("LFW <accuracy>", "98.00 %", "99.83 %", "-1.83", "30.50 degrees", "flip & sum", DATA_HASH[:12] + "|",
                   MODEL_HASH[:12] + "|",
                   "tar.1e-6", "0.25", "0, 1, ... 29 (30 values)", "Table 4", DATA_HASH + "|"):
        assert wanted in text, wanted
    anchors = {source[1:] for source in reader.sources if source.startswith("#")} - {"content"}
    assert anchors == set(re.findall(r'<h2 id="([^"]+)"', page)) and len(anchors) == 2
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "| LFW &lt;accuracy&gt; | 98.00 % | 99.83 % | -1.83 | Table 4 |" in markdown and DATA_HASH in markdown
    assert "report.html" in capsys.readouterr().out


def test_incomplete_results_are_refused(tmp_path):
    write(tmp_path / "a")
    (tmp_path / "a" / "lfw_roc.png").unlink()
    with pytest.raises(InputError, match="lfw_roc.png' is missing"):
        report.read_sections([str(tmp_path / "a")])
    with pytest.raises(InputError, match="nowhere.*not found"):
        report.read_sections([str(tmp_path / "nowhere")])
    (tmp_path / "a" / "result.json").write_text('{"lfw": {"about": {}}}')
    with pytest.raises(InputError, match="lacks rows, pictures"):
        report.read_sections([str(tmp_path / "a")])


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> ![x](http://evil/x.png) `code` *bold* a|b\n# head"


def edited(folder, **about):
    """A result whose `about` says something else."""
    write(folder)
    document = json.loads((folder / "result.json").read_text())
    document["lfw"]["about"].update(about)
    (folder / "result.json").write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize("name", ["/etc/hostname", "../other.png", "sub/x.png", "link.png", "", "lfw_roc.png\0",
                                  "text.png"])
def test_only_pictures_beside_the_result_are_read(tmp_path, name):
    """A foreign result.json named /etc/hostname, and the page held it."""
    folder = edited(tmp_path / "a", pictures=[name])
    (tmp_path / "other.png").write_bytes((folder / "lfw_roc.png").read_bytes())
    (folder / "sub").mkdir()
    (folder / "sub" / "x.png").write_bytes((folder / "lfw_roc.png").read_bytes())
    (folder / "link.png").symlink_to(tmp_path / "other.png")
    (folder / "text.png").write_text("root:x:0:0")
    with pytest.raises(InputError, match="which is not beside it|begin as no image|no name of a file"):
        report.read_sections([str(folder)])


@pytest.mark.parametrize("about", [
    {"pictures": "lfw_roc.png"}, {"pictures": [3]}, {"protocol": 3}, {"benchmark": None}, {"data": []},
    {"model": {"a": 3}},
    {"notes": [1]}, {"rows": [{"what": 3, "ours": 1.0}]}, {"rows": [{"what": "x", "ours": "1"}]}, {"rows": {}},
    {"rows": [{"what": "x", "ours": 10 ** 400}]}, {"rows": [{"what": "x"}, {}]}])
def test_results_of_other_types_are_one_line(tmp_path, about):
    folder = edited(tmp_path / "a", **about)
    if about == {"rows": {}}:
        assert report.read_sections([str(folder)])[0].rows == ()
        return
    with pytest.raises(InputError, match="lacks rows, pictures or what they come from, or they are of other types"):
        report.read_sections([str(folder)])


def test_figures_nested_without_end_are_one_line(tmp_path):
    folder = edited(tmp_path / "a")
    document = json.loads((folder / "result.json").read_text())
    for _ in range(300):
        document["lfw"]["accuracy"] = {"a": document["lfw"]["accuracy"]}
    (folder / "result.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="of other types"):
        report.read_sections([str(folder)])


def test_what_comes_from_data_is_shown_literally(tmp_path):
    rows = [{"what": EVIL, "ours": 1.0, "paper": None, "source": EVIL, "unit": EVIL}]
    folder = edited(tmp_path / "a", benchmark=EVIL, protocol=EVIL, data={EVIL: EVIL}, model={EVIL: EVIL},
                    notes={EVIL: EVIL},
                    rows=rows)
    report.main(["--results", str(folder), "--title", EVIL, "--out", str(tmp_path / "out")])
    page, plain = ((tmp_path / "out" / name).read_text() for name in ("report.html", "report.md"))
    reader = Reader()
    reader.feed(page)
    assert not reader.open and all(source.startswith(("data:image/png", "#")) for source in reader.sources)
    spans = re.sub(r"`[^`\n]*`", "", plain.replace("\\`", ""))  # outside code spans
    assert "<" not in spans and not re.search(r"(?<!\\)[*\[\]]", spans) and "\n# head" not in plain
    table = [line for line in plain.split("\n") if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {4}


def test_dollars_are_no_formulas(tmp_path):
    curve = Curve("roc", r"$\frac{", np.array([0.1, 1.0]), np.array([0.5, 1.0]), "$x", r"$\nothing$")
    draw_curves(tmp_path / "a.png", "$title$ $", [curve])
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_the_papers_columns_stand_only_where_there_is_something_in_them(tmp_path):
    result = evaluate_pairs(np.random.RandomState(0).normal(size=(40, 4)), np.arange(20) % 2 == 0, 1.0, 2)
    about = About("pairs", "2 folds", {}, {})
    drawn = report.pair_entry("lfw", result, about, {"interval_95": (0.4, 0.6)}, published=False)
    write_results(tmp_path / "drawn", {"lfw": drawn})
    report.main(["--results", str(tmp_path / "drawn"), "--out", str(tmp_path / "out")])
    page, table = ((tmp_path / "out" / name).read_text() for name in ("report.html", "report.md"))
    for text in (page, table):
        assert "99.83" not in text and "paper" not in text and "40.00 to 60.00" in text
    zoo = report.pair_entry("cfp_fp", result, about, {}, published=True)
    write_results(tmp_path / "zoo", {"cfp_fp": zoo})
    report.main(["--results", str(tmp_path / "zoo"), "--out", str(tmp_path / "out")])
    page, table = ((tmp_path / "out" / name).read_text() for name in ("report.html", "report.md"))
    for text in (page, table):
        assert "98.27 % (model zoo)" in text and "interval" not in text.replace("interval_95", "")


def test_pictures_say_their_figures(tmp_path):
    write(tmp_path / "a", what="LFW")
    page = report.html_report("t", report.read_sections([str(tmp_path / "a")]))
    assert 'alt="lfw roc: LFW 98.00 %; Intra 30.50 degrees"' in page


@pytest.mark.parametrize("interval", [[1.0], [1.0, None], ["a", "b"], 5, [1.0, 10 ** 400]])
def test_an_interval_of_another_form_is_one_line(tmp_path, interval):
    folder = edited(tmp_path / "a", rows=[{"what": "x", "ours": 1.0, "interval": interval}])
    with pytest.raises(InputError, match="lacks rows, pictures or what they come from"):
        report.read_sections([str(folder)])
