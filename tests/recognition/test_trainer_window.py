import math

from arcface_mxnet.engines.base import Outcome
from arcface_mxnet.recognition.engine.trainer import Window

import pytest


def outcome(correct, losses, images=8):
    return Outcome([float(value) for value in correct], [float(value) for value in losses], images)


def filled(**options):
    window = Window(**options)
    window.add(outcome([1, 2], [4.0, 6.0]))
    window.add(outcome([3, 0], [2.0, 8.0]))
    return window


def test_accuracy_and_loss_are_means_over_contexts_and_steps():
    figures = filled().close()
    assert figures.accuracy == 6 / 16
    assert figures.loss == 5.0
    assert figures.finite


def test_the_original_shows_the_loss_of_device_0_alone():
    assert filled(first_device_loss=True).close().loss == 3.0


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
