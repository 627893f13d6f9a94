"""The functions that faces are drawn with: near the true ones, the same bits for arrays and numbers."""
import hashlib

from arcface_mxnet.datasets.faces.elementary import arcsin, arctan2, cos, exp, power, sin, tan

import numpy as np
import pytest

MADE = np.random.Generator(np.random.PCG64(1))
ANGLES = np.concatenate([MADE.uniform(-7.0, 7.0, 4000), np.arange(-8, 9) * np.pi / 4, [0.0]])
SHARES = np.concatenate([MADE.uniform(-1.0, 1.0, 4000), [-1.0, -0.5, 0.0, 1.0]])
POINTS = np.concatenate([MADE.normal(size=(2, 4000)), [[0, 0, 1, -1, 1e-9, 0], [1, -1, 0, 0, 1, 0]]], axis=1)
BITS = "f664653812ec7f4194d79ddf0b33af5ec3560f985d162666a442620ac45dced6"


@pytest.mark.parametrize("ours, numpys, given", [
    (exp, np.exp, (MADE.uniform(-50.0, 20.0, 4000),)), (sin, np.sin, (ANGLES,)), (cos, np.cos, (ANGLES,)),
    (tan, np.tan, (ANGLES[np.abs(np.cos(ANGLES)) > 0.1],)), (arcsin, np.arcsin, (SHARES,)),
    (arctan2, np.arctan2, tuple(POINTS)),
    (lambda x: power(x, 2.4), lambda x: x ** 2.4, (np.abs(SHARES),)),
    (lambda x: power(x, 0.3), lambda x: x ** 0.3, (np.abs(ANGLES),))])
def test_they_are_within_what_is_promised(ours, numpys, given):
    want = numpys(*given)
    relative = ours not in (sin, cos)
    assert np.all(np.abs(ours(*given) - want) <= 1e-10 * (np.abs(want) if relative else 1.0))
    alone = [ours(*(float(value[at]) for value in given)) for at in range(0, len(want), 97)]
    assert alone == ours(*given)[::97].tolist() and all(type(value) is float for value in alone)


@pytest.mark.parametrize("function", [exp, sin, cos, tan, arcsin])
def test_float32_stays_float32_rounded_once(function):
    given = SHARES.astype(np.float32)
    assert function(given).dtype == np.float32
    assert np.array_equal(function(given), function(given.astype(np.float64)).astype(np.float32))


def test_the_angle_of_float32_is_within_its_last_places():
    y, x = POINTS.astype(np.float32)
    found = arctan2(y, x)
    assert found.dtype == np.float32
    assert np.all(np.abs(found - np.arctan2(y.astype(float), x)) <= 6e-7)


def test_extremes():
    assert power(0.0, 0.5) == 0.0
    assert exp(-1000.0) < 1e-300 and np.isfinite(exp(1000.0))
    assert arctan2(0.0, -1.0) == pytest.approx(np.pi) and arctan2(-0.0, -1.0) == pytest.approx(-np.pi)


def test_bits_are_those_of_every_machine():
    """Of operations that IEEE 754 defines to the bit, so this holds on any processor, NumPy and C library."""
    given = np.arange(-3000, 3001) / 1000.0
    single = given.astype(np.float32)
    made = [exp(given), sin(given), cos(given), tan(given / 3.0), arcsin(given / 3.0), power(np.abs(given), 1.7),
            arctan2(given, given[::-1]), arctan2(single, single[::-1])]
    assert hashlib.sha256(b"".join(array.tobytes() for array in made)).hexdigest() == BITS
