"""What `reproduce.py` can draw: a register of figures, and those that are curves of formulas."""
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

from arcface_mxnet.engines.base import Place
from arcface_mxnet.evaluation import paper
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.recognition.losses.arcface import margin_cosine
from arcface_mxnet.recognition.losses.sphereface import Annealing, psi
from arcface_mxnet.recognition.presets import LOSSES
from arcface_mxnet.recognition.reproduction.demo_data import Size
from arcface_mxnet.recognition.reproduction.paper_runs import BATCH, PaperScale
from arcface_mxnet.recognition.reproduction.processes import demo_place
from arcface_mxnet.recognition.reproduction.provenance import Produced
from arcface_mxnet.recognition.reproduction.toy import TOY_LOSSES, Toy, Trained, angles_to_centres, trained_toy
from arcface_mxnet.runtime import pictures
from arcface_mxnet.runtime.files import PathLike
from arcface_mxnet.runtime.pictures import BLUE, GREEN, GREY, ORANGE, RED, canvas

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Circle, FancyArrowPatch, FancyBboxPatch
from scipy import integrate, special


@dataclass(frozen=True)
class Order:
    """What was requested: where results go, where runs are kept, at which scale, and the budget of training."""

    out: Path
    work: Path
    scale: str = "demo"
    network: str = "demo"
    seeds: Tuple[int, ...] = (0, 1, 2)
    max_steps: int = 0
    data: str = "data"
    losses: Tuple[str, ...] = ()  # table2, table3: only these losses (empty: all)
    rows: Tuple[str, ...] = ()  # tables of benchmarks: only these rows (empty: all)
    toy_images: int = 1500  # fig3: images of each identity
    batch: int = 0  # paper scale: images a device and step (0: the paper's 128)
    devices: str = ""  # as train.py --gpus (empty: all at paper scale, the CPU at demo scale)
    engine: str = ""  # as train.py --engine (empty: MXNet, or the first that is installed)
    size: Size = Size()  # demo scale: people of the training set and pictures of each
    jobs: int = 1  # demo scale: runs trained at a time
    steps: int = 0  # demo scale: steps of a run (0: the recipe's)
    warm: int = 0  # and of softmax before it

    @property
    def paper(self) -> PaperScale:
        """Where runs at paper scale find their data, and how they are cut."""
        return PaperScale(Path(self.data), self.max_steps, self.batch or BATCH, self.devices, self.engine)

    @property
    def embeds_on(self) -> Optional[Place]:
        """The engine and devices that embed: those that train; None for the default."""
        return self.paper.embeds_on() if self.scale == "paper" else demo_place(self.engine, self.devices)


PANEL, HALF, SQUARE = (4.6, 3.7), (2.4, 2.6), (4.6, 4.6)
"""Inches of a panel across a phone, of one of two beside each other, and of a square one: more stand below."""
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
    picture, (axes,) = canvas(1, 1, PANEL)
    degrees = np.linspace(20, 100, 161)
    differences = {}
    for loss, row in zip(FIGURE_4B_LOSSES, printed["rows"]):
        axes.plot(degrees, target_logits(loss, degrees), color=LOSS_COLOURS[loss], label=row["name"])
        ours = target_logits(loss, printed["columns"])
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
    picture, panels = canvas(2, 2, HALF)
    first = np.linspace(0, np.pi / 2, 400)
    for axes, (name, (one, two)) in zip(panels, decision_boundaries(first).items()):
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
    """Smallest angles in feature space against identities: the paper's formula and the exact laws."""
    printed = paper.figure("fig12")
    picture, panels = canvas(1, 2, PANEL)
    figures: Dict[str, List[float]] = {}
    for dimensions, colour in zip(DIMENSIONS_12, ("#c62828", "#2e7d32", "#1565c0")):
        formula = paper_formula(IDENTITIES_12, dimensions)
        panels[0].plot(IDENTITIES_12, formula, color=colour, label=f"d = {dimensions}")
        for law, style in ((smallest_of_all_pairs, "-"), (nearest_neighbour, "--")):
            exact = [law(n, dimensions) for n in IDENTITIES_12]
            label = f"{law.__name__.replace('_', ' ')}, d = {dimensions}"
            panels[1].plot(IDENTITIES_12, exact, style, color=colour, label=label)
            figures[label] = [round(law(n, dimensions), 2) for n in printed["columns"]]
        figures[f"formula, d = {dimensions}"] = [round(float(value), 2) for value in
                                                 paper_formula(np.array(printed["columns"], float), dimensions)]
    for axes, title in zip(panels, ("the paper's formula", "the exact laws")):
        axes.set(xscale="log", xlabel="Identity Number", ylabel=r"E[$\theta(W_j)$] in degrees", title=title)
        axes.grid(alpha=0.3)
        axes.set_ylim(bottom=axes.get_ylim()[0] - 0.4 * np.diff(axes.get_ylim())[0])  # room for the legend
        axes.legend(fontsize=7, ncol=2, loc="lower left")
    return Produced("fig12", save(picture, order.out, "fig12"),
                    "above: the formula, a small-angle limit of the smallest of all pairs; below: exact by quadrature",
                    {"identities": printed["columns"], "degrees": figures})


def registered() -> List[str]:
    """The names of all figures, in the paper's order."""
    return sorted(FIGURES, key=lambda name: (int("".join(c for c in name if c.isdigit())), name))


def draw(name: str, order: Order) -> Any:
    """Draw one registered figure."""
    return FIGURES[name](order)


GENUINE, IMPOSTOR = RED, BLUE  # positive and negative pairs, as in figures 6 and 7
LOSS_COLOURS = {
    "softmax": GREY, "sphereface": "#6a1b9a", "sphereface135": "#ab47bc", "arcface": RED, "cosface": BLUE, "cm1": GREEN,
    "cm2": ORANGE,
}


def save(figure: Figure, folder: PathLike, name: str) -> List[Path]:
    """Write NAME.png and NAME.svg into a folder; returns their paths."""
    figure.tight_layout()
    return pictures.save(figure, Path(folder) / name)


# Figures that explain: the geometry of four losses (1), the pipeline of ArcFace (2), the parallel steps (11).


OWN, OTHER = GENUINE, IMPOSTOR


def _on_sphere(degrees: float, radius: float = 1.0) -> Tuple[float, float]:
    return radius * float(np.cos(np.radians(degrees))), radius * float(np.sin(np.radians(degrees)))


def _sphere(axes: Any, title: str) -> None:
    axes.add_patch(Circle((0, 0), 1, fill=False, color="0.6"))
    axes.set(xlim=(-1.3, 1.3), ylim=(-0.25, 1.45), aspect="equal", title=title)
    axes.axis("off")


def _centre(axes: Any, degrees: float, colour: str, name: str) -> None:
    x, y = _on_sphere(degrees)
    axes.plot([0, x], [0, y], color=colour, lw=1)
    axes.plot([x], [y], "*", color=colour, markersize=13)
    axes.text(1.13 * x, 1.13 * y, name, ha="center", va="center", color=colour)


def _geodesic(axes: Any, start: float, stop: float, radius: float, colour: str, arrow: bool) -> None:
    axes.add_patch(Arc((0, 0), 2 * radius, 2 * radius, theta1=min(start, stop), theta2=max(start, stop), color=colour,
                       lw=2))
    if arrow:
        last = stop - 4 * np.sign(stop - start)
        tail, head = _on_sphere(last, radius), _on_sphere(stop, radius)
        axes.add_patch(FancyArrowPatch(tail, head, arrowstyle="-|>", mutation_scale=12, color=colour))


@figure("fig1")
def fig1(order: Order) -> Produced:
    """Geodesic distance gaps that margin-, intra-, inter- and triplet-loss enforce."""
    picture, panels = canvas(2, 2, HALF)
    for axes, title in zip(panels, ("(A) margin-loss: a gap\nbetween sample and centres",
                                    "(B) intra-loss: closer\nto the own centre",
                                    "(C) inter-loss: centres\nfarther apart",
                                    "(D) triplet-loss: a gap\nbetween triplet samples")):
        _sphere(axes, title)
    for axes in panels[:3]:
        _centre(axes, 120, OWN, "$W_1$")
        _centre(axes, 50, OTHER, "$W_2$")
    sample = 96
    for axes in (panels[0], panels[1]):
        axes.plot(*[[value] for value in _on_sphere(sample)], "o", color=OWN)
    _geodesic(panels[0], sample, 120, 0.80, OWN, False)
    _geodesic(panels[0], sample, 50, 0.80, OTHER, False)
    panels[0].text(0.0, 0.45, r"$\theta_1 + m < \theta_2$", ha="center")
    _geodesic(panels[1], sample, 117, 0.88, OWN, True)
    _geodesic(panels[2], 120, 140, 0.88, OWN, True)
    _geodesic(panels[2], 50, 30, 0.88, OTHER, True)
    for degrees, name, colour in ((112, "positive", OWN), (92, "anchor", OWN), (45, "negative", OTHER)):
        x, y = _on_sphere(degrees)
        panels[3].plot([x], [y], "o", color=colour)
        panels[3].text(1.16 * x, 1.12 * y, name, ha="center", color=colour, fontsize=8)
    _geodesic(panels[3], 92, 112, 0.82, OWN, False)
    _geodesic(panels[3], 92, 45, 0.82, OTHER, False)
    return Produced("fig1", save(picture, order.out, "fig1"), "schematic: stars are centres, dots samples", {})


def _boxes(axes: Any, labels: Sequence[str], y: float, width: float, gap: float) -> None:
    for number, label in enumerate(labels):
        x = number * (width + gap)
        axes.add_patch(FancyBboxPatch((x, y), width, 0.8, boxstyle="round,pad=0.02", fill=False))
        axes.text(x + width / 2, y + 0.4, label, ha="center", va="center", fontsize=9)
        if number + 1 < len(labels):
            axes.add_patch(FancyArrowPatch((x + width + 0.03, y + 0.4), (x + width + gap - 0.03, y + 0.4),
                                           arrowstyle="-|>", mutation_scale=12))
    axes.axis("off")


@figure("fig2")
def fig2(order: Order) -> Produced:
    """Training with the ArcFace loss, step by step."""
    picture, (axes,) = canvas(1, 1, (11.0, 1.9))
    labels = [r"$x_i / \|x_i\|$" + "\n" + r"$W_j / \|W_j\|$", r"$\cos\theta_j = W_j^T x_i$",
              r"$\theta_{y_i} = \arccos(\cos\theta_{y_i})$", r"$\theta_{y_i} + m$", r"$\cos(\theta_{y_i} + m)$",
              r"logits $\times\, s$", "softmax,\ncross-entropy"]
    _boxes(axes, labels, 0, 1.7, 0.35)
    axes.set(xlim=(-0.1, 14.5), ylim=(-0.2, 1.0))
    return Produced("fig2", save(picture, order.out, "fig2"), "schematic of recognition/losses/arcface.py", {})


@figure("fig11")
def fig11(order: Order) -> Produced:
    """The steps of training with centres spread over devices."""
    picture, panels = canvas(1, 4, (9.0, 1.3))
    steps = (("(a) get x", ["x on each device\n64 x 512", "gather", "x on all devices\n512 x 512 (1 MB)"]),
             ("(b) score = xW", ["W part\n512 x 125K (256 MB)", "x W part", "score part\nglobal max and sum of exp"]),
             ("(c) dW", ["score part gradient", "x' dscore", "dW part\nnothing to exchange"]),
             ("(d) dx", ["score part gradient", "dscore W'", "sum over devices\nback to the network"]))
    for axes, (title, labels) in zip(panels, steps):
        _boxes(axes, labels, 0, 3.2, 0.9)
        axes.set(xlim=(-0.2, 11.6), ylim=(-0.15, 0.95), title=title)
    return Produced("fig11", save(picture, order.out, "fig11"),
                    "schematic, 8 devices, batch 8 x 64, 512-D, 1 million identities", {})


# Figure 3 drawn: where softmax and ArcFace put eight identities on the circle.


TOY_SEED = 3
SHOWN = 400  # dots of each identity; all images count in the figures


def draw_circle(axes: "matplotlib.axes.Axes", trained: Trained, title: str) -> None:
    """Embeddings normalised to a circle as dots, the directions of their centres as lines."""
    colours = matplotlib.colormaps["tab10"]
    for identity in range(len(trained.centres)):
        mine = trained.embeddings[trained.labels == identity][:SHOWN]
        unit = mine / np.maximum(np.linalg.norm(mine, axis=1, keepdims=True), 1e-12)
        axes.plot(unit[:, 0], unit[:, 1], ".", color=colours(identity), ms=3)
        centre = trained.centres[identity] / np.linalg.norm(trained.centres[identity])
        axes.plot([0, centre[0]], [0, centre[1]], color=colours(identity), lw=1.4)
    axes.set(title=title, xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal", xticks=[], yticks=[])


@figure("fig3")
def fig3(order: Order) -> Produced:
    """Toy: 8 identities of the built-in faces, 1,500 images each, two numbers an embedding."""
    toy = Toy(images=order.toy_images, seed=TOY_SEED)
    trained = trained_toy(toy, order.work)
    picture, panels = canvas(1, 2, SQUARE)
    for axes, (loss, result) in zip(panels, trained.items()):
        draw_circle(axes, result, loss)
    figures = {loss: angles_to_centres(result) for loss, result in trained.items()}
    protocol = (f"{toy.identities} built-in identities x {toy.images} images at 32x32, {toy.epochs} epochs each; "
                f"ArcFace (m = 0.5, s = {TOY_LOSSES['ArcFace'].loss_s:g}) goes on from the softmax network of half of "
                "them")
    return Produced("fig3", save(picture, order.out, "fig3"), protocol, figures, dataclasses.asdict(toy))


# Figures that need no training: target logits (4b), decision margins (5), the size of feature space (12).


FIGURE_4B_LOSSES = ("softmax", "sphereface", "sphereface135", "arcface", "cosface", "cm1", "cm2")
IDENTITIES_12 = np.logspace(4, 8, 41)
DIMENSIONS_12 = (128, 256, 512)


def target_logits(loss: str, degrees: Union[Sequence[float], np.ndarray]) -> np.ndarray:
    """Target logit / s (or / |x|) of a preset at the given angles, computed by the loss's own graph: float64 (n,).

    The published SphereFace is drawn at its final lambda. Raises KeyError for a preset without a target curve.
    """
    from arcface_mxnet.engines.mxnet.executor import forward  # MXNet loads only where it is used

    cosine = sym.Variable("cosine")
    preset = LOSSES[loss]
    if loss == "softmax":
        curve = cosine * 1.0
    elif preset.loss_name == "sphereface":
        lowest = Annealing().lowest
        curve = (cosine * lowest + psi(cosine, int(preset.loss_m1))) / (1.0 + lowest)
    else:
        curve = margin_cosine(cosine, preset.get("loss_m1", 1.0), preset.get("loss_m2", 0.0),
                              preset.get("loss_m3", 0.0)) * 1.0
    given = np.cos(np.radians(np.asarray(degrees, np.float64)))
    return forward(Checkpoint(curve, {}, {}), {"cosine": given})[0]


def decision_boundaries(first: np.ndarray) -> Dict[str, List[np.ndarray]]:
    """Figure 5: for theta_1 (radians) theta_2 on the boundary of class 1, then of class 2, by loss; NaN where none.

    Class 1 is decided below the first line; between the lines lies the margin. SphereFace with m = 4 (its own paper),
    CosFace 0.35, ArcFace 0.5.
    """
    def arccos(cosine: np.ndarray) -> np.ndarray:
        return np.arccos(np.where(np.abs(cosine) <= 1, cosine, np.nan))

    cosine = np.cos(first)
    return {
        "Softmax": [first, first],
        "SphereFace": [4 * first, first / 4],
        "CosFace": [arccos(cosine - 0.35), arccos(cosine + 0.35)],
        "ArcFace": [first + 0.5, first - 0.5],
    }


def paper_formula(identities: np.ndarray, dimensions: int) -> np.ndarray:
    """Figure 12 as the paper has it, in degrees: the small-angle limit of the smallest angle of all pairs."""
    d = dimensions
    constant = special.gammaln(d / 2) - special.gammaln((d - 1) / 2) - math.log(2 * math.sqrt(math.pi) * (d - 1))
    logarithm = -2 / (d - 1) * np.log(identities) + special.gammaln(1 + 1 / (d - 1)) - constant / (d - 1)
    return np.degrees(np.exp(logarithm))


def log_farther(angle: np.ndarray, dimensions: int) -> np.ndarray:
    """log P(two random unit vectors are farther apart than `angle` radians in [0, pi/2])."""
    near = 0.5 * special.betainc((dimensions - 1) / 2, 0.5, np.sin(angle) ** 2)
    return np.log1p(-near)


def expected_smallest(samples: float, dimensions: int) -> float:
    """Mean of the smallest of `samples` independent angles between random unit vectors, in degrees, by quadrature."""
    below, _ = integrate.quad(lambda angle: math.exp(samples * float(log_farther(np.array(angle), dimensions))),
                              0.0, math.pi / 2, limit=400, points=[0.5, 0.8, 1.0, 1.2, 1.35, 1.45])
    return math.degrees(below)


def smallest_of_all_pairs(identities: float, dimensions: int) -> float:
    """Exact mean of the smallest angle of all n (n - 1) / 2 pairs (taken as independent), in degrees."""
    return expected_smallest(identities * (identities - 1) / 2, dimensions)


def nearest_neighbour(identities: float, dimensions: int) -> float:
    """Exact mean angle of a random centre to the nearest of the n - 1 others, in degrees."""
    return expected_smallest(identities - 1, dimensions)
