"""The built-in faces at any size: a training set with packs, probes and distractors, templates, or photographs.

Nobody real is depicted. An identity is a vector (datasets/faces/identity.py), a picture's circumstances another
(nuisance.py); the same seed gives the same bytes on any number of workers, and the people of different kinds are
never the same.
"""
import argparse
import sys
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple

from arcface_mxnet.datasets.ages import AGES_FILE
from arcface_mxnet.datasets.faces.identity import FIRST_NUMBER, PURPOSE_SIZE, draw_identity, ranges_of
from arcface_mxnet.datasets.faces.nuisance import draw_nuisance
from arcface_mxnet.datasets.faces.render import encode, render
from arcface_mxnet.datasets.faces.studio import Sitting, sittings
from arcface_mxnet.datasets.images import decode_bgr
from arcface_mxnet.datasets.manifest import describe_pack, describe_set
from arcface_mxnet.datasets.pair_folds import FOLDS
from arcface_mxnet.datasets.pairs import write_pack
from arcface_mxnet.datasets.records import RecordWriter
from arcface_mxnet.datasets.whole_folder import whole_folder
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, atomic_open, write_json
from arcface_mxnet.runtime.progress import progress
from arcface_mxnet.runtime.text import read_json

import cv2
import numpy as np

VERSION = 2  # raised whenever the same settings would draw other pixels
PACKS = ("lfw", "cfp_fp", "agedb_30")
DESCRIPTION = "synthetic.json"
SOURCE = "drawn by datasets/synthetic.py"
ALIGNMENT = "five points with the errors of a detector, to the reference of 112x112"


def people(purpose: str, count: int, images: int, seed: int, workers: Optional[int] = None,
           first: int = 0) -> Iterator[Sitting]:
    """Draw `images` pictures (numbers 0, 1, ...) of `count` people of one purpose, person by person.

    `first` skips people. Purposes (worlds.FIRST_NUMBER) never share anybody. Raises InputError when there are too many.
    """
    if count < 1 or images < 1 or first + count > PURPOSE_SIZE:
        raise InputError(f"{purpose}: {count} identities of {images} images; give 1 to {PURPOSE_SIZE} identities "
                         "with an image each")
    start = FIRST_NUMBER[purpose] + first
    return sittings(purpose, range(start, start + count), range(images), seed, workers)


def write_training_set(folder: PathLike, identities: int, images_per_identity: int, seed: int,
                       workers: Optional[int] = None) -> None:
    """Write train.rec, train.idx and property, and ages.tsv: `key<TAB>age in years` of every image."""
    ages: List[Tuple[int, float]] = []
    with RecordWriter(folder) as writer:
        drawn = people("train", identities, images_per_identity, seed, workers)
        for label, sitting in enumerate(progress(drawn, identities, "drawing faces", "identities")):
            start, stop = writer.add(label, sitting.images)
            ages.extend(zip(range(start, stop), sitting.ages))
    with atomic_open(Path(folder) / AGES_FILE, "w") as stream:
        stream.writelines(f"{key}\t{age:.1f}\n" for key, age in ages)


def draw_pack(name: str, pairs: int, seed: int, workers: Optional[int] = None) -> Tuple[List[bytes], List[bool]]:
    """Images (2 x pairs) and truth of a pack: ten folds of different people, in each as many genuine as impostor pairs.

    Everybody has two pictures, a and b (in cfp_fp frontal and profile, in agedb_30 young and old). Genuine pairs are
    (a, b) of one person, impostor pairs a of one and b of the next in the fold. `pairs` must be a multiple of 20 and
    at least 40, or InputError is raised.
    """
    if pairs < 4 * FOLDS or pairs % (2 * FOLDS):
        raise InputError(f"{name}: {pairs} pairs; give a multiple of {2 * FOLDS}, at least {4 * FOLDS}")
    half = pairs // (2 * FOLDS)
    drawn = people(name, pairs // 2, 2, seed, workers)
    pictures = [sitting.images for sitting in progress(drawn, pairs // 2, f"drawing {name}", "identities")]
    images: List[bytes] = []
    same: List[bool] = []
    for start in range(0, len(pictures), half):
        fold = pictures[start:start + half]
        for first, second in fold:
            images += [first, second]
        for position, (first, _) in enumerate(fold):
            images += [first, fold[(position + 1) % half][1]]
        same += [True] * half + [False] * half
    return images, same


def write_dataset(folder: PathLike, identities: int = 200, images_per_identity: int = 40, pairs: int = 600,
                  seed: int = 1, workers: Optional[int] = None) -> Path:
    """Write the built-in dataset: training set, lfw.bin, cfp_fp.bin and agedb_30.bin; returns the folder.

    Nobody is in two of them. A folder that already holds the same dataset is left as it is; one that holds another
    set raises InputError. It appears when it is whole: an interrupted call leaves nothing, and is repeated.
    """
    target = Path(folder)
    wanted = _description(identities, images_per_identity, pairs, seed)
    if (target / DESCRIPTION).exists():
        if read_json(target / DESCRIPTION) != wanted:
            raise InputError(f"{target / DESCRIPTION}: another built-in dataset is there; choose another folder or "
                             "delete it first")
        return target
    with whole_folder(target) as staging:
        for name in PACKS:
            write_pack(staging / f"{name}.bin", *draw_pack(name, pairs, seed, workers))
            describe_pack(staging / f"{name}.bin", SOURCE, ALIGNMENT)
        write_training_set(staging, identities, images_per_identity, seed, workers)
        describe_set(staging, SOURCE, ALIGNMENT)
        write_json(staging / DESCRIPTION, wanted)
    return target


def _description(identities: int, images_per_identity: int, pairs: int, seed: int) -> Dict[str, int]:
    return {"version": VERSION, "identities": identities, "images_per_identity": images_per_identity, "pairs": pairs,
            "seed": seed}


# The built-in faces at any size: a training set with packs, probes and distractors, templates, or photographs.
#
# Nobody real is depicted. The same seed draws the same bytes; the people of different kinds are never the same.


EXAMPLE = ("  python datasets/prepare.py synthetic --out data/demo --identities 200 --images-per-identity 40\n"
           "  python datasets/prepare.py synthetic --out data/mf --kind megaface --identities 80 --distractors 1000\n"
           "  python datasets/prepare.py synthetic --out data/ijb --kind templates --identities 100 "
           "--images-per-identity 6")
PHOTOGRAPH_SIZE = 320


def write_megaface(folder: PathLike, identities: int, images: int, distractors: int, seed: int,
                   workers: Optional[int] = None) -> Path:
    """Probes and distractors in the layout of the MegaFace challenge (docs/original.md, section 6.1).

    facescrub_images/<person>/<person>_<n>.jpg with facescrub_lst, and megaface_images/<nnn>/<user>/0.jpg with
    megaface_lst: one relative path a line. Distractors are of one picture each.
    """
    with whole_folder(folder) as staging:
        probes: List[str] = []
        for number, pictures in enumerate(_drawn("probes", identities, images, seed, workers)):
            person = f"Person_{number:04d}"
            probes += [_save(staging / "facescrub_images", f"{person}/{person}_{n}.jpg", data)
                       for n, data in enumerate(pictures)]
        others = [_save(staging / "megaface_images", f"{number // 1000:03d}/{number:07d}@N00/0.jpg", pictures[0])
                  for number, pictures in enumerate(_drawn("distractors", distractors, 1, seed, workers))]
        _write_lines(staging / "facescrub_lst", probes)
        _write_lines(staging / "megaface_lst", others)
    return Path(folder)


def write_templates(folder: PathLike, identities: int, images: int, seed: int, workers: Optional[int] = None) -> Path:
    """Templates with media ids in the layout of IJB-C (docs/original.md, section 7.1), under <folder>/IJBC.

    Everybody has two templates, one in the gallery and one of probes; each is of `images` pictures, the first half
    stills (a media id each), the others frames of one video (one id). loose_crop holds the crops, meta the three
    published lists (all pairs of a gallery and a probe template) and the 1:N lists; odd people are in gallery G2.
    """
    lines: Dict[str, List[str]] = {"face_tid_mid": [], "template_pair_label": [], "name_5pts_score": []}
    lists: Dict[str, List[str]] = {name: ["TEMPLATE_ID,SUBJECT_ID,FILENAME"]
                                   for name in ("1N_gallery_G1", "1N_gallery_G2", "1N_probe_mixed")}
    medium = image = 0
    with whole_folder(folder) as staging:
        place = staging / "IJBC"
        for person in progress(range(identities), label="drawing templates", unit="identities"):
            for template in (2 * person + 1, 2 * person + 2):
                probe = template % 2 == 0
                video = medium + images // 2 + 1
                for position in range(images):
                    image += 1
                    name = f"{image}.jpg"
                    data, points = _photograph(person, template, position, seed)
                    _save(place / "loose_crop", name, data)
                    mid = medium + position + 1 if position < images // 2 else video
                    lines["face_tid_mid"].append(f"{name} {template} {mid}")
                    coordinates = " ".join(f"{value:.2f}" for value in points.reshape(-1))
                    lines["name_5pts_score"].append(f"{name} {coordinates} {_score(points):.4f}")
                    listed = lists["1N_probe_mixed" if probe else f"1N_gallery_G{1 + person % 2}"]
                    listed.append(f"{template},{person + 1},loose_crop/{name}")
                medium = video
        lines["template_pair_label"] = [f"{2 * a + 1} {2 * b + 2} {int(a == b)}"
                                        for a in range(identities) for b in range(identities)]
        for name, rows in lines.items():
            _write_lines(place / "meta" / f"ijbc_{name}.txt", rows)
        for name, rows in lists.items():
            _write_lines(place / "meta" / f"ijbc_{name}.csv", rows)
    return Path(folder)


def write_photographs(folder: PathLike, identities: int, images: int, seed: int) -> Path:
    """Unaligned pictures, <folder>/Person_<n>/<m>.jpg, and points.txt (`path x1 y1 ... x5 y5`): input for `align`."""
    with whole_folder(folder) as staging:
        rows = []
        for person in progress(range(identities), label="drawing photographs", unit="identities"):
            for picture in range(images):
                data, points = _photograph(person, 0, picture, seed, "photographs")
                name = _save(staging, f"Person_{person:04d}/{picture}.jpg", data)
                rows.append("\t".join([name, *(f"{value:.3f}" for value in points.reshape(-1))]))
        _write_lines(staging / "points.txt", rows)
    return Path(folder)


def _drawn(purpose: str, count: int, images: int, seed: int, workers: Optional[int]) -> Iterator[List[bytes]]:
    for sitting in progress(people(purpose, count, images, seed, workers), count, f"drawing {purpose}", "identities"):
        yield sitting.images


def _photograph(person: int, group: int, picture: int, seed: int,
                purpose: str = "templates") -> Tuple[bytes, np.ndarray]:
    """JPEG of an unaligned head somewhere in a square picture, and its points (5, 2)."""
    number = FIRST_NUMBER[purpose] + person
    image = 1000 * group + picture
    n = draw_nuisance(ranges_of(purpose, seed, number, image), seed, number, image)
    generator = np.random.Generator(np.random.PCG64(n.scene_seed + 11))
    scale = PHOTOGRAPH_SIZE * generator.uniform(0.14, 0.24)
    middle = PHOTOGRAPH_SIZE * generator.uniform(0.42, 0.58, 2)
    placed = np.array([[scale, 0.0, middle[0]], [0.0, scale, middle[1]]])
    drawn = render(draw_identity(seed, number), n, placed, PHOTOGRAPH_SIZE)
    return encode(drawn.image, n.jpeg_quality), drawn.landmarks


def _score(points: np.ndarray) -> float:
    """A detector's confidence, as one would have it: lower the more a face is turned away (eyes close together)."""
    eyes, height = points[1, 0] - points[0, 0], points[3:, 1].mean() - points[:2, 1].mean()
    return float(np.clip(0.5 + 0.5 * eyes / max(height, 1.0), 0.3, 0.999))


def _save(root: Path, name: str, data: bytes) -> str:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return name


def _write_lines(path: Path, rows: List[str]) -> None:
    with atomic_open(path, "w") as stream:
        stream.writelines(row + "\n" for row in rows)


def contact_sheet(people_count: int, images: int, seed: int) -> np.ndarray:
    """Rows of people, columns of their pictures: uint8 RGB (112 * people, 112 * images, 3)."""
    rows = [[decode_bgr(data) for data in sitting.images]
            for sitting in people("train", people_count, images, seed, workers=1)]
    return cv2.cvtColor(np.vstack([np.hstack(row) for row in rows]), cv2.COLOR_BGR2RGB)


SET_SIZE, SHEET_SIZE = (200, 40), (8, 8)  # identities, images of each


def add_arguments(parser: Parser) -> None:
    """Flags of the verb."""
    parser.add_argument("--out", required=True, metavar="DIR",
                        help="folder to write (for --kind sheet a picture file)")
    parser.add_argument("--kind", default="dataset", choices=sorted(_KINDS), help="what to draw (default: dataset)")
    parser.add_argument("--identities", type=int, help="people: of training, probes, templates (default 200; sheet 8)")
    parser.add_argument("--images-per-identity", type=int, metavar="N",
                        help="pictures of each person or template (default 40; sheet 8)")
    parser.add_argument("--pairs", type=int, default=600, help="pairs in each pack (dataset)")
    parser.add_argument("--distractors", type=int, default=1000, help="distractors (megaface)")
    parser.add_argument("--seed", type=int, default=1, help="another seed is another world (default 1)")
    parser.add_argument("--processes", type=int, help="processes (default: all cores)")
    parser.renamed("--images", to="--images-per-identity")
    parser.renamed("--workers", to="--processes")


def _sheet(args: argparse.Namespace) -> None:
    sheet = cv2.cvtColor(contact_sheet(args.identities, args.images_per_identity, args.seed), cv2.COLOR_RGB2BGR)
    with atomic_open(args.out) as stream:
        stream.write(cv2.imencode(Path(args.out).suffix or ".png", sheet)[1].tobytes())


_KINDS: Dict[str, Callable[[argparse.Namespace], object]] = {
    "dataset": lambda a: write_dataset(a.out, a.identities, a.images_per_identity, a.pairs, a.seed, a.processes),
    "megaface": lambda a: write_megaface(a.out, a.identities, a.images_per_identity, a.distractors, a.seed,
                                         a.processes),
    "templates": lambda a: write_templates(a.out, a.identities, a.images_per_identity, a.seed, a.processes),
    "photographs": lambda a: write_photographs(a.out, a.identities, a.images_per_identity, a.seed),
    "sheet": _sheet,
}


def run(args: argparse.Namespace) -> Optional[int]:
    """Draw what was requested and say where it is."""
    identities, images = SHEET_SIZE if args.kind == "sheet" else SET_SIZE
    args.identities, args.images_per_identity = args.identities or identities, args.images_per_identity or images
    _KINDS[args.kind](args)
    sys.stdout.write(f"{args.kind} drawn: {args.out}\n")
    return 0
