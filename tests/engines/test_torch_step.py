"""The training step on PyTorch: MXNet's parameters after 20 steps, restarts, replicas, processes, reduced precision."""
import os
import subprocess
import sys
from pathlib import Path

from arcface_mxnet.engines.base import Numerics
from arcface_mxnet.engines.sampling import Rule
from arcface_mxnet.recognition.engine.launcher import free_port

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from arcface_mxnet.engines.torch.devices import Where, stored  # noqa: E402
from tests.engines import step_lab as lab  # noqa: E402

WARM, STEPS, RATE = 30, 20, 0.001


def mxnet_step(replicas, **more):
    """The same run on MXNet."""
    pytest.importorskip("mxnet")
    from tests.engines import mxnet_lab
    return mxnet_lab.mxnet_step(replicas, **more)


@pytest.fixture(scope="module")
def trained():
    """A restart point after 30 steps at a high rate on one replica: where both engines can be compared."""
    step = lab.torch_step()
    assert lab.run(step, range(WARM))[-1] < 1.0
    return step.restart_arrays()


@pytest.mark.parametrize("replicas", [1, 2])
def test_parameters_after_twenty_steps_are_mxnets(trained, replicas):
    expected, found = mxnet_step(replicas), lab.torch_step(replicas)
    for step in (expected, found):
        step.restart(trained)
    np.testing.assert_allclose(lab.run(found, range(STEPS), RATE), lab.run(expected, range(STEPS), RATE), atol=2e-6)
    left, right = found.restart_arrays(), expected.restart_arrays()
    assert set(left) == set(right)
    for kind, tolerance in (("arg:", 1e-6), ("momentum:", 1e-5), ("aux:", 2e-6), ("context:", 2e-6)):
        if replicas > 1 or kind != "context:":
            assert lab.apart(left, right, kind) < tolerance, kind
    # A fixed scale is written 1 before each step and decays after it.
    np.testing.assert_allclose(left["arg:fc1_gamma"], right["arg:fc1_gamma"], atol=1e-7)
    assert left["arg:fc1_gamma"][0] < 1


def test_with_dropout_and_shared_masks_parameters_are_mxnets(trained):
    shared = mxnet_step(2, dropped=0.4, numerics=Numerics(shared_masks=True))
    found, own = lab.torch_step(2, dropped=0.4), mxnet_step(2, dropped=0.4)
    for step in (shared, found, own):
        step.restart(trained)
        lab.run(step, range(STEPS), RATE)
    expected = shared.restart_arrays()
    assert set(expected) == set(found.restart_arrays()) == set(own.restart_arrays())
    assert lab.apart(found.restart_arrays(), expected, "arg:") < 1e-6
    assert lab.apart(own.restart_arrays(), expected, "arg:") > 1e-5


def test_a_run_goes_from_mxnet_to_pytorch_and_back(trained):
    steps = [mxnet_step(1), lab.torch_step(), mxnet_step(1)]
    alone = lab.torch_step()
    saved = trained
    for number, step in enumerate(steps):
        step.restart(saved)
        lab.run(step, range(10 * number, 10 * number + 10), RATE)
        saved = step.restart_arrays()
    alone.restart(trained)
    lab.run(alone, range(30), RATE)
    for kind, tolerance in (("arg:", 2e-6), ("momentum:", 2e-5), ("aux:", 2e-6)):
        assert lab.apart(saved, alone.restart_arrays(), kind) < tolerance, kind


@pytest.mark.parametrize("make", [
    {}, {"replicas": 2}, {"centres": True}, {"centres": True, "sample": Rule(0, 0.5)},
    {"numerics": Numerics(fp16=True, loss_scale=64.0)}],
    ids=["plain", "replicas", "sharded", "sampled", "fp16"])
def test_a_restarted_run_has_the_same_bits(make):
    whole, begun = (lab.torch_step(dropped=0.3, **make) for _ in range(2))
    resumed = lab.torch_step(dropped=0.3, fresh=False, **make)
    lab.run(whole, range(8))
    lab.run(begun, range(5))
    resumed.restart(begun.restart_arrays())
    lab.run(resumed, range(5, 8))
    expected, found = whole.restart_arrays(), resumed.restart_arrays()
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("replicas", [1, 3])
def test_sharded_centres_train_as_the_head_in_the_graph(trained, replicas):
    plain, sharded, sampled = (lab.torch_step(replicas, **options) for options in (
        {}, {"centres": True}, {"centres": True, "sample": Rule(0, 1.0)}))
    for step in (plain, sharded, sampled):
        step.restart(trained)
    losses = [lab.run(step, range(10), RATE) for step in (plain, sharded, sampled)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    np.testing.assert_allclose(losses[2], losses[1], rtol=1e-5)
    expected = plain.restart_arrays()
    for step in (sharded, sampled):
        found = step.restart_arrays()
        assert {name for name in found if ":step" not in name} == set(expected)
        for kind in ("arg:", "aux:"):
            assert lab.apart(found, expected, kind) < 1e-6, kind


def test_rows_that_a_step_does_not_see_stay_as_they_are():
    step = lab.torch_step(centres=True, sample=Rule(0, 0.1))
    before = step.restart_arrays()
    images, label = lab.batch(0)
    label[:] = label % 3
    step.forward_backward(images, label)
    chosen = set(step.shards._chosen[0].tolist())
    step.update(0.1)
    after = step.restart_arrays()
    assert {0, 1, 2} <= chosen and len(chosen) == 12
    changed = {row for row in range(lab.CLASSES)
               if (after["arg:fc7_weight"][row] != before["arg:fc7_weight"][row]).any()}
    assert changed == chosen


def test_dropout_depends_on_the_seed_and_not_on_replicas():
    data, label = lab.batch(0)
    found = {}
    for name, replicas, seed in (("one", 1, 5), ("again", 1, 5), ("other", 1, 6)):
        step = lab.torch_step(replicas, dropped=0.5)
        step.seed(seed)
        found[name] = float(step.forward_backward(data, label).losses[0])
    assert found["one"] == found["again"] != found["other"]


@pytest.mark.parametrize(("numerics", "tolerance"), [
    (Numerics(bf16=True), 0.05), (Numerics(fp16=True, loss_scale=1024.0), 0.01),
    (Numerics(channels_last=False), 1e-5)], ids=["bf16", "fp16", "nchw"])
def test_other_numerics_learn_the_same(trained, numerics, tolerance):
    expected, found = lab.torch_step(), lab.torch_step(numerics=numerics)
    for step in (expected, found):
        step.restart(trained)
    assert lab.run(found, range(5), RATE) == pytest.approx(lab.run(expected, range(5), RATE), abs=0.1)
    assert found.weights["conv0_weight"].dtype == torch.float32
    for kind in ("arg:", "momentum:"):
        left, right = found.restart_arrays(), expected.restart_arrays()
        assert 0 < lab.apart(left, right, kind) < (tolerance if kind == "arg:" else 5 * tolerance)


def test_depthwise_weights_are_stored_by_pixel_too():
    """PyTorch calls a weight of one input channel contiguous in both orders, and its kernels go by the strides."""
    weight = torch.zeros(8, 1, 3, 3)
    assert stored(weight, True).stride() == (9, 1, 3, 1) and stored(weight, False) is weight


def test_a_step_that_overflows_is_left_out_and_halves_the_scale():
    step = lab.torch_step(numerics=Numerics(fp16=True, loss_scale=2.0 ** 24))
    before = step.restart_arrays()
    images, label = lab.batch(0)
    taken = []
    for _ in range(12):
        step.forward_backward(images, label)
        taken.append(step.update(0.01))
        assert step.gradients_finite()
    assert not taken[0] and taken[-1]
    after = step.restart_arrays()
    assert after["loss_scale:state"][0] == 2.0 ** (24 - taken.index(True))
    assert (after["arg:conv0_weight"] != before["arg:conv0_weight"]).any()


def test_what_is_not_finite_is_seen():
    step = lab.torch_step()
    images, label = lab.batch(0)
    step.forward_backward(images * np.nan, label)
    assert not step.gradients_finite()
    assert step.update(0.1)
    assert not step.parameters_finite()


@pytest.mark.parametrize("mu", [0.9, 0.0])
@pytest.mark.parametrize("rate", [0.1, 1e-5])
def test_sgd_is_mxnets(rate, mu):
    """Rates so small that 1 + rate in float32 would lose digits as well."""
    from arcface_mxnet.engines.torch.sgd import MomentumSGD
    chance = np.random.RandomState(0)
    weight, gradient, momentum = (chance.randn(50) for _ in range(3))
    weights = {"w": torch.tensor(weight, dtype=torch.float32), "other": torch.ones(3)}
    optimizer = MomentumSGD(weights, mu, 5e-4, 0.25, {})
    optimizer.state["momentum:w"].copy_(torch.tensor(momentum))
    for drop in (1, 10):
        optimizer.update(weights, {"w": torch.tensor(gradient, dtype=torch.float32)}, rate / drop)
        momentum = mu * momentum - rate / drop * (0.25 * gradient + 5e-4 * weight)
        weight = weight + momentum
    np.testing.assert_allclose(optimizer.state["momentum:w"], momentum, rtol=1e-5)
    np.testing.assert_allclose(weights["w"], weight, rtol=1e-5, atol=1e-6)
    assert (optimizer.state["momentum:other"] < 0).all()  # no gradient: it decays


@pytest.fixture
def one_thread():
    """Sums in the order of process_lab, which computes on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_two_processes_are_two_replicas_and_two_contexts(tmp_path, trained, one_thread):
    """Each process feeds its half of the batch; both save the same restart point, that of two replicas of one."""
    np.savez(tmp_path / "start.npz", **trained)
    launched(tmp_path)
    mxnet, plain, sharded = mxnet_step(2), lab.torch_step(2), lab.torch_step(2, centres=True)
    for step, head, tolerance in ((mxnet, "plain", 1e-6), (plain, "plain", 1e-7), (sharded, "sharded", 1e-7)):
        step.restart(trained)
        lab.run(step, range(20), RATE)
        expected, found = step.restart_arrays(), dict(np.load(tmp_path / f"{head}-0.npz"))
        assert set(found) == set(expected)
        for kind in ("arg:", "aux:", "context:0", "context:1"):
            assert lab.apart(found, expected, kind) < tolerance, (head, kind)
    first, other = (np.load(tmp_path / f"plain-{rank}.npz") for rank in range(2))
    for name, value in first.items():
        np.testing.assert_array_equal(other[name], value, err_msg=name)


def launched(folder):
    """Run tests.engines.process_lab in two processes, as torchrun would, and wait for both."""
    root = Path(__file__).parents[2]
    port = str(free_port("127.0.0.1"))
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
              "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])}
    running = [subprocess.Popen([sys.executable, "-m", "tests.engines.process_lab", str(folder)], cwd=root,
                                env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]
    assert [process.wait(timeout=120) for process in running] == [0, 0]


def test_a_validation_between_two_steps_leaves_their_numbers_alone():
    """PyTorch's switches are the process's: whoever computes sets its own."""
    from arcface_mxnet.engines.torch.engine import network
    from arcface_mxnet.graph.checkpoint import Checkpoint
    from tests.engines.test_contract import images
    arguments, auxiliary = lab.first()
    del arguments["fc7_weight"]
    step = lab.torch_step(numerics=Numerics(autotune=True))
    embedder = network(Checkpoint(lab.embedding(), arguments, auxiliary), Where(torch.device("cpu")))
    for _ in range(2):
        lab.run(step, range(1))
        assert torch.backends.cudnn.benchmark and not torch.are_deterministic_algorithms_enabled()
        embedder.embed(images(2), 2)
        assert torch.backends.cudnn.deterministic and torch.are_deterministic_algorithms_enabled()


@pytest.mark.slow
def test_a_compiled_step_is_the_step(trained):
    """torch.compile takes the interpreted graph, statistics and gradients included: two parts, each traced once."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    expected, found = lab.torch_step(), lab.torch_step(numerics=Numerics(compile=True))
    assert found._by_row and not expected._by_row  # sums by row are tried too
    for step in (expected, found):
        step.restart(trained)
    assert lab.run(found, range(5), RATE) == pytest.approx(lab.run(expected, range(5), RATE), abs=1e-5)
    for kind, tolerance in (("arg:", 1e-6), ("momentum:", 1e-4), ("aux:", 1e-6)):
        assert lab.apart(found.restart_arrays(), expected.restart_arrays(), kind) < tolerance, kind
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
