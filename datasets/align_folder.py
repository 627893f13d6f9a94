"""Photographs to aligned face crops, by points from a file or from a detector.

The output folder mirrors the input's folders and appears when it is whole. points.tsv in it says which points each crop
was made from; not_found.tsv lists every picture no crop was made of, with the reason. Sources are only read.
"""
import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

from arcface_mxnet.datasets.align import DETECTORS, align, known_crop, open_detector, read_points, rescale
from arcface_mxnet.datasets.detect import TERMS, Detector, choose, detect_with_margin
from arcface_mxnet.datasets.image_headers import image_suffixes
from arcface_mxnet.datasets.images import NoImage, decode_bgr, encode_jpeg, read_image
from arcface_mxnet.datasets.whole_folder import whole_folder
from arcface_mxnet.runtime.arguments import Parser, height_and_width
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, atomic_open
from arcface_mxnet.runtime.progress import progress

import cv2
import numpy as np

EXAMPLE = ("  python datasets/prepare.py align photos/ crops/ --detector scrfd --detector-model scrfd_500m_kps.onnx\n"
           "  python datasets/prepare.py align photos/ crops/ --points landmarks.txt --size 112,96")
POINTS_FILE, MISSED_FILE = "points.tsv", "not_found.tsv"

Finder = Callable[[str, np.ndarray], List[np.ndarray]]


@dataclass
class AlignReport:
    """What became of a folder: `crops` (name, points (5, 2)) made, `missed` (name, reason) not made."""

    crops: List[Tuple[str, np.ndarray]] = field(default_factory=list)
    missed: List[Tuple[str, str]] = field(default_factory=list)


def find_by_points(points: Dict[str, np.ndarray], measured_width: Optional[float] = None) -> Finder:
    """A finder that looks the points up; `measured_width` is the width of the pictures they were measured in."""
    def find(name: str, image: np.ndarray) -> List[np.ndarray]:
        if name not in points:
            return []
        given = points[name]
        return [given if measured_width is None else rescale(given, measured_width, image.shape[1])]

    return find


def find_by_detector(detector: Detector, every: bool = False) -> Finder:
    """A finder that asks a detector: for the face the picture is of, or with `every` for all, left to right."""
    def find(name: str, image: np.ndarray) -> List[np.ndarray]:
        found = detect_with_margin(image, detector)
        if every:
            return [face.points for face in sorted(found, key=lambda face: face.box[0])]
        chosen = choose(found, *image.shape[:2])
        return [] if chosen is None else [chosen.points]

    return find


def pictures(source: Path, tiff: bool = False) -> List[str]:
    """Pictures below a folder (or the one given), paths relative to it in sorted order; hidden ones are not seen."""
    if source.is_file():
        return [source.name]
    if not source.is_dir():
        raise InputError(f"{source}: not found; give a folder of photographs, or one photograph")
    found = (path.relative_to(source) for path in source.rglob("*") if path.suffix.lower() in image_suffixes(tiff))
    names = sorted(str(path) for path in found if not any(part.startswith(".") for part in path.parts))
    if not names:
        raise InputError(f"{source}: holds no photograph ({', '.join(image_suffixes(tiff))}); give another folder")
    return names


def align_folder(source: PathLike, output: PathLike, find: Finder, size: Tuple[int, int] = (112, 112),
                 lossless: bool = False, tiff: bool = False) -> AlignReport:
    """Align every picture below `source` into `output` (absent or empty before; whole or absent afterwards).

    find(name, BGR image) gives the points (5, 2) of the faces wanted; a second face of a picture is saved as name_1.
    Crops are JPEG of quality 95, or PNG with `lossless`. Raises InputError when the output is taken, two pictures
    would become one crop, or no crop could be made at all.
    """
    place = Path(source)
    names = pictures(place, tiff)
    root = place.parent if place.is_file() else place
    report = AlignReport()
    taken: Dict[str, str] = {}
    with whole_folder(output) as staging:
        for name in progress(names, label="aligning", unit="pictures"):
            try:
                image = decode_bgr(read_image(root / name), tiff)
                faces = find(name, image)
            except (NoImage, OSError) as error:
                report.missed.append((name, f"unreadable: {error}"))
                continue
            if not faces:
                report.missed.append((name, "no face found"))
            for number, points in enumerate(faces):
                crop = _crop_name(name, number, lossless)
                if taken.setdefault(crop, name) != name:
                    raise InputError(f"{place}: {name} and {taken[crop]} would both become {crop}; rename one of them")
                _write_crop(staging / crop, align(image, points, size))
                report.crops.append((crop, points))
        if not report.crops:
            name, reason = report.missed[0]
            raise InputError(f"{place}: no crop could be made of {len(names)} pictures ({name}: {reason}); "
                             "check the points or try another detector")
        _write_report(staging, report)
    return report


def _crop_name(name: str, number: int, lossless: bool) -> str:
    path = Path(name)
    return str(path.with_name(f"{path.stem}{f'_{number}' if number else ''}.{'png' if lossless else 'jpg'}"))


def _write_crop(path: Path, crop: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", crop)[1].tobytes() if path.suffix == ".png" else encode_jpeg(crop))


def _write_report(folder: Path, report: AlignReport) -> None:
    with atomic_open(folder / POINTS_FILE, "w") as stream:
        for name, points in report.crops:
            stream.write("\t".join([name, *(f"{value:.3f}" for value in points.reshape(-1))]) + "\n")
    with atomic_open(folder / MISSED_FILE, "w") as stream:
        stream.writelines(f"{name}\t{reason}\n" for name, reason in report.missed)


def add_arguments(parser: Parser) -> None:
    """Flags of the verb."""
    parser.add_argument("source", help="folder of photographs, or one photograph")
    parser.add_argument("output", help="folder to write; must not exist yet")
    parser.add_argument("--size", type=height_and_width, default="112,112", metavar="H,W",
                        help="height and width: 112,112 (default) or 112,96")
    parser.add_argument("--points", help="file of `path x1 y1 ... x5 y5`, paths relative to the source folder")
    parser.add_argument("--points-width", type=float, metavar="PIXELS",
                        help="width of the pictures the points were measured in, if they have been resized since")
    parser.add_argument("--detector", choices=DETECTORS, help="find the points with this detector")
    parser.add_argument("--detector-model", metavar="PATH",
                        help=f"its .onnx file, or MTCNN's folder (det1 to det4); {TERMS}")
    parser.add_argument("--all-faces", action="store_true", help="every face of a picture, not only the one it is of")
    parser.add_argument("--tiff", action="store_true", help="take TIFF files as well")
    parser.add_argument("--png", action="store_true", help="lossless crops instead of JPEG of quality 95")


def run(args: argparse.Namespace) -> Optional[int]:
    """Align, say how many, and list those that were not; status 0 when at least one crop was made."""
    if bool(args.points) == bool(args.detector):
        raise InputError("give either --points FILE or --detector KIND with --detector-model PATH")
    if args.points:
        find = find_by_points(read_points(args.points), args.points_width)
    elif not args.detector_model:
        raise InputError(f"--detector {args.detector}: needs --detector-model PATH; {TERMS}")
    else:
        find = find_by_detector(open_detector(args.detector, args.detector_model), args.all_faces)
    report = align_folder(args.source, args.output, find, known_crop(args.size), args.png, args.tiff)
    sys.stdout.write(f"{len(report.crops)} crops in {args.output}; {len(report.missed)} pictures without one"
                     f"{f', listed in {Path(args.output) / MISSED_FILE}' if report.missed else ''}\n")
    for name, reason in report.missed[:10]:
        sys.stdout.write(f"  {name}: {reason}\n")
    if len(report.missed) > 10:
        sys.stdout.write(f"  and {len(report.missed) - 10} more\n")
    return 0
