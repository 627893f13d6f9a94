"""Plain softmax (L1): free norms of embeddings and centres, and a bias unless `fc7_no_bias`."""


from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses.common import centre_variable, classification_head, label_variable
from arcface_mxnet.recognition.losses.head import Head, LossSettings, Sizes, register


def softmax_logits(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> sym.Symbol:
    """Inner products with the centres, node `fc7`; the bias carries the original's multipliers (lr x2, no decay)."""
    weight = centre_variable(settings, sizes)
    if settings.fc7_no_bias:
        return sym.FullyConnected(embedding, weight=weight, no_bias=True, num_hidden=sizes.classes, name="fc7")
    bias = sym.Variable("fc7_bias", lr_mult=2.0, wd_mult=0.0)
    return sym.FullyConnected(embedding, weight=weight, bias=bias, num_hidden=sizes.classes, name="fc7")


@register("softmax", formula="z_j = W_j·x + b_j")
def softmax(embedding: sym.Symbol, settings: LossSettings, sizes: Sizes) -> Head:
    """Cross-entropy of inner products."""
    return classification_head(embedding, softmax_logits(embedding, settings, sizes), label_variable(), settings)
