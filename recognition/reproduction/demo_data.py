"""Training sets at demo scale, 32x32, each standing for one of the paper's, with people and images in its proportions.

"demo" is the built-in set itself. The others are made from it and from two more groups of built-in people; the noisy
ones replace images by pictures of somebody else, as a web search does.
"""
import hashlib
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from arcface_mxnet.datasets.faces.identity import FIRST_NUMBER, draw_identity, ranges_of
from arcface_mxnet.datasets.faces.nuisance import Nuisance, NuisanceRanges, draw_nuisance
from arcface_mxnet.datasets.faces.render import encoded_face
from arcface_mxnet.datasets.images import decode_rgb
from arcface_mxnet.datasets.manifest import describe_set
from arcface_mxnet.datasets.record_writer import RecordWriter
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.datasets.small_faces import ALIGNMENT, SIDE, SOURCE, reduced, small_faces
from arcface_mxnet.datasets.whole_folder import whole_folder
from arcface_mxnet.evaluation.features import normalise, squared_distances
from arcface_mxnet.evaluation.ijb.metadata import TemplatePairs
from arcface_mxnet.evaluation.ijb.templates import PAPER_MODE, Mode, pool
from arcface_mxnet.evaluation.ijb.verification import VerifyResult, verify
from arcface_mxnet.evaluation.iqiyi import Videos, frame_centres
from arcface_mxnet.evaluation.megaface.noise import clean_probes, mark_distractors
from arcface_mxnet.evaluation.megaface.protocol import Features, MegaFaceResult
from arcface_mxnet.evaluation.megaface.protocol import evaluate as evaluate_megaface
from arcface_mxnet.evaluation.pairs import PairResult, evaluate_distances
from arcface_mxnet.evaluation.trillion_pairs import TrillionPairsResult
from arcface_mxnet.evaluation.trillion_pairs import evaluate as evaluate_trillion_pairs
from arcface_mxnet.evaluation.video import VideoPairs, centre_features, evaluate_videos
from arcface_mxnet.runtime.arrays import load_arrays
from arcface_mxnet.runtime.environment import available_cores
from arcface_mxnet.runtime.errors import unknown
from arcface_mxnet.runtime.files import atomic_path
from arcface_mxnet.runtime.progress import progress

import cv2
import numpy as np

People = List[List[bytes]]
NOISE = 0.385  # share of wrong images in MS1MV0: PAMI text, Fig. 7a
STRANGERS = 0.5  # share of the wrong images that show nobody of the set; the others show another person of it

ABOUT_SETS: Dict[str, str] = {
    "demo": "200 people x 40 images",
    "casia": "25 people x 27 images, a part of the 200 (CASIA has an eighth of MS1MV2's people, two thirds as many "
             "images of each)",
    "vgg": "21 other people x 150 images (VGGFace2 has a tenth of MS1MV2's people, five times as many images of each)",
    "deepglint": "200 people x 27 images and 120 others x 15",
    "union": "200 people x 40 images and 120 others x 15 (MS1MV2 and Asian-DeepGlint; fewer others than theirs)",
    "noisy": "200 people x 40 images, 38.5 % of them of somebody else, half of these of nobody in the set",
    "celeb": "320 people, 9,800 images, 38.5 % of them of somebody else, half of these of nobody in the set",
}


def base(work: Path) -> People:
    """The built-in training set, a list of images a person."""
    with RecordSet.open(small_faces(work)) as records:
        people: People = [[] for _ in range(records.num_classes)]
        for key, label in zip(records.keys.tolist(), records.labels.tolist()):
            people[int(label)].append(records.read(key)[1])
    return people


def wrong_images(counts: List[int], seed: int = 0) -> np.ndarray:
    """Which images of a noisy set are wrong: (n,) bool, person by person; a function of `seed`."""
    return np.random.RandomState(seed).random_sample(sum(counts)) < NOISE


def with_noise(people: People, strangers: List[bytes], seed: int = 0) -> People:
    """The same people with a share NOISE of the images replaced, by strangers' (each once) and by one another's."""
    wrong, rng = wrong_images([len(images) for images in people], seed), np.random.RandomState(seed + 1)
    made: People = []
    waiting, place = iter(strangers), 0
    for person, images in enumerate(people):
        chosen = []
        for image in images:
            if wrong[place]:
                other = (person + 1 + rng.randint(len(people) - 1)) % len(people)
                swapped = people[other][rng.randint(len(people[other]))]
                image = next(waiting, swapped) if rng.random_sample() < STRANGERS else swapped
            chosen.append(image)
            place += 1
        made.append(chosen)
    return made


def _strangers(work: Path) -> List[bytes]:
    return [image for images in pictures("strangers", work) for image in images]


def _union(work: Path) -> People:
    return base(work) + pictures("asian", work)


MAKERS: Dict[str, Callable[[Path], People]] = {
    "casia": lambda work: [images[:27] for images in base(work)[:25]],
    "vgg": lambda work: pictures("vgg", work),
    "deepglint": lambda work: [images[:27] for images in base(work)] + pictures("asian", work),
    "union": _union,
    "noisy": lambda work: with_noise(base(work), _strangers(work)),
    "celeb": lambda work: with_noise(_union(work), _strangers(work)),
}


def demo_set(name: str, work: Path) -> Path:
    """The folder of a set of ABOUT, made once below `work`; raises InputError for an unknown name."""
    if name == "demo":
        return small_faces(work)
    if name not in MAKERS:
        raise unknown("training set at demo scale", name, list(ABOUT_SETS))
    target = work / f"set{SIDE}-{name}"
    if not target.is_dir():
        write_people(target, MAKERS[name](work), f"{SOURCE}; {ABOUT_SETS[name]}")
    return target


def write_people(folder: Path, people: People, source: str) -> Tuple[int, int]:
    """A record set of a list of images a person, whole or not at all; returns people and images."""
    with whole_folder(folder) as staging:
        with RecordWriter(staging, (SIDE, SIDE)) as writer:
            for label, images in enumerate(people):
                writer.add(label, images)
        describe_set(staging, source, ALIGNMENT)
    return len(people), sum(map(len, people))


# Benchmarks at demo scale: the paper's protocols (evaluation/) on built-in people whom no training set holds.
#
# Each function takes `embed`, images uint8 (n, 3, 32, 32) to embeddings (n, d), and the folder of the pictures; what it
# returns is in the unit of the paper's table. ABOUT says how each differs from the benchmark it stands for.


Embed = Callable[[np.ndarray], np.ndarray]

FOLDS = 10
VIDEO_FRAMES = 5
PROBE_IMAGES, MEGAFACE_FAR = 6, 1e-3
MISTAKEN, MISLABELLED = 8, 2
IJB_SUBJECTS, IJB_FAR = {"IJB-B": 75, "IJB-C": 150}, 1e-3
TRILLION_VERIFICATION, TRILLION_IDENTIFICATION = 1e-3, 1e-1
IQIYI_PERSONS, IQIYI_TRAINING, IQIYI_CLIPS, IQIYI_FRAMES = 40, 4, 7, 4

ABOUT: Dict[str, str] = {
    "LFW": "LFW: 600 pairs, 10 folds, flip sum",
    "YTF": "YTF: 400 pairs of clips of 5 frames in 10 splits, mean of the frames' embeddings",
    "CALFW": "CALFW: 600 pairs about 18 years apart, 10 folds",
    "CPLFW": "CPLFW: 600 pairs, both faces turned by 20 to 55 degrees, 10 folds",
    "MegaFace": f"MegaFace: 40 people x 6 images as probes, 1,000 distractors; Ver is TAR at FAR {MEGAFACE_FAR:g} "
                f"(1e-6 needs a million). As in the real set, {MISTAKEN} distractors show a person of the probes and "
                f"{MISLABELLED} probes somebody else; R: the same with the authors' cleaning, which is told which",
    "IJB": f"IJB-B and IJB-C: 75 and 150 subjects, two templates each of two stills and a clip of 3 frames, mode "
           f"{PAPER_MODE}; TAR at FAR {IJB_FAR:g} (the paper's 1e-4 needs millions of pairs)",
    "Trillion-Pairs": f"Trillion-Pairs: 240 probes of 40 people against 1,000 others; Id at FPR "
                      f"{TRILLION_IDENTIFICATION:g}, Ver at FPR {TRILLION_VERIFICATION:g} (the paper's 1e-3 and 1e-9 "
                      "need a gallery of a million)",
    "iQIYI": f"iQIYI-VID: {IQIYI_PERSONS} people with {IQIYI_TRAINING} training and 3 test clips of 4 frames each, and "
             "as noise 20 people more; MAP@100 by our reading of its formula",
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
    people = pictures(kind, work)
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


# Pictures of built-in people for the benchmarks at demo scale, 32x32: stills and clips, drawn once and kept.
#
# Nobody is in two kinds. A clip stands for a video: one set of circumstances (light, hair, age, place) in which pose,
# expression and blur move from frame to frame.


SEED = 1
YOUNGER, OLDER = NuisanceRanges(age_shift=-4.0, age_spread=3.0), NuisanceRanges(age_shift=14.0, age_spread=3.0)
TURNED = NuisanceRanges(yaw_range=(20.0, 55.0))


@dataclass(frozen=True)
class Shot:
    """One picture of a person: number `image`, or frame `frame` of the clip of that number; `ranges`: drawn from them,
    None: from those of the purpose.
    """

    image: int
    frame: Optional[int] = None
    ranges: Optional[NuisanceRanges] = None


@dataclass(frozen=True)
class Kind:
    """`people` of a purpose from number `first` on, each in the same `shots`."""

    purpose: str
    first: int
    people: int
    shots: Tuple[Shot, ...]


def stills(count: int, first: int = 0) -> Tuple[Shot, ...]:
    """Pictures that have nothing to do with one another."""
    return tuple(Shot(first + number) for number in range(count))


def clips(count: int, frames: int, first: int = 0) -> Tuple[Shot, ...]:
    """Clips of so many frames each, one behind the other."""
    return tuple(Shot(first + clip, frame) for clip in range(count) for frame in range(frames))


IJB_SHOTS = (*stills(2, 0), *clips(1, 3, 2), *stills(2, 3), *clips(1, 3, 5))  # two templates: two stills, a clip of 3
KINDS: Dict[str, Kind] = {
    "probes": Kind("probes", 0, 40, stills(7)),  # the seventh only to be mixed among the distractors
    "distractors": Kind("distractors", 0, 1000, stills(1)),
    "calfw": Kind("templates", 200_000, 300, (Shot(0, ranges=YOUNGER), Shot(1, ranges=OLDER))),
    "cplfw": Kind("templates", 300_000, 300, (Shot(0, ranges=TURNED), Shot(1, ranges=TURNED))),
    "ytf": Kind("templates", 100_000, 200, clips(2, 5)),
    "ijb": Kind("templates", 0, 150, IJB_SHOTS),
    "iqiyi": Kind("templates", 400_000, 60, clips(7, 4)),
    "asian": Kind("train", 10_000, 120, stills(15)),
    "vgg": Kind("train", 20_000, 21, stills(150)),
    "strangers": Kind("distractors", 10_000, 800, stills(2)),
}


def moved(n: Nuisance, seed: int, number: int, shot: Shot) -> Nuisance:
    """A frame of the clip whose circumstances are `n`: pose, expression, blur and the detector's errors differ."""
    g = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, number, 3, shot.image, shot.frame or 0])))
    return replace(n, yaw=n.yaw + float(np.radians(g.normal(0, 8))), pitch=n.pitch + float(np.radians(g.normal(0, 4))),
                   roll=n.roll + float(np.radians(g.normal(0, 3))), smile=n.smile + float(g.normal(0, 0.3)),
                   mouth_open=max(0.0, n.mouth_open + float(g.normal(0, 0.3))), blur=float(g.uniform(0, 1.0)),
                   squint=max(0.0, n.squint + float(g.normal(0, 0.1))), landmark_noise=g.normal(0, 0.6, (5, 2)))


def shoot(number: int, purpose: str, shots: Tuple[Shot, ...], seed: int = SEED) -> List[bytes]:
    """The shots of one person as JPEG bytes of 32x32."""
    person, drawn = draw_identity(seed, number), []
    for shot in shots:
        circumstances = draw_nuisance(shot.ranges or ranges_of(purpose, seed, number, shot.image), seed, number,
                                      shot.image)
        if shot.frame is not None:
            circumstances = moved(circumstances, seed, number, shot)
        drawn.append(reduced(encoded_face(person, circumstances)[0]))
    return drawn


def pictures(name: str, work: Path) -> List[List[bytes]]:
    """JPEG bytes of a kind, a list a person; drawn once, on all cores, and kept in `work`."""
    kind = KINDS[name]
    kept = work / "pictures" / f"{name}-{kind.people}x{len(kind.shots)}-{SEED}.npz"
    if not kept.exists():
        _keep(kept, _drawn(name, kind))
    stored = load_arrays(kept, "remove it: it is made again")
    data, ends = stored["data"].tobytes(), np.cumsum(stored["sizes"])
    flat = [data[start:end] for start, end in zip([0, *ends[:-1]], ends)]
    return [flat[start:start + len(kind.shots)] for start in range(0, len(flat), len(kind.shots))]


def decoded(encoded: List[bytes]) -> np.ndarray:
    """Images uint8 (n, 3, h, w), RGB."""
    return np.stack([decode_rgb(image) for image in encoded]).transpose(0, 3, 1, 2)


def _drawn(name: str, kind: Kind) -> List[List[bytes]]:
    numbers = range(FIRST_NUMBER[kind.purpose] + kind.first, FIRST_NUMBER[kind.purpose] + kind.first + kind.people)
    task = partial(shoot, purpose=kind.purpose, shots=kind.shots)
    with ProcessPoolExecutor(available_cores(), multiprocessing.get_context("spawn"), initializer=_settle) as pool:
        chunk = max(1, 50 // len(kind.shots))
        return list(progress(pool.map(task, numbers, chunksize=chunk), kind.people, f"drawing {name}", "people"))


def _settle() -> None:
    cv2.setNumThreads(1)  # one worker a core


def _keep(path: Path, drawn: List[List[bytes]]) -> None:
    flat = [image for person in drawn for image in person]
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, data=np.frombuffer(b"".join(flat), np.uint8), sizes=np.array([len(image) for image in flat]))
