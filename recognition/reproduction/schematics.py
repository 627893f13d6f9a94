"""Figures that explain: the geometry of four losses (1), the pipeline of ArcFace (2), the parallel steps (11)."""
from typing import Any, Sequence, Tuple

from arcface_mxnet.recognition.reproduction.drawing import GENUINE, IMPOSTOR, canvas, save
from arcface_mxnet.recognition.reproduction.figures import Order, figure
from arcface_mxnet.recognition.reproduction.provenance import Produced

import numpy as np
from matplotlib.patches import Arc, Circle, FancyArrowPatch, FancyBboxPatch

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
    picture, panels = canvas(4, 1, (3.0, 2.6))
    for axes, title in zip(panels, ("(A) margin-loss: a gap between\nsample and centres",
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
    return Produced("fig2", save(picture, order.out, "fig2"), "schematic of recognition/losses/margin.py", {})


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
