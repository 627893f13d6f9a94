"""Train a face embedding: flags -> settings -> Trainer.

One command on one or several GPUs or on the CPU. Networks, losses, datasets and recipes are named presets
(recognition/presets.py); every flag overrides a preset.
"""
import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence

from arcface_mxnet.recognition.engine import setup
from arcface_mxnet.recognition.engine.checkpoint import RunDirectory
from arcface_mxnet.recognition.engine.trainer import Finished, Trainer
from arcface_mxnet.recognition.engine.validation import require_packs
from arcface_mxnet.recognition.listing import listing
from arcface_mxnet.recognition.presets import DATASETS, LOSSES, NETWORKS, RECIPES
from arcface_mxnet.recognition.settings import DEMO_DATASET, HEADS, MULTIPLIERS, Settings, default_folder, resolve
from arcface_mxnet.runtime.errors import InputError, close, run_command
from arcface_mxnet.runtime.mx import contexts

EXAMPLES = f"""examples:
  python recognition/train.py --network r100 --loss arcface --dataset emore --gpus 0,1,2,3
  python recognition/train.py --network y1 --loss arcface --dataset own --data-dir faces --pretrained models/y1,0
  python recognition/train.py --resume --run-dir runs/r100-arcface-emore

networks: {close(list(NETWORKS))}
losses:   {close(list(LOSSES))}
datasets: {close(list(DATASETS))}
recipes:  {close(list(RECIPES))}
"""
DEFAULT_NAMES = {"network": "r100", "loss": "arcface", "dataset": "emore"}
RESUMABLE = ("gpus", "run_dir", "resume", "max_steps", "head")  # flags that may be given beside --resume


def numbers(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """An argparse type for comma-separated values, e.g. 100000,160000."""
    def parse(text: str) -> Any:
        return tuple(kind(part) for part in text.split(",") if part.strip())
    return parse


def build_parser() -> argparse.ArgumentParser:
    """The command line; a flag that is not given stays None, so that presets apply."""
    parser = argparse.ArgumentParser(prog="train.py", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--list", action="store_true", default=None, help="print every network, loss, dataset and recipe, and stop")
    add("--network", help="network preset (default r100)")
    add("--loss", help="loss preset (default arcface)")
    add("--dataset", help="dataset preset (default emore)")
    add("--recipe", help="recipe preset (default: the dataset's)")
    add("--data-dir", help="folder of train.rec, train.idx, property and the .bin packs (default data/<preset folder>)")
    add("--run-dir", help="where settings, log, metrics and checkpoints go (default runs/<network>-<loss>-<dataset>)")
    add("--gpus", help="0,1,...; cpu; or cpu:N for N CPU contexts (default: every usable GPU, else the CPU)")
    add("--resume", action="store_true", default=None, help="continue the run in --run-dir from its last restart point")
    add("--pretrained", metavar="PREFIX,EPOCH", help="start from a checkpoint, published ones included")
    add("--original", action="store_true", default=None,
        help="exactly the published program: unclipped margin, MXNet's own PReLU, the loss of device 0, one batch "
        "after --max-steps")
    add("--head-2018", dest="head_2018", action="store_true", default=None,
        help="the cosine-form ArcFace head that trained the published r34 and y1")
    add("--margins", metavar="M1,M2,M3", type=numbers(float), help="cos(m1 theta + m2) - m3, m2 in radians")
    add("--scale", dest="loss_s", type=float, metavar="S", help="scale s of the normalised logits")
    add("--fc7-no-bias", dest="fc7_no_bias", action="store_true", default=None, help="softmax without a bias")
    add("--per-batch-size", type=int, help="images per context and step (default 128)")
    add("--lr", type=float, help="base learning rate")
    add("--lr-steps", type=numbers(int), help="steps after which the rate drops to a tenth, e.g. 100000,160000")
    add("--wd", type=float, help="weight decay")
    add("--mom", type=float, help="momentum")
    add("--multipliers", help=f"{close(MULTIPLIERS)}: whether biases and betas are spared decay (default uniform)")
    add("--max-steps", type=int, help="stop after this many steps (0: until stopped)")
    add("--verbose", type=int, help="validate and save every this many steps (default 2000)")
    add("--frequent", type=int, help="print a training line every this many batches (default 20)")
    add("--ckpt", type=int, help="save: 0 never, 1 when improved, 2 always, 3 when improved, to one file (default 3)")
    add("--val-targets", type=numbers(str), help="verification packs, e.g. lfw,cfp_fp,agedb_30")
    add("--fp16", action="store_true", default=None, help="half precision network, float32 master weights (GPU)")
    add("--bf16", action="store_true", default=None, help="bfloat16 convolutions, float32 weights (CPU with AVX-512 "
        "BF16)")
    add("--loss-scale", type=float, help="first factor on the gradients of --fp16, halved when they overflow, doubled "
        "after 2000 steps without (default 65536; 1: none)")
    add("--kvstore", help="MXNet KVStore for several contexts (default device)")
    add("--head", choices=HEADS, help="plain: one graph; sharded: classes split over the contexts; sampled: only some "
        "of them in a step; auto: sharded for margins over many classes on the CPU, else plain (default auto)")
    add("--sample-rate", type=float, help="share of the classes in a step of --head sampled (default 0.1)")
    add("--mirror", action="store_true", default=None, help="less memory for more time: activations computed twice")
    add("--seed", type=int, help="decides initial values, order of images, mirroring and dropout (default 0)")
    add("--threads", type=int, help="threads that decode images (default: one for each core)")
    add("--color", dest="data_color", type=int, help="colour jitter: 0 off, 1 jitter, 2 jitter and JPEG re-compression")
    add("--cutoff", dest="data_cutoff", type=int, help="side in pixels of a square cut out of half of the images")
    add("--images-filter", dest="data_images_filter", type=int, help="leave out identities with fewer images")
    return parser


def settings_from(given: Dict[str, Any]) -> Settings:
    """Settings from the flags given (values that are not None), presets filling the rest."""
    flags = {name: value for name, value in given.items() if name not in ("gpus", "run_dir", "resume")}
    names = {kind: flags.pop(kind, default) for kind, default in DEFAULT_NAMES.items()}
    margins = flags.pop("margins", None)
    if margins is not None:
        if len(margins) != 3:
            raise InputError(f"--margins {','.join(map(str, margins))}: expected three numbers, e.g. 1,0.3,0.2")
        flags.update(loss_m1=margins[0], loss_m2=margins[1], loss_m3=margins[2])
    return resolve(**names, flags=flags)


def resumed_settings(run: RunDirectory, given: Dict[str, Any]) -> Settings:
    """Settings of the run to continue; only --max-steps, --head and --gpus may differ from before."""
    foreign = [name for name in given if name not in RESUMABLE]
    if foreign:
        raise InputError(f"--resume takes its settings from {run.folder / 'settings.json'}; "
                         f"leave out --{foreign[0].replace('_', '-')}")
    settings, _ = run.settings()
    changed = {name: given[name] for name in ("max_steps", "head") if name in given}
    return dataclasses.replace(settings, step=dataclasses.replace(settings.step, **changed))


def make_trainer(given: Dict[str, Any]) -> Trainer:
    """The Trainer that the given flags ask for, new or resumed."""
    where = contexts(given.get("gpus"))
    if given.get("resume"):
        if "run_dir" not in given:
            raise InputError("--resume: say which run with --run-dir DIR")
        run = RunDirectory(Path(given["run_dir"]))
        return setup.resume(where, run, resumed_settings(run, given))
    settings = settings_from(given)
    names = settings.names
    folder = given.get("run_dir") or Path("runs") / f"{names['network']}-{names['loss']}-{names['dataset']}"
    if names["dataset"] == DEMO_DATASET and not (Path(settings.data.folder) / "train.rec").exists():
        raise InputError(f"{default_folder(DEMO_DATASET)}: the built-in faces are not drawn yet; run "
                         f"'python datasets/prepare.py synthetic --out {settings.data.folder}' or 'make demo'")
    require_packs(Path(settings.data.folder), given.get("val_targets", ()))
    return setup.begin(settings, where, RunDirectory(Path(folder)))


def summary(trainer: Trainer, finished: Finished) -> str:
    """The table a run ends with: accuracy of each verification set at the last validation, and where everything is."""
    rows = [f"{'set':<12}{'accuracy':>10}{'std':>9}{'AUC':>9}{'XNorm':>9}{'pairs':>8}"]
    for target, result, _ in finished.validated:
        rows.append(f"{target:<12}{result.accuracy:>10.4f}{result.std:>9.4f}{result.auc:>9.4f}{result.xnorm:>9.2f}"
                    f"{result.pairs:>8}")
    if not finished.validated:
        rows = ["no validation: fewer steps than --verbose, or no verification pack"]
    return "\n".join([*rows, f"run directory: {trainer.run.folder}"])


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Train; returns 0 when all steps are done, 128 + signal when a signal stopped the run after saving."""
    given = {name: value for name, value in vars(build_parser().parse_args(argv)).items() if value is not None}
    if given.get("list"):
        sys.stdout.write(listing())
        return 0
    trainer = make_trainer(given)
    finished = trainer.train()
    sys.stdout.write(summary(trainer, finished) + "\n")
    return 128 + finished.signal if finished.signal else 0


if __name__ == "__main__":
    run_command(main)
