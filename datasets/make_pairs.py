"""A pair list and a folder of aligned images to a .bin verification pack; with --flat a pack back to images.

Verification takes ten folds in file order. The order of the list is kept where its folds hold both kinds of pair; a
list sorted by kind is dealt into such folds. Image files are packed byte for byte.
"""
import argparse
import sys
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.datasets.image_headers import image_suffixes
from arcface_mxnet.datasets.images import NoImage, decode_bgr, read_image, suffix
from arcface_mxnet.datasets.manifest import describe_pack
from arcface_mxnet.datasets.pair_folds import FOLDS, dealt_order
from arcface_mxnet.datasets.pairs import read_pack, write_pack
from arcface_mxnet.datasets.whole_folder import whole_folder
from arcface_mxnet.runtime.arguments import Parser, height_and_width
from arcface_mxnet.runtime.errors import InputError, unknown
from arcface_mxnet.runtime.files import PathLike, atomic_open
from arcface_mxnet.runtime.progress import progress
from arcface_mxnet.runtime.reading import shown
from arcface_mxnet.runtime.text import HIGHEST, is_whole, iterate_lines, listed_path, whole_number

import numpy as np

# The published forms of pair lists, each told from the others by its lines, as (first, second, same) triples.
#
# lfw     LFW's pairs.txt: `name n1 n2` (one person) and `name n1 name n2`; the header line says folds and pairs.
# labels  `path path 0/1` (the original's pairs_label.txt).
# agedb   `0/1 path path` (the list that goes with the AgeDB-30 crops, and with others of that family).
# calfw   CALFW and CPLFW: two lines a pair, `file token` each; token 0 is an impostor pair, any other a genuine one.
# cfp     CFP's folder: Protocol/Pair_list_F.txt, Pair_list_P.txt and Protocol/Split/FP or FF/01..10/{same,diff}.txt.


_HIGHEST_PICTURE = 10 ** 6


class Pair(NamedTuple):
    """Two pictures (paths relative to the image folder) and whether they show one person."""

    first: str
    second: str
    same: bool


Numbered = Sequence[Tuple[int, str]]


def _wrong(path: Path, number: int, form: str, wanted: str, line: str = "") -> InputError:
    found = f"found {shown(line)}; " if line else ""
    return InputError(f"{path}: line {number} is not of the form {form} ({wanted}); {found}correct it, or give another "
                      "--form")


def _lines(path: Path) -> List[Tuple[int, str]]:
    lines = [(number, line.strip()) for number,
             line in iterate_lines(path, "give a text file of pairs") if line.strip()]
    if not lines:
        raise InputError(f"{path}: no pairs in it; give a pair list")
    return lines


def _columns(line: str) -> List[str]:
    """By tabs where there are any (paths may then hold blanks), else by blanks."""
    return [word.strip() for word in line.split("\t")] if "\t" in line else line.split()


def parse_lfw(path: Path, lines: Numbered) -> List[Pair]:
    """LFW's form; pictures are `name/name_0001.jpg`."""
    def picture(where: str, name: str, number: str) -> str:
        return f"{name}/{name}_{whole_number(number, where, what='a picture', high=_HIGHEST_PICTURE):04d}.jpg"

    pairs = []
    for number, line in lines:
        words, where = _columns(line), f"{path}: line {number}"
        if number == 1 and len(words) in (1, 2) and all(is_whole(word) for word in words):
            continue
        if len(words) == 3 and is_whole(words[1]) and is_whole(words[2]):
            pairs.append(Pair(picture(where, words[0], words[1]), picture(where, words[0], words[2]), True))
        elif len(words) == 4 and is_whole(words[1]) and is_whole(words[3]):
            pairs.append(Pair(picture(where, words[0], words[1]), picture(where, words[2], words[3]), False))
        else:
            raise _wrong(path, number, "lfw", "`name n1 n2` or `name n1 name n2`", line)
    return pairs


def _three(path: Path, lines: Numbered, form: str, label: int, wanted: str) -> List[Pair]:
    pairs = []
    for number, line in lines:
        words = _columns(line)
        if len(words) != 3 or words[label] not in ("0", "1"):
            raise _wrong(path, number, form, wanted, line)
        same = words.pop(label) == "1"
        first, second = (listed_path(word, f"{path}: line {number}") for word in words)
        pairs.append(Pair(first, second, same))
    return pairs


def parse_labels(path: Path, lines: Numbered) -> List[Pair]:
    """`path path 0/1`."""
    return _three(path, lines, "labels", 2, "`path path 0/1`")


def parse_agedb(path: Path, lines: Numbered) -> List[Pair]:
    """`0/1 path path`."""
    return _three(path, lines, "agedb", 0, "`0/1 path path`")


def parse_calfw(path: Path, lines: Numbered) -> List[Pair]:
    """Two lines a pair."""
    rows = []
    for number, line in lines:
        words = _columns(line)
        if len(words) != 2 or not is_whole(words[1]):
            raise _wrong(path, number, "calfw", "`file token`, two lines a pair", line)
        where = f"{path}: line {number}"
        rows.append((number, listed_path(words[0], where), whole_number(words[1], where, -HIGHEST, what="a token")))
    if len(rows) % 2:
        raise _wrong(path, rows[-1][0], "calfw", "the last pair lacks its second line")
    pairs = []
    for (_, first, token), (number, second, other) in zip(rows[::2], rows[1::2]):
        if bool(token) != bool(other):
            raise _wrong(path, number, "calfw", f"token {other} after {token}: both lines of a pair say the same")
        pairs.append(Pair(first, second, token != 0))
    return pairs


def parse_cfp(folder: Path, profile: bool = True) -> List[Pair]:
    """CFP's protocol folder: frontal against profile (or frontal), fold by fold, genuine pairs first in each.

    Pictures are relative to the folder that holds Protocol. Raises InputError naming the file that is missing or wrong.
    """
    protocol = folder / "Protocol"
    frontal = _cfp_pictures(protocol / "Pair_list_F.txt")
    other = _cfp_pictures(protocol / "Pair_list_P.txt") if profile else frontal
    splits = sorted((protocol / "Split" / ("FP" if profile else "FF")).glob("[0-9]*"))
    if not splits:
        raise InputError(f"{protocol / 'Split'}: no folds in it; give CFP's folder, which holds Protocol and Data")
    pairs = []
    for split in splits:
        for name, same in (("same.txt", True), ("diff.txt", False)):
            for number, line in _lines(split / name):
                words = line.replace(",", " ").split()
                if len(words) != 2 or words[0] not in frontal or words[1] not in other:
                    raise _wrong(split / name, number, "cfp", "`a,b`, two numbers of the picture lists", line)
                pairs.append(Pair(frontal[words[0]], other[words[1]], same))
    return pairs


def _cfp_pictures(path: Path) -> Dict[str, str]:
    """Number -> picture, relative to the folder that holds Protocol (the lists say `../Data/...` seen from it)."""
    pictures = {}
    for number, line in _lines(path):
        words = line.split(None, 1)
        if len(words) != 2 or not is_whole(words[0]):
            raise _wrong(path, number, "cfp", "`number path`", line)
        pictures[words[0]] = listed_path(words[1], f"{path}: line {number}").replace("../", "", 1)
    return pictures


FORMS: Dict[str, Callable[[Path, Numbered], List[Pair]]] = {
    "lfw": parse_lfw, "labels": parse_labels, "agedb": parse_agedb, "calfw": parse_calfw,
}


def guess_form(lines: Numbered) -> str:
    """Which of the line forms a list is of, by the columns of its second line (the first may be a header)."""
    words = _columns(lines[min(1, len(lines) - 1)][1])
    if len(words) == 4 or (len(words) == 3 and is_whole(words[1]) and is_whole(words[2]) and not is_whole(words[0])):
        return "lfw"
    if len(words) == 2:
        return "calfw"
    return "agedb" if words[0] in ("0", "1") else "labels"


def deal_into_folds(pairs: List[Pair]) -> List[Pair]:
    """The pairs in an order whose contiguous folds hold both kinds, where theirs do not (pair_folds.dealt_order)."""
    return [pairs[place] for place in dealt_order(np.array([pair.same for pair in pairs], bool)).tolist()]


def read_pair_list(path: Path, form: str = "auto") -> List[Pair]:
    """Pairs of a list file (or of CFP's folder: forms cfp-fp and cfp-ff; a folder by itself means cfp-fp).

    They are in the order of the list, whatever kinds its folds hold: `deal_into_folds` is the caller's to call.
    Raises InputError naming the file and line that is not of the form, or the unknown form.
    """
    if path.is_dir() or form in ("cfp-fp", "cfp-ff"):
        return parse_cfp(path, profile=form != "cfp-ff")
    lines = _lines(path)
    chosen = guess_form(lines) if form == "auto" else form
    if chosen not in FORMS:
        raise unknown("pair list form", form, ["auto", "cfp-fp", "cfp-ff", *FORMS])
    return FORMS[chosen](path, lines)


EXAMPLE = ("  python datasets/prepare.py pairs pairs.txt packs/lfw.bin --images lfw_112x112/\n"
           "  python datasets/prepare.py pairs cfp-dataset/ packs/cfp_fp.bin --images cfp_aligned/ --form cfp-fp\n"
           "  python datasets/prepare.py pairs packs/lfw.bin flat/ --flat")
LIST_FILE = "pairs_label.txt"


def find_image(root: Path, name: str) -> Path:
    """The image file of a list's entry: as written, with another suffix (aligned copies), or in a folder of its name.

    The last is for lists that say `Name_0001.jpg` of images kept as Name/Name_0001.jpg. Raises InputError when there
    is none.
    """
    written = root / name
    if written.is_file():
        return written
    in_folder = root / Path(name).stem.rsplit("_", 1)[0] / Path(name).name
    for candidate in (written, in_folder):
        for ending in (candidate.suffix, *image_suffixes()):
            found = candidate.with_suffix(ending)
            if found.is_file():
                return found
    raise InputError(f"{written}: not found; align the images first, or give the right --images folder")


def pack_pairs(pairs: List[Pair], images: PathLike, output: PathLike, size: Tuple[int, int] = (112, 112)) -> None:
    """Write the .bin pack of a pair list; every image must be decodable and of `size` (height, width).

    Raises InputError naming the image that is missing, unreadable or of another size, or an output that exists.
    """
    target = Path(output)
    if target.exists():
        raise InputError(f"{target}: exists; delete it first or choose another name")
    cache: Dict[str, bytes] = {}
    packed: List[bytes] = []
    for pair in progress(pairs, len(pairs), "packing", "pairs"):
        for name in (pair.first, pair.second):
            if name not in cache:
                cache[name] = _checked(find_image(Path(images), name), size)
            packed.append(cache[name])
    write_pack(target, packed, [pair.same for pair in pairs])
    describe_pack(target, f"pair list over {images}")


def _checked(path: Path, size: Tuple[int, int]) -> bytes:
    try:
        data = read_image(path)
        found = decode_bgr(data).shape[:2]
    except (NoImage, OSError) as error:
        raise InputError(f"{path}: {error}; replace the file") from None
    if found != size:
        raise InputError(f"{path}: is {found[0]}x{found[1]}, not {size[0]}x{size[1]}; align the images first "
                         "(python datasets/prepare.py align)")
    return data


def flatten_pack(pack: PathLike, output: PathLike) -> int:
    """Write the images of a pack, byte for byte, as 000000_a.jpg, 000000_b.jpg, ... and pairs_label.txt beside them.

    The list is of the form `path path 0/1`, so that `pairs` makes the same pack of it again. Returns the pairs.
    """
    read = read_pack(pack)
    with whole_folder(output) as staging:
        with atomic_open(staging / LIST_FILE, "w") as stream:
            for number, same in enumerate(read.same):
                names = []
                for side, data in zip("ab", read.images[2 * number:2 * number + 2]):
                    names.append(f"{number:06d}_{side}{suffix(data)}")
                    (staging / names[-1]).write_bytes(data)
                stream.write(f"{names[0]}\t{names[1]}\t{int(same)}\n")
    return len(read.same)


def add_arguments(parser: Parser) -> None:
    """Flags of the verb."""
    parser.add_argument("source", help="pair list, CFP's folder, or with --flat a .bin pack")
    parser.add_argument("output", help=".bin pack to write, or with --flat a folder; must not exist yet")
    parser.add_argument("--images", help="folder of aligned images the list's paths are relative to")
    parser.add_argument("--form", default="auto", choices=["auto", *FORMS, "cfp-fp", "cfp-ff"],
                        help="form of the list (default: told by its lines)")
    parser.add_argument("--size", type=height_and_width, default="112,112", metavar="H,W",
                        help="height and width the images must have (default 112,112)")
    parser.add_argument("--flat", action="store_true", help="the other way: a pack to images and a list")


def run(args: argparse.Namespace) -> Optional[int]:
    """Pack or flatten, and say how many pairs of each kind."""
    if args.flat:
        count = flatten_pack(args.source, args.output)
        sys.stdout.write(f"{count} pairs: {2 * count} images and {LIST_FILE} in {args.output}\n")
        return 0
    if not args.images:
        raise InputError("--images: give the folder of aligned images")
    listed = read_pair_list(Path(args.source), args.form)
    pairs = deal_into_folds(listed)
    if pairs != listed:
        sys.stdout.write(f"{args.source}: sorted by kind of pair; dealt into {FOLDS} folds of both kinds\n")
    pack_pairs(pairs, args.images, args.output, args.size)
    same = sum(pair.same for pair in pairs)
    sys.stdout.write(f"{args.output}: {len(pairs)} pairs, {same} genuine and {len(pairs) - same} impostor\n")
    return 0
