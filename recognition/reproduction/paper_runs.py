"""Paper scale: the runs exactly as the paper has them, and which of them stands for which row."""
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.datasets import catalog
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.engines.base import Place
from arcface_mxnet.recognition.presets import DATASETS as SETS
from arcface_mxnet.recognition.presets import LOSSES, RECIPES
from arcface_mxnet.recognition.reproduction.paper_benchmarks import Network
from arcface_mxnet.recognition.reproduction.processes import (
    Devices,
    devices_of,
    embedding_devices,
    place_to_embed,
)
from arcface_mxnet.recognition.settings import OWN_DATASET
from arcface_mxnet.runtime.errors import InputError, unknown

CONTEXTS, BATCH = 4, 128  # the paper's four GPUs, 128 images each
OWN_FOLDERS = {"deepglint": catalog.training_set("deepglint").folder, "emore+asian": "faces_emore_asian",
               "ms1mv0": "faces_ms1m_v0", "celeb500k": "faces_celeb500k"}
"""Sets without a preset, below the data root: DeepGlint's two parts; MS1MV2 and Asian-Celeb merged with
`datasets/prepare.py merge`; the raw MS1M and Celeb500K, built with `datasets/prepare.py build`."""
EPOCHS = (8, 14, 18)
EPOCH_SETS = ("retina", "ms1mv0", "celeb500k")
"""Trained by epochs in the later text: a tenth of the rate at 8 and 14, stop at 18."""
STEPS_OF_OWN = "ms1mv2"


@dataclass(frozen=True)
class PaperRecipe:
    """A run of the paper; `runs.trained` takes it like Recipe. `limit`: at most so many steps (0: the recipe's);
    `batch`: images a device and step; `devices`, `engine`: as train.py --gpus and --engine take them, empty for all
    that there are and the first that is installed.
    """

    network: str
    dataset: str
    data: Path
    limit: int = 0
    batch: int = BATCH
    devices: str = ""
    engine: str = ""

    @property
    def schedule(self) -> Tuple[int, ...]:
        """Steps at which the rate falls to a tenth and, last, at which the run ends."""
        if self.dataset in EPOCH_SETS:
            with RecordSet.open(self.data) as records:
                return steps_of_epochs(records.images)
        recipe = RECIPES[STEPS_OF_OWN if self.dataset in OWN_FOLDERS else SETS[self.dataset].recipe]
        return (*recipe.lr_steps, recipe.max_steps)

    @property
    def steps(self) -> int:
        """Steps of a run."""
        return min(self.limit or self.schedule[-1], self.schedule[-1])

    def flags(self, loss: str, data: Path, folder: Path, seed: int, steps: Optional[int] = None) -> Dict[str, Any]:
        """The flags of train.py for one run; `data` may be a set made from the recipe's (the drop step)."""
        preset = OWN_DATASET if self.dataset in OWN_FOLDERS or data != self.data else self.dataset
        found: Dict[str, Any] = {"network": self.network, "loss": loss, "dataset": preset, "data_dir": str(data),
                                 "run_dir": str(folder), "seed": seed}
        if preset == OWN_DATASET or self.dataset in EPOCH_SETS:
            found["lr_steps"] = _rising(self.schedule[:-1])
        if preset == OWN_DATASET or self.dataset in EPOCH_SETS or (steps or self.steps) != self.schedule[-1]:
            found["max_steps"] = steps or self.steps
        return {**found, **self.batch_flags(loss), **self.where()}

    def batch_flags(self, loss: str) -> Dict[str, Any]:
        """The flag of another batch than the paper's."""
        return {} if self.batch == BATCH else {"per_batch_size": whole_batch(loss, self.batch)}

    def where(self) -> Dict[str, Any]:
        """On which devices and by which engine."""
        return {name: value for name, value in (("gpus", self.devices), ("engine", self.engine)) if value}

    @property
    def runs_on(self) -> Devices:
        """The devices it takes, and in how many processes."""
        return devices_of(self.engine, self.devices)

    def embeds_on(self) -> Optional[Place]:
        """The engine and devices that embed by its network; None for the default."""
        return place_to_embed(self.engine, self.devices)


def steps_of_epochs(images: int) -> Tuple[int, ...]:
    """The steps of EPOCHS on a set of so many images, by the paper's batch."""
    return tuple(max(1, epoch * images // (CONTEXTS * BATCH)) for epoch in EPOCHS)


def whole_batch(loss: str, batch: int) -> int:
    """At most `batch` images, whole identities where a triplet loss needs them; raises InputError for too few."""
    preset = LOSSES[loss]
    unit = 3 * preset.get("images_per_identity", 5) if "triplet" in preset.loss_name else 1
    if batch < unit:
        raise InputError(f"--per-batch-size {batch}: --loss {loss} needs at least {unit}")
    return batch - batch % unit


def _rising(steps: Sequence[int]) -> Tuple[int, ...]:
    return tuple(sorted(set(steps)))


@dataclass(frozen=True)
class PaperScale:
    """How runs at paper scale are cut or placed: data root, limit of steps, images a device, devices, engine."""

    root: Path
    limit: int = 0
    batch: int = BATCH
    devices: str = ""
    engine: str = ""

    def recipe(self, network: str, dataset: str) -> PaperRecipe:
        """The recipe of a network on a published set (or one of OWN_FOLDERS)."""
        folder = OWN_FOLDERS.get(dataset) or catalog.training_set(dataset).folder
        return PaperRecipe(network, dataset, self.root / folder, self.limit, self.batch, self.devices, self.engine)

    def network(self, model: str) -> Network:
        """A checkpoint "PREFIX,EPOCH" to evaluate, by the engine and on the devices of the runs."""
        return Network(model, self.engine, embedding_devices(self.engine, self.devices))

    def embeds_on(self) -> Optional[Place]:
        """The engine and devices that embed; None for the default."""
        return place_to_embed(self.engine, self.devices)


# Which of our runs stands for which row of the paper's tables: data, and what follows from it.


TABLE2: Dict[str, str] = {
    "ArcFace (0.4)": "arcface040", "ArcFace (0.45)": "arcface045", "ArcFace (0.5)": "arcface",
    "ArcFace (0.55)": "arcface055", "SphereFace (1.35)": "sphereface135", "CosFace (0.35)": "cosface",
    "CM1 (1, 0.3, 0.2)": "cm1", "CM2 (0.9, 0.4, 0.15)": "cm2", "Softmax": "softmax",
    "Norm-Softmax (NS), s=64": "nsoftmax", "NS+Intra": "ns_intra64", "NS+Inter": "ns_inter64",
    "NS+Intra+Inter": "ns_intra64_inter64", "Triplet (0.35)": "atriplet", "ArcFace+Intra": "arcface_intra64",
    "ArcFace+Inter": "arcface_inter64", "ArcFace+Intra+Inter": "arcface_intra64_inter64",
    "ArcFace+Triplet": "arcface_triplet", "NS (s=20)": "nsoftmax20", "NS+Intra (s=20)": "ns20_intra20",
    "NS+Inter (s=20)": "ns20_inter20", "NS+Intra+Inter (s=20)": "ns20_intra20_inter20",
}
"""Row of Table 2 to loss preset; the rows not here are quoted from other papers."""

OWN_ROWS: Dict[str, str] = {
    "NS+Intra (weight 1)": "ns_intra", "NS+Inter (weight 1)": "ns_inter", "ArcFace+Intra (weight 1)": "arcface_intra",
    "ArcFace+Inter (weight 1)": "arcface_inter", "ArcFace+Intra+Inter (weight 1)": "arcface_intra_inter",
}
"""Rows of ours beside Table 2's. The paper names no weight of the intra-loss, and its formula read as it stands (weight
1) hardly moves an angle; the weight of its picture (Table 3: intra angles fall from 50.5 to 17.5 degrees, and centres
collapse with them) is about the scale s, which all rows with either loss take."""

TABLE3: Dict[str, str] = {
    "NS": "nsoftmax", "ArcFace": "arcface", "Intra-L": "ns_intra64", "Inter-L": "ns_inter64",
    "Triplet-L": "atriplet",
}
"""Column of Table 3 to loss preset."""


class Subject(NamedTuple):
    """A row of a table as a run: the loss; at demo scale the training set (demo_sets.ABOUT); at paper scale network
    and training set, None where the row is another group's model on other data.
    """

    loss: str
    demo: str = "demo"
    paper: Optional[Tuple[str, str]] = None


_MS1MV2, _CASIA = ("r100", "emore"), ("r50", "webface")

TABLE4: Dict[str, Subject] = {
    "FaceNet": Subject("facenet"), "Center Loss": Subject("centre"), "Range Loss": Subject("range"),
    "Marginal Loss": Subject("marginal"), "SphereFace": Subject("sphereface"),
    "SphereFace+": Subject("sphereface_plus"), "CosFace": Subject("cosface"),
    "MS1MV2, R100, ArcFace (v3)": Subject("arcface", paper=_MS1MV2),
}
TABLE5: Dict[str, Subject] = {
    "Center Loss": Subject("centre"), "SphereFace": Subject("sphereface"), "VGGFace2": Subject("softmax", "vgg"),
    "MS1MV2, R100, ArcFace": Subject("arcface", paper=_MS1MV2),
}
TABLE6: Dict[str, Subject] = {
    "Softmax": Subject("softmax"), "Contrastive": Subject("contrastive"), "Triplet": Subject("triplet"),
    "Center Loss": Subject("centre"), "SphereFace": Subject("sphereface"), "CosFace": Subject("cosface"),
    "AM-Softmax": Subject("amsoftmax"), "SphereFace+": Subject("sphereface_plus"),
    "CASIA, R50, ArcFace": Subject("arcface", paper=_CASIA), "CASIA, R50, ArcFace, R": Subject("arcface", paper=_CASIA),
    "MS1MV2, R100, ArcFace": Subject("arcface", "union", _MS1MV2),
    "MS1MV2, R100, CosFace": Subject("cosface", "union", _MS1MV2),
    "MS1MV2, R100, ArcFace, R": Subject("arcface", "union", _MS1MV2),
    "MS1MV2, R100, CosFace, R": Subject("cosface", "union", _MS1MV2),
}
OTHER_MARGINS6: Dict[str, Subject] = {f"CASIA, R50, ArcFace, m = {margin}": Subject(f"arcface0{margin[2:]}")
                                       for margin in ("0.40", "0.45", "0.55")}
"""Rows of ours beside Table 6's: whether verification waits for the margin to be fitted."""
TABLE7: Dict[str, Subject] = {
    "ResNet50": Subject("softmax", "vgg"), "VGG2, R50, ArcFace": Subject("arcface", "vgg", ("r50", "vgg")),
    "MS1MV2, R100, ArcFace": Subject("arcface", paper=_MS1MV2),
}
TABLE8: Dict[str, Subject] = {
    "CASIA": Subject("arcface", "casia", ("r100", "webface")), "MS1MV2": Subject("arcface", paper=_MS1MV2),
    "DeepGlint-Face": Subject("arcface", "deepglint", ("r100", "deepglint")),
    "MS1MV2+Asian": Subject("arcface", "union", ("r100", "emore+asian")),
}
TABLE9: Dict[str, Subject] = {
    "MS1MV2+Asian, R100, ArcFace": Subject("arcface", "union", ("r100", "emore+asian")),
}
ENSEMBLE9 = Subject("cosface", "union", ("r100", "emore+asian"))
"""The second model of Table 9's ensemble (the paper does not say which models its own had)."""

SUBCENTRE: Dict[str, Subject] = {
    "MS1MV0, K=1": Subject("arcface", "noisy", ("r50", "ms1mv0")),
    "MS1MV0, K=3": Subject("subcentre", "noisy", ("r50", "ms1mv0")),
    "MS1MV0, K=3, softmax pooling": Subject("subcentre_softmax", "noisy", ("r50", "ms1mv0")),
    "MS1MV0, K=5": Subject("subcentre5", "noisy", ("r50", "ms1mv0")),
    "MS1MV0, K=10": Subject("subcentre10", "noisy", ("r50", "ms1mv0")),
    "MS1MV0, K=3, regulariser": Subject("subcentre_compact", "noisy", ("r50", "ms1mv0")),
    "MS1MV0, NR": Subject("nr", "noisy", ("r50", "ms1mv0")),
    "MS1MV3, K=1": Subject("arcface", "demo", ("r50", "retina")),
    "MS1MV3, K=3": Subject("subcentre", "demo", ("r50", "retina")),
    "Celeb500K, K=1": Subject("arcface", "celeb", ("r50", "celeb500k")),
    "Celeb500K, K=3": Subject("subcentre", "celeb", ("r50", "celeb500k")),
}
DROPS: Dict[str, Tuple[str, float]] = {
    **{f"MS1MV0, K=3 to 1, drop > {degrees} deg{' (chosen)' if degrees == 75 else ''}": ("MS1MV0, K=3", float(degrees))
       for degrees in (70, 75, 80, 85)},
    "MS1MV3, K=3 to 1 (removes 4.18 % of images)": ("MS1MV3, K=3", 75.0),
    "Celeb500K, K=3 to 1": ("Celeb500K, K=3", 75.0),
}
"""Rows of the sub-centre table that retrain ArcFace on what the drop step leaves: the run it starts from, degrees."""

BENCHMARK_ROWS: Tuple[str, ...] = tuple(dict.fromkeys(
    row for rows in (TABLE4, TABLE5, TABLE6, OTHER_MARGINS6, TABLE7, TABLE8, SUBCENTRE, DROPS) for row in rows))
"""The rows of the tables of benchmarks that are runs of ours."""

QUOTED = "quoted by the paper from the method's own publication"
PACKS: Dict[str, str] = {"LFW": "lfw", "CFP-FP": "cfp_fp", "AgeDB-30": "agedb_30"}
"""Column of a table to verification pack."""

FIGURE4A = Subject("arcface", paper=("r34", "emore"))
FIGURE6 = {"ArcFace": Subject("arcface", paper=_CASIA), "Triplet-Loss": Subject("atriplet", paper=_CASIA)}
FIGURE7 = Subject("arcface", paper=_MS1MV2)
FIGURE8: Dict[str, str] = {
    "CASIA, R50, ArcFace, Original": "CASIA, R50, ArcFace", "CASIA, R50, ArcFace, Refine": "CASIA, R50, ArcFace, R",
    "MS1MV2, R100, ArcFace, Original": "MS1MV2, R100, ArcFace",
    "MS1MV2, R100, ArcFace, Refine": "MS1MV2, R100, ArcFace, R",
    "MS1MV2, R100, CosFace, Original": "MS1MV2, R100, CosFace",
    "MS1MV2, R100, CosFace, Refine": "MS1MV2, R100, CosFace, R",
}
"""Curve of figure 8 to row of Table 6."""
FIGURE9 = ("VGG2, R50, ArcFace", "MS1MV2, R100, ArcFace")
"""Curves of figure 9: rows of Table 7."""

SUBJECTS: Dict[str, Tuple[Subject, ...]] = {
    "table2": tuple(Subject(loss, paper=_CASIA) for loss in TABLE2.values()),
    "table3": tuple(Subject(loss, paper=_CASIA) for loss in TABLE3.values()),
    "table4": tuple(TABLE4.values()), "table5": tuple(TABLE5.values()), "table6": tuple(TABLE6.values()),
    "table7": tuple(TABLE7.values()), "table8": tuple(TABLE8.values()), "table9": (*TABLE9.values(), ENSEMBLE9),
    "subcentre": tuple(SUBCENTRE.values()), "fig4a": (FIGURE4A,), "fig6": tuple(FIGURE6.values()),
    "fig7": (FIGURE7,), "fig8": tuple(TABLE6[row] for row in FIGURE8.values()),
    "fig9": tuple(TABLE7[row] for row in FIGURE9),
}
"""What each table or figure trains."""


def paper_subjects(what: str) -> List[Tuple[str, str, str]]:
    """Network, training set and loss of each distinct run at paper scale; InputError for what trains nothing."""
    if what not in SUBJECTS:
        raise unknown("table or figure with runs at paper scale", what, list(SUBJECTS))
    return list(dict.fromkeys((*subject.paper, subject.loss) for subject in SUBJECTS[what] if subject.paper))
