import math
import re
import time

from arcface_mxnet.engines.base import Outcome
from arcface_mxnet.recognition.engine.trainer import Window, slowness

import pytest


def outcome(correct, losses, images=8):
    return Outcome([float(value) for value in correct], [float(value) for value in losses], images)


def filled():
    window = Window()
    window.add(outcome([1, 2], [4.0, 6.0]))
    window.add(outcome([3, 0], [2.0, 8.0]))
    return window


def test_accuracy_and_loss_are_means_over_contexts_and_steps():
    figures = filled().close()
    assert figures.accuracy == 6 / 16
    assert figures.loss == 5.0
    assert figures.finite


def test_closing_starts_anew():
    window = filled()
    window.close()
    assert len(window) == 0
    window.add(outcome([8], [1.0]))
    assert window.close()[:2] == (1.0, 1.0)


def test_a_loss_that_is_no_number_is_seen():
    window = Window()
    window.add(outcome([0], [math.nan]))
    assert not window.close().finite


def test_a_head_without_a_loss_has_none():
    window = Window()
    window.add(outcome([4], []))
    assert window.close()[:2] == (0.5, None)


def test_time_spent_validating_is_left_out_of_the_speed(monkeypatch):
    from arcface_mxnet.recognition.engine import trainer as module
    clock = iter([0.0, 10.0, 10.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    window = Window()
    window.add(outcome([0], [0.0], images=40))
    window.pause(6.0)
    assert window.close().images_per_second == pytest.approx(10.0)


@pytest.fixture()
def clocks(monkeypatch):
    """The wall's and the processor's clock, set by hand."""
    now = {"wall": 100.0, "processor": 10.0}
    monkeypatch.setattr(time, "monotonic", lambda: now["wall"])
    monkeypatch.setattr(time, "process_time", lambda: now["processor"])
    return now


def test_a_window_knows_how_much_was_computed(clocks):
    window = filled()
    clocks.update(wall=140.0, processor=20.0)
    figures = window.close()
    assert (figures.seconds, figures.busy, figures.images_per_second) == (40.0, 0.25, 16 / 40)
    window.add(outcome([1], [1.0]))
    clocks.update(wall=150.0, processor=29.0)
    assert window.close().busy == 0.9
    window.add(outcome([1], [1.0]))
    window.pause(3.0)
    assert window.close().busy is None  # a validation's computing is not the steps'


@pytest.mark.parametrize("wall, processor, said", [
    (960.0, 43.0, "20 steps took 960 s, of which this process computed 43 s: .*OMP_NUM_THREADS=1"),
    (960.0, 900.0, None), (12.0, 1.0, None)])
def test_waiting_for_processors_is_spoken_of(clocks, wall, processor, said):
    window = Window()
    window.add(outcome([1], [1.0]))
    clocks.update(wall=100.0 + wall, processor=10.0 + processor)
    text = slowness(window.close(), 20)
    assert text is None if said is None else re.match(said, text) and "\n" not in text
