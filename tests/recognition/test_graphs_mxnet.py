"""Every network and every loss, written with our symbols and with MXNet's by the same code: the same bytes of JSON."""
import dataclasses
import hashlib
import importlib
import pkgutil

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition import losses, networks
from arcface_mxnet.recognition.losses import LossSettings, attach, head
from arcface_mxnet.recognition.networks import NetworkSettings, build
from arcface_mxnet.recognition.presets import LOSSES, NETWORKS
from arcface_mxnet.runtime.errors import InputError

import pytest

CLASSES, IMAGES, SIZE = 200, 60, 64
GLUON = {  # SHA-256, first 16 digits, of what MXNet's Gluon blocks gave before these families were written as calls
    "d121": "3f2efaac1efd64c8", "d161": "94e00f8f86f345d4", "d169": "6f600bb6d834bb22",
    "d201": "75d88b22592f470c", "mnas": "7e980a76b9f6233c", "mnas05": "492160db4aefb454",
    "mnas025": "9709c13ba8279b7b"}


class _Mxnet:
    """MXNet's functions under the names of `graph.symbol`."""

    def __init__(self, mx) -> None:
        self._mx = mx

    def Variable(self, name, init=None, **notes):  # noqa: N802
        made = init and self._mx.initializer.create(init.kind, **init.settings)
        return self._mx.sym.Variable(name, init=made, **notes)

    def __getattr__(self, name):
        if name == "Initial":
            return sym.Initial
        return getattr(self._mx.name if name == "NameManager" else self._mx.sym, name)


@pytest.fixture
def by_mxnet(monkeypatch):
    """A function that makes the networks and losses be written with MXNet from then on."""
    mx = pytest.importorskip("arcface_mxnet.engines.mxnet.mx").mx
    theirs = _Mxnet(mx)

    class HeadNames(mx.name.NameManager):
        def get(self, name, hint):
            return name if name else "head_" + super().get(name, hint)

    def change():
        for package in (networks, losses):
            for found in pkgutil.iter_modules(package.__path__):
                module = importlib.import_module(f"{package.__name__}.{found.name}")
                if hasattr(module, "sym"):
                    monkeypatch.setattr(module, "sym", theirs)
        monkeypatch.setattr(head, "HeadNames", HeadNames)
        return mx
    return change


def _network(preset, **more):
    known = {field.name for field in dataclasses.fields(NetworkSettings)}
    return NetworkSettings(**{key: value for key, value in NETWORKS[preset].items() if key in known}, **more)


def _losses():
    """Every loss preset in each of the three forms; those that refuse a form are left out, 7 of them."""
    known = {field.name for field in dataclasses.fields(LossSettings)}
    for preset in LOSSES:
        for form in ({}, {"original": True}, {"head_2018": True}):
            yield LossSettings(**{key: value for key, value in LOSSES[preset].items() if key in known}, **form)


def _head(embedding, settings):
    try:
        return attach(embedding, settings, CLASSES, IMAGES, SIZE)
    except InputError:
        return None


def test_networks_are_written_as_mxnet_writes_them(by_mxnet):
    chosen = [_network(preset, fp16=fp16) for preset in NETWORKS for fp16 in (False, True)]
    chosen += [NetworkSettings(num_layers=18, net_output=output) for output in ("GAP", "GNAP", "SFC", "Z", "AX", "D")]
    chosen += [NetworkSettings(num_layers=18, net_unit=unit, net_se=1, net_input=2) for unit in (1, 2, 3)]
    ours = [build(settings).tojson() for settings in chosen]
    by_mxnet()
    for settings, text in zip(chosen, ours):
        assert text == build(settings).tojson(remove_amp_cast=False), settings


@pytest.mark.parametrize("preset", GLUON)
def test_two_families_are_still_what_gluon_made_of_them(preset):
    assert hashlib.sha256(build(_network(preset)).tojson().encode()).hexdigest()[:16] == GLUON[preset]


def test_losses_are_written_as_mxnet_writes_them(by_mxnet):
    chosen = list(_losses())
    ours = [_head(sym.Variable("embedding"), settings) for settings in chosen]
    mx = by_mxnet()
    written = 0
    for settings, made in zip(chosen, ours):
        theirs = _head(mx.sym.Variable("embedding"), settings)
        assert (made is None) == (theirs is None)
        if made is not None:
            written += 1
            assert made.symbol.tojson() == theirs.symbol.tojson(remove_amp_cast=False), settings
    assert written == len(chosen) - 7
