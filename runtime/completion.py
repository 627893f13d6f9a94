"""Completion for shells: what a command line's words can go on with, as a script made by shtab."""
import argparse
from typing import Any, Dict, Mapping

import shtab

TAKES_FILES = ("FILE", "DIR", "PATH", "PREFIX", "JSON", "SET", "BIN", "NPY", "TXT", "SOURCE", "OUT")


def script(shell: str, parsers: Mapping[str, argparse.ArgumentParser]) -> str:
    """The script of a shell for commands by their words, such as "logs plot"; the first word is the program's."""
    return shtab.complete(tree(parsers), shell)


def tree(parsers: Mapping[str, argparse.ArgumentParser], prog: str = "arcface") -> argparse.ArgumentParser:
    """One parser whose subcommands are `parsers`."""
    top = argparse.ArgumentParser(prog=prog)
    groups: Dict[str, Any] = {"": top.add_subparsers()}
    for words, parser in parsers.items():
        *group, name = words.split()
        within = " ".join(group)
        if within not in groups:
            groups[within] = groups[""].add_parser(within, help=f"{within} COMMAND").add_subparsers()
        for action in parser._actions:
            if action.metavar and str(action.metavar).startswith(TAKES_FILES):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        groups[within].add_parser(name, parents=[parser], add_help=False, help=words)
    return top
