"""Several runs in one picture: what is read, what the window leaves, what is refused."""
from arcface_mxnet.evaluation.overlay import FIGURES, inside, main, read_curves
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest


@pytest.fixture
def curve(tmp_path):
    path = tmp_path / "1000000_roc.csv"
    rows = [(1e-8, 80), (1e-6, 91), (1e-3, 97.5), (1, 100)]
    path.write_text("curve,false accept rate,true accept rate %\n" + "".join(f"all,{x:g},{y}\n" for x, y in rows))
    return path


def test_a_curve_is_read_and_cut_to_the_papers_axes(curve):
    read, = read_curves(curve, "ArcFace")
    assert (read.label, read.kind, read.x_label) == ("ArcFace", "line", "false accept rate")
    np.testing.assert_array_equal(inside(read, FIGURES["8-roc"]).x, [1e-6, 1e-3, 1])
    with pytest.raises(InputError, match="nothing of it lies in"):
        inside(read, FIGURES["8-cmc"]._replace(y=(0, 1)))


def test_the_picture_is_drawn(curve, tmp_path):
    main(["--figure", "8-roc", "--out", str(tmp_path / "f.png"), f"A={curve}", f"A, R={curve}"])
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("given, message", [
    ("x.csv", "expected LABEL=FILE"), ("A=nowhere.csv", "nowhere.csv: not found")])
def test_what_is_no_curve_is_refused(tmp_path, given, message):
    with pytest.raises(InputError, match=message):
        main(["--out", str(tmp_path / "f.png"), given])
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no curve"):
        read_curves(tmp_path / "bad.csv", "A")
