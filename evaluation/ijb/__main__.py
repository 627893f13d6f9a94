"""IJB-B, IJB-C from a checkpoint or saved features: `python -m arcface_mxnet.evaluation.ijb verify|identify --help`."""
import argparse
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence

from arcface_mxnet.evaluation.command import (
    add_model_flags,
    add_out_flag,
    embedder_of,
    load_features,
    model_hashes,
    parser,
    source_hashes,
)
from arcface_mxnet.evaluation.ijb.identification import IdentifyResult, identify_separate, identify_union
from arcface_mxnet.evaluation.ijb.metadata import (
    TARGETS,
    Media,
    gallery_paths,
    meta_path,
    probe_path,
    read_faces,
    read_media,
    read_pairs,
    read_subjects,
)
from arcface_mxnet.evaluation.ijb.templates import (
    LATER_MODE,
    Lists,
    Mode,
    Templates,
    compare,
    features_of_crops,
    pool,
)
from arcface_mxnet.evaluation.ijb.verification import VerifyResult, verify
from arcface_mxnet.evaluation.paper import PAPER_MODE, RANK_1, published_ijb_tar
from arcface_mxnet.evaluation.plots import Curve
from arcface_mxnet.evaluation.results import About, Entry, Row, file_hashes, write_results
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, run_command

import numpy as np

DEFINITIONS = {"union": identify_union, "separate": identify_separate}
MOST_CURVE_POINTS = 2000


class Images(NamedTuple):
    """Features of every image of a target, of its mirror image (if known), and the detector's scores (if requested)."""

    media: Media
    features: np.ndarray
    flipped: Optional[np.ndarray]
    scores: Optional[np.ndarray]

    def templates(self, mode: Mode) -> Templates:
        """The templates in one mode."""
        def block(rows: slice) -> np.ndarray:
            return mode.apply(self.features[rows], None if self.flipped is None else self.flipped[rows],
                              None if self.scores is None else self.scores[rows])
        return pool(block, self.media.templates, self.media.media)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """The command."""
    run(build_parser().parse_args(argv))


def run(options: argparse.Namespace) -> None:
    """Verify or identify in every requested mode."""
    known = [PAPER_MODE, LATER_MODE] if options.model or options.flipped_features else [PAPER_MODE]
    modes = {text: Mode.parse(text) for text in (options.mode.split(",") if options.mode else known)}
    images = read_images(options, modes)
    entries = _verify(options, images, modes) if options.task == "verify" else _identify(options, images, modes)
    sys.stdout.write(f"{write_results(options.out, entries)}\n")


def read_images(options: argparse.Namespace, modes: Dict[str, Mode]) -> Images:
    """The features as `options` name them, one row a line of face_tid_mid."""
    media = read_media(meta_path(options.meta, options.target, "face_tid_mid.txt"))
    needs_faces = bool(options.model) or any(mode.detector for mode in modes.values())
    faces = read_faces(meta_path(options.meta, options.target, "name_5pts_score.txt")) if needs_faces else None
    if faces is not None and not np.array_equal(faces.names, media.images):
        raise InputError(f"{options.meta}: name_5pts_score and face_tid_mid of {options.target} name other images; "
                         "the two files do not belong together")
    scores = None if faces is None else faces.scores
    if options.model:
        if not options.images or faces is None:
            raise InputError("--model needs --images DIR, the folder of the published crops (loose_crop)")
        embedder = embedder_of(options)
        settings = {"model": model_hashes(options.model), "exact": options.exact, "target": options.target}
        features, flipped = features_of_crops(options.images, faces, embedder.embed,
                                              Path(options.out) / f"{options.target}_embeddings", settings,
                                              embedder.about)
        return Images(media, features, flipped, scores)
    features = load_features(options.features, len(media.images))
    second = options.flipped_features
    return Images(media, features, load_features(second, len(features), features.shape[1]) if second else None, scores)


def _verify(options: argparse.Namespace, images: Images, modes: Dict[str, Mode]) -> Dict[str, Entry]:
    path = meta_path(options.meta, options.target, "template_pair_label.txt")
    pairs = read_pairs(path)
    lists = _compared(options.target, images, {"pairs": len(pairs.same), "genuine pairs": int(pairs.same.sum())})
    entries = {}
    for name, mode in modes.items():
        templates = images.templates(mode)
        result = verify(templates, pairs)
        figures = {"tar": {str(far): rate for far, rate in result.tar.items()}, "genuine_pairs": result.genuine,
                   "impostor_pairs": result.impostor, "templates": len(templates.ids), "images": len(images.features),
                   "published_lists": lists.as_published}
        rows = []
        for far, rate in result.tar.items():
            known = published_ijb_tar(options.target, name, far) if lists.as_published else None
            paper, source = known or (None, "")
            rows.append(Row(f"{lists.title} 1:1 {name}: TAR at FAR {far:g}", 100 * rate,
                            None if paper is None else 100 * paper, source))
        entries[f"{options.target}_{name}"] = Entry(figures, _about(options, name, [path], lists), rows,
                                                    [_roc_curve(name, result)])
        shown = ", ".join(f"{100 * rate:.2f} at {far:g}" for far, rate in result.tar.items())
        sys.stdout.write(f"{options.target} 1:1 {name}: TAR % {shown}\n")
    return entries


def _identify(options: argparse.Namespace, images: Images, modes: Dict[str, Mode]) -> Dict[str, Entry]:
    galleries, probe_list = gallery_paths(options.meta, options.target), probe_path(options.meta, options.target)
    gallery_subjects, probes = [read_subjects([path]) for path in galleries], read_subjects([probe_list])
    galleries_sizes = {f"templates of gallery {number}": len(gallery.templates)
                       for number, gallery in enumerate(gallery_subjects, 1)}
    lists = _compared(options.target, images, {"probe templates": len(probes.templates), **galleries_sizes})
    entries = {}
    for name, mode in modes.items():
        templates = images.templates(mode)
        for definition in [options.definition] if options.definition else DEFINITIONS:
            result = DEFINITIONS[definition](templates, gallery_subjects, probes)
            label = f"{lists.title} 1:N {name} {definition}"
            entries[f"{options.target}_{name}_{definition}"] = Entry(
                {**_identify_figures(result), "published_lists": lists.as_published},
                _about(options, f"{name}, {definition} galleries", [*galleries, probe_list], lists),
                _identify_rows(label, RANK_1[options.target] if lists.as_published else None, result))
            ranks = ", ".join(f"rank-{k} {100 * rate:.2f}" for k, rate in result.rank.items())
            tpir = ", ".join(f"TPIR {100 * rate:.2f} at FPIR {fpir:g}" for fpir, rate in result.tpir.items())
            sys.stdout.write(f"{label}: {ranks}, {tpir}\n")
    return entries


def _identify_figures(result: IdentifyResult) -> Dict[str, object]:
    return {"rank": {str(k): rate for k, rate in result.rank.items()},
            "tpir": {str(fpir): rate for fpir, rate in result.tpir.items()},
            "thresholds": {str(fpir): list(limits) for fpir, limits in result.thresholds.items()},
            "probes": result.probes, "gallery": list(result.gallery)}


def _identify_rows(label: str, rank_1: Optional[float], result: IdentifyResult) -> List[Row]:
    """Rows beside the paper's rank-1, which is None where the lists are others."""
    rows = [Row(f"{label}: rank-{k}", 100 * rate, 100 * rank_1 if k == 1 and rank_1 is not None else None,
                "v4 Table 8, MS1MV2 R100" if k == 1 and rank_1 is not None else "") for k, rate in result.rank.items()]
    return rows + [Row(f"{label}: TPIR at FPIR {fpir:g}", 100 * rate) for fpir, rate in result.tpir.items()]


def _roc_curve(name: str, result: VerifyResult) -> Curve:
    """The curve from FAR 1e-6, as in figure 9, at no more than 2,000 of its points."""
    shown = np.flatnonzero(result.curve.far >= 1e-6)
    if len(shown) > MOST_CURVE_POINTS:
        wanted = np.geomspace(max(result.curve.far[shown[0]], 1e-6), 1, MOST_CURVE_POINTS)
        shown = np.unique(np.searchsorted(result.curve.far, wanted).clip(shown[0], shown[-1]))
    return Curve("roc", name, result.curve.far[shown], 100 * result.curve.tar[shown], "false accept rate",
                 "true accept rate %", log_x=True)


def _compared(target: str, images: Images, counts: Dict[str, int]) -> Lists:
    """The lists' counts beside the published ones; one line on stderr where they differ."""
    templates = len(np.unique(images.media.templates))
    lists = compare(target, {"images": len(images.features), "templates": templates, **counts})
    if not lists.as_published:
        sys.stderr.write(f"warning: {target}: not the published lists ({lists.differences}); "
                         "the figures do not compare with published ones\n")
    return lists


def _about(options: argparse.Namespace, protocol: str, paths: Sequence[Path], lists: Lists) -> About:
    flipped = [options.flipped_features] if options.flipped_features else []
    return About(f"{options.target} {options.task}", protocol, source_hashes(options),
                 file_hashes([*flipped, meta_path(options.meta, options.target, "face_tid_mid.txt"), *paths]),
                 {} if lists.as_published else {"not the published lists": lists.differences})


def build_parser() -> Parser:
    """The command line."""
    flags = parser("Template verification (1:1) and identification (1:N) on IJB-B and IJB-C.\nLists whose counts are "
                   "not the published ones are used as they are, and said on stderr,\nin result.json and in the table.",
                   "python -m arcface_mxnet.evaluation.ijb verify --target ijbc --meta IJBC/meta --features F.npy "
                   "--flipped-features F2.npy --mode N1D1F2 --out results/ijbc")
    flags.add_argument("task", choices=("verify", "identify"))
    flags.add_argument("--target", required=True, choices=TARGETS, help="the set")
    flags.add_argument("--meta", required=True, metavar="DIR", help="folder of the published meta files")
    add_model_flags(flags, "image features (n, d) in the order of face_tid_mid, not normalised")
    flags.add_argument("--flipped-features", metavar="FILE.npy", help="features of the mirror images, for F1 and F2")
    flags.add_argument("--images", metavar="DIR", help="the published crops (loose_crop), for --model")
    flags.add_argument("--mode", metavar="NxDxFx,...", help="N0/N1 norm, D0/D1 detector, F0/F1/F2 flip (default "
                       f"{PAPER_MODE}, the paper's, and, with mirror images, {LATER_MODE}, the later tables')")
    flags.add_argument("--definition", choices=sorted(DEFINITIONS), help="1:N definition (default both)")
    add_out_flag(flags)
    return flags


if __name__ == "__main__":
    run_command(main)
