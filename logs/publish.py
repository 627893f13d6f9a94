"""Make logs/published/ from the published logs: one CSV a run (figures only) and their provenance.

The logs themselves carry no licence and stay out of the repository; each is known by its SHA-256.
"""
import dataclasses
import io
import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from arcface_mxnet.logs.catalogue import FOLDER, PROVENANCE, PublishedRun, names, published_run
from arcface_mxnet.logs.compare import against, report
from arcface_mxnet.logs.parse import Run, load
from arcface_mxnet.logs.recipe import ARCFACE_2018, recipe
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, run_command
from arcface_mxnet.runtime.files import PathLike, atomic_open, sha256, write_json

import pandas as pd

INSIGHTFACE = "deepinsight/insightface, the training log published with the model"
MOLI = "moli232777144/mobilefacenet-mxnet"


@dataclass(frozen=True)
class Source:
    """What a log does not say itself: where it is from, which set it was, and what was released of it.

    `released` are the accuracies (fractions) published for the model; the step they belong to is found in the log.
    `dataset` is the preset of the same counts, `folder` the log's name for it where that is another edition.
    `stage` names the published run whose checkpoint `stage_checkpoint` it started from, or the nearest there is.
    """

    file: str
    title: str
    origin: str
    dataset: str
    released: Mapping[str, float] = dataclasses.field(default_factory=dict)
    folder: str = ""
    stage: str = ""
    stage_checkpoint: int = 0
    note: str = ""


SOURCES: Dict[str, Source] = {
    "r100": Source("insightface_model-r100-gg.log", "LResNet100E-IR, combined margin 1, 0.3, 0.2", INSIGHTFACE, "emore",
                   {"lfw": .9977, "cfp_fp": .9827, "agedb_30": .9828},
                   note="Its log calls the set faces_ms1mi_112x112; the counts are those of MS1MV2."),
    "r50": Source("insightface_model-r50-gg.log", "LResNet50E-IR, ArcFace", INSIGHTFACE, "ms1mr",
                  {"lfw": .9980, "cfp_ff": .9983, "cfp_fp": .9274, "agedb_30": .9776},
                  note="Its log has 0.99817 for LFW at the released step, the model list 0.9980."),
    "r34": Source("insightface_model-r34-amf.log", "LResNet34E-IR, ArcFace", INSIGHTFACE, "ms1m",
                  {"lfw": .9965, "cfp_ff": .9977, "cfp_fp": .9212, "agedb_30": .9770}, folder="faces_ms1mrf_112x112",
                  note="Its set is an edition of MS1MV1 with the same counts."),
    "y1": Source("insightface_model-y1-test2.log", "MobileFaceNet, ArcFace", INSIGHTFACE, "ms1mr",
                 {"lfw": .9950, "cfp_fp": .8894, "agedb_30": .9591}, stage="moli-softmax", stage_checkpoint=20,
                 note="It started from epoch 70 of a run that was not published; the stage given is the nearest one "
                      "that was, another person's softmax run on the edition of 85,164 identities."),
    "moli-softmax": Source("moli_softmax_loss_test2.log", "MobileFaceNet, softmax stage", MOLI, "ms1m",
                           note="Its first line says that fc7 had no bias (fc7_no_bias)."),
    "moli-arcface": Source("moli_arcface_loss_test2.log", "MobileFaceNet, ArcFace after softmax", MOLI, "ms1m",
                           stage="moli-softmax", stage_checkpoint=20,
                           note="Its checkpoint 40 (step 80000) is the start of a further run of the same author."),
}


def released_step(table: pd.DataFrame, released: Mapping[str, float]) -> Optional[int]:
    """The saved step whose accuracies are nearest to the released ones (sum of absolute differences)."""
    if not released:
        return None
    saved = table[table["saved"].notna()] if "saved" in table else table.iloc[:0]
    far = sum(((saved[f"{target}_accuracy"] - value).abs() for target, value in released.items()), saved["step"] * 0.0)
    return int(saved["step"].loc[far.idxmin()]) if len(saved) else None


def csv_text(run: Run) -> str:
    """The figures of a run as CSV: empty columns are left out, and `images`, which is step times batch."""
    table = run.table.drop(columns="images").dropna(axis="columns", how="all")
    for name in ("epoch", "saved"):
        if name in table:
            table[name] = table[name].astype("Int64")
    stream = io.StringIO()
    table.to_csv(stream, index=False, lineterminator="\n")
    return stream.getvalue()


def provenance(name: str, path: PathLike, run: Run) -> Dict[str, Any]:
    """The entry of one run in provenance.json."""
    source = SOURCES[name]
    step = released_step(run.table, source.released)
    logged = run.table.set_index("step").loc[step] if step else {}
    values = json.loads(json.dumps(dataclasses.asdict(recipe(run))))
    return {"title": source.title, "origin": source.origin, "log": source.file, "sha256": sha256(path),
            "lines": run.lines, "unread": len(run.unread), "dataset": source.dataset, "folder": source.folder,
            "note": source.note,
            "recipe": {**values, "dataset": source.dataset}, "settings": run.settings, "facts": run.facts,
            "stage": source.stage, "stage_checkpoint": source.stage_checkpoint,
            "released": {"step": step, "checkpoint": int(logged["saved"]), "published": dict(source.released),
                         "logged": {target: float(logged[f"{target}_accuracy"]) for target in source.released}}
            if step else None}


def make(name: str, log_folder: PathLike) -> "tuple[str, Dict[str, Any]]":
    """CSV text and provenance entry of the published run `name` from its log in `log_folder`."""
    path = Path(log_folder) / SOURCES[name].file
    if not path.exists():
        raise InputError(f"{path}: not found; give the folder that holds the published logs")
    run = load(path)
    return csv_text(run), provenance(name, path, run)


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        description=main.__doc__,
        epilog="example:\n  python logs/publish.py $ARCFACE_FIXTURES/logs")
    parser.add_argument("folder", help="where the published logs are")
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Make logs/published/ anew from a folder of published logs."""
    arguments = build_parser().parse_args(argv)
    made = {name: make(name, arguments.folder) for name in SOURCES}
    for name, (text, _) in made.items():
        with atomic_open(FOLDER / f"{name}.csv", "w") as stream:
            stream.write(text)
        sys.stdout.write(f"{FOLDER / name}.csv: {len(text):,} bytes\n")
    write_json(PROVENANCE, {name: entry for name, (_, entry) in made.items()})
    return 0


# How to train a published run again with this package, and whether a finished run has done it.
#
# `recognition/reproduce.py log NAME [--check RUN]` answers with these two functions.


__all__ = ["names", "published_command", "check"]

LOSS_OF_MARGINS = {(1.0, 0.5, 0.0): "arcface", (1.0, 0.3, 0.2): "combined", (1.0, 0.0, 0.35): "cosface"}


def published_command(name: str) -> str:
    """The commands that train the published run `name` again, stage by stage, as shell text with remarks.

    Data, network, loss in its `--head-2018` or `--original` form, batch, rate, decay and cadence are those of the
    log. Raises InputError listing the known names.
    """
    run = published_run(name)
    lines = [f"# {run.title}; {run.entry['origin']}"]
    if run.released_step:
        lines.append(f"# step {run.released_step:,} of it was released")
    lines += [f"# {run.entry['note']}"] * bool(run.entry["note"])
    stage = run.entry["stage"]
    if stage:
        before = published_run(stage)
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


def flags(run: PublishedRun) -> Dict[str, Any]:
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


def _command(run: PublishedRun, pretrained: Optional[str] = None, max_steps: Optional[int] = None) -> str:
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


def _loss(run: PublishedRun) -> str:
    return "softmax" if run.recipe.margins is None else LOSS_OF_MARGINS[run.recipe.margins]


def _form(settings: Mapping[str, Any]) -> Dict[str, bool]:
    """The switch that gives the log's head: the 2018 cosine form for ArcFace, the unclipped angle for the others."""
    return {"head-2018": True} if settings["loss_type"] == ARCFACE_2018 else {"original": True}


def _folder(name: str) -> str:
    return f"runs/{name}"


def _numbers(values: Any) -> str:
    return ",".join(str(value) for value in values)


if __name__ == "__main__":
    run_command(main)
