"""The `property` file of a record set: one line `identities,height,width`, or four for a shuffled one (facts, 1.1)."""
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple

from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import atomic_open


@dataclass(frozen=True)
class SetProperty:
    """What a `property` file says; `images` only in the four-line form."""

    identities: int
    height: int
    width: int
    images: Optional[int] = None
    shuffled: bool = False
    made: str = ""


def read_property(path: Path) -> SetProperty:
    """Read a `property` file of either form; raises InputError naming the file where it is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: not found; it holds one line `identities,height,width`") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not text; it should hold one line `identities,height,width`") from None
    while lines and not lines[-1].strip():
        lines.pop()
    fields = lines[0].split(",") if lines else []
    if len(fields) != 3 or not all(field.strip().isdigit() and int(field) > 0 for field in fields):
        raise InputError(f"{path}: its first line should be `identities,height,width`, such as 85742,112,112")
    identities, height, width = (int(field) for field in fields)
    if len(lines) == 1:
        return SetProperty(identities, height, width)
    if len(lines) == 4 and lines[1].strip().isdigit() and lines[2].strip() == "shuffled":
        return SetProperty(identities, height, width, int(lines[1]), True, lines[3].strip())
    raise InputError(f"{path}: should have one line, or four (`identities,height,width`, images, `shuffled`, time)")


def write_property(path: Path, identities: int, size: Tuple[int, int], images: Optional[int] = None,
                   made: str = "") -> None:
    """Write the one-line form, or with `images` the four-line form of a shuffled record; `size` is (height, width)."""
    lines = [f"{identities},{size[0]},{size[1]}"]
    if images is not None:
        lines += [str(images), "shuffled", made]
    with atomic_open(path, "w") as stream:
        stream.write("".join(line + "\n" for line in lines))
