"""Benchmarks at demo scale: the paper's protocols (evaluation/) on built-in people whom no training set holds.

Each function takes `embed`, images uint8 (n, 3, 32, 32) to embeddings (n, d), and the folder of the pictures; what it
returns is in the unit of the paper's table. ABOUT says how each differs from the benchmark it stands for. Nobody is in
two kinds of pictures.
"""
import hashlib
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Tuple

from arcface_mxnet.datasets.faces.nuisance import NuisanceRanges
from arcface_mxnet.evaluation.features import normalise, squared_distances
from arcface_mxnet.evaluation.ijb.metadata import TemplatePairs
from arcface_mxnet.evaluation.ijb.templates import Mode, pool
from arcface_mxnet.evaluation.ijb.verification import VerifyResult, verify
from arcface_mxnet.evaluation.iqiyi import Videos, frame_centres
from arcface_mxnet.evaluation.megaface.noise import clean_probes, mark_distractors
from arcface_mxnet.evaluation.megaface.protocol import Features, MegaFaceResult
from arcface_mxnet.evaluation.megaface.protocol import evaluate as evaluate_megaface
from arcface_mxnet.evaluation.pairs import PairResult, evaluate_distances
from arcface_mxnet.evaluation.paper import PAPER_MODE
from arcface_mxnet.evaluation.trillion_pairs import TrillionPairsResult
from arcface_mxnet.evaluation.trillion_pairs import evaluate as evaluate_trillion_pairs
from arcface_mxnet.evaluation.video import VideoPairs, centre_features, evaluate_videos
from arcface_mxnet.recognition.reproduction.demo_data import PAIRS
from arcface_mxnet.recognition.reproduction.demo_pictures import Kind, Shot, clips, decoded, pictures, stills

import numpy as np

Embed = Callable[[np.ndarray], np.ndarray]

FOLDS = 10
VIDEO_FRAMES = 5
PROBE_IMAGES, MEGAFACE_FAR = 6, 1e-3
MISTAKEN, MISLABELLED = 40, 10
IJB_SUBJECTS, IJB_FAR = {"IJB-B": 200, "IJB-C": 400}, 1e-3
TRILLION_VERIFICATION, TRILLION_IDENTIFICATION = 1e-3, 1e-1
IQIYI_PERSONS, IQIYI_TRAINING, IQIYI_CLIPS, IQIYI_FRAMES = 40, 4, 7, 4
YOUNGER, OLDER = NuisanceRanges(age_shift=-4.0, age_spread=3.0), NuisanceRanges(age_shift=14.0, age_spread=3.0)
TURNED = NuisanceRanges(yaw_range=(20.0, 55.0))
IJB_SHOTS = (*stills(2, 0), *clips(1, 3, 2), *stills(2, 3), *clips(1, 3, 5))  # two templates: two stills, a clip of 3
KINDS: Dict[str, Kind] = {
    "probes": Kind("probes", 0, 200, stills(PROBE_IMAGES + 1)),  # the last only to be mixed among the distractors
    "distractors": Kind("distractors", 0, 4000, stills(1)),
    "calfw": Kind("templates", 200_000, 1000, (Shot(0, ranges=YOUNGER), Shot(1, ranges=OLDER))),
    "cplfw": Kind("templates", 300_000, 1000, (Shot(0, ranges=TURNED), Shot(1, ranges=TURNED))),
    "ytf": Kind("templates", 100_000, 500, clips(2, VIDEO_FRAMES)),
    "ijb": Kind("templates", 0, 400, IJB_SHOTS),
    "iqiyi": Kind("templates", 400_000, 60, clips(IQIYI_CLIPS, IQIYI_FRAMES)),
}

ABOUT: Dict[str, str] = {
    "LFW": f"LFW: {PAIRS:,} pairs, 10 folds, flip sum",
    "YTF": f"YTF: {2 * KINDS['ytf'].people:,} pairs of clips of {VIDEO_FRAMES} frames in 10 splits, mean of the "
           "frames' embeddings",
    "CALFW": f"CALFW: {2 * KINDS['calfw'].people:,} pairs about 18 years apart, 10 folds",
    "CPLFW": f"CPLFW: {2 * KINDS['cplfw'].people:,} pairs, both faces turned by 20 to 55 degrees, 10 folds",
    "MegaFace": f"MegaFace: {KINDS['probes'].people} people x {PROBE_IMAGES} images as probes, "
                f"{KINDS['distractors'].people:,} distractors; Ver is TAR at FAR {MEGAFACE_FAR:g} "
                f"(1e-6 needs a million). As in the real set, {MISTAKEN} distractors show a person of the probes and "
                f"{MISLABELLED} probes somebody else; R: the same with the authors' cleaning, which is told which",
    "IJB": f"IJB-B and IJB-C: {' and '.join(map(str, IJB_SUBJECTS.values()))} subjects, two templates each of two "
           f"stills and a clip of 3 frames, mode {PAPER_MODE}; TAR at FAR {IJB_FAR:g} (the paper's 1e-4 needs millions "
           "of pairs)",
    "Trillion-Pairs": f"Trillion-Pairs: {PROBE_IMAGES * KINDS['probes'].people:,} probes of {KINDS['probes'].people} "
                      f"people against {KINDS['distractors'].people:,} others; Id at FPR {TRILLION_IDENTIFICATION:g}, "
                      f"Ver at FPR {TRILLION_VERIFICATION:g} (the paper's 1e-3 and 1e-9 need a gallery of a million)",
    "iQIYI": f"iQIYI-VID: {IQIYI_PERSONS} people with {IQIYI_TRAINING} training and "
             f"{IQIYI_CLIPS - IQIYI_TRAINING} test clips of {IQIYI_FRAMES} frames each, and as noise "
             f"{KINDS['iqiyi'].people - IQIYI_PERSONS} people more; MAP@100 by our reading of its formula",
}


def digest() -> str:
    """Eight digits that stand for the benchmarks: what is drawn for them and how they are described."""
    return hashlib.sha256(repr((sorted(KINDS.items()), sorted(ABOUT.items()))).encode("utf-8")).hexdigest()[:8]


class PairImages(NamedTuple):
    """Which of the items (two a person, one behind the other) are compared: int64 (p, 2), and truth bool (p,)."""

    items: np.ndarray
    same: np.ndarray


def paired(people: int, folds: int = FOLDS) -> PairImages:
    """Ten folds of different people: each person's two items, then the first of one and the second of the next."""
    each = people // folds
    items: List[Tuple[int, int]] = []
    same: List[bool] = []
    for start in range(0, each * folds, each):
        items += [(2 * (start + one), 2 * (start + one) + 1) for one in range(each)]
        items += [(2 * (start + one), 2 * (start + (one + 1) % each) + 1) for one in range(each)]
        same += [True] * each + [False] * each
    return PairImages(np.array(items), np.array(same))


def rows_of(kind: str, embed: Embed, work: Path) -> np.ndarray:
    """Embeddings of all pictures of a kind, person by person: (people, shots, d)."""
    people = pictures(kind, KINDS[kind], work)
    rows = embed(decoded([image for images in people for image in images]))
    return rows.reshape(len(people), len(people[0]), -1)


def image_pairs(kind: str, embed: Embed, work: Path) -> PairResult:
    """"calfw" or "cplfw" by the protocol of image pairs."""
    rows = rows_of(kind, embed, work)
    pairs = paired(len(rows))
    unit = normalise(rows.reshape(-1, rows.shape[-1]).astype(np.float64))
    return evaluate_distances(squared_distances(unit[pairs.items[:, 0]], unit[pairs.items[:, 1]]), pairs.same)


def video_pairs(embed: Embed, work: Path) -> PairResult:
    """YTF's protocol in the paper's form: the centre of the frames."""
    rows = rows_of("ytf", embed, work)
    videos = rows.reshape(-1, VIDEO_FRAMES, rows.shape[-1])
    pairs = paired(len(rows))
    features = np.stack([centre_features(frames) for frames in videos])
    names = tuple(f"Person_{video // 2}/{video % 2}" for video in range(len(videos)))
    return evaluate_videos(features, VideoPairs(names, pairs.items, pairs.same, FOLDS))


def megaface(embed: Embed, work: Path, refined: bool) -> MegaFaceResult:
    """Rank-1 and TAR among distractors that hold some of the probes' people, with or without the noise lists."""
    rows, distractors = rows_of("probes", embed, work), rows_of("distractors", embed, work)[:, 0]
    probes = rows[:, :PROBE_IMAGES].copy()
    probes[:MISLABELLED, 0] = rows[MISLABELLED:2 * MISLABELLED, PROBE_IMAGES]
    others = np.concatenate([rows[-MISTAKEN:, PROBE_IMAGES], distractors])
    ids = np.repeat(np.arange(len(probes)), PROBE_IMAGES)
    first, second = normalise(probes.reshape(len(ids), -1)), normalise(others)
    if refined:
        names = [f"Person_{person}/{person}_{image}" for person in range(len(probes)) for image in range(PROBE_IMAGES)]
        first = clean_probes(first, names, frozenset(f"{person}_0" for person in range(MISLABELLED)), seed=0)
        second = np.concatenate([second, np.zeros((len(second), 1), np.float32)], axis=1)
        others_names = [f"d/{number}/0" for number in range(len(second))]
        mark_distractors(second, others_names, frozenset(others_names[:MISTAKEN]))
    return evaluate_megaface(Features(first, False), ids, Features(second, False), [len(second)], [MEGAFACE_FAR])[0]


def template_pairs(embed: Embed, work: Path, target: str) -> VerifyResult:
    """IJB-B or IJB-C 1:1: every subject's first template against every second one, the clip's frames one medium."""
    rows = rows_of("ijb", embed, work)[:IJB_SUBJECTS[target]]
    subjects, images, size = rows.shape
    templates = np.repeat(np.arange(2 * subjects), images // 2)
    media = np.tile([0, 1, 2, 2, 2], 2 * subjects) + 3 * templates
    flat, mode = rows.reshape(-1, size), Mode.parse(PAPER_MODE)
    pooled = pool(lambda part: mode.apply(flat[part], None, None), templates, media)
    first, second = (grid.ravel() for grid in np.meshgrid(np.arange(subjects), np.arange(subjects), indexing="ij"))
    pairs = TemplatePairs((2 * first).astype(np.int32), (2 * second + 1).astype(np.int32), first == second)
    return verify(pooled, pairs, (IJB_FAR,))


def trillion_pairs(embed: Embed, work: Path) -> TrillionPairsResult:
    """All probes against the gallery."""
    probes = rows_of("probes", embed, work)[:, :PROBE_IMAGES]
    ids = np.repeat(np.arange(len(probes)), PROBE_IMAGES)
    return evaluate_trillion_pairs(probes.reshape(len(ids), -1), ids, rows_of("distractors", embed, work)[:, 0],
                                   TRILLION_VERIFICATION, TRILLION_IDENTIFICATION)


def retrieval_videos(embed: Embed, work: Path) -> Tuple[Videos, Videos]:
    """Training and test clips of iQIYI-VID as centres of their frames; the last people are noise, class 0."""
    rows = rows_of("iqiyi", embed, work)
    people = len(rows)
    clips = rows.reshape(people, IQIYI_CLIPS, IQIYI_FRAMES, -1)
    classes = np.where(np.arange(people) < IQIYI_PERSONS, np.arange(people) + 1, 0)
    return _centres(clips[:, :IQIYI_TRAINING], classes), _centres(clips[:, IQIYI_TRAINING:], classes)


def _centres(clips: np.ndarray, classes: np.ndarray) -> Videos:
    people, each, frames, size = clips.shape
    names = [f"{video:06d}" for video in np.repeat(np.arange(people * each), frames)]
    return Videos(frame_centres(clips.reshape(-1, size), names)[1], np.repeat(classes, each))
