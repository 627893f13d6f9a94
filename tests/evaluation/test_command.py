"""The flags all evaluation commands share: how many images pass at once, and what is said of it."""
import re
import warnings

from arcface_mxnet.engines.mxnet.executor import Executor
from arcface_mxnet.evaluation.command import add_network_flags, add_size_flag, embedder_of, parser
from arcface_mxnet.graph.checkpoint import save
from arcface_mxnet.runtime.errors import Notice

import numpy as np
import pytest


@pytest.fixture
def flags(tmp_path, small):
    save(small(), str(tmp_path / "model"), 0)
    made = parser("A command.", "python x.py")
    made.add_argument("--model", default=f"{tmp_path}/model,0")
    add_network_flags(made)
    add_size_flag(made)
    return made


@pytest.fixture
def passed(monkeypatch):
    """The sizes of the batches that pass through a network."""
    seen, start = [], Executor.start
    monkeypatch.setattr(Executor, "start", lambda self, images: (seen.append(len(images)), start(self, images))[1])
    return seen


@pytest.mark.parametrize("words, sizes, said", [
    ([], [8, 8, 4], None), (["--batch-size", "8"], [8, 8, 4], None), (["--batch-size", "5"], [5, 5, 5, 5], None),
    (["--batch-size", "16"], [8, 8, 4], "--batch-size 16: 8 at once on this CPU, .*; --exact takes 16"),
    (["--batch-size", "16", "--exact"], [16, 4], None), (["--exact"], [20], None),
])
def test_a_batch_that_is_made_smaller_is_spoken_of(flags, passed, words, sizes, said):
    images = np.zeros((20, 3, 16, 16), np.uint8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", Notice)
        embedder_of(flags.parse_args(["--engine", "mxnet", "--gpus", "cpu", *words])).embed(images)
    assert passed == sizes
    told = [str(one.message) for one in caught if one.category is Notice]
    assert len(told) == bool(said)
    assert not said or re.match(said, told[0])


def test_flags_below_a_command_have_its_defaults(flags):
    options = flags.options(gpus="cpu")
    assert options.size == (112, 112) and options.batch_size is None and options.gpus == "cpu" and not options.exact
    with pytest.raises(TypeError, match=r"not among its flags: \['images'\]"):
        flags.options(images="x")
    flags.add_argument("--images", required=True)
    with pytest.raises(TypeError, match=r"missing: \['images'\]"):
        flags.options()
