"""Figure 10, measured on this machine: memory and speed of the head against the number of identities."""
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

from arcface_mxnet.evaluation import paper
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses import LossSettings, attach
from arcface_mxnet.recognition.presets import LOSSES
from arcface_mxnet.recognition.reproduction.figures import Order, figure, save
from arcface_mxnet.recognition.reproduction.provenance import ROOT, Produced
from arcface_mxnet.runtime.environment import available_cores
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.pictures import canvas
from arcface_mxnet.runtime.text import read_json

import numpy as np

IDENTITIES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
DOMINANT = IDENTITIES[:3]  # its first step looks at all centres at once
BATCH, SIZE, ROUNDS = 64, 512, 3
DOMINANT_HEAD = LossSettings(**{key: LOSSES["dpsoftmax"][key] for key in ("loss_name", "loss_m3", "options")})
COMMAND = ROOT / "benchmarks" / "head.py"
COLOURS = {"plain": "#c62828", "sharded": "#2e7d32", "sampled": "#ef6c00"}


def measure_head(settings: LossSettings, classes: int) -> Tuple[float, float]:
    """Gigabytes a head's arrays take (arguments, gradients, momentum, results), and images a second of its step."""
    from arcface_mxnet.engines.mxnet.memory import step_cost  # MXNet loads only where it is used

    rng = np.random.default_rng(0)
    head = attach(sym.Variable("embedding"), settings, classes, BATCH, SIZE)
    shapes = dict(zip(head.symbol.list_arguments(),
                      head.symbol.infer_shape(embedding=(BATCH, SIZE), softmax_label=(BATCH,))[0]))
    arrays = {name: head.states[name] if name in head.states
              else np.asarray(rng.normal(0, 0.01, shape), np.float32) for name, shape in shapes.items()}
    arrays["softmax_label"] = rng.integers(0, classes, BATCH).astype(np.float32)
    held, seconds = step_cost(head.symbol, arrays, ("embedding", "fc7_weight"), "fc7_weight", ROUNDS)
    return held, BATCH / seconds


def measured_heads() -> Dict[str, List[Dict[str, float]]]:
    """Peak gigabytes and images a second of the heads of the engine, by benchmarks/head.py (processes of their own)."""
    if not COMMAND.is_file():
        raise InputError(f"{COMMAND}: not found; draw figure 10 in a checkout of the repository")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2 ** 30
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "heads.json"
        flags = {"classes": ",".join(map(str, IDENTITIES)), "batch": BATCH, "size": SIZE, "rounds": ROUNDS,
                 "repeats": 1, "limit": memory / 2.5, "out": out}
        words = [f"--{name}={value}" for name, value in flags.items()]
        subprocess.run([sys.executable, str(COMMAND), *words], check=True, stdout=subprocess.DEVNULL)
        rows: Any = read_json(out)
    return {head: [{"identities": row["classes"], "GB": row["bytes"] / 2 ** 30, "images/s": BATCH / row["seconds"],
                    "over what is needed": row["bytes"] / row["needed"]} for row in rows if row["head"] == head]
            for head in COLOURS}


@figure("fig10")
def fig10(order: Order) -> Produced:
    """Memory and speed against identities: our heads on this machine, the paper's eight GPUs dotted."""
    printed = paper.figure("fig10")
    picture, panels = canvas(2, 1, (5.4, 4.2))
    figures = measured_heads()
    name = "dominant centres (dpsoftmax)"
    points = [measure_head(DOMINANT_HEAD, classes) for classes in DOMINANT]
    figures[name] = [{"identities": classes, "GB": memory, "images/s": speed}
                     for classes, (memory, speed) in zip(DOMINANT, points)]
    for head, found in figures.items():
        for axes, key in zip(panels, ("GB", "images/s")):
            axes.plot([point["identities"] for point in found], [point[key] for point in found], "o-",
                      color=COLOURS.get(head, "#1565c0"), label="sampled 0.1" if head == "sampled" else head)
    for row, axes in zip(printed["rows"], (panels[0], panels[0], panels[1], panels[1])):
        known = [(n, value) for n, value in zip(printed["columns"], row["values"]) if value is not None]
        axes.plot(*zip(*known), ":", color="0.5" if "data" in row["name"] else "0.2", label=f"paper: {row['name']}")
    for axes, label in zip(panels, ("memory in GB", "images/s")):
        axes.set(xscale="log", yscale="log", xlabel="identities", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=6)
    protocol = (f"the head alone (no network), batch {BATCH}, E = {SIZE}, {available_cores()} cores, one context, "
                "ArcFace; plain: all centres in the graph; sharded: class-parallel; sampled: a tenth of the classes a "
                "step; the paper's curves are whole networks on 8 GPUs: compare shapes, not heights")
    return Produced("fig10", save(picture, order.out, "fig10"), protocol, figures)
