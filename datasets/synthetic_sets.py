"""The built-in faces at any size: a training set with packs, probes and distractors, templates, or photographs.

Nobody real is depicted. The same seed draws the same bytes; the people of different kinds are never the same.
"""
import argparse
import sys
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple

from arcface_mxnet.datasets.faces.identity import draw_identity
from arcface_mxnet.datasets.faces.nuisance import draw_nuisance
from arcface_mxnet.datasets.faces.render import encode, render
from arcface_mxnet.datasets.faces.worlds import FIRST_NUMBER, ranges_of
from arcface_mxnet.datasets.synthetic import people, write_dataset
from arcface_mxnet.datasets.whole_folder import whole_folder
from arcface_mxnet.runtime.files import PathLike, atomic_open
from arcface_mxnet.runtime.progress import progress

import cv2
import numpy as np

EXAMPLE = ("  python datasets/prepare.py synthetic --out data/demo --identities 200 --images 40\n"
           "  python datasets/prepare.py synthetic --out data/mf --kind megaface --identities 80 --distractors 1000\n"
           "  python datasets/prepare.py synthetic --out data/ijb --kind templates --identities 100 --images 6")
PHOTOGRAPH_SIZE = 320


def write_megaface(folder: PathLike, identities: int, images: int, distractors: int, seed: int,
                   workers: Optional[int] = None) -> Path:
    """Probes and distractors in the layout of the MegaFace challenge (facts, 6.1).

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
    """Templates with media ids in the layout of IJB-C (facts, 6.2), under <folder>/IJBC.

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
    rows = [[cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in sitting.images]
            for sitting in people("train", people_count, images, seed, workers=1)]
    return cv2.cvtColor(np.vstack([np.hstack(row) for row in rows]), cv2.COLOR_BGR2RGB)


SET_SIZE, SHEET_SIZE = (200, 40), (8, 8)  # identities, images of each


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument("--out", required=True, metavar="DIR",
                        help="folder to write (for --kind sheet a picture file)")
    parser.add_argument("--kind", default="dataset", choices=sorted(_KINDS), help="what to draw (default: dataset)")
    parser.add_argument("--identities", type=int, help="people: of training, probes, templates (default 200; sheet 8)")
    parser.add_argument("--images", type=int, help="pictures of each person or template (default 40; sheet 8)")
    parser.add_argument("--pairs", type=int, default=600, help="pairs in each pack (dataset)")
    parser.add_argument("--distractors", type=int, default=1000, help="distractors (megaface)")
    parser.add_argument("--seed", type=int, default=1, help="another seed is another world (default 1)")
    parser.add_argument("--workers", type=int, help="processes (default: all cores)")


def _sheet(args: argparse.Namespace) -> None:
    sheet = cv2.cvtColor(contact_sheet(args.identities, args.images, args.seed), cv2.COLOR_RGB2BGR)
    with atomic_open(args.out) as stream:
        stream.write(cv2.imencode(Path(args.out).suffix or ".png", sheet)[1].tobytes())


_KINDS: Dict[str, Callable[[argparse.Namespace], object]] = {
    "dataset": lambda a: write_dataset(a.out, a.identities, a.images, a.pairs, a.seed, a.workers),
    "megaface": lambda a: write_megaface(a.out, a.identities, a.images, a.distractors, a.seed, a.workers),
    "templates": lambda a: write_templates(a.out, a.identities, a.images, a.seed, a.workers),
    "photographs": lambda a: write_photographs(a.out, a.identities, a.images, a.seed),
    "sheet": _sheet,
}


def run(args: argparse.Namespace) -> Optional[int]:
    """Draw what was asked for and say where it is."""
    identities, images = SHEET_SIZE if args.kind == "sheet" else SET_SIZE
    args.identities, args.images = args.identities or identities, args.images or images
    _KINDS[args.kind](args)
    sys.stdout.write(f"{args.kind} drawn: {args.out}\n")
    return 0
