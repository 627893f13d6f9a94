"""What a run was told to do, under one set of names, whichever program printed it; and how two runs differ."""
import dataclasses
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Dict, List, Mapping, Optional, Tuple

from arcface_mxnet.logs.parse import Run, global_batch

SOFTMAX_2018, SPHEREFACE_2018, COSFACE_2018, ARCFACE_2018, COMBINED_2018 = 0, 1, 2, 4, 5  # the 2018 code's loss_type


def _say(sentence: str, default: Any = None) -> Any:
    """A field with the sentence that tells how two runs differ in it."""
    return field(default=default, metadata={"sentence": sentence})


@dataclass(frozen=True)
class Recipe:
    """The settings that decide a training course; None where a log does not say.

    loss is "softmax" (no normalisation) or "margin": s (cos(m1 theta + m2) - m3), margins in radians and cosines;
    lr_steps are the steps at which the rate drops to a tenth; batch is over all devices.
    """

    network: Optional[str] = _say("The network is {ours}, the published run trained {theirs}.")
    embedding: Optional[int] = _say("Embeddings have {ours} dimensions, the published ones {theirs}.")
    loss: Optional[str] = _say("The loss is {ours}, the published run used {theirs}.")
    margins: Optional[Tuple[float, float, float]] = _say("The margins (m1, m2, m3) are {ours}, published {theirs}.")
    scale: Optional[float] = _say("Logits are scaled by {ours}, in the published run by {theirs}.")
    head: Optional[str] = _say("The margin is computed in {ours}, in the published run in {theirs}.")
    dataset: Optional[str] = None  # its name or folder; what matters of it is in the next two
    identities: Optional[int] = _say("The training set has {ours:,} identities, the published one {theirs:,}.")
    images: Optional[int] = _say("The training set has {ours:,} images, the published one {theirs:,}.")
    mirror: Optional[bool] = _say("Random mirroring is {ours}, in the published run {theirs}.")
    batch: Optional[int] = _say("A step takes {ours:,} images, a published step {theirs:,}.")
    devices: Optional[int] = _say("The batch is spread over {ours} device(s), in the published run over {theirs}.")
    lr: Optional[float] = _say("The rate starts at {ours:g}, the published one at {theirs:g}.")
    lr_steps: Optional[Tuple[int, ...]] = _say("The rate drops at steps {ours}, in the published run at {theirs}.")
    max_steps: Optional[int] = _say("The run stops after {ours:,} steps, the published one after {theirs:,}.")
    wd: Optional[float] = _say("Weight decay is {ours:g}, published {theirs:g}.")
    momentum: Optional[float] = _say("Momentum is {ours:g}, published {theirs:g}.")
    multipliers: Optional[str] = _say("Weight decay multipliers are {ours}, in the published run {theirs}.")
    pretrained: Optional[str] = _say("The run starts from {ours}, the published one from {theirs}.")


def recipe(run: Run) -> Recipe:
    """The recipe of a run, from our settings.json or from the Namespace of the original's log."""
    if "names" in run.settings.get("settings", {}):
        return _ours(run.settings)
    return _original(run)


def differences(ours: Recipe, theirs: Recipe) -> List[str]:
    """One sentence for each setting in which two recipes differ; what either log leaves open is passed over."""
    told = []
    for entry in dataclasses.fields(Recipe):
        here, there = getattr(ours, entry.name), getattr(theirs, entry.name)
        open_ended = entry.name == "max_steps" and not (here and there)
        if "sentence" in entry.metadata and None not in (here, there) and here != there and not open_ended:
            told.append(entry.metadata["sentence"].format(ours=_word(here), theirs=_word(there)))
    return told


def distance(ours: Recipe, theirs: Recipe) -> float:
    """How unlike two runs are: network weighs most, then loss and margins, then data; 0 for the same three."""
    far = 8.0 * (ours.network != theirs.network) + 4.0 * (_family(ours.network) != _family(theirs.network))
    far += 3.0 * (ours.loss != theirs.loss) + 2.0 * (ours.margins != theirs.margins)
    far += 1.0 * (ours.identities != theirs.identities) + 0.5 * (ours.images != theirs.images)
    return far + 0.25 * (bool(ours.pretrained) != bool(theirs.pretrained))


def _word(value: Any) -> Any:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ", ".join(f"{part:g}" if isinstance(part, float) else f"{part:,}" for part in value) or "none"
    return "random values" if value == "" else value


def _family(network: Optional[str]) -> str:
    return (network or "").rstrip("0123456789v")


def _ours(stored: Mapping[str, Any]) -> Recipe:
    chosen: Dict[str, Any] = {"pretrained": stored["settings"].get("pretrained")}  # a run made before had it there
    for section in stored["settings"].values():
        chosen.update(section if isinstance(section, dict) else {})
    names = stored["settings"]["names"]
    margin = chosen["loss_name"] == "margin_softmax"
    head = "the 2018 cosine form" if chosen.get("head_2018") else "the angle"
    devices = int(stored.get("contexts", 1))
    return Recipe(network=names["network"], embedding=chosen["emb_size"],
                  loss="margin" if margin else chosen["loss_name"],
                  margins=_margins(chosen["loss_m1"], chosen["loss_m2"], chosen["loss_m3"]) if margin else None,
                  scale=float(chosen["loss_s"]) if margin else None, head=head if margin else None,
                  dataset=names["dataset"], identities=stored.get("identities"), images=stored.get("images"),
                  mirror=bool(chosen["data_rand_mirror"]), batch=chosen["per_batch_size"] * devices, devices=devices,
                  lr=chosen["lr"], lr_steps=tuple(chosen["lr_steps"]), max_steps=chosen["max_steps"], wd=chosen["wd"],
                  momentum=chosen["mom"], multipliers=chosen["multipliers"], pretrained=chosen["pretrained"])


def _original(run: Run) -> Recipe:
    settings, facts = run.settings, run.facts
    steps = settings.get("lr_steps", facts.get("lr_steps"))
    if isinstance(steps, str):
        steps = [part for part in steps.split(",") if part.strip()]
    mirror = settings.get("rand_mirror", facts.get("rand_mirror"))
    pretrained = settings.get("pretrained")
    return Recipe(network=settings.get("network"), embedding=settings.get("emb_size"), **_original_loss(settings),
                  dataset=_dataset(settings), identities=facts.get("num_classes", settings.get("num_classes")),
                  images=facts.get("images_per_epoch"), mirror=None if mirror is None else bool(mirror),
                  batch=global_batch(settings, facts), devices=facts.get("gpus", settings.get("ctx_num")),
                  lr=settings.get("lr"), lr_steps=None if steps is None else tuple(int(step) for step in steps),
                  max_steps=settings.get("max_steps"), wd=settings.get("wd"), momentum=settings.get("mom"),
                  multipliers=settings.get("multipliers", "uniform"), pretrained=pretrained)


def _original_loss(settings: Mapping[str, Any]) -> Dict[str, Any]:
    if "loss_type" not in settings:
        name = settings.get("loss_name", settings.get("loss"))
        if name in (None, "softmax"):
            return {"loss": name}
        margins = _margins(settings.get("loss_m1", 1.0), settings.get("loss_m2", 0.0), settings.get("loss_m3", 0.0))
        return {"loss": "margin", "margins": margins, "scale": float(settings.get("loss_s", 64.0)), "head": "the angle"}
    kind, m = settings["loss_type"], settings.get("margin_m", 0.5)
    if kind == SOFTMAX_2018:
        return {"loss": "softmax"}
    if kind == SPHEREFACE_2018:
        return {"loss": "sphereface"}
    known = {COSFACE_2018: (1.0, 0.0, m), ARCFACE_2018: (1.0, m, 0.0),
               COMBINED_2018: (settings.get("margin_a", 1.0), m, settings.get("margin_b", 0.0))}.get(kind)
    if known is None:
        return {"loss": f"loss type {kind} of 2018"}
    return {"loss": "margin", "margins": _margins(*known), "scale": float(settings.get("margin_s", 64.0)),
            "head": "the 2018 cosine form" if kind == ARCFACE_2018 else "the angle"}


def _margins(m1: float, m2: float, m3: float) -> Tuple[float, float, float]:
    return (float(m1), float(m2), float(m3))


def _dataset(settings: Mapping[str, Any]) -> Optional[str]:
    folder = settings.get("dataset_path", settings.get("data_dir"))
    if settings.get("dataset"):
        return str(settings["dataset"])
    return PurePosixPath(folder).name if folder else None
