"""One frozen, typed, validated Settings: presets and flags resolved once, written into the run directory as JSON."""
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple, Type, TypeVar

from arcface_mxnet.datasets import catalog
from arcface_mxnet.recognition.losses import LossSettings
from arcface_mxnet.recognition.networks import NetworkSettings
from arcface_mxnet.recognition.presets import DATASETS, LOSSES, NETWORKS, RECIPES
from arcface_mxnet.runtime.errors import InputError, unknown

T = TypeVar("T")
MULTIPLIERS = ("uniform", "honoured")
COLOURS = (0, 1, 2)
OWN_DATASET = "own"
DEMO_DATASET = "demo"
KVSTORES = ("local", "device", "nccl", "dist_sync", "dist_sync_device")
AUTO, PLAIN, SHARDED, SAMPLED = HEADS = ("auto", "plain", "sharded", "sampled")


@dataclass(frozen=True)
class DataSettings:
    """Which records are read and how they are varied. Defaults are the original's (docs/original.md, section 4.2)."""

    folder: str
    num_classes: Optional[int] = None  # None: whatever the set's property says
    images: Optional[int] = None
    image_shape: Tuple[int, int, int] = (112, 112, 3)
    val_targets: Tuple[str, ...] = ("lfw", "cfp_fp", "agedb_30")
    data_rand_mirror: bool = True
    data_color: int = 0
    data_cutoff: int = 0
    data_images_filter: int = 0
    threads: int = 0  # 0: one for each core

    def __post_init__(self) -> None:
        """Refuse values that no run can have, naming the flag."""
        for flag, value in (("--threads", self.threads), ("--cutoff", self.data_cutoff),
                            ("--images-filter", self.data_images_filter)):
            if value < 0:
                raise InputError(f"{flag} {value}: must be at least 0")
        if self.data_color not in COLOURS:
            raise InputError(f"--color {self.data_color}: known are 0 (off), 1 (jitter), 2 (jitter and re-compression)")


@dataclass(frozen=True)
class StepSettings:
    """The optimisation: SGD with momentum under a rate that is a function of the step."""

    per_batch_size: int = 128
    lr: float = 0.1
    lr_steps: Tuple[int, ...] = (100000, 160000, 220000)
    wd: float = 0.0005
    mom: float = 0.9
    max_steps: int = 0  # 0: until stopped
    multipliers: str = "uniform"  # docs/original.md, section 4.3; honoured: biases and betas undecayed
    kvstore: str = "device"
    head: str = AUTO  # plain: one graph; sharded: classes split over contexts; sampled: some of them each step;
    # auto: the leaner of the first two that gives the same, see arcface_mxnet.recognition.engine.setup.head_of
    sample_rate: float = 0.1  # of the sampled head: share of the classes in a step
    mirror: bool = False  # compute activations again in the backward pass instead of keeping them
    fp16: bool = False
    bf16: bool = False
    loss_scale: float = 65536.0  # of fp16: the first one; 1: none, as in the original
    seed: int = 0
    verbose: int = 2000
    frequent: int = 20
    ckpt: int = 3

    def first_scale(self, original: bool) -> float:
        """What gradients are multiplied by at first: 1, for not at all, where nothing can vanish or --original asks."""
        return self.loss_scale if self.fp16 and not original else 1.0

    def __post_init__(self) -> None:
        """Refuse values that no run can have, naming the flag."""
        for flag, value, lowest in (("--per-batch-size", self.per_batch_size, 1), ("--verbose", self.verbose, 1),
                                    ("--frequent", self.frequent, 1), ("--max-steps", self.max_steps, 0),
                                    ("--seed", self.seed, 0)):
            if value < lowest:
                raise InputError(f"{flag} {value}: must be at least {lowest}")
        if not 0 < self.lr < float("inf"):
            raise InputError(f"--lr {self.lr}: must be a number above 0")
        if not 0 <= self.wd < float("inf") or not 0 <= self.mom < 1:
            raise InputError(f"--wd {self.wd} --mom {self.mom}: decay from 0 up, momentum in [0, 1)")
        if list(self.lr_steps) != sorted(set(self.lr_steps)) or any(step < 1 for step in self.lr_steps):
            raise InputError(f"--lr-steps {','.join(map(str, self.lr_steps))}: must rise, from 1")
        if self.ckpt not in (0, 1, 2, 3):
            raise InputError(f"--ckpt {self.ckpt}: known rules are 0 (never), 1 (improved), 2 (always), "
                             "3 (improved, one file)")
        if self.multipliers not in MULTIPLIERS:
            raise unknown("multipliers", self.multipliers, MULTIPLIERS)
        if self.kvstore not in KVSTORES:
            raise unknown("kvstore", self.kvstore, KVSTORES)
        if self.head not in HEADS:
            raise unknown("head", self.head, HEADS)
        if not 0 < self.sample_rate <= 1:
            raise InputError(f"--sample-rate {self.sample_rate}: a share of the classes, above 0 and at most 1")
        self._check_precision()

    def _check_precision(self) -> None:
        if self.fp16 and self.bf16:
            raise InputError("--fp16 --bf16: one of the two")
        if not (1 <= self.loss_scale <= 2.0 ** 24 and math.log2(self.loss_scale).is_integer()):
            raise InputError(f"--loss-scale {self.loss_scale:g}: a power of two from 1 to {2 ** 24}")


@dataclass(frozen=True)
class Settings:
    """Everything that decides the bits of a run. `names` keeps the preset names it was resolved from."""

    names: Mapping[str, str]  # network, loss, dataset, recipe
    network: NetworkSettings
    loss: LossSettings
    data: DataSettings
    step: StepSettings
    pretrained: str = ""  # PREFIX,EPOCH
    original: bool = False

    def as_json(self) -> Dict[str, Any]:
        """Plain dictionaries, lists and numbers, the form of settings.json."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any], source: str) -> "Settings":
        """Settings read back from settings.json; `source` names the file in errors."""
        try:
            return Settings(names=dict(value["names"]), pretrained=value["pretrained"], original=value["original"],
                            network=_load(NetworkSettings, value["network"]), loss=_load(LossSettings, value["loss"]),
                            data=_load(DataSettings, value["data"]), step=_load(StepSettings, value["step"]))
        except (KeyError, TypeError) as error:
            raise InputError(f"{source}: not the settings of this version ({error}); start a new --run-dir") from None


def resolve(network: str, loss: str, dataset: str, flags: Mapping[str, Any]) -> Settings:
    """Settings from preset names and explicit flags.

    Precedence, lowest first, as in the original: field defaults, the recipe, the loss, the network, the dataset, the
    flags. `flags` holds only what the user gave, by field name; "recipe", "data_dir", "pretrained" and "original" too.
    Raises InputError for an unknown name (the known ones are listed) or an impossible value.
    """
    flags = {name: value for name, value in flags.items() if value is not None}
    dataset_preset = _preset("dataset", dataset, DATASETS)
    recipe = flags.pop("recipe", None) or dataset_preset["recipe"]
    merged: Dict[str, Any] = {}
    for preset in (_preset("recipe", recipe, RECIPES), _preset("loss", loss, LOSSES),
                   _preset("network", network, NETWORKS), dataset_preset):
        merged.update(preset)
    merged.update(_published_data(dataset))
    original = bool(flags.pop("original", False))
    pretrained = flags.pop("pretrained", "")
    if "data_dir" in flags:
        merged["folder"] = str(flags.pop("data_dir"))
    merged.update(flags, original=original)
    merged["image_shape"] = tuple(merged.get("image_shape", DataSettings.image_shape))
    return Settings(names={"network": network, "loss": loss, "dataset": dataset, "recipe": recipe},
                    network=take(NetworkSettings, merged), loss=take(LossSettings, merged),
                    data=take(DataSettings, merged), step=take(StepSettings, merged),
                    pretrained=pretrained, original=original)


def default_folder(dataset: str) -> Path:
    """Where a published set is looked for: data/<its folder> below the working directory."""
    if dataset in (OWN_DATASET, DEMO_DATASET):
        return Path("data") / dataset
    return Path("data") / catalog.training_set(dataset).folder


def _published_data(dataset: str) -> Dict[str, Any]:
    data: Dict[str, Any] = {"folder": str(default_folder(dataset))}
    if dataset not in (OWN_DATASET, DEMO_DATASET):
        published = catalog.training_set(dataset)
        data.update(num_classes=published.identities, images=published.images,
                    image_shape=(*published.image_shape, 3))
    return data


def _preset(kind: str, name: str, table: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    if name not in table:
        raise unknown(kind, name, list(table))
    return table[name]


def take(kind: Type[T], values: Mapping[str, Any]) -> T:
    """The settings class `kind` filled with those of `values` that it knows."""
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in values.items() if name in known})


def _load(kind: Type[T], values: Mapping[str, Any]) -> T:
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
