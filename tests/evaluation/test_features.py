"""Rows of embeddings: normalising against scikit-learn's in float64, at every magnitude; what is refused."""
from arcface_mxnet.evaluation.features import check_embeddings, normalise
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest
from sklearn.preprocessing import normalize


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("copy", [True, False])
def test_rows_of_every_magnitude_become_unit_rows(dtype, copy):
    """Squares of 1e30 do not fit a float32 and those of 1e-30 vanish; such rows once came out as zeros or unchanged."""
    generator = np.random.default_rng(0)
    powers = {np.float16: (-5, 4.5), np.float32: (-36, 36), np.float64: (-300, 300)}[dtype]
    rows = generator.uniform(0.1, 1, (5000, 6)) * generator.choice([-1, 1], (5000, 6))
    rows = (rows * 10.0 ** np.linspace(*powers, 5000)[:, None]).astype(dtype)
    rows[17] = 0
    wide = np.longdouble(rows)
    lengths = np.sqrt((wide ** 2).sum(axis=1))
    expected = wide / np.where(lengths, lengths, 1)[:, None]
    made = normalise(rows.copy(), copy)
    assert made.dtype == dtype and not made[17].any()
    np.testing.assert_allclose(made.astype(float), expected.astype(float), atol=8 * np.finfo(dtype).eps)


def test_ordinary_rows_are_scikit_learns():
    rows = np.random.default_rng(1).standard_normal((50, 9))
    before = rows.copy()
    np.testing.assert_allclose(normalise(rows), normalize(rows), rtol=1e-15)
    np.testing.assert_array_equal(rows, before)
    assert normalise(np.array([[3, 4]])).tolist() == [[0.6, 0.8]]
    assert np.isnan(normalise(np.array([[np.nan, 1.0]]))).any()


@pytest.mark.parametrize("rows, message", [
    (np.zeros((0, 4), np.float32), "holds no value"), (np.zeros((4, 0), np.float32), "holds no value"),
    (np.ones(4, np.float32), "expected a floating array"), (np.ones((2, 2), int), "expected a floating array"),
    (np.array([[1.0], [np.nan]]), "row 1 is not finite"), (np.array([[-np.inf]]), "row 0 is not finite")])
def test_what_cannot_be_compared_is_refused(rows, message):
    with pytest.raises(InputError, match=f"these: {message}"):
        check_embeddings(rows, "these")
