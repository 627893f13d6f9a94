"""How the batches of a run are composed: any images, whole identities for losses that compare images, or triplets."""
from typing import Dict, Tuple

from arcface_mxnet.datasets.ages import read_ages
from arcface_mxnet.datasets.augment import Augmentation
from arcface_mxnet.datasets.iterators import Batches, ClassificationBatches, IdentityBatches
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.recognition.engine.bags import Embed, MinedBatches, Mining
from arcface_mxnet.recognition.losses import Head
from arcface_mxnet.recognition.losses.age import AGES
from arcface_mxnet.recognition.losses.base import CLASSIFICATION_ORDER, IDENTITY_ORDER
from arcface_mxnet.recognition.settings import Settings
from arcface_mxnet.runtime.errors import InputError

import numpy as np


def make_batches(settings: Settings, records: RecordSet, head: Head, contexts: int, part: Tuple[int, int],
                 embed: Embed) -> Batches:
    """The batches `head` works on, for `contexts` contexts of this worker; `part` is (rank, workers).

    embed: from images to the embeddings of the present network, for triplets. Raises InputError where the batch of a
    context holds no whole number of identities or triplets, for an order that several workers cannot share, and where
    the set lacks what the loss is fed.
    """
    data, step, loss = settings.data, settings.step, settings.names["loss"]
    augmentation = Augmentation(data.data_rand_mirror, data.data_color, data.data_cutoff)
    size, threads, batch_size = data.image_shape[:2], data.threads or None, step.per_batch_size * contexts
    if head.order == CLASSIFICATION_ORDER:
        return ClassificationBatches(records, batch_size, step.seed, augmentation, size, part, threads=threads,
                                     beside=values_beside(records, head))
    if part[1] > 1:
        raise InputError(f"--loss {loss}: batches of whole identities are for one machine; leave out --kvstore")
    if head.order != IDENTITY_ORDER:
        given = settings.loss
        mining = Mining(given.triplet_bag_size, given.images_per_identity, given.triplet_alpha, given.triplet_max_ap)
        return MinedBatches(records, mining, step.per_batch_size, contexts, embed, step.seed, augmentation, size,
                            threads)
    if step.per_batch_size % head.images_per_identity:
        raise InputError(f"--per-batch-size {step.per_batch_size}: --loss {loss} takes {head.images_per_identity} "
                         "images of each identity; give a multiple")
    return IdentityBatches(records, batch_size // head.images_per_identity, head.images_per_identity, step.seed,
                           augmentation, size, threads)


def values_beside(records: RecordSet, head: Head) -> Dict[str, np.ndarray]:
    """What a head is fed beside the labels, by name: a value of each record key, float32."""
    readers = {AGES: read_ages}
    return {name: readers[name](records) for name in head.inputs}
