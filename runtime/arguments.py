"""Command lines: one parser for all commands, so that they read alike.

Usage names the command as it was called; --help ends with an example and keeps to the terminal's width; a flag that is
unknown is answered with the one that was probably meant; a flag that had another name before goes on working, with a
line on stderr. Standard library only: --help must not wait for numerical libraries.
"""
import argparse
import inspect
import os
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any, Dict, Iterable, List, NoReturn, Optional, Tuple

from arcface_mxnet.runtime.errors import EXIT_BAD_INPUT, InputError, Notice, nearest

WIDEST = 100
SHORT_USAGE = 4
LARGEST_SIDE = 4096
_KEPT = (" ", "-", "|")  # lines of a list or a table
_COMMANDS = ("python", "python3", "arcface", "make")


def called() -> str:
    """The running command as a user would call it again: train.py, python -m arcface_mxnet..., arcface train."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.name.startswith("arcface_mxnet.") and os.sep in sys.argv[0]:
        name = spec.name[:-len(".__main__")] if spec.name.endswith(".__main__") else spec.name
        return f"python -m {name}"
    return Path(sys.argv[0]).name


def height_and_width(text: str) -> Tuple[int, int]:
    """An argparse type for HEIGHT,WIDTH or HEIGHTxWIDTH in pixels: (height, width); raises InputError.

    Channels may stand before them, as in the original's scripts: 3,112,112.
    """
    parts = text.replace("x", ",").split(",")
    parts = parts[1:] if len(parts) == 3 and parts[0].strip() in ("1", "3") else parts
    if len(parts) != 2 or not all(part.strip().isdigit() and 0 < int(part) < LARGEST_SIDE for part in parts):
        raise InputError(f"--size {text}: give height and width, such as 112,112")
    return int(parts[0]), int(parts[1])


class Parser(argparse.ArgumentParser):
    """The parser of a command; see the module."""

    def __init__(self, description: Optional[str] = None, epilog: Optional[str] = None, prog: Optional[str] = None,
                 **rest: Any) -> None:
        """`epilog` holds an example at least: command lines, indented."""
        super().__init__(prog=prog or called(), description=filled(inspect.cleandoc(description or "")),
                         epilog=filled(epilog or ""),
                         **{"formatter_class": _Formatter, **rest})
        self._renamed: Dict[str, str] = {}

    def renamed(self, *before: str, to: str) -> None:
        """Make a flag known under the names it had before; each use is answered by a line on stderr."""
        self._renamed.update({name: to for name in before})

    def options(self, **given: Any) -> argparse.Namespace:
        """What a command line with these flags parses to, by their names in Python, for calling below a command.

        Raises TypeError for a name it does not have, and where one that must be given is not.
        """
        taken = {action.dest: action for action in self._actions if action.dest not in ("help", argparse.SUPPRESS)}
        needed = [action.dest for action in taken.values() if action.required and action.dest not in given]
        if set(given) - set(taken) or needed:
            raise TypeError(f"{self.prog}: not among its flags: {sorted(set(given) - set(taken))}; missing: {needed}")
        values = {name: self._get_value(action, action.default) if isinstance(action.default, str) else action.default
                  for name, action in taken.items()}
        return argparse.Namespace(**{**values, **given})

    def parse_known_args(self, args: Optional[Iterable[str]] = None, namespace: Any = None) -> Tuple[Any, List[str]]:
        """argparse's, with flags of before under their present names and unknown ones refused with a proposal."""
        given = self._with_present_names(list(sys.argv[1:] if args is None else args))
        if not any(action.nargs in (argparse.REMAINDER, argparse.PARSER) for action in self._actions):
            self._refuse_unknown(given)
        return super().parse_known_args(given, namespace)

    def _with_present_names(self, words: List[str]) -> List[str]:
        present: List[str] = []
        for place, word in enumerate(words):
            if word == "--":
                return present + words[place:]
            flag, separator, value = word.partition("=")
            if flag in self._renamed:
                warnings.warn(f"{flag} is now called {self._renamed[flag]}", Notice, stacklevel=2)
                word = self._renamed[flag] + separator + value
            present.append(word)
        return present

    def _refuse_unknown(self, words: List[str]) -> None:
        known = [option for option in self._option_string_actions if option.startswith("--")]
        for word in words[:words.index("--")] if "--" in words else words:
            flag = word.partition("=")[0]
            if flag.startswith("--") and not any(option.startswith(flag) for option in known):
                meant = nearest(flag, known)
                self.error(f"unknown flag {flag}" + (f"; did you mean {meant}?" if meant else ""))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            meant = nearest(str(value), [str(choice) for choice in action.choices])
            known = ", ".join(map(str, action.choices))
            raise argparse.ArgumentError(action, f"unknown '{value}'; known: {known}"
                                         + (f"; did you mean {meant}?" if meant else ""))

    def error(self, message: str) -> NoReturn:
        """The usage, in one line where it is long, and what is wrong, on stderr; status 2."""
        usage = self.format_usage()
        if usage.count("\n") > SHORT_USAGE:
            usage = f"usage: {self.prog} ...; {self.prog} --help lists the flags\n"
        self.exit(EXIT_BAD_INPUT, f"{usage}error: {message}\n")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """argparse's, no wider than a page."""

    def __init__(self, prog: str, **rest: Any) -> None:
        super().__init__(prog, width=width(), **rest)


def width() -> int:
    """Columns of --help: the terminal's, at most WIDEST."""
    try:
        columns = int(os.environ.get("COLUMNS", "")) or WIDEST
    except ValueError:
        columns = os.get_terminal_size().columns if sys.stdout.isatty() else WIDEST
    return max(40, min(columns, WIDEST) - 2)


def filled(text: str) -> str:
    """Paragraphs filled to the width; lines of lists and command lines are kept, broken where they are longer."""
    done: List[str] = []
    for paragraph in text.strip("\n").split("\n\n"):
        lines = paragraph.splitlines()
        if any(line[:1] in _KEPT or line[:1].isdigit() for line in lines) or max(map(len, lines), default=0) <= width():
            done.append("\n".join(_broken(line) for line in lines))
        else:
            done.append(textwrap.fill(paragraph, width(), break_on_hyphens=False))
    return "\n\n".join(done)


def _broken(line: str) -> str:
    """A line in as many as it takes; a command line goes on as a shell takes it."""
    if len(line) <= width():
        return line
    indent = line[:len(line) - len(line.lstrip())]
    command = bool(indent) and line.split()[0] in _COMMANDS
    parts = textwrap.wrap(line, width() - 2, subsequent_indent=indent + "    ", break_on_hyphens=False,
                          break_long_words=False)
    return (" \\\n" if command else "\n").join(parts)
