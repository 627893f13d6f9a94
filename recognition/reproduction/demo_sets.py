"""Training sets at demo scale, 32x32, each standing for one of the paper's, with people and images in its proportions.

"demo" is the built-in set itself. The others are made from it and from two more groups of built-in people; the noisy
ones replace images by pictures of somebody else, as a web search does.
"""
from pathlib import Path
from typing import Callable, Dict, List, Tuple

from arcface_mxnet.datasets.manifest import describe_set
from arcface_mxnet.datasets.record_writer import RecordWriter
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.datasets.whole_folder import whole_folder
from arcface_mxnet.recognition.reproduction.pictures import pictures
from arcface_mxnet.recognition.reproduction.small_faces import ALIGNMENT, SIDE, SOURCE, small_faces
from arcface_mxnet.runtime.errors import unknown

import numpy as np

People = List[List[bytes]]
NOISE = 0.385  # share of wrong images in MS1MV0: PAMI text, Fig. 7a
STRANGERS = 0.5  # share of the wrong images that show nobody of the set; the others show another person of it

ABOUT: Dict[str, str] = {
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
        raise unknown("training set at demo scale", name, list(ABOUT))
    target = work / f"set{SIDE}-{name}"
    if not target.is_dir():
        write_people(target, MAKERS[name](work), f"{SOURCE}; {ABOUT[name]}")
    return target


def write_people(folder: Path, people: People, source: str) -> Tuple[int, int]:
    """A record set of a list of images a person, whole or not at all; returns people and images."""
    with whole_folder(folder) as staging:
        with RecordWriter(staging, (SIDE, SIDE)) as writer:
            for label, images in enumerate(people):
                writer.add(label, images)
        describe_set(staging, source, ALIGNMENT)
    return len(people), sum(map(len, people))
