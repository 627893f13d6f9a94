"""How the batches of a run are composed: any images, or whole identities for losses that compare images."""
from typing import Tuple, Union

from datasets.augment import Augmentation
from datasets.iterators import ClassificationBatches, IdentityBatches
from datasets.records import RecordSet
from recognition.losses import Head
from recognition.losses.base import CLASSIFICATION_ORDER, IDENTITY_ORDER
from recognition.settings import Settings
from runtime.errors import InputError

Batches = Union[ClassificationBatches, IdentityBatches]


def make_batches(settings: Settings, records: RecordSet, head: Head, contexts: int, part: Tuple[int, int]) -> Batches:
    """The batches `head` works on, for `contexts` contexts of this worker; `part` is (rank, workers).

    Raises InputError where the batch of a context holds no whole number of identities, or for an order that several
    workers cannot share.
    """
    data, step = settings.data, settings.step
    augmentation = Augmentation(data.data_rand_mirror, data.data_color, data.data_cutoff)
    size, threads, batch_size = data.image_shape[:2], data.threads or None, step.per_batch_size * contexts
    if head.order == CLASSIFICATION_ORDER:
        return ClassificationBatches(records, batch_size, step.seed, augmentation, size, part, threads=threads)
    loss = settings.names["loss"]
    if head.order != IDENTITY_ORDER:
        raise InputError(f"--loss {loss}: triplets mined from a bag are not built; take the preset without _bag, "
                         "which finds them in the batch")
    if part[1] > 1:
        raise InputError(f"--loss {loss}: batches of whole identities are for one machine; leave out --kvstore")
    if step.per_batch_size % head.images_per_identity:
        raise InputError(f"--per-batch-size {step.per_batch_size}: --loss {loss} takes {head.images_per_identity} "
                         "images of each identity; give a multiple")
    return IdentityBatches(records, batch_size // head.images_per_identity, head.images_per_identity, step.seed,
                           augmentation, size, threads)
