"""Training sets at demo scale, 32x32, each standing for one of the paper's, with people and images in its proportions.

"demo" is the built-in set itself. The others are made from it and from two more groups of built-in people; the noisy
ones replace images by pictures of somebody else, as a web search does.
"""
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Tuple

from arcface_mxnet.datasets.manifest import describe_set
from arcface_mxnet.datasets.record_writer import RecordWriter
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.datasets.small_faces import ALIGNMENT, SIDE, SOURCE, small_faces
from arcface_mxnet.datasets.whole_folder import whole_folder
from arcface_mxnet.recognition.reproduction.demo_pictures import Kind, pictures, stills
from arcface_mxnet.runtime.errors import unknown

import numpy as np

People = List[List[bytes]]
NOISE = 0.385  # share of wrong images in MS1MV0: PAMI text, Fig. 7a
STRANGERS = 0.5  # share of the wrong images that show nobody of the set; the others show another person of it
PAIRS = 3000  # of each verification pack, half of them genuine


class Size(NamedTuple):
    """People of the built-in training set and pictures of each; the other sets keep their proportions to it."""

    identities: int = 1200
    images: int = 40

    @property
    def part(self) -> "Size":
        """CASIA beside MS1MV2: an eighth of the people, two thirds as many images of each."""
        return Size(self.identities // 8, self.fewer)

    @property
    def fewer(self) -> int:
        """Two thirds of the images of a person."""
        return self.images * 2 // 3

    @property
    def vgg(self) -> "Size":
        """VGGFace2 beside MS1MV2: a tenth of the people, nearly four times as many images of each."""
        return Size(self.identities // 10, self.images * 15 // 4)

    @property
    def asian(self) -> "Size":
        """The people that Asian-DeepGlint adds."""
        return Size(self.identities * 3 // 5, self.images * 3 // 8)

    @property
    def total(self) -> int:
        """Images of all people."""
        return self.identities * self.images

    @property
    def folder(self) -> str:
        """The folder of results of a set of this size, below those of the built-in one."""
        return f"{self.identities}x{self.images}"

    def __str__(self) -> str:
        return f"{self.identities:,} people x {self.images} images"


def about_set(name: str, size: Size) -> str:
    """What a training set at demo scale is, in words; raises InputError for an unknown name."""
    wrong = f"{100 * NOISE:g} % of them of somebody else, half of these of nobody in the set"
    told = {
        "demo": f"{size}",
        "casia": f"{size.part}, a part of the {size.identities:,} (CASIA has an eighth of MS1MV2's people, two thirds "
                 "as many images of each)",
        "vgg": f"{size.vgg}, other people (VGGFace2 has a tenth of MS1MV2's people, five times as many images of each)",
        "deepglint": f"{Size(size.identities, size.fewer)} and {size.asian} of others",
        "union": f"{size} and {size.asian} of others (MS1MV2 and Asian-DeepGlint; fewer others than theirs)",
        "noisy": f"{size}, {wrong}",
        "celeb": f"{size} and {size.asian} of others, {wrong}",
    }
    if name not in told:
        raise unknown("training set at demo scale", name, list(told))
    return told[name]


def base_set(work: Path, size: Size) -> Path:
    """The folder of the built-in training set and of the verification packs, made once below `work`."""
    return small_faces(work, size.identities, size.images, PAIRS)


def base(work: Path, size: Size) -> People:
    """The built-in training set, a list of images a person."""
    with RecordSet.open(base_set(work, size)) as records:
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


def training_kinds(size: Size) -> Dict[str, Kind]:
    """The built-in people of the training sets that are not in the base set; strangers are shown twice."""
    wrong = NOISE * STRANGERS * (size.total + size.asian.total)
    return {"asian": Kind("train", 10_000, size.asian.identities, stills(size.asian.images)),
            "vgg": Kind("train", 20_000, size.vgg.identities, stills(size.vgg.images)),
            "strangers": Kind("distractors", 10_000, int(wrong / 2) + 50, stills(2))}


def _others(name: str, work: Path, size: Size) -> People:
    return pictures(name, training_kinds(size)[name], work)


def _strangers(work: Path, size: Size) -> List[bytes]:
    return [image for images in _others("strangers", work, size) for image in images]


def _fewer(people: People, size: Size) -> People:
    return [images[:size.images] for images in people[:size.identities]]


def _union(work: Path, size: Size) -> People:
    return base(work, size) + _others("asian", work, size)


MAKERS: Dict[str, Callable[[Path, Size], People]] = {
    "casia": lambda work, size: _fewer(base(work, size), size.part),
    "vgg": lambda work, size: _others("vgg", work, size),
    "deepglint": lambda work, size: (_fewer(base(work, size), Size(size.identities, size.fewer))
                                     + _others("asian", work, size)),
    "union": _union,
    "noisy": lambda work, size: with_noise(base(work, size), _strangers(work, size)),
    "celeb": lambda work, size: with_noise(_union(work, size), _strangers(work, size)),
}


def demo_set(name: str, work: Path, size: Size) -> Path:
    """The folder of a training set (`about_set`), made once below `work`; raises InputError for an unknown name."""
    if name == "demo":
        return base_set(work, size)
    source = f"{SOURCE}; {about_set(name, size)}"
    target = work / f"set{SIDE}-{name}-{size.identities}x{size.images}"
    if not target.is_dir():
        write_people(target, MAKERS[name](work, size), source)
    return target


def write_people(folder: Path, people: People, source: str) -> Tuple[int, int]:
    """A record set of a list of images a person, whole or not at all; returns people and images."""
    with whole_folder(folder) as staging:
        with RecordWriter(staging, (SIDE, SIDE)) as writer:
            for label, images in enumerate(people):
                writer.add(label, images)
        describe_set(staging, source, ALIGNMENT)
    return len(people), sum(map(len, people))
