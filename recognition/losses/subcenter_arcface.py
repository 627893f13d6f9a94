"""Sub-centre ArcFace (L7): K centres an identity, the nearest counts; its drop step is `recognition.drop`."""
from typing import Any

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses.arcface import changed_logits, check_margins
from arcface_mxnet.recognition.losses.common import centre_variable, classification_head, cosine_logits, label_variable
from arcface_mxnet.recognition.losses.head import Head, LossSettings, Sizes, register
from arcface_mxnet.runtime.errors import InputError


@register("subcentre", formula="margin softmax with cos t_j = max over K centres of class j")
def subcentre(embedding: Any, settings: LossSettings, sizes: Sizes) -> Head:
    """Margin softmax over the maximum of K cosines; fc7_weight is (C * K, E), the K rows of an identity adjacent."""
    check_margins(settings)
    count = settings.loss_K
    if count < 1:
        raise InputError(f"loss_K {count}: an identity needs at least 1 centre")
    label = label_variable()
    every = cosine_logits(embedding, centre_variable(settings, sizes, count), settings.loss_s, sizes.classes * count)
    nearest = sym.max(sym.reshape(every, shape=(-1, sizes.classes, count)), axis=2)
    logits, statistics = changed_logits(nearest, label, settings, sizes)
    return classification_head(embedding, logits, label, settings, statistics)
