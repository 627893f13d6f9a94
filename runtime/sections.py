"""Sections of settings: frozen dataclasses whose fields say what they mean, what they take and how a user gives them.

A field is declared once, by `setting`: its default, its help, its flag and what it refuses. Flags (`add_flags`), checks
(`check`) and the reading of presets and JSON (`fill`) follow from that declaration.
"""
import argparse
import dataclasses
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Type, TypeVar, Union

from arcface_mxnet.runtime.errors import InputError, unknown

T = TypeVar("T")
_NUMBERS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def setting(default: Any, help: str = "", flag: Optional[str] = None, metavar: Optional[str] = None,
            least: Optional[float] = None, choices: Union[Sequence[Any], Mapping[Any, str], None] = None,
            dest: Optional[str] = None, parse: Optional[Callable[[str], Any]] = None, resumable: bool = False) -> Any:
    """A field of a section.

    help: what it means, without its default. flag: how it is given on a command line, None for not at all; of a field
    that is true by default it is the one that makes it false. least: the lowest value. choices: the values it takes,
    with what each means where that is a mapping. dest: the name of the flag's value, the field's own if None.
    parse: makes the value of the flag's text, where the field's type does not say how. resumable: may be given beside
    --resume.
    """
    return dataclasses.field(default=default, metadata={
        "help": help, "flag": flag, "metavar": metavar, "least": least, "choices": choices, "dest": dest,
        "parse": parse, "resumable": resumable})


def named(kind: Type[Any]) -> Dict[str, "dataclasses.Field[Any]"]:
    """The fields of a section, by name."""
    return {each.name: each for each in dataclasses.fields(kind)}


def said(each: "dataclasses.Field[Any]") -> str:
    """How a field is called in a message: by its flag, or by its name where it has none."""
    return each.metadata.get("flag") or each.name


def listed(kind: Any) -> Callable[[str], Tuple[Any, ...]]:
    """An argparse type for values separated by commas, e.g. 100000,160000."""
    def parse(text: str) -> Tuple[Any, ...]:
        return tuple(kind(part) for part in text.split(",") if part.strip())
    parse.__name__ = f"list of {_NUMBERS[kind]}"  # argparse's messages name the type by it
    return parse


def named_values(text: str) -> Dict[str, Any]:
    """An argparse type for NAME=VALUE,...: numbers, true and false."""
    words: Dict[str, Any] = {"true": True, "false": False}
    given = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        try:
            given[name.strip()] = words[value] if value in words else float(value)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{part}': expected NAME=VALUE, a number, true or false") from None
    return given


def add_flags(parser: argparse.ArgumentParser, kind: Type[Any], title: str) -> None:
    """The flags of a section, in a group of their own; one that is not given is None, so that presets apply."""
    group = parser.add_argument_group(title)
    for each in dataclasses.fields(kind):
        flag = each.metadata.get("flag")
        if flag is None:
            continue
        help, dest = _help(each), each.metadata["dest"] or each.name
        if each.type is bool:
            group.add_argument(flag, dest=dest, action="store_const", const=not each.default, help=help)
        else:
            group.add_argument(flag, dest=dest, type=each.metadata["parse"] or _reader(each.type), help=help,
                               metavar=_metavar(each))


def _help(each: "dataclasses.Field[Any]") -> str:
    default, text = each.default, each.metadata["help"]
    if each.type is not bool and default not in ("", None) and default is not dataclasses.MISSING:
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        shown = f"{shown:g}" if isinstance(shown, float) else shown
        text = f"{text} (default {shown})"
    return text.replace("%", "%%")


def _metavar(each: "dataclasses.Field[Any]") -> Optional[str]:
    choices = each.metadata["choices"]
    return each.metadata["metavar"] or ("{" + ",".join(map(str, choices)) + "}" if choices else None)


def _reader(kind: Any) -> Callable[[str], Any]:
    """What makes a value of a field's type out of the text on a command line."""
    parts = getattr(kind, "__args__", ())
    return listed(parts[0]) if parts else kind


def check(section: Any) -> None:
    """Raise InputError for a value below its field's least or not among its choices, naming the flag."""
    for each in dataclasses.fields(section):
        value, choices, least = (getattr(section, each.name), each.metadata.get("choices"), each.metadata.get("least"))
        if least is not None and not value >= least:
            raise InputError(f"{said(each)} {value}: must be at least {least}")
        if choices is not None and value not in choices:
            if isinstance(choices, Mapping):
                raise InputError(f"{said(each)} {value}: known are "
                                 + ", ".join(f"{name} ({meaning})" for name, meaning in choices.items()))
            raise unknown(said(each).lstrip("-"), str(value), choices)


def fill(kind: Type[T], values: Mapping[str, Any], source: str = "") -> T:
    """The section `kind` with `values` by field name, the rest by default.

    Lists become tuples. Raises InputError, which begins with `source`, for a name the section does not have (the known
    ones are listed) and for a value of another type.
    """
    fields = named(kind)
    refuse_unknown(values, fields, source)
    missing = [name for name, each in fields.items() if each.default is dataclasses.MISSING and name not in values]
    if missing:
        raise InputError(f"{source}{said(fields[missing[0]])} is not given")
    given = {name: typed(fields[name].type, value, f"{source}{said(fields[name])}") for name, value in values.items()}
    try:
        return kind(**given)
    except InputError as error:
        raise InputError(f"{source}{error}") from None


def refuse_unknown(given: Iterable[str], known: Iterable[str], source: str = "", what: str = "setting") -> None:
    """Raise InputError for the first of the names `given` that is not known."""
    names = list(known)
    for name in given:
        if name not in names:
            raise unknown(what, name, names, source)


def typed(kind: Any, value: Any, what: str) -> Any:
    """`value` as the type of a field; raises InputError, which begins with `what`, where it is of another one."""
    parts: Tuple[Any, ...] = getattr(kind, "__args__", ())
    if getattr(kind, "__origin__", None) is Union:  # Optional
        return None if value is None else typed(parts[0], value, what)
    if getattr(kind, "__origin__", None) is tuple:
        return _typed_tuple(parts, value, what)
    if kind not in _NUMBERS:
        return value
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is float and number:
        return float(value)
    if kind is int and number and value == value // 1:
        return int(value)
    if kind in (bool, str) and isinstance(value, kind):
        return value
    raise InputError(f"{what} {value!r}: expected {_NUMBERS[kind]}")


def _typed_tuple(parts: Tuple[Any, ...], value: Any, what: str) -> Tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{what} {value!r}: expected a list")
    kinds: List[Any] = [parts[0]] * len(value) if parts[-1] is ... else list(parts)
    if len(value) != len(kinds):
        raise InputError(f"{what} {value!r}: expected {len(kinds)} values")
    return tuple(typed(kind, part, what) for kind, part in zip(kinds, value))
