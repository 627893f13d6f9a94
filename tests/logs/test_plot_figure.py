"""The figure shows the numbers of the table, every quantity in its panel, and is the same file for the same run."""
from pathlib import Path
from typing import Dict

from arcface_mxnet.logs import format as lines
from arcface_mxnet.logs.catalogue import published_run
from arcface_mxnet.logs.parse import Run, parse
from arcface_mxnet.logs.plot import OURS, Curves, curves, draw
from arcface_mxnet.runtime.pictures import save

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def small(validated: bool = True, loss: float = 2.0) -> Run:
    text = "Called with argument: Namespace(batch_size=8, lr=0.1)\n"
    for batch in range(20, 100, 20):
        text += lines.epoch_batch(0, batch - 20, batch, 50.0 + batch, batch / 1000, loss) + "\n"
        if validated:
            text += lines.accuracy_flip("lfw", batch, 0.5 + batch / 250, 0.01) + "\n"
            text += lines.xnorm("lfw", batch, 10.0 + batch) + "\n"
    return parse(text)


def panels(figure: Figure) -> Dict[str, Axes]:
    return {axis.get_title(loc="left"): axis for axis in figure.axes if axis.get_visible()}


def test_every_quantity_has_its_panel() -> None:
    run = published_run("y1").run
    assert list(panels(draw(Curves("ours", run)))) == [
        "Train accuracy under the margin", "Learning rate", "lfw, accuracy", "cfp_fp, accuracy", "agedb_30, accuracy",
        "XNorm, mean and range over the sets", "Speed, images/s"]
    assert "Cross-entropy" in panels(draw(Curves("ours", small())))
    assert "lfw, accuracy" not in panels(draw(Curves("ours", small(validated=False))))


def test_the_curve_is_the_table() -> None:
    axis = panels(draw(Curves("ours", small())))["lfw, accuracy"]
    curve = next(line for line in axis.lines if line.get_color() == OURS and len(line.get_xdata()) == 4)
    assert np.asarray(curve.get_xdata()).tolist() == [20 * 8, 40 * 8, 60 * 8, 80 * 8]
    assert np.asarray(curve.get_ydata()).tolist() == [0.58, 0.66, 0.74, 0.82]


def test_a_short_run_is_not_smoothed_away() -> None:
    axis = panels(draw(Curves("ours", small())))["Train accuracy under the margin"]
    assert [np.asarray(line.get_ydata()).tolist() for line in axis.lines if len(line.get_xdata())] == [
        [0.02, 0.04, 0.06, 0.08]] * 2


def test_published_curves_lie_beneath_and_mark_the_released_step() -> None:
    ours, over = curves("r34", ["y1"])
    axis = panels(draw(ours, over))["agedb_30, accuracy"]
    assert [line.get_color() for line in axis.lines][-2:] == [OURS, OURS]
    diamonds = {(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in axis.lines
                if line.get_marker() == "D" and len(line.get_xdata())}
    assert diamonds == {(120000 * 512, .97700), (142000 * 512, .95917)}


def test_the_horizon_grows_with_the_run() -> None:
    def reach(run: Run) -> float:
        drawn = panels(draw(Curves("ours", run), [Curves("y1", published_run("y1").run)]))
        return float(drawn["Learning rate"].get_xlim()[1])

    assert reach(small()) == pytest.approx(4 * 81 * 8 * 1.01)
    assert reach(published_run("r34").run) == pytest.approx(187317 * 512 * 1.01)


def test_files_are_whole_and_the_same_again(tmp_path: Path) -> None:
    written = save(draw(Curves("ours", small())), tmp_path / "a")
    assert [path.name for path in written] == ["a.png", "a.svg"]
    assert written[0].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    again = save(draw(Curves("ours", small())), tmp_path / "b")
    assert written[1].read_bytes() == again[1].read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.svg", "b.png", "b.svg"]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_does_not_stop_the_drawing(loss: float) -> None:
    draw(Curves("ours", small(validated=False, loss=loss))).canvas.draw()
