"""A page a person looks at to decide about doubtful images and identities, and the decisions read back from it.

The page holds its images itself and needs no server. "Save decisions" gives a file, which `clean --decisions` reads:
{"keep": [image keys], "drop": [image keys], "same": [[class, class]], "different": [[class, class]]}.
"""
import base64
import html
import json
from dataclasses import dataclass, field
from typing import Any, Callable, FrozenSet, Sequence, Tuple

from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, atomic_open, read_json

_HEAD = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Review: %(title)s</title><style>
body{font:16px/1.4 system-ui,sans-serif;margin:1rem auto;max-width:72rem;padding:0 1rem;color:#222;background:#fff}
section{border-top:1px solid #ccc;padding:.8rem 0}h2{font-size:1rem;margin:.2rem 0 .6rem}
figure{display:inline-block;margin:0 .6rem .6rem 0;width:112px;vertical-align:top;font-size:.8rem}
img{width:112px;height:112px;display:block;background:#eee}label{display:block;cursor:pointer;padding:.15rem 0}
.row{margin:.3rem 0}button{font:inherit;padding:.5rem 1rem;position:sticky;top:.5rem}
</style></head><body><h1>Review: %(title)s</h1><p>%(intro)s</p>
<p><button id="save">Save decisions</button> (then: <code>clean ... --decisions decisions.json</code>)</p>
"""
_TAIL = """<script>
document.getElementById("save").onclick=function(){
 var d={keep:[],drop:[],same:[],different:[]};
 document.querySelectorAll("input[data-key]").forEach(function(i){(i.checked?d.drop:d.keep).push(+i.dataset.key)});
 document.querySelectorAll("input[data-pair]:checked").forEach(function(i){
  d[i.value].push(i.dataset.pair.split(",").map(Number))});
 var a=document.createElement("a");a.download="decisions.json";
 a.href=URL.createObjectURL(new Blob([JSON.stringify(d,null,1)],{type:"application/json"}));a.click();};
</script></body></html>
"""


@dataclass(frozen=True)
class Doubt:
    """An image in question: its record `key`, what is said about it, and whether it will be dropped unless kept."""

    key: int
    text: str
    drop: bool


@dataclass(frozen=True)
class Question:
    """One section: a heading, `doubts`, rows of (text, keys) to compare with, or a pair of classes to decide on."""

    title: str
    doubts: Sequence[Doubt] = ()
    typical: Sequence[Tuple[str, Sequence[int]]] = ()
    pair: Tuple[int, ...] = ()
    joined: bool = False


@dataclass(frozen=True)
class Decisions:
    """What a person decided: record keys to keep or drop, pairs of classes that are one person or two."""

    keep: FrozenSet[int] = frozenset()
    drop: FrozenSet[int] = frozenset()
    same: FrozenSet[Tuple[int, int]] = field(default_factory=frozenset)
    different: FrozenSet[Tuple[int, int]] = field(default_factory=frozenset)


def write_page(path: PathLike, title: str, intro: str, questions: Sequence[Question],
               read: Callable[[int], bytes]) -> None:
    """Write the page; `read(key)` gives an image's encoded bytes. Texts are escaped, the file appears when whole."""
    with atomic_open(path, "w") as stream:
        stream.write(_HEAD % {"title": html.escape(title), "intro": html.escape(intro)})
        for question in questions:
            stream.write(_section(question, read))
        stream.write(_TAIL)


def _picture(key: int, read: Callable[[int], bytes], below: str) -> str:
    data = read(key)
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    encoded = base64.b64encode(data).decode("ascii")
    return f'<figure><img alt="image {key}" src="data:image/{kind};base64,{encoded}">{below}</figure>'


def _section(question: Question, read: Callable[[int], bytes]) -> str:
    parts = [f"<section><h2>{html.escape(question.title)}</h2><div class=row>"]
    for doubt in question.doubts:
        ticked = " checked" if doubt.drop else ""
        parts.append(_picture(doubt.key, read, f'<label><input type=checkbox data-key="{doubt.key}"{ticked}> drop'
                                               f"</label>{html.escape(doubt.text)}"))
    parts.append("</div>")
    for text, keys in question.typical:
        parts.append(f"<div class=row>{html.escape(text)}<br>")
        parts += [_picture(key, read, f"image {key}") for key in keys]
        parts.append("</div>")
    if question.pair:
        value = ",".join(str(label) for label in question.pair)
        for name, text, chosen in (("same", "one person: join them", question.joined),
                                   ("different", "two people: leave them apart", not question.joined)):
            parts.append(f'<label><input type=radio name="pair{value}" data-pair="{value}" value={name}'
                         f"{' checked' if chosen else ''}> {text}</label>")
    parts.append("</section>\n")
    return "".join(parts)


def read_decisions(path: PathLike) -> Decisions:
    """Read what the page saved (or a file of the same form); raises InputError naming the file and what is wrong."""
    given = read_json(path)
    if not isinstance(given, dict) or set(given) - {"keep", "drop", "same", "different"}:
        raise InputError(f"{path}: not the decisions of a review page; save them with the button on the page")
    keep, drop = _keys(path, given, "keep"), _keys(path, given, "drop")
    same, different = _pairs(path, given, "same"), _pairs(path, given, "different")
    for kind, both in (("image", keep & drop), ("pair", same & different)):
        if both:
            raise InputError(f"{path}: {kind} {json.dumps(min(both))} is decided both ways; delete one of the two")
    return Decisions(keep, drop, same, different)


def _keys(path: PathLike, given: Any, name: str) -> FrozenSet[int]:
    values = given.get(name, [])
    if not isinstance(values, list) or not all(type(value) is int and value >= 0 for value in values):
        raise InputError(f"{path}: '{name}' should be a list of image keys; save the decisions again")
    return frozenset(values)


def _pairs(path: PathLike, given: Any, name: str) -> FrozenSet[Tuple[int, int]]:
    values = given.get(name, [])
    good = isinstance(values, list) and all(
        isinstance(value, list) and len(value) == 2 and all(type(one) is int and one >= 0 for one in value)
        for value in values)
    if not good:
        raise InputError(f"{path}: '{name}' should be a list of pairs of classes; save the decisions again")
    return frozenset((min(pair), max(pair)) for pair in values)

