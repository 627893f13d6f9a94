"""Ends a command in one sentence where `arcface_mxnet` is not installed.

The links `arcface_mxnet` beside the commands (`recognition/arcface_mxnet` ...) lead to this folder, and its own links,
named as the package's parts, to this file. Python takes a folder without `__init__.py` for a package only where it
finds no real one of that name on its whole path, so with the package installed none of this is ever read.
"""
import sys

sys.stderr.write(f"error: arcface_mxnet is not installed in this Python ({sys.executable}); run 'make setup' in the "
                 "repository and start commands with its .venv/bin/python\n")
sys.exit(2)
