from arcface_mxnet.recognition.engine.trainer import dropped_after, learning_rate

import pytest


def test_the_drop_takes_effect_after_its_step():
    assert learning_rate(100000, 0.1, (100000, 160000)) == 0.1
    assert learning_rate(100001, 0.1, (100000, 160000)) == 0.1 * 0.1
    assert dropped_after(100000, (100000, 160000))
    assert not dropped_after(100001, (100000, 160000))


def test_the_rate_prints_as_in_the_published_logs():
    assert str(learning_rate(100001, 0.1, (100000,))) == "0.010000000000000002"


@pytest.mark.parametrize("steps", [(), (3,), (2, 5, 6)])
def test_equal_to_the_originals_counter(steps):
    rate = 0.1
    for step in range(1, 10):
        assert learning_rate(step, 0.1, steps) == rate
        if step in steps:
            rate *= 0.1
