"""Every loss graph on PyTorch: outputs and gradients against MXNet, both against PyTorch in float64."""
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from tests.engines import lab  # noqa: E402

CASES = {case.name: case for case in lab.loss_cases()}
STORED = json.loads(lab.STORED.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_mxnets(name):
    pytest.importorskip("mxnet")
    case = CASES[name]
    judge = lab.run_torch(case.graph, case.values, case.trained, torch.float64)
    found, expected = lab.run_torch(case.graph, case.values, case.trained), lab.run_mxnet(*case[1:])
    for position, (mine, theirs) in enumerate(zip(found.outputs, expected.outputs)):
        assert mine.shape == theirs.shape
        allowed = 4 * lab.apart(theirs, judge.outputs[position]) + 5e-6
        assert lab.apart(mine, judge.outputs[position]) <= allowed, position
    for variable, theirs in expected.gradients.items():
        allowed = 4 * lab.apart(theirs, judge.gradients[variable]) + 5e-6
        assert lab.apart(found.gradients[variable], judge.gradients[variable]) <= allowed, variable


@pytest.mark.parametrize("name", STORED)
def test_values_are_the_stored_ones(name):
    """Lengths of outputs and gradients as float64 and MXNet gave them: what stands where MXNet is not installed."""
    case = CASES[name]
    found = lab.run_torch(case.graph, case.values, case.trained)
    np.testing.assert_allclose(lab.figures(found), STORED[name], rtol=2e-5, atol=1e-6)


def test_every_graph_has_its_figures():
    assert set(STORED) == set(CASES), "python -m tests.engines.store_figures writes them anew"
