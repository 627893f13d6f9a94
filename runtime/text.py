"""The one reader of text: every list, log, table and number that a user brings (see docs/accepted_files.md).

Encodings are UTF-8, with or without a mark, and UTF-16 with one. Lines end in LF, CRLF or CR. Lines and files are
bounded, and files are read block by block, so that a list of any length takes the memory of what is made of it. What
is not accepted raises InputError about what was found: file, line, and the text, shortened and escaped.
"""
import codecs
import io
import json
import math
import re
from typing import Any, Iterator, List, NamedTuple, Optional, Tuple

from arcface_mxnet.runtime.errors import InputError, one_line
from arcface_mxnet.runtime.files import PathLike
from arcface_mxnet.runtime.reading import open_file, shown

MOST_LINE = 1 << 20  # characters
MOST_TEXT = 1 << 31  # bytes of a text that is held in memory whole; read line by line it may have any length
MOST_JSON = 1 << 29  # bytes
HIGHEST = (1 << 63) - 1  # what int64 holds
_BLOCK = 1 << 18  # bytes; fewer than MOST_LINE, so that only a line across blocks can be too long
_MARKS = ((codecs.BOM_UTF32_LE, ""), (codecs.BOM_UTF32_BE, ""), (codecs.BOM_UTF8, "utf-8"),
          (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")
_REAL = re.compile(r"[+-]?(?:[0-9]{1,60}(?:\.[0-9]{0,60})?|\.[0-9]{1,60})(?:[eE][+-]?[0-9]{1,4})?")
_DIGITS = re.compile(r"[+-]?[0-9]+")
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)(?:\(.*\))?", re.IGNORECASE)
_SEPARATORS = {"tab": "tabs", "blank": "blanks", "comma": "commas"}


class Columns(NamedTuple):
    """How a list's lines are cut: `separator`, the form in words, and how many columns it may have.

    The separator is tab, comma, or blank: any run of spaces and tabs.
    """

    separator: str
    form: str
    counts: Tuple[int, ...]

    def split(self, line: str, where: str) -> List[str]:
        """The columns, without blanks around them; raises InputError that begins with `where` for another number."""
        cut = {"tab": "\t", "comma": ",", "blank": None}[self.separator]
        found = [word.strip() for word in line.split(cut)]
        if len(found) not in self.counts:
            raise InputError(f"{where}: {len(found)} columns separated by {_SEPARATORS[self.separator]} in "
                             f"{shown(line)}; the form is `{self.form}`")
        return found


def read_text(path: PathLike, remedy: str, most: int = MOST_TEXT, errors: str = "strict", newlines: bool = True) -> str:
    """The text of a file with LF as its line ends; raises InputError, which ends with `remedy`, where it is none.

    `errors`: what becomes of bytes that are no text: "strict" refuses them, "surrogateescape" keeps them as the names
    of files keep them, "replace" shows them as U+FFFD and lets NULs pass, for logs that a crash or a terminal touched.
    `newlines`: whether line ends become LF; without it lines may be of any length.
    """
    blocks = _blocks(path, remedy, most, errors) if newlines else (
        text for text, _ in _decoded(path, remedy, most, errors))
    return "".join(blocks)


def read_lines(path: PathLike, remedy: str, most: int = MOST_TEXT, errors: str = "strict") -> List[str]:
    """The lines of a file without their ends, empty ones included; raises InputError as `read_text`."""
    return list(_cut(_blocks(path, remedy, most, errors)))


def iterate_lines(path: PathLike, remedy: str) -> Iterator[Tuple[int, str]]:
    """(number from 1, line) of a file of any length, one after the other; raises InputError as `read_text`."""
    return enumerate(_cut(_blocks(path, remedy, None, "strict")), 1)


def read_json(path: PathLike, remedy: str = "restore it from a copy", most: int = MOST_JSON) -> Any:
    """What a JSON file holds; raises InputError naming the file where it is missing, too large or deep, or none."""
    return parse_json(read_text(path, remedy, most), path, remedy)


def parse_json(text: str, path: PathLike, remedy: str) -> Any:
    """What the JSON text of a file holds; raises InputError as `read_json`."""
    try:
        return json.loads(text)
    except RecursionError:
        raise InputError(f"{path}: not valid JSON that can be read (nested too deep); {remedy}") from None
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({one_line(error)}); {remedy}") from None


class TextStream(io.TextIOBase):
    """A checked file as a stream of characters, for parsers that take one; raises InputError as `read_text`."""

    def __init__(self, path: PathLike, remedy: str) -> None:
        super().__init__()
        self._blocks, self._rest = _blocks(path, remedy, None, "strict"), ""

    def readable(self) -> bool:
        """True."""
        return True

    def read(self, size: Optional[int] = -1) -> str:
        """At most `size` characters (all that are left by default); "" at the end."""
        wanted = HIGHEST if size is None or size < 0 else size
        parts, count = [self._rest], len(self._rest)
        while count < wanted:
            block = next(self._blocks, None)
            if block is None:
                break
            parts.append(block)
            count += len(block)
        text = "".join(parts)
        self._rest = text[wanted:]
        return text[:wanted]

    def readline(self, size: Optional[int] = -1) -> str:  # type: ignore[override]
        """The next line with its LF; "" at the end."""
        while "\n" not in self._rest:
            block = next(self._blocks, None)
            if block is None:
                break
            self._rest += block
        end = self._rest.find("\n") + 1 or len(self._rest)
        if size is not None and size >= 0:
            end = min(end, size)
        line, self._rest = self._rest[:end], self._rest[end:]
        return line


def whole_number(text: str, where: str, low: int = 0, high: int = HIGHEST, what: str = "a whole number") -> int:
    """The whole number that `text` is, in decimal digits; raises InputError beginning with `where`."""
    plain = text.strip()
    if _WHOLE.fullmatch(plain) and low <= int(plain) <= high:
        return int(plain)
    bounds = "" if low <= -HIGHEST else f" from {low}" + (" up" if high == HIGHEST else f" to {high}")
    raise InputError(f"{where}: {shown(plain)} is not {what}{bounds}{_found(plain)}")


def real_number(text: str, where: str, low: float = -math.inf, high: float = math.inf, what: str = "a number") -> float:
    """The finite number that `text` is, decimal or scientific; raises InputError beginning with `where`."""
    plain = text.strip()
    if _REAL.fullmatch(plain):
        value = float(plain)
        if math.isfinite(value) and low <= value <= high:
            return value
    bounds = "" if (low, high) == (-math.inf, math.inf) else f" from {low:g} to {high:g}"
    raise InputError(f"{where}: {shown(plain)} is not {what}{bounds}{_found(plain)}")


def is_whole(text: str) -> bool:
    """Whether text has the form of a whole number (which may still lie outside what a column takes)."""
    return _WHOLE.fullmatch(text.strip()) is not None


def is_real(text: str) -> bool:
    """Whether text has the form of a finite number."""
    plain = text.strip()
    return _REAL.fullmatch(plain) is not None and math.isfinite(float(plain))


def listed_path(text: str, where: str) -> str:
    """A path as a list gives it: / and \\ both separate; raises InputError beginning with `where` where it is empty."""
    plain = text.strip().replace("\\", "/")
    if not plain:
        raise InputError(f"{where}: an empty path; name a file")
    return plain


def _found(text: str) -> str:
    """What there is in place of a number, for the end of a message."""
    if _NOT_FINITE.fullmatch(text):
        return " (it is not finite)"
    if _DIGITS.fullmatch(text) and len(text) > 20:
        return f" (it has {len(text.lstrip('+-'))} digits)"
    return ""


def _cut(blocks: Iterator[str]) -> Iterator[str]:
    rest = ""
    for block in blocks:
        *whole, rest = (rest + block).split("\n")
        yield from whole
    if rest:
        yield rest


def _blocks(path: PathLike, remedy: str, most: Optional[int], errors: str) -> Iterator[str]:
    """Checked text in blocks, its line ends LF."""
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    lines = length = 0  # lines ended so far, and characters since
    for text, last in _decoded(path, remedy, most, errors):
        block = newlines.decode(text, last)  # type: ignore[arg-type]  # with no decoder it takes text
        first, end = block.find("\n"), block.rfind("\n")
        if "\0" in block and errors != "replace":
            number = lines + block[:block.index("\0")].count("\n") + 1
            raise InputError(f"{path}: line {number}: a NUL character, which no text holds; {remedy}")
        if length + (first if first >= 0 else len(block)) > MOST_LINE:
            raise InputError(f"{path}: line {lines + 1}: longer than {MOST_LINE} characters; {remedy}")
        lines += block.count("\n")
        length = len(block) - end - 1 if end >= 0 else length + len(block)
        yield block


def _decoded(path: PathLike, remedy: str, most: Optional[int], errors: str) -> Iterator[Tuple[str, bool]]:
    """(text, whether it is the last) of each block of bytes."""
    with open_file(path, remedy, most) as stream:
        mark, encoding = _encoding(path, stream.read(4), remedy)
        stream.seek(mark)
        decoder = codecs.getincrementaldecoder(encoding)(errors)
        ended, halved = 0, False  # line ends so far; whether the last character was the CR of what may be a CRLF
        while True:
            block = stream.read(_BLOCK)
            try:
                text = decoder.decode(block, not block)
            except UnicodeDecodeError as error:
                place = stream.tell() - len(error.object) + error.start
                number = ended + 1 + _ends(error.object[:error.start].decode(encoding), halved)
                name = "UTF-8" if encoding == "utf-8" else "UTF-16"
                raise InputError(f"{path}: line {number}: byte {place} "
                                 f"(0x{error.object[error.start]:02x}) is not {name}; {remedy}") from None
            ended += _ends(text, halved)
            halved = text.endswith("\r") if text else halved
            yield text, not block
            if not block:
                return


def _ends(text: str, halved: bool) -> int:
    """How many lines end in text; `halved`: a CR before it was counted, so that a LF at its start is not."""
    return text.count("\n") + text.count("\r") - text.count("\r\n") - (halved and text.startswith("\n"))


def _encoding(path: PathLike, start: bytes, remedy: str) -> Tuple[int, str]:
    """(bytes of the mark, encoding) by a file's first bytes."""
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            if not encoding:
                raise InputError(f"{path}: text in UTF-32, where UTF-8 or UTF-16 is read; {remedy}")
            return len(mark), encoding
    return 0, "utf-8"
