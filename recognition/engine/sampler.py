"""How the batches of a run are composed: any images, whole identities for losses that compare images, or triplets."""
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from arcface_mxnet.datasets.ages import read_ages
from arcface_mxnet.datasets.iterator import (
    ORDER,
    TRIPLETS,
    Augmentation,
    Batches,
    ClassificationBatches,
    IdentityBatches,
    stream,
)
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.recognition.losses import Head, LossSettings
from arcface_mxnet.recognition.losses.head import CLASSIFICATION_ORDER, IDENTITY_ORDER
from arcface_mxnet.recognition.losses.oe_cnn import AGES
from arcface_mxnet.recognition.settings import DataSettings
from arcface_mxnet.runtime.errors import InputError

import cv2
import numpy as np

# Batches of triplets mined from bags with the present network, as in the original (docs/original.md, section 3.6).
#
# An epoch is what the original makes of it: bags are taken until their triplets fill two batches, and those are trained
# on. The images of bag n follow from (seed, n), its triplets from these and the network at that moment; a restart point
# therefore holds the keys of the epoch under way.


Embed = Callable[[Iterator[np.ndarray]], np.ndarray]
FEWEST_BATCHES = 2  # an epoch of the original has at least so many
FEWEST_BAGS = 10  # tried before giving up, or a whole pass through the identities
AT_ONCE = 512  # images decoded and embedded together
KEYS, PLACE = "order:keys", "order:place"  # in a restart point: keys of the epoch under way; (epoch, next bag)


@dataclass(frozen=True)
class Mining:
    """The original's triplet_bag_size, images_per_identity, triplet_alpha and triplet_max_ap (squared distances)."""

    bag_size: int
    images_per_identity: int
    alpha: float
    max_ap: float


class BagOrder:
    """Which images make bag 0, 1, 2, ...: a pass shows the identities in random order, a few images of each.

    A pass is cut into bags of `size` images, what is left over is dropped, and the next pass has another order. A set
    with fewer images than that makes one bag a pass.
    """

    def __init__(self, records: RecordSet, bag_size: int, images_per_identity: int, seed: int) -> None:
        self._by_label = np.argsort(records.labels, kind="stable")
        _, self._first, self._counts = np.unique(records.labels[self._by_label], return_index=True, return_counts=True)
        if self._counts.max() < 2:
            raise InputError(f"{records.path}: nobody has two images; triplets need a positive for each anchor")
        self._wanted, self._seed = images_per_identity, seed
        images = int(np.minimum(self._counts, images_per_identity).sum())
        self.size = min(bag_size, images)
        self.bags_per_pass = images // self.size
        self._pass: Tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    def places(self, number: int) -> np.ndarray:
        """Positions in records.keys of the images of a bag, int64 (size,), those of an identity side by side."""
        turn, bag = divmod(number, self.bags_per_pass)
        if self._pass[0] != turn:
            self._pass = turn, self._sequence(turn)
        return self._pass[1][bag * self.size:(bag + 1) * self.size]

    def _sequence(self, turn: int) -> np.ndarray:
        chance = stream(self._seed, turn, ORDER)
        chosen = [self._first[identity] + chance.permutation(int(self._counts[identity]))[:self._wanted]
                  for identity in chance.permutation(self._first.size)]
        return self._by_label[np.concatenate(chosen)]


class MinedBatches(Batches):
    """Batches in which the share of each context is three equal thirds: anchors, their positives, their negatives.

    share: images of a context, a multiple of 3; contexts: how many there are. embed: from blocks of images, uint8
    (n, 3, h, w) RGB, to the embeddings (N, E) the network gives at the moment of the call.
    """

    def __init__(self, records: RecordSet, mining: Mining, share: int, contexts: int, embed: Embed, seed: int,
                 augmentation: Optional[Augmentation] = None, image_size: Optional[Tuple[int, int]] = None,
                 threads: Optional[int] = None, ahead: int = 3) -> None:
        """Raises InputError for a share 3 does not divide and a set in which nobody has two images."""
        if share % 3:
            raise InputError(f"--per-batch-size {share}: triplets come as three equal thirds; take "
                             f"{share - share % 3 or 3}")
        super().__init__(records, share * contexts, seed, augmentation or Augmentation(), image_size, threads, ahead)
        self.mining, self.share, self.embed = mining, share, embed
        self.order = BagOrder(records, mining.bag_size, mining.images_per_identity, seed)
        self.found = 0  # triplets of the last bag
        self._next_bag = 0
        self._epoch, self._keys = -1, np.empty(0, dtype=np.int64)
        self._notes: List[str] = []

    def epoch_keys(self, epoch: int) -> np.ndarray:
        """The keys of an epoch; mines them, with the network as it is now, unless they are at hand already.

        Raises InputError where too few triplets are left to learn from.
        """
        if epoch != self._epoch:
            self.batches_of(epoch, self._mined())
        return self._keys[:self._keys.size // self.batch_size * self.batch_size]

    def batches_of(self, epoch: int, keys: np.ndarray) -> None:
        """Make `keys`, int64 in whole shares, the images of an epoch."""
        self._epoch, self._keys = epoch, keys

    def notes(self) -> List[str]:
        """A line for each bag that was mined since the last call."""
        notes, self._notes = self._notes, []
        return notes

    def restart_arrays(self) -> Dict[str, np.ndarray]:
        """Keys of the epoch under way, int64, and (epoch, next bag)."""
        place = np.array([self._epoch, self._next_bag])
        return {name: values.view(np.int32)  # as int32: int64 arrays lose bits beyond 2^53 in MXNet
                for name, values in ((KEYS, self._keys), (PLACE, place)) if values.size}

    def restart(self, saved: Mapping[str, np.ndarray]) -> None:
        """Go on in the epoch that was under way; a restart point without one begins with bag 0."""
        if PLACE in saved:
            epoch, self._next_bag = (int(value) for value in saved[PLACE].view(np.int64))
            keys = saved[KEYS].view(np.int64) if KEYS in saved else self._keys
            self.batches_of(epoch, keys)

    def _mined(self) -> np.ndarray:
        tried, total, shares = 0, 0, [np.empty(0, dtype=np.int64)]
        while sum(map(len, shares)) < FEWEST_BATCHES * self.batch_size:
            if tried == max(self.order.bags_per_pass, FEWEST_BAGS):
                break
            shares.append(self._from_bag(self._next_bag))
            tried, total, self._next_bag = tried + 1, total + self.found, self._next_bag + 1
        keys = np.concatenate(shares)
        if keys.size < self.batch_size:
            raise InputError(f"{self.records.path}: found {total} semi-hard triplets in {tried} bags, "
                             f"{self.batch_size // 3} make a batch; the run is finished, or needs a larger set or "
                             "triplet_alpha or a smaller --per-batch-size")
        return keys

    def _from_bag(self, number: int) -> np.ndarray:
        places = self.order.places(number)
        keys = self.records.keys[places]
        with ThreadPoolExecutor(self.threads, thread_name_prefix="bag") as pool:
            rows = self.embed(self._pictures(pool, keys))
        triplets = semi_hard_triplets(rows, self.records.labels[places], self.mining.alpha, self.mining.max_ap,
                                      stream(self.seed, number, TRIPLETS))
        self.found = len(triplets)
        self._notes.append(f"bag {number}: {len(keys)} images, {self.found} semi-hard triplets")
        return keys[in_thirds(triplets, self.share)]

    def _pictures(self, pool: ThreadPoolExecutor, keys: np.ndarray) -> Iterator[np.ndarray]:
        """The images of a bag as they are, RGB uint8 (n, 3, h, w), block by block."""
        def one(key: int) -> np.ndarray:
            return cv2.cvtColor(self.picture(key)[1], cv2.COLOR_BGR2RGB).transpose(2, 0, 1)
        for start in range(0, len(keys), AT_ONCE):
            yield np.stack(list(pool.map(one, keys[start:start + AT_ONCE].tolist())))


def make_batches(data: DataSettings, loss: LossSettings, size: Tuple[int, int], records: RecordSet, head: Head,
                 contexts: int, part: Tuple[int, int], embed: Embed) -> Batches:
    """The batches `head` works on, for `contexts` contexts of this worker; `part` is (rank, workers).

    size: height and width of the images. embed: from images to the embeddings of the present network, for triplets.
    Raises InputError where the batch of a context holds no whole number of identities or triplets, for an order that
    several workers cannot share, and where the set lacks what the loss is fed.
    """
    augmentation = Augmentation(data.data_rand_mirror, data.data_color, data.data_cutoff)
    threads, batch_size = data.threads or None, data.per_batch_size * contexts
    if head.order == CLASSIFICATION_ORDER:
        return ClassificationBatches(records, batch_size, data.seed, augmentation, size, part, threads=threads,
                                     beside=values_beside(records, head))
    if part[1] > 1:
        raise InputError("--kvstore: batches of whole identities are for one machine; leave it out or take another "
                         "--loss")
    if head.order != IDENTITY_ORDER:
        mining = Mining(loss.triplet_bag_size, loss.images_per_identity, loss.triplet_alpha, loss.triplet_max_ap)
        return MinedBatches(records, mining, data.per_batch_size, contexts, embed, data.seed, augmentation, size,
                            threads)
    if data.per_batch_size % head.images_per_identity:
        raise InputError(f"--per-batch-size {data.per_batch_size}: the loss takes {head.images_per_identity} "
                         "images of each identity; give a multiple")
    return IdentityBatches(records, batch_size // head.images_per_identity, head.images_per_identity, data.seed,
                           augmentation, size, threads)


def values_beside(records: RecordSet, head: Head) -> Dict[str, np.ndarray]:
    """What a head is fed beside the labels, by name: a value of each record key, float32."""
    readers = {AGES: read_ages}
    return {name: readers[name](records) for name in head.inputs}


# Semi-hard triplets of a bag of embeddings, as the original selects them (docs/original.md, section 3.6).


NOTHING = np.empty((0, 3), dtype=np.int64)


def semi_hard_triplets(embeddings: np.ndarray, labels: np.ndarray, alpha: float, max_ap: float,
                       chance: np.random.Generator) -> np.ndarray:
    """Rows (anchor, positive, negative) of a bag, int64 (T, 3), in random order; T may be 0.

    embeddings: (n, E), of any length; labels: (n,), images of an identity side by side. Every pair of an identity is an
    anchor and, later in the bag, its positive. Its negative is any one image n of another identity with d_ap < d_an and
    d_an - d_ap < alpha, d the squared distance of unit embeddings; where there is none the pair is left out. max_ap: a
    pair farther apart than this is left out too; 0 for no limit. The choice is `chance`'s, pair after pair.
    """
    unit = embeddings.astype(np.float64)
    unit /= np.sqrt((unit ** 2).sum(axis=1, keepdims=True) + 1e-10)
    starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    found = [triplet for start, stop in zip(starts, np.r_[starts[1:], len(labels)])
             for triplet in _of_identity(unit, start, stop, alpha, max_ap, chance)]
    return np.array(found, dtype=np.int64)[chance.permutation(len(found))] if found else NOTHING


def _of_identity(unit: np.ndarray, start: int, stop: int, alpha: float, max_ap: float,
                 chance: np.random.Generator) -> Iterator[Tuple[int, int, int]]:
    """The triplets whose anchor and positive are images `start` to `stop` - 1."""
    distances = 2.0 - 2.0 * unit[start:stop] @ unit.T
    for row in range(stop - start - 1):
        to_own, to_others = distances[row, start:stop].copy(), distances[row]
        to_others[start:stop] = -1.0  # below every distance: never farther than a positive
        for place in range(row + 1, stop - start):
            near = to_own[place]
            if max_ap > 0 and near > max_ap:
                continue
            candidates = np.flatnonzero((to_others > near) & (to_others - near < alpha))
            if candidates.size:
                yield start + row, start + place, int(candidates[chance.integers(candidates.size)])


def in_thirds(triplets: np.ndarray, share: int) -> np.ndarray:
    """Triplets (T, 3) as the images of batches of `share`, each in thirds: anchors, positives, negatives; (n,).

    The triplets that fill no batch are left out.
    """
    part = share // 3
    whole = len(triplets) // part * part
    return triplets[:whole].reshape(-1, part, 3).transpose(0, 2, 1).reshape(-1)
