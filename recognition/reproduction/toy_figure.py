"""Figure 3 drawn: where softmax and ArcFace put eight identities on the circle."""
import dataclasses

from arcface_mxnet.recognition.reproduction.drawing import canvas, save
from arcface_mxnet.recognition.reproduction.figures import Order, figure
from arcface_mxnet.recognition.reproduction.provenance import Produced
from arcface_mxnet.recognition.reproduction.toy import LOSSES, Toy, Trained, angles_to_centres, trained_toy

import matplotlib
import numpy as np

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
    picture, panels = canvas(2, 1, (4.2, 4.4))
    for axes, (loss, result) in zip(panels, trained.items()):
        draw_circle(axes, result, loss)
    figures = {loss: angles_to_centres(result) for loss, result in trained.items()}
    protocol = (f"{toy.identities} built-in identities x {toy.images} images at 32x32, {toy.epochs} epochs each; "
                f"ArcFace (m = 0.5, s = {LOSSES['ArcFace'].loss_s:g}) goes on from the softmax network of half of them")
    return Produced("fig3", save(picture, order.out, "fig3"), protocol, figures, dataclasses.asdict(toy))
