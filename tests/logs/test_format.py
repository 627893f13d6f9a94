"""Every printed line is read back as it was written, and in the shapes the published logs have."""
import re
from math import isnan
from typing import Any, Dict

from arcface_mxnet.logs import format as lines
from arcface_mxnet.logs import original_format

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

LINES = lines.LINES + original_format.LINES
COUNT = st.integers(0, 10 ** 9)
NAME = st.from_regex(r"\A[a-z][a-z0-9_]{0,12}\Z")
PATH = st.from_regex(r"\A[a-z./][a-z0-9_./-]{0,20}\Z")
WORDS = st.from_regex(r"\A[a-z](?:[a-z ,]{0,30}[a-z])?\Z")
DIGEST = st.from_regex(r"\A[0-9a-f]{64}\Z")


def decimal(places: int, low: float = 0.0, high: float = 1e4) -> st.SearchStrategy:
    """Numbers that survive printing with this many decimals."""
    return st.floats(low, high).map(lambda value: round(value, places))


RATE = st.floats(1e-8, 10.0)
VALUES: Dict[str, Dict[str, st.SearchStrategy]] = {
    "gpu_num": {"count": COUNT}, "use_cpu": {}, "prefix": {"path": WORDS}, "num_layers": {"count": COUNT},
    "image_size": {"height": COUNT, "width": COUNT}, "num_classes": {"count": COUNT},
    "called_with": {"settings": st.dictionaries(NAME.map(lambda n: n + "_x"), st.one_of(
        COUNT, st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none(), st.text(),
        st.lists(COUNT)))},
    "init_network": {"family": NAME, "depth": COUNT},
    "network_versions": {"se": st.integers(0, 1), "input": st.integers(0, 1), "output": st.sampled_from(["E", "GDC"]),
                         "unit": st.integers(1, 3), "act": NAME},
    "network_flops": {"flops": st.integers(0, 9999).map(lambda tenths: tenths * 10 ** 5)},
    "loading_pretrained": {"prefix": PATH, "epoch": COUNT},
    "loading_records": {"path": PATH, "shuffled": st.booleans()}, "loading_recordio": {"path": PATH},
    "header_label": {"first": COUNT, "last": COUNT}, "id2range": {"count": COUNT}, "image_count": {"count": COUNT},
    "rand_mirror": {"on": st.booleans()}, "loading_bin": {"index": COUNT},
    "pack_shape": {"count": COUNT, "height": COUNT, "width": COUNT}, "ver": {"target": NAME},
    "lr_steps": {"steps": st.lists(COUNT)}, "call_reset": {},
    "epoch_batch": {"epoch": COUNT, "first": COUNT, "last": COUNT, "speed": decimal(2), "acc": decimal(6, 0, 1),
                    "loss": decimal(6)},
    "iter_batch": {"epoch": COUNT, "last": COUNT, "speed": decimal(2)},
    "lr_batch_epoch": {"lr": RATE, "head_lr": RATE, "batch": COUNT, "epoch": COUNT},
    "lr_change": {"lr": RATE, "head_lr": RATE},
    "train_metric": {"epoch": COUNT, "value": decimal(6), "metric": st.sampled_from(["acc", "lossvalue"])},
    "time_cost": {"epoch": COUNT, "seconds": decimal(3)}, "fc7_acc": {"step": COUNT, "acc": decimal(6, 0, 1)},
    "celoss": {"step": COUNT, "loss": decimal(6)},
    "accuracy_highest_of": {"step": COUNT, "target": NAME, "accuracy": decimal(5, 0, 1)},
    "margin": {"step": COUNT, "before": decimal(6, -1, 1), "after": decimal(6, -1, 1)},
    "partial_fc": {"rank": COUNT, "time": st.just("2021-01-01 12:00:00,123"), "step": COUNT, "rank_speed": decimal(2),
                   "speed": decimal(2), "epoch": COUNT, "loss": decimal(4), "metric": NAME},
    "testing_verification": {}, "embedding_shape": {"images": COUNT, "dimension": COUNT},
    "infer_time": {"seconds": decimal(6)}, "xnorm": {"target": NAME, "step": COUNT, "xnorm": decimal(6)},
    "accuracy_flip": {"target": NAME, "step": COUNT, "accuracy": decimal(5, 0, 1), "std": decimal(5, 0, 1)},
    "saving": {"number": COUNT}, "saved_checkpoint": {"path": PATH.map(lambda path: path + "-0071.params")},
    "accuracy_highest": {"step": COUNT, "accuracy": decimal(5, 0, 1)}, "data_manifest": {"sha256": DIGEST},
    "resuming": {"path": WORDS, "step": COUNT, "epoch": COUNT, "batch": COUNT},
    "parameters": {"kind": st.sampled_from(["loaded", "new", "ignored"]), "count": COUNT,
                   "names": st.lists(NAME, min_size=1)},
    "saved_last": {"step": COUNT},
    "not_finite": {"what": WORDS, "first": COUNT, "last": COUNT}, "stopped": {"step": COUNT, "reason": WORDS},
    "note": {"text": WORDS},
}


def test_every_line_is_tested() -> None:
    assert {line.name for line in LINES} == set(VALUES)


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
@settings(max_examples=25)
@given(data=st.data())
def test_reading_gives_back_what_was_written(line: Any, data: st.DataObject) -> None:
    values = data.draw(st.fixed_dictionaries(VALUES[line.name]))
    text = line(**values)
    assert "\n" not in text
    assert line.read(text) == values
    others = [other.name for other in LINES if other is not line and other.pattern.match(text)]
    assert others == []


# Patterns of the original's lines (docs/original.md, section 4.4), for lines that we print ourselves.
ORIGINAL = {
    "epoch_batch": r"^(?:INFO:root:)?Epoch\[(\d+)\] Batch \[(?:(\d+)-)?(\d+)\]\tSpeed: ([\d.]+) samples/sec\tacc=([\d.]+|nan)(?:\tlossvalue=([\d.]+|nan|inf))?$",  # noqa: E501
    "lr_batch_epoch": r"^lr-batch-epoch: (\S+)(?: (\S+))? (\d+) (\d+)$",
    "lr_change": r"^lr change to (\S+)(?: (\S+))?$",
    "xnorm": r"^\[(\w+)\]\[(\d+)\]XNorm: ([\d.]+|nan|inf)$",
    "accuracy_flip": r"^\[(\w+)\]\[(\d+)\]Accuracy-Flip: ([\d.]{7})\+-([\d.]{7})$",
    "saving": r"^saving (\d+)$",
    "saved_checkpoint": r'^(?:INFO:root:)?Saved checkpoint to "(.+-\d{4}\.params)"$',
    "accuracy_highest": r"^\[(\d+)\]Accuracy-Highest: ([\d.]{7})$",
    "train_metric": r"^(?:INFO:root:)?Epoch\[(\d+)\] Train-(acc|lossvalue)=([\d.]+)$",
    "time_cost": r"^(?:INFO:root:)?Epoch\[(\d+)\] Time cost=([\d.]+)$",
    "infer_time": r"^infer time ([\d.]+)$",
    "network_flops": r"^Network FLOPs: ([\d.]+)([KMGT]?)$",
    "header_label": r"^header0 label \[\s*([\d.]+)\s+([\d.]+)\]$",
    "num_classes": r"^num_classes (\d+)$",
    "lr_steps": r"^lr_steps \[(.*)\]$",
    "pack_shape": r"^\((\d+)L?, 3L?, 112L?, 112L?\)$",
}


def _line(name: str) -> lines.Line:
    return getattr(lines, name, None) or getattr(original_format, name)


@pytest.mark.parametrize("name", sorted(ORIGINAL))
@settings(max_examples=25)
@given(data=st.data())
def test_readers_of_the_original_read_ours(name: str, data: st.DataObject) -> None:
    strategies = dict(VALUES[name])
    if name == "pack_shape":
        strategies.update(height=st.just(112), width=st.just(112))
    assert re.match(ORIGINAL[name], _line(name)(**data.draw(st.fixed_dictionaries(strategies))))


def test_exact_texts_of_the_original() -> None:
    assert lines.network_flops(439_821_056) == "Network FLOPs: 439.8M"
    assert lines.epoch_batch(0, 0, 20, 990.784, 0.0029762) == (
        "Epoch[0] Batch [0-20]\tSpeed: 990.78 samples/sec\tacc=0.002976")
    assert lines.accuracy_flip("lfw", 2000, 0.995, 0.0035) == "[lfw][2000]Accuracy-Flip: 0.99500+-0.00350"
    assert lines.xnorm("lfw", 2000, 11.0584067) == "[lfw][2000]XNorm: 11.058407"
    assert lines.lr_batch_epoch(0.1, 999, 0) == "lr-batch-epoch: 0.1 999 0"
    assert lines.lr_change(0.1 * 0.1) == "lr change to 0.010000000000000002"
    assert lines.image_size(112, 112) == "image_size [112, 112]"


@pytest.mark.parametrize(("name", "text", "values"), [
    ("epoch_batch", "INFO:root:Epoch[0] Batch [20]\tSpeed: 990.78 samples/sec\tacc=0.002976",
     {"epoch": 0, "last": 20, "speed": 990.78, "acc": 0.002976}),
    ("pack_shape", "(12000L, 3L, 112L, 112L)", {"count": 12000, "height": 112, "width": 112}),
    ("header_label", "header0 label [ 5822654.  5908396.]", {"first": 5822654, "last": 5908396}),
    ("loading_pretrained", "loading ['../models2/model-y1-test/model', '70']",
     {"prefix": "../models2/model-y1-test/model", "epoch": 70}),
    ("lr_batch_epoch", "lr-batch-epoch: 1.0000000000000002e-05 999 0", {"lr": 1e-5, "batch": 999, "epoch": 0}),
    ("saving", "saving last 0", {"number": 0}),
    ("rand_mirror", "rand_mirror 1", {"on": True}),
])
def test_older_shapes_are_read(name: str, text: str, values: Dict[str, Any]) -> None:
    assert _line(name).read(text) == pytest.approx(values)


def test_a_loss_that_is_no_number_is_read() -> None:
    read = lines.epoch_batch.read(lines.epoch_batch(1, 0, 20, 5.0, 0.5, float("nan")))
    assert read is not None and isnan(read["loss"])


def test_settings_that_are_no_literals_stay_text() -> None:
    read = lines.called_with.read("Called with argument: Namespace(a=1, f=numpy.float32(2))")
    assert read == {"settings": {"a": 1, "f": "numpy.float32(2)"}}
    assert lines.called_with.read("Called with argument: Namespace(f=<x>)") == {"settings": {"unparsed": "(f=<x>)"}}


def test_settings_with_the_configuration_behind_them() -> None:
    read = lines.called_with.read("Called with argument: Namespace(loss='arcface', lr=0.1, note='a (b') "
                                  "{'loss_m2': 0.5, 'image_shape': (112, 112, 3), 'lr': 0.2}")
    assert read == {"settings": {"loss": "arcface", "lr": 0.1, "note": "a (b", "loss_m2": 0.5,
                                 "image_shape": (112, 112, 3)}}
