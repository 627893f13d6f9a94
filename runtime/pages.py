"""HTML pages: one base template for all of them, filled by Jinja2 with every text escaped.

A page holds everything itself and loads nothing: it may be kept, mailed, and opened without a server. The look (light
and dark, from a phone's width up, reachable by keyboard) stands in `templates/base.html` alone; the others extend it.
"""
import base64
from pathlib import Path
from typing import Any

from arcface_mxnet.runtime.files import PathLike, atomic_open

import jinja2
from markupsafe import Markup

__all__ = ["Markup", "data_url", "render", "write"]

FOLDER = Path(__file__).with_name("templates")


def data_url(content: bytes, mime: str) -> str:
    """A picture as the address that holds it."""
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def render(template: str, **values: Any) -> str:
    """The text of a page; `title` is wanted by all. Raises jinja2's UndefinedError for a value that is missing."""
    return _environment().get_template(template).render(**values)


def write(path: PathLike, template: str, **values: Any) -> None:
    """Write a page piece by piece, so that pictures need not be in memory at once; it appears when it is whole."""
    with atomic_open(path, "w") as stream:
        stream.writelines(_environment().get_template(template).generate(**values))


def _environment() -> jinja2.Environment:
    return jinja2.Environment(loader=jinja2.FileSystemLoader(str(FOLDER)), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True, undefined=jinja2.StrictUndefined)
