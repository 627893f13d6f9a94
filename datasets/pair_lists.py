"""A pair list and a folder of aligned images to a .bin verification pack; with --flat a pack back to images.

The order of the list is kept: verification takes ten folds in file order. Image files are packed byte for byte.
"""
import argparse
import sys
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from arcface_mxnet.datasets.align import parse_size
from arcface_mxnet.datasets.image_sources import SUFFIXES
from arcface_mxnet.datasets.images import NoImage, decode_bgr
from arcface_mxnet.datasets.manifest import describe_pack
from arcface_mxnet.datasets.pair_forms import FORMS, Pair, read_pair_list
from arcface_mxnet.datasets.pairs import read_pack, write_pack
from arcface_mxnet.datasets.whole_folder import whole_folder
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, atomic_open
from arcface_mxnet.runtime.progress import progress

EXAMPLE = ("  python datasets/prepare.py pairs pairs.txt packs/lfw.bin --images lfw_112x112/\n"
           "  python datasets/prepare.py pairs cfp-dataset/ packs/cfp_fp.bin --images cfp_aligned/ --form cfp-fp\n"
           "  python datasets/prepare.py pairs packs/lfw.bin flat/ --flat")
LIST_FILE = "pairs_label.txt"
PNG_MAGIC = b"\x89PNG"


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
        for suffix in (candidate.suffix, *SUFFIXES):
            found = candidate.with_suffix(suffix)
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
    data = path.read_bytes()
    try:
        found = decode_bgr(data).shape[:2]
    except NoImage as error:
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
                    names.append(f"{number:06d}_{side}{'.png' if data.startswith(PNG_MAGIC) else '.jpg'}")
                    (staging / names[-1]).write_bytes(data)
                stream.write(f"{names[0]}\t{names[1]}\t{int(same)}\n")
    return len(read.same)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument("source", help="pair list, CFP's folder, or with --flat a .bin pack")
    parser.add_argument("output", help=".bin pack to write, or with --flat a folder; must not exist yet")
    parser.add_argument("--images", help="folder of aligned images the list's paths are relative to")
    parser.add_argument("--form", default="auto", choices=["auto", *FORMS, "cfp-fp", "cfp-ff"],
                        help="form of the list (default: told by its lines)")
    parser.add_argument("--size", default="112x112", help="height x width the images must have")
    parser.add_argument("--flat", action="store_true", help="the other way: a pack to images and a list")


def run(args: argparse.Namespace) -> Optional[int]:
    """Pack or flatten, and say how many pairs of each kind."""
    if args.flat:
        count = flatten_pack(args.source, args.output)
        sys.stdout.write(f"{count} pairs: {2 * count} images and {LIST_FILE} in {args.output}\n")
        return 0
    if not args.images:
        raise InputError("--images: give the folder of aligned images")
    pairs = read_pair_list(Path(args.source), args.form)
    pack_pairs(pairs, args.images, args.output, parse_size(args.size))
    same = sum(pair.same for pair in pairs)
    sys.stdout.write(f"{args.output}: {len(pairs)} pairs, {same} genuine and {len(pairs) - same} impostor\n")
    return 0
