"""bfloat16 that is slower than float32 is said to be, by measurement."""
import time

from arcface_mxnet.engines.base import Numerics, installed, place
from arcface_mxnet.engines.bfloat16 import gain, warn_if_slower
from arcface_mxnet.runtime.errors import Notice
from tests.processor import mxnet_bfloat16

import pytest


def test_the_gain_is_the_ratio_of_the_fastest_turns():
    calls = []

    def run(name, seconds):
        def once():
            calls.append(name)
            time.sleep(seconds)
        return once

    assert gain(run("a", 0.04), run("b", 0.01)) > 1.5
    assert gain(run("a", 0.01), run("b", 0.04)) < 0.7
    assert calls[:6] == ["a", "b"] * 3


def test_slower_is_told_and_faster_is_not(recwarn):
    warn_if_slower(1.3, "a convolution")
    assert not recwarn
    with pytest.warns(Notice, match=r"bfloat16 is slower than float32 .* a convolution ran at 0.50 times its speed"):
        warn_if_slower(0.5, "a convolution")


@pytest.mark.parametrize("name", [pytest.param(name, marks=mxnet_bfloat16 if name == "mxnet" else ())
                                  for name in ("mxnet", "torch") if name in installed(trains=True)])
def test_a_run_in_bfloat16_on_a_cpu_is_measured_first(name, monkeypatch):
    where = place(name, "cpu")
    if name == "mxnet":
        monkeypatch.setattr(where.engine, "require_bfloat16", lambda contexts: None)
    assert where.engine.convolution_gain() > 0
    monkeypatch.setattr(where.engine, "convolution_gain", lambda: 0.25)
    with pytest.warns(Notice, match="a convolution ran at 0.25 times"):
        where.engine.check(Numerics(bf16=True), where.devices)
