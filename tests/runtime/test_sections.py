"""Sections of settings: what a field declares is what its flag, its check and its JSON do."""
import argparse
from dataclasses import dataclass
from typing import Optional, Tuple

from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.sections import add_flags, check, fill, named_values, setting

import pytest


@dataclass(frozen=True)
class Section:
    count: int = setting(3, "how many, 100 %", flag="--count", metavar="N", least=1)
    share: float = setting(0.5, "how much", flag="--share")
    places: Tuple[int, ...] = setting((1, 2), "where", flag="--places")
    kind: str = setting("a", "which", flag="--kind", choices=("a", "b"))
    level: int = setting(0, "how far", flag="--level", choices={0: "off", 1: "on"})
    on: bool = setting(False, "do it", flag="--on")
    kept: bool = setting(True, "leave it", flag="--no-kept")
    hidden: Optional[int] = setting(None, "no flag")

    def __post_init__(self):
        check(self)


@pytest.fixture
def parser():
    made = argparse.ArgumentParser(prog="x")
    add_flags(made, Section, "section")
    return made


def test_only_what_is_given_has_a_value(parser):
    assert set(vars(parser.parse_args([])).values()) == {None}
    given = vars(parser.parse_args(["--count", "4", "--places", "5,6", "--on", "--no-kept", "--share", "1"]))
    assert given == {"count": 4, "share": 1.0, "places": (5, 6), "kind": None, "level": None, "on": True, "kept": False}


def test_help_shows_defaults_from_the_fields(parser):
    said = " ".join(parser.format_help().split())
    for part in ("--count N how many, 100 % (default 3)", "where (default 1,2)", "--kind {a,b} which (default a)",
                 "--on do it", "how much (default 0.5)"):
        assert part in said
    assert "hidden" not in said


@pytest.mark.parametrize("values, said", [
    ({"count": 0}, "^--count 0: must be at least 1"), ({"kind": "c"}, "unknown kind 'c'; known: a, b"),
    ({"level": 2}, r"--level 2: known are 0 \(off\), 1 \(on\)"), ({"size": 1}, "file: unknown setting 'size'; known: "),
    ({"count": True}, "--count True: expected a whole number"), ({"share": "1"}, "--share '1': expected a number"),
    ({"places": [1, "x"]}, "--places 'x': expected a whole number"), ({"hidden": "x"}, "hidden 'x': expected a whole"),
    ({"on": 1}, "--on 1: expected true or false"), ({"count": float("inf")}, "--count inf: expected a whole number"),
])
def test_a_section_takes_only_what_its_fields_are(values, said):
    with pytest.raises(InputError, match=said):
        fill(Section, values, "file: " if "size" in values else "")


def test_values_are_made_the_fields_types():
    made = fill(Section, {"count": 4.0, "share": 1, "places": [7], "hidden": None})
    assert (made.count, made.share, made.places, made.hidden) == (4, 1.0, (7,), None)
    assert type(made.count) is int and type(made.share) is float


def test_named_values():
    assert named_values("a=1,b=true, c=false,d=-0.5") == {"a": 1.0, "b": True, "c": False, "d": -0.5}
    for text in ("a", "a=", "a=x"):
        with pytest.raises(argparse.ArgumentTypeError):
            named_values(text)
