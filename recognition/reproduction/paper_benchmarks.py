"""Benchmarks at paper scale: the evaluation commands on the user's data folders, and what a table shows of the result.

NEEDS names, below the data root, the files of each; RUN the figures of one model. A command's own result.json, curves
and protocol stay in the folder that it is given.
"""
from pathlib import Path
from typing import Callable, Dict, NamedTuple, Sequence, Tuple

from arcface_mxnet.datasets.catalog import ALIGNED
from arcface_mxnet.datasets.pairs import read_pack
from arcface_mxnet.evaluation import iqiyi, trillion_pairs, verification, video
from arcface_mxnet.evaluation.ijb import __main__ as ijb
from arcface_mxnet.evaluation.megaface import __main__ as megaface
from arcface_mxnet.evaluation.pairs import PairResult
from arcface_mxnet.evaluation.paper import PAPER_MODE
from arcface_mxnet.evaluation.results import read_results
from arcface_mxnet.evaluation.video import read_splits
from arcface_mxnet.runtime.text import iterate_lines

import numpy as np

Figures = Dict[str, float]
MEGAFACE = ("facescrub_lst", "facescrub_images", "megaface_lst", "megaface_images", "facescrub_noises.txt",
            "megaface_noises.txt")
TEMPLATE_SETS = {"IJB-B": "IJBB", "IJB-C": "IJBC"}
IJB = tuple(f"{folder}/{name}" for folder in TEMPLATE_SETS.values() for name in ("meta", "loose_crop"))
MILLION, MEGAFACE_FAR, IJB_FAR = 1_000_000, 1e-6, 1e-4



class Network(NamedTuple):
    """A network to evaluate, "PREFIX,EPOCH", and the engine and devices that embed, as the commands take them."""

    model: str
    engine: str = ""
    gpus: str = ""

    def flags(self) -> Dict[str, str]:
        """Its flags, of every evaluation command."""
        return {name: value for name, value in self._asdict().items() if value}


def joined(networks: Sequence[Network]) -> Network:
    """Several networks as one, whose rows the commands join."""
    return networks[0]._replace(model="|".join(network.model for network in networks))


NEEDS: Dict[str, Tuple[str, ...]] = {
    "table4": ("lfw.bin", "ytf/splits.txt", "ytf/frames"),
    "table5": ("lfw.bin", "calfw.bin", "cplfw.bin"),
    "table6": MEGAFACE,
    "table7": IJB,
    "table8": tuple(f"trillionpairs/{name}" for name in ("probe_list.txt", "probe_ids.txt", "gallery_list.txt",
                                                         "images")),
    "table9": tuple(f"iqiyi_vid/{name}" for name in ("train_frames", "train_labels.txt", "test_frames",
                                                     "test_labels.txt")),
    "subcentre": IJB,
    "fig7": ("calfw.bin", "cplfw.bin", "ytf/splits.txt", "ytf/frames"),
    "fig8": MEGAFACE,
    "fig9": IJB,
}
"""Below the data root; a pack (.bin) stands in the folder of the training set, or else in the root itself."""


def place(root: Path, training_set: Path, name: str) -> Path:
    """Where a file of NEEDS is looked for: packs beside the training set first."""
    beside = training_set / name
    return beside if name.endswith(".bin") and beside.exists() else root / name


def _packs(targets: Tuple[str, ...], root: Path, data: Path, network: Network, out: Path) -> Figures:
    figures = {}
    for target in targets:
        folder = place(root, data, f"{target}.bin").parent
        verification.run(verification.build_parser().options(**network.flags(), data_dir=str(folder), target=target,
                                                             out=str(out / target)))
        figures[target.upper()] = 100 * read_results(out / target)[target]["accuracy"]
    return figures


def images_and_videos(root: Path, data: Path, network: Network, out: Path, row: str) -> Figures:
    """Table 4: LFW and YTF, percent."""
    video.run(video.build_parser().options(**network.flags(), frames=str(root / "ytf" / "frames"),
                                           splits=str(root / "ytf" / "splits.txt"), out=str(out / "ytf")))
    return {**_packs(("lfw",), root, data, network, out), "YTF": 100 * read_results(out / "ytf")["ytf"]["accuracy"]}


def pair_distances(embed: Callable[[np.ndarray], np.ndarray], name: str, root: Path, data: Path) -> PairResult:
    """The pairs of a pack, or of YTF's videos, under `embed` (images to embeddings, mirror image included)."""
    if name != "ytf":
        return verification.evaluate_pack(embed, read_pack(place(root, data, f"{name}.bin")), flip="none")
    pairs = read_splits(str(root / "ytf" / "splits.txt"))
    features = video.features_from_frames(str(root / "ytf" / "frames"), pairs.videos, embed, ALIGNED, "centre")
    return video.evaluate_videos(features, pairs)


def age_and_pose(root: Path, data: Path, network: Network, out: Path, row: str) -> Figures:
    """Table 5: percent."""
    return _packs(("lfw", "calfw", "cplfw"), root, data, network, out)


def _distractors(root: Path) -> int:
    return min(MILLION, sum(1 for _ in iterate_lines(root / "megaface_lst", "put MegaFace's list of images there")))


def identification_folder(out: Path, row: str) -> Path:
    """Where Table 6 keeps a row's result and curves: apart with and without the noise lists."""
    return out / ("refined" if row.endswith(", R") else "all")


def identification_curves(root: Path, out: Path, row: str) -> Tuple[Path, Path]:
    """The CSV files of CMC and ROC that `identified` left for a row."""
    folder, count = identification_folder(out, row), _distractors(root)
    return folder / f"{count}_cmc.csv", folder / f"{count}_roc.csv"


def identified(root: Path, data: Path, network: Network, out: Path, row: str) -> Figures:
    """Table 6: set 1, all distractors up to a million, percent; with the noise lists where the row's name says R."""
    refined, count = row.endswith(", R"), _distractors(root)
    options = megaface.build_parser().options(
        **network.flags(), probe_list=str(root / "facescrub_lst"), probe_images=str(root / "facescrub_images"),
        distractor_list=str(root / "megaface_lst"), distractor_images=str(root / "megaface_images"),
        distractors=str(count), far=str(MEGAFACE_FAR), protocol="small" if row.startswith("CASIA") else "large",
        out=str(identification_folder(out, row)), noises=str(root) if refined else None)
    megaface.run(options)
    found = read_results(options.out)[str(count)]
    return {"Id": 100 * found["rank1"], "Ver": 100 * found["tar"][str(MEGAFACE_FAR)]}


def template_curve(out: Path, title: str) -> Path:
    """The CSV file of the ROC that `templates` left; `title` is IJB-B or IJB-C."""
    target = TEMPLATE_SETS[title].lower()
    return out / target / f"{target}_{PAPER_MODE}_roc.csv"


def templates(root: Path, data: Path, network: Network, out: Path, row: str) -> Figures:
    """Table 7: TAR at FAR 1e-4 in the paper's mode, as a share."""
    figures = {}
    for title, folder in TEMPLATE_SETS.items():
        target = folder.lower()
        ijb.run(ijb.build_parser().options(
            task="verify", target=target, meta=str(root / folder / "meta"), images=str(root / folder / "loose_crop"),
            **network.flags(), mode=PAPER_MODE, out=str(out / target)))
        figures[title] = read_results(out / target)[f"{target}_{PAPER_MODE}"]["tar"][str(IJB_FAR)]
    return figures


def templates_percent(root: Path, data: Path, network: Network, out: Path, row: str) -> Figures:
    """The sub-centre table: the same in percent."""
    return {name: 100 * value for name, value in templates(root, data, network, out, row).items()}


def all_pairs(root: Path, data: Path, network: Network, out: Path, row: str) -> Figures:
    """Table 8: percent; identification by our reading."""
    place_of = root / "trillionpairs"
    trillion_pairs.run(trillion_pairs.build_parser().options(
        **network.flags(), probe_list=str(place_of / "probe_list.txt"), probe_ids=str(place_of / "probe_ids.txt"),
        gallery_list=str(place_of / "gallery_list.txt"), images=str(place_of / "images"), out=str(out)))
    found = read_results(out)["trillion_pairs"]
    return {"Id at FPR 1e-3": 100 * found["identification"], "Ver at FPR 1e-9": 100 * found["verification"]}


def retrieved(root: Path, networks: Sequence[Network], out: Path) -> Dict[str, float]:
    """Table 9: MAP in percent of "centre", "mlp" and, with several models, "ensemble"."""
    place_of = root / "iqiyi_vid"
    iqiyi.run(iqiyi.build_parser().options(
        **joined(networks).flags(), train_frames=str(place_of / "train_frames"), out=str(out),
        train_labels=str(place_of / "train_labels.txt"), test_frames=str(place_of / "test_frames"),
        test_labels=str(place_of / "test_labels.txt")))
    return {step: 100 * value for step, value in read_results(out)["iqiyi"]["map"].items()}


RUN: Dict[str, Callable[[Path, Path, Network, Path, str], Figures]] = {
    "table4": images_and_videos, "table5": age_and_pose, "table6": identified, "table7": templates,
    "table8": all_pairs, "subcentre": templates_percent,
}
"""Of every table but 9: (data root, training set, network, folder for results, row) -> {column: figure}."""
