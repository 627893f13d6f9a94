"""One printed line: the function that writes it and the regular expression that reads it, held together."""
import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Pattern

Reader = Callable[[str], Any]
NUMBER = r"-?[\d.]+(?:[eE][-+]?\d+)?|nan|-?inf"
LOGGER = r"(?:INFO:root:)?"  # the prefix of Python's logging, where a program had it on


@dataclass(frozen=True)
class Line:
    """A kind of line in a training log.

    Calling it writes the line (no newline at the end); `read` gives the values back. For every line that is written,
    `line.read(line(**values)) == values` up to the digits that are printed.
    """

    name: str
    write: Callable[..., str]
    pattern: Pattern[str]
    readers: Dict[str, Reader]

    def __call__(self, *args: Any, **values: Any) -> str:
        """The text of the line for these values."""
        return self.write(*args, **values)

    def read(self, text: str) -> Optional[Dict[str, Any]]:
        """The typed values of a line of this kind, None for any other line; groups that are absent are left out."""
        match = self.pattern.match(text)
        if match is None:
            return None
        return self.values(match.groupdict())

    def values(self, groups: Dict[str, Optional[str]]) -> Dict[str, Any]:
        """The matched texts turned into their types."""
        return {key: self.readers.get(key, str)(text) for key, text in groups.items() if text is not None}


def line(registry: List[Line], pattern: str, **readers: Reader) -> Callable[[Callable[..., str]], Line]:
    """Decorate a writer with the pattern that reads it back; named groups are values, `readers` give their types.

    The pattern is anchored at both ends.
    """
    def wrap(write: Callable[..., str]) -> Line:
        made = Line(write.__name__, write, re.compile(f"^{pattern}$"), readers)
        registry.append(made)
        return made
    return wrap
