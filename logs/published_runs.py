"""How to train a published run again with this package, and whether a finished run has done it.

`recognition/reproduce.py log NAME [--check RUN]` answers with these two functions.
"""
import shlex
from typing import Any, Dict, List, Mapping, Optional, Tuple

from arcface_mxnet.logs.catalogue import Published, names, published
from arcface_mxnet.logs.compare import against, report
from arcface_mxnet.logs.recipe import ARCFACE_2018
from arcface_mxnet.runtime.files import PathLike

__all__ = ["names", "published_command", "check"]

LOSS_OF_MARGINS = {(1.0, 0.5, 0.0): "arcface", (1.0, 0.3, 0.2): "combined", (1.0, 0.0, 0.35): "cosface"}


def published_command(name: str) -> str:
    """The commands that train the published run `name` again, stage by stage, as shell text with remarks.

    Data, network, loss in its `--head-2018` or `--original` form, batch, rate, decay and cadence are those of the
    log. Raises InputError listing the known names.
    """
    run = published(name)
    lines = [f"# {run.title}; {run.entry['origin']}"]
    if run.released_step:
        lines.append(f"# step {run.released_step:,} of it was released")
    lines += [f"# {run.entry['note']}"] * bool(run.entry["note"])
    stage = run.entry["stage"]
    if stage:
        before = published(stage)
        steps = run.entry["stage_checkpoint"] * int(before.entry["settings"]["verbose"])
        lines += [f"# stage 1: {before.title} ({before.entry['origin']}), to step {steps:,}",
                  *([f"# {before.entry['note']}"] * bool(before.entry["note"])), _command(before, max_steps=steps),
                  "# stage 2"]
    lines.append(_command(run, pretrained=f"{_folder(stage)}/model,{run.entry['stage_checkpoint']}" if stage else None))
    return "\n".join(lines)


def check(name: str, run: PathLike) -> Tuple[str, int]:
    """Compare a finished (or running) run with the published run `name`: the report, and logs/compare.py's status."""
    comparison = against(run, name)
    return report(comparison), comparison.status


def flags(run: Published) -> Dict[str, Any]:
    """The flags of recognition/train.py that a published run stands for, by their name without the dashes."""
    recipe, settings = run.recipe, run.entry["settings"]
    chosen: Dict[str, Any] = {"network": recipe.network, "loss": _loss(run), "dataset": recipe.dataset}
    if run.entry["folder"]:
        chosen["data-dir"] = f"data/{run.entry['folder']}"
    chosen.update({"gpus": _numbers(range(recipe.devices or 1)), "lr": recipe.lr, "wd": recipe.wd,
                   "mom": recipe.momentum, "per-batch-size": (recipe.batch or 0) // (recipe.devices or 1),
                   "lr-steps": _numbers(recipe.lr_steps or ()), "max-steps": int(run.run.table["step"].iloc[-1]),
                   "multipliers": recipe.multipliers, "val-targets": settings["target"], "verbose": settings["verbose"],
                   "ckpt": settings["ckpt"], **_form(settings)})
    return chosen


def _command(run: Published, pretrained: Optional[str] = None, max_steps: Optional[int] = None) -> str:
    chosen = flags(run)
    if max_steps:
        chosen["max-steps"] = max_steps
    if pretrained:
        chosen["pretrained"] = pretrained
    chosen["run-dir"] = _folder(run.name)
    words: List[str] = []
    for flag, value in chosen.items():
        words.append(f"--{flag}" if value is True else f"--{flag} {shlex.quote(str(value))}")
    return "python recognition/train.py " + " ".join(words)


def _loss(run: Published) -> str:
    return "softmax" if run.recipe.margins is None else LOSS_OF_MARGINS[run.recipe.margins]


def _form(settings: Mapping[str, Any]) -> Dict[str, bool]:
    """The switch that gives the log's head: the 2018 cosine form for ArcFace, the unclipped angle for the others."""
    return {"head-2018": True} if settings["loss_type"] == ARCFACE_2018 else {"original": True}


def _folder(name: str) -> str:
    return f"runs/{name}"


def _numbers(values: Any) -> str:
    return ",".join(str(value) for value in values)
