import json

from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.checkpoint import Checkpoint, load
from arcface_mxnet.recognition.engine.checkpoint import Position, Record, RunDirectory
from arcface_mxnet.recognition.settings import resolve
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path / "run")


def weights(value):
    return {"arg:w": np.full(3, value, np.float32), "momentum:w": np.full(3, -value, np.float32)}


def test_settings_come_back_equal(run):
    settings = resolve("y1", "arcface", "emore", {"lr": 0.2, "val_targets": ("lfw",)})
    run.create(settings, {"identities": 85742})
    assert run.settings() == (settings, {"identities": 85742})


def test_a_run_that_stands_is_not_written_over(run):
    settings = resolve("y1", "arcface", "emore", {})
    run.create(settings, {})
    with pytest.raises(InputError, match="already holds a run; add --resume"):
        run.create(settings, {})


def test_resume_of_nothing_says_so(run):
    with pytest.raises(InputError, match="settings.json not found; give the --run-dir"):
        run.settings()


def test_settings_of_another_version_are_refused(run):
    run.create(resolve("y1", "arcface", "emore", {}), {})
    path = run.folder / "settings.json"
    stored = json.loads(path.read_text())
    stored["settings"]["schedule"]["warmup"] = 5
    path.write_text(json.dumps(stored))
    with pytest.raises(InputError, match="settings.json: unknown setting .warmup.; known: lr_steps, max_steps"):
        run.settings()


@pytest.mark.parametrize("content", ["{}", "[]", '{"arrays": "step-00000010.params"}'])
def test_a_pointer_or_settings_of_another_kind_are_named(run, content):
    run.save_last(Position(10), weights(1))
    (run.folder / "last" / "last.json").write_text(content)
    with pytest.raises(InputError, match="last.json: not a restart point"):
        run.load_last()
    (run.folder / "settings.json").write_text("[]")
    with pytest.raises(InputError, match="settings.json: not the settings of a run"):
        run.settings()


def test_the_restart_point_comes_back_and_the_older_one_goes(run):
    assert run.load_last() == (Position(), {})
    run.save_last(Position(10, 0, 10), weights(1))
    position = Position(20, 1, 3, Record(2, 0.5, 0.25, 0.75))
    (run.folder / "last" / ".step-00000015.params.abc.tmp").write_bytes(b"left by a kill")
    run.save_last(position, weights(2))
    loaded, arrays = run.load_last()
    assert loaded == position
    assert run.last_step() == 20
    assert arrays["arg:w"].tolist() == [2, 2, 2]
    assert sorted(path.name for path in (run.folder / "last").iterdir()) == ["last.json", "step-00000020.params"]


def test_stopped_between_arrays_and_pointer_the_older_point_holds(run, monkeypatch):
    from arcface_mxnet.recognition.engine import checkpoint as run_directory
    run.save_last(Position(10), weights(1))

    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_directory, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        run.save_last(Position(20), weights(2))
    position, arrays = run.load_last()
    assert position.step == 10
    assert arrays["arg:w"].tolist() == [1, 1, 1]


def test_a_flipped_byte_in_the_restart_point_is_found(run):
    run.save_last(Position(10), weights(1))
    path = run.folder / "last" / "step-00000010.params"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="step-00000010.params: missing or not the bytes that were saved"):
        run.load_last()


def test_published_and_best_checkpoints_load_as_published_ones(run):
    symbol = sym.FullyConnected(sym.Variable("data"), num_hidden=2, name="fc1")
    values = {"fc1_weight": np.ones((2, 3 * 112 * 112), np.float32), "fc1_bias": np.zeros(2, np.float32)}
    checkpoint = Checkpoint(symbol, values, {})
    path = run.save_published(checkpoint, 7)
    assert path == run.folder / "model-0007.params"
    run.save_best(checkpoint, {"step": 40, "lfw": 0.9})
    for prefix, epoch in ((run.folder / "model", 7), (run.folder / "best" / "model", 0)):
        assert load(str(prefix), epoch).args["fc1_weight"].shape == (2, 37632)
        assert mx.model.load_checkpoint(str(prefix), epoch)[1]["fc1_weight"].shape == (2, 37632)
    assert json.loads((run.folder / "best" / "best.json").read_text()) == {"step": 40, "lfw": 0.9}
