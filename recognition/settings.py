"""Settings in sections, each frozen, typed and checked: presets and flags resolved once, written into the run as JSON.

A section is a dataclass by concern; its fields carry default, help, flag and limits (arcface_mxnet.runtime.sections).
Adding one is a field of `Settings`: flags, JSON and checks follow.
"""
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple, Type, TypeVar

from arcface_mxnet.datasets import catalog
from arcface_mxnet.engines.base import ENGINES, Numerics
from arcface_mxnet.recognition.losses import LossSettings
from arcface_mxnet.recognition.networks import NetworkSettings
from arcface_mxnet.recognition.presets import DATASETS, LOSSES, NETWORKS, RECIPES
from arcface_mxnet.runtime.errors import InputError, unknown
from arcface_mxnet.runtime.sections import check, fill, named, refuse_unknown, setting

T = TypeVar("T")
OWN_DATASET = "own"
DEMO_DATASET = "demo"
AUTO, PLAIN, SHARDED, SAMPLED = HEADS = ("auto", "plain", "sharded", "sampled")
NO_VALIDATION = "none"
_PRESETS: Dict[str, Mapping[str, Mapping[str, Any]]] = {"network": NETWORKS, "loss": LOSSES, "dataset": DATASETS,
                                                        "recipe": RECIPES}


@dataclass(frozen=True)
class Names:
    """The presets the settings were resolved from."""

    network: str = setting("r100", "network preset", flag="--network", metavar="NAME")
    loss: str = setting("arcface", "loss preset", flag="--loss", metavar="NAME")
    dataset: str = setting("emore", "dataset preset", flag="--dataset", metavar="NAME")
    recipe: str = setting("", "recipe preset, instead of the dataset's", flag="--recipe", metavar="NAME")


@dataclass(frozen=True)
class DataSettings:
    """Which records are read and how they are varied. Defaults are the original's (docs/original.md, section 4.2)."""

    folder: str = setting(dataclasses.MISSING, "folder of train.rec, train.idx, property and the .bin packs, instead "
                          "of data/<the preset's folder>", flag="--data-dir", metavar="DIR", dest="data_dir")
    num_classes: Optional[int] = setting(None, "identities; none: whatever the set's property says")
    images: Optional[int] = setting(None, "images; none: whatever is there")
    val_targets: Tuple[str, ...] = setting(("lfw", "cfp_fp", "agedb_30"), "verification packs; none for no validation",
                                           flag="--val-targets", metavar="NAME,...")
    per_batch_size: int = setting(128, "images of a context in a step", flag="--per-batch-size", metavar="N", least=1)
    seed: int = setting(0, "decides initial values, order of images, mirroring and dropout", flag="--seed",
                        metavar="N", least=0)
    data_rand_mirror: bool = setting(True, "leave images as they are, instead of mirroring every second one",
                                     flag="--no-rand-mirror")
    data_color: int = setting(0, "colour jitter: 0 off, 1 jitter, 2 jitter and JPEG re-compression", flag="--color",
                              choices={0: "off", 1: "jitter", 2: "jitter and re-compression"})
    data_cutoff: int = setting(0, "side in pixels of a square cut out of half of the images", flag="--cutoff",
                               metavar="PIXELS", least=0)
    data_images_filter: int = setting(0, "leave out identities with fewer images", flag="--images-filter", metavar="N",
                                      least=0)
    threads: int = setting(0, "threads that decode images; 0: one for each core", flag="--threads", metavar="N",
                           least=0)

    def __post_init__(self) -> None:
        """Refuse values that no run can have, naming the flag; `none` alone is no target."""
        check(self)
        if self.val_targets == (NO_VALIDATION,):
            object.__setattr__(self, "val_targets", ())


@dataclass(frozen=True)
class OptimizerSettings:
    """SGD with momentum."""

    lr: float = setting(0.1, "base learning rate", flag="--lr", metavar="RATE")
    wd: float = setting(0.0005, "weight decay", flag="--wd", metavar="DECAY")
    mom: float = setting(0.9, "momentum", flag="--mom", metavar="M")
    multipliers: str = setting("uniform", "whether biases and betas are spared decay (honoured) or not, as in the "
                               "published runs", flag="--multipliers", choices=("uniform", "honoured"))

    def __post_init__(self) -> None:
        """Refuse values that no run can have, naming the flag."""
        check(self)
        if not 0 < self.lr < math.inf:
            raise InputError(f"--lr {self.lr}: must be a number above 0")
        if not 0 <= self.wd < math.inf or not 0 <= self.mom < 1:
            raise InputError(f"--wd {self.wd} --mom {self.mom}: decay from 0 up, momentum in [0, 1)")


@dataclass(frozen=True)
class ScheduleSettings:
    """How long a run lasts, and its rate as a function of the step."""

    lr_steps: Tuple[int, ...] = setting((100000, 160000, 220000), "steps after which the rate drops to a tenth",
                                        flag="--lr-steps", metavar="STEP,...")
    max_steps: int = setting(0, "stop after this many steps; 0: until stopped", flag="--max-steps", metavar="N",
                             least=0, resumable=True)

    def __post_init__(self) -> None:
        """Refuse values that no run can have, naming the flag."""
        check(self)
        if list(self.lr_steps) != sorted(set(self.lr_steps)) or any(step < 1 for step in self.lr_steps):
            raise InputError(f"--lr-steps {','.join(map(str, self.lr_steps))}: must rise, from 1")


@dataclass(frozen=True)
class ParallelismSettings:
    """How batches and classes are divided over contexts and machines."""

    engine: str = setting("mxnet", "what runs the graph; without this flag the first of them that is installed",
                          flag="--engine", choices=[name for name, entry in ENGINES.items() if entry.trains],
                          resumable=True)
    kvstore: str = setting("device", "MXNet KVStore for several contexts or machines", flag="--kvstore",
                           choices=("local", "device", "nccl", "dist_sync", "dist_sync_device"))
    head: str = setting(AUTO, "plain: one graph; sharded: classes split over the contexts; sampled: only some of them "
                        "in a step; auto: sharded for margins over many classes on the CPU, else plain",
                        flag="--head", choices=HEADS, resumable=True)
    sample_rate: float = setting(0.1, "share of the classes in a step of --head sampled", flag="--sample-rate",
                                 metavar="SHARE")

    def __post_init__(self) -> None:
        """Refuse values that no run can have, naming the flag."""
        check(self)
        if not 0 < self.sample_rate <= 1:
            raise InputError(f"--sample-rate {self.sample_rate}: a share of the classes, above 0 and at most 1")


@dataclass(frozen=True)
class PrecisionSettings:
    """Fewer bits and less memory."""

    fp16: bool = setting(NetworkSettings.fp16, "half precision network, float32 master weights (GPU)", flag="--fp16")
    bf16: bool = setting(False, "bfloat16 convolutions, float32 weights (CPU with AVX-512 BF16; with PyTorch GPUs too)",
                         flag="--bf16")
    loss_scale: float = setting(65536.0, "first factor on the gradients of --fp16, halved when they overflow, doubled "
                                "after 2000 steps without; 1: none", flag="--loss-scale", metavar="POWER_OF_TWO")
    mirror: bool = setting(False, "less memory for more time: activations are computed again in the backward pass",
                           flag="--mirror")
    tf32: bool = setting(False, "PyTorch: products of 10 bits of mantissa on NVIDIA's tensor cores", flag="--tf32")
    autotune: bool = setting(False, "PyTorch: cuDNN tries its algorithms; bits vary from run to run", flag="--autotune")
    channels_last: str = setting(AUTO, "PyTorch: maps stored pixel by pixel; auto: where that was faster",
                                 flag="--channels-last", choices=(AUTO, "on", "off"))
    compile: bool = setting(False, "PyTorch: torch.compile; minutes at the start", flag="--compile")
    shared_masks: bool = setting(False, "MXNet: the dropout masks that the other engines draw, not its own",
                                 flag="--shared-masks")
    cuda_graphs: bool = setting(False, "PyTorch: one launch for a whole step", flag="--cuda-graphs")

    def first_scale(self, original: bool) -> float:
        """What gradients are multiplied by at first: 1, not at all, where nothing can vanish or under --original."""
        return self.loss_scale if self.fp16 and not original else 1.0

    def __post_init__(self) -> None:
        """Refuse values that no run can have, naming the flag."""
        check(self)
        if self.fp16 and self.bf16:
            raise InputError("--fp16 --bf16: one of the two")
        if not (1 <= self.loss_scale <= 2.0 ** 24 and math.log2(self.loss_scale).is_integer()):
            raise InputError(f"--loss-scale {self.loss_scale:g}: a power of two from 1 to {2 ** 24}")


@dataclass(frozen=True)
class CheckpointSettings:
    """What a run starts from, and when it validates and saves."""

    pretrained: str = setting("", "start from a checkpoint, published ones included", flag="--pretrained",
                              metavar="PREFIX,EPOCH")
    verbose: int = setting(2000, "validate and save every this many steps", flag="--verbose", metavar="N", least=1)
    ckpt: int = setting(3, "save: 0 never, 1 when improved, 2 always, 3 when improved, to one file", flag="--ckpt",
                        choices={0: "never", 1: "improved", 2: "always", 3: "improved, one file"})

    def __post_init__(self) -> None:
        """Refuse values that no run can have, naming the flag."""
        check(self)


@dataclass(frozen=True)
class LoggingSettings:
    """What is printed."""

    frequent: int = setting(20, "print a training line every this many batches", flag="--frequent", metavar="N",
                            least=1)

    def __post_init__(self) -> None:
        """Refuse values that no run can have, naming the flag."""
        check(self)


@dataclass(frozen=True)
class Settings:
    """Everything that decides the bits of a run, a section each; `names` keeps the presets they were resolved from."""

    names: Names
    network: NetworkSettings
    loss: LossSettings
    data: DataSettings
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    parallelism: ParallelismSettings = ParallelismSettings()
    precision: PrecisionSettings = PrecisionSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    logging: LoggingSettings = LoggingSettings()

    @property
    def original(self) -> bool:
        """Whether the published program is followed where it is defective."""
        return self.loss.original

    @property
    def numerics(self) -> Numerics:
        """How numbers are computed, in the engines' words."""
        given = self.precision
        return Numerics(bf16=given.bf16, fp16=given.fp16, loss_scale=given.first_scale(self.original), tf32=given.tf32,
                        autotune=given.autotune, compile=given.compile, graphs=given.cuda_graphs, mirror=given.mirror,
                        shared_masks=given.shared_masks,
                        channels_last=None if given.channels_last == AUTO else given.channels_last == "on")

    def as_json(self) -> Dict[str, Any]:
        """Plain dictionaries, lists and numbers, the form of settings.json."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any], source: str) -> "Settings":
        """Settings read back from settings.json, also from that of a run made before there were sections.

        `source` names the file in errors. A section that was added later has its defaults.
        """
        kinds = sections()
        if isinstance(value, dict) and "step" in value:
            value = _from_step_form(value, source)
        if not isinstance(value, dict) or not {"names", "network", "loss", "data"} <= set(value):
            raise InputError(f"{source}: not the settings of a run; restore it from a copy, or start a new --run-dir")
        refuse_unknown(value, kinds, f"{source}: ", "section")
        for name, given in value.items():
            if not isinstance(given, dict):
                raise InputError(f"{source}: {name} is not a section; restore it from a copy")
        return Settings(**{name: fill(kinds[name], given, f"{source}: ") for name, given in value.items()})


def sections() -> Dict[str, Type[Any]]:
    """The sections by name, in order."""
    return {each.name: each.type for each in dataclasses.fields(Settings)}  # type: ignore[misc]


def _sections_of(values: Mapping[str, Any]) -> Dict[str, Dict[str, Any]]:
    """Flat values divided among the sections (but names); a key that two have goes to both."""
    return {section: {name: values[name] for name in named(kind) if name in values}
            for section, kind in sections().items() if section != "names"}


def _from_step_form(value: Mapping[str, Any], source: str) -> Dict[str, Any]:
    """The form of before: one group `step` for all but network, loss and data; a loss's switches as 0.0 and 1.0."""
    groups = [value.get(group) for group in ("data", "step", "network", "loss")]
    if not all(isinstance(group, dict) for group in groups):
        raise InputError(f"{source}: not the settings of a run; restore it from a copy, or start a new --run-dir")
    flat: Dict[str, Any] = {"pretrained": value.get("pretrained", "")}
    for group in groups:
        flat.update(group or {})
    refuse_unknown(flat, _keys(), f"{source}: ")
    flat["options"] = _switches(flat.get("loss_name"), flat.get("options"))
    return {"names": value.get("names"), **_sections_of(flat)}


def _switches(family: Any, options: Any) -> Any:
    """The options of a loss with 0.0 and 1.0 as false and true where the family has a switch."""
    if not isinstance(options, dict) or not isinstance(family, str):
        return options
    switches = {name for name, each in named(type(LossSettings(family).options)).items() if each.type is bool}
    return {name: bool(value) if name in switches and value in (0, 1) else value for name, value in options.items()}


def _keys() -> List[str]:
    """Every key a preset or flag may have."""
    return [name for section, kind in sections().items() if section != "names" for name in named(kind)]


def resolve(network: str, loss: str, dataset: str, flags: Mapping[str, Any]) -> Settings:
    """Settings from preset names and explicit flags.

    Precedence, lowest first, as in the original: field defaults, the recipe, the loss, the network, the dataset, the
    flags. `flags` holds only what the user gave, by field name; "recipe" and "data_dir" too. Of a loss's options those
    of the flags are laid over the preset's. Raises InputError for an unknown name (the known ones are listed), an
    unknown key, or an impossible value.
    """
    flags = {name: value for name, value in flags.items() if value is not None}
    dataset_preset = _preset("dataset", dataset)
    recipe = flags.pop("recipe", None) or dataset_preset["recipe"]
    merged: Dict[str, Any] = {}
    for preset in (_preset("recipe", recipe), _preset("loss", loss), _preset("network", network), dataset_preset):
        merged.update(preset)
    del merged["recipe"]
    merged.update(_published_data(dataset))
    if "data_dir" in flags:
        flags["folder"] = str(flags.pop("data_dir"))
    refuse_unknown(flags, _keys())
    options = {**merged.get("options", {}), **flags.pop("options", {})}
    merged.update(flags, options=options)
    refuse_unknown(merged, _keys())
    return Settings(Names(network, loss, dataset, recipe),
                    **{section: fill(sections()[section], values) for section, values in _sections_of(merged).items()})


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


def _preset(kind: str, name: str) -> Mapping[str, Any]:
    if name not in _PRESETS[kind]:
        raise unknown(kind, name, list(_PRESETS[kind]))
    return _PRESETS[kind][name]


def part_of(kind: Type[T], preset: Mapping[str, Any]) -> T:
    """The section `kind` as one preset alone makes it: its keys of that section, defaults for the rest."""
    return fill(kind, {name: preset[name] for name in named(kind) if name in preset})
