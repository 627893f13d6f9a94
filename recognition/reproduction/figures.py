"""What `reproduce.py` can draw: a register of figures, and those that are curves of formulas."""
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

from arcface_mxnet.evaluation import paper
from arcface_mxnet.recognition.reproduction import curves
from arcface_mxnet.recognition.reproduction.drawing import LOSS_COLOURS, canvas, save
from arcface_mxnet.recognition.reproduction.plan import BATCH, PaperScale
from arcface_mxnet.recognition.reproduction.provenance import Produced

import numpy as np


@dataclass(frozen=True)
class Order:
    """What was asked for: where results go, where runs are kept, at which scale, and the budget of training."""

    out: Path
    work: Path
    scale: str = "demo"
    network: str = "demo"
    seeds: Tuple[int, ...] = (0, 1, 2)
    max_steps: int = 0
    data: str = "data"
    losses: Tuple[str, ...] = ()  # table2: only these losses (empty: all)
    toy_images: int = 1500  # fig3: images of each identity
    batch: int = 0  # paper scale: images a device and step (0: the paper's 128)
    devices: str = ""  # paper scale: as train.py --gpus (empty: all)

    @property
    def paper(self) -> PaperScale:
        """Where runs at paper scale find their data, and how they are cut."""
        return PaperScale(Path(self.data), self.max_steps, self.batch or BATCH, self.devices)


Draw = Callable[[Order], Produced]
FIGURES: Dict[str, Draw] = {}


def figure(name: str) -> Callable[[Draw], Draw]:
    """Make a function known as figure NAME."""
    def add(draw: Draw) -> Draw:
        FIGURES[name] = draw
        return draw
    return add


@figure("fig4b")
def fig4b(order: Order) -> Produced:
    """Target logit curves of seven losses, 20 to 100 degrees."""
    printed = paper.figure("fig4b")
    picture, (axes,) = canvas()
    degrees = np.linspace(20, 100, 161)
    differences = {}
    for loss, row in zip(curves.FIGURE_4B_LOSSES, printed["rows"]):
        axes.plot(degrees, curves.target_logits(loss, degrees), color=LOSS_COLOURS[loss], label=row["name"])
        ours = curves.target_logits(loss, printed["columns"])
        differences[row["name"]] = float(np.abs(ours - np.array(row["values"])).max())
    axes.set(xlim=(20, 100), ylim=(-1.2, 1.0), xlabel="Angle between the Feature and Target Center",
             ylabel="Target Logit")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return Produced("fig4b", save(picture, order.out, "fig4b"), "target logits by the losses' own graphs",
                    {"largest difference to the paper's formulas": differences})


@figure("fig5")
def fig5(order: Order) -> Produced:
    """Decision margins of the binary case under four losses."""
    picture, panels = canvas(4, 1, (3.0, 3.2))
    first = np.linspace(0, np.pi / 2, 400)
    for axes, (name, (one, two)) in zip(panels, curves.decision_boundaries(first).items()):
        axes.fill_between(first, np.nan_to_num(two, nan=0.0), np.nan_to_num(one, nan=np.pi), color="0.85", lw=0)
        for line in (one, two):
            axes.plot(first, line, "k--", lw=1.4)
        axes.text(0.12, 1.35, "class 1", fontsize=9)
        axes.text(1.05, 0.12, "class 2", fontsize=9)
        axes.set(title=name, xlim=(0, np.pi / 2), ylim=(0, np.pi / 2), xlabel=r"$\theta_1$", ylabel=r"$\theta_2$",
                 aspect="equal", xticks=[], yticks=[])
    return Produced("fig5", save(picture, order.out, "fig5"),
                    "boundaries: SphereFace m = 4, CosFace 0.35, ArcFace 0.5; grey: margin", {})


@figure("fig12")
def fig12(order: Order) -> Produced:
    """Room in feature space against identities: the paper's formula and the exact laws."""
    printed = paper.figure("fig12")
    picture, panels = canvas(2, 1, (5.4, 4.2))
    figures: Dict[str, List[float]] = {}
    for dimensions, colour in zip(curves.DIMENSIONS_12, ("#c62828", "#2e7d32", "#1565c0")):
        formula = curves.paper_formula(curves.IDENTITIES_12, dimensions)
        panels[0].plot(curves.IDENTITIES_12, formula, color=colour, label=f"d = {dimensions}")
        for law, style in ((curves.smallest_of_all_pairs, "-"), (curves.nearest_neighbour, "--")):
            exact = [law(n, dimensions) for n in curves.IDENTITIES_12]
            label = f"{law.__name__.replace('_', ' ')}, d = {dimensions}"
            panels[1].plot(curves.IDENTITIES_12, exact, style, color=colour, label=label)
            figures[label] = [round(law(n, dimensions), 2) for n in printed["columns"]]
        figures[f"formula, d = {dimensions}"] = [round(float(value), 2) for value in
                                                 curves.paper_formula(np.array(printed["columns"], float), dimensions)]
    for axes, title in zip(panels, ("the paper's formula", "the exact laws")):
        axes.set(xscale="log", xlabel="Identity Number", ylabel=r"E[$\theta(W_j)$] in degrees", title=title)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    return Produced("fig12", save(picture, order.out, "fig12"),
                    "left: the formula, a small-angle limit of the smallest of all pairs; right: exact by quadrature",
                    {"identities": printed["columns"], "degrees": figures})


def registered() -> List[str]:
    """The names of all figures, in the paper's order."""
    return sorted(FIGURES, key=lambda name: (int("".join(c for c in name if c.isdigit())), name))


def draw(name: str, order: Order) -> Any:
    """Draw one registered figure."""
    return FIGURES[name](order)
