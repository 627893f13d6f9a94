"""Records to batches: the classification order, and the identity-balanced order for losses that compare images.

Every choice (order, mirror, augmentation) is a function of (seed, epoch, position in the epoch), so a run goes on from
any batch with the same pixels, whatever the number of threads. JPEGs are decoded on threads, a few batches ahead.
"""
import collections
from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Deque, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from arcface_mxnet.datasets.images import NoImage, decode_bgr, encode_jpeg, fit
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.runtime.environment import available_cores
from arcface_mxnet.runtime.errors import InputError

import cv2
import numpy as np

# What is done to a training image, and by which chance: every draw is a function of (seed, epoch, position) alone.
#
# docs/original.md, section 1.5: mirroring; off by default: colour jitter, re-compression, cut-out.


JITTER = 0.125
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
COMPRESSION_QUALITY = (2, 20)
CUTOUT_VALUE = 128.0
# The streams of chance drawn from one (seed, epoch): see `stream`.
ORDER, MIRROR, IMAGE, TRIPLETS = range(4)


@dataclass(frozen=True)
class Augmentation:
    """What to do to an image.

    mirror: left and right swapped with probability 0.5. colour: 0 none, 1 jitter of brightness, contrast and saturation
    by up to 12.5 %, 2 that after JPEG re-compression (probability 0.5, quality 2 to 20); the original's `data_color`.
    cutout: side in pixels of a grey square at a random place with probability 0.5, 0 for none; its `data_cutoff`.
    """

    mirror: bool = True
    colour: int = 0
    cutout: int = 0

    @property
    def changes_pixels(self) -> bool:
        """Whether anything but the mirror is on."""
        return self.colour > 0 or self.cutout > 0


def stream(seed: int, epoch: int, purpose: int, position: int = 0) -> np.random.Generator:
    """The random numbers of one purpose (ORDER, MIRROR, ...) at one place of one epoch; no state, no sharing."""
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=(epoch, purpose, position))
    return np.random.Generator(np.random.Philox(sequence))


def augment(image: np.ndarray, settings: Augmentation, chance: np.random.Generator) -> np.ndarray:
    """Change one RGB uint8 (h, w, 3) image as set (but for the mirror); float32 if the colour was touched.

    Order as in the original: re-compression, jitter, cut-out. Jittered values are not clipped to 0..255, as there.
    """
    if settings.colour > 1 and chance.random() < 0.5:
        image = recompress(image, int(chance.integers(COMPRESSION_QUALITY[0], COMPRESSION_QUALITY[1] + 1)))
    if settings.colour > 0:
        image = jitter(image, chance)
    if settings.cutout > 0 and chance.random() < 0.5:
        height, width = image.shape[:2]
        image = cut_out(image, int(chance.integers(height)), int(chance.integers(width)), settings.cutout)
    return image


def recompress(image: np.ndarray, quality: int) -> np.ndarray:
    """An RGB uint8 image after one more JPEG compression at `quality` (1..100)."""
    encoded = encode_jpeg(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    return cv2.cvtColor(decode_bgr(encoded), cv2.COLOR_BGR2RGB)


def jitter(image: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and saturation in random order, each by 1 + U(-0.125, 0.125); float32, not clipped.

    As mx.image.ColorJitter: contrast is towards the mean luminance of the image, saturation towards each pixel's own.
    The mean is taken in float64: in float32 NumPy 2.5 adds in another order than 1.26.
    """
    result = image.astype(np.float32)
    for step in chance.permutation(3):
        alpha = float(np.float32(1.0 + chance.uniform(-JITTER, JITTER)))  # NumPy 2 would take 1 - alpha in float32
        if step == 0:
            result = result * alpha
        elif step == 1:
            result = result * alpha + (1 - alpha) * float(np.float32((result @ LUMINANCE).mean(dtype=np.float64)))
        else:
            result = result * alpha + (1 - alpha) * (result @ LUMINANCE)[:, :, None]
    return result


def cut_out(image: np.ndarray, row: int, column: int, side: int) -> np.ndarray:
    """A copy with a square of `side` pixels centred at (row, column), clipped to the image, filled with 128."""
    result = image.copy()
    top, left = max(row - side // 2, 0), max(column - side // 2, 0)
    result[top:row - side // 2 + side, left:column - side // 2 + side] = CUTOUT_VALUE
    return result


_SLICE = 32


class Batch(NamedTuple):
    """data: float32 (B, 3, h, w), RGB 0..255; label: float32 (B,), the classes.

    beside: what else is known of each image, float32 (B,) by name.
    """

    data: np.ndarray
    label: np.ndarray
    beside: Mapping[str, np.ndarray]


class Batches(ABC):
    """What all orders share: the pipeline from a plan of keys to batches.

    beside: by name, a value of each record, float32 (largest key + 1,): fed in step with the labels.
    """

    def __init__(self, records: RecordSet, batch_size: int, seed: int, augmentation: Augmentation,
                 image_size: Optional[Tuple[int, int]], threads: Optional[int], ahead: int,
                 beside: Optional[Mapping[str, np.ndarray]] = None) -> None:
        if batch_size < 1:
            raise InputError(f"batch size {batch_size}: give 1 or more")
        self.records, self.batch_size, self.seed, self.augmentation = records, batch_size, seed, augmentation
        self.image_size = image_size or records.image_size or self._first_size()
        self.threads = threads or available_cores()
        self.beside: Mapping[str, np.ndarray] = beside or {}
        self._ahead = ahead

    @abstractmethod
    def epoch_keys(self, epoch: int) -> np.ndarray:
        """The record keys of an epoch in order, int64 (batches * batch_size,); an incomplete last batch is dropped."""

    def notes(self) -> List[str]:
        """What filling the batches brought about since the last call, for the log."""
        return []

    def restart_arrays(self) -> Dict[str, np.ndarray]:
        """What a restart needs beside the position; nothing where the order follows from seed and epoch."""
        return {}

    def restart(self, saved: Mapping[str, np.ndarray]) -> None:  # noqa: B027 - most orders keep nothing
        """Restore `restart_arrays`; foreign names are left alone."""

    def first_position(self) -> int:
        """Where this worker's part begins in the order all share."""
        return 0

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches `start`, `start` + 1, ... of an epoch; closing the generator ends its threads.

        Raises InputError naming file and key where a record is no image or has a label out of range, in its turn.
        """
        keys = self.epoch_keys(epoch).reshape(-1, self.batch_size)
        mirrored = self._mirrored(epoch, keys.size).reshape(keys.shape)
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="decode")
        waiting: Deque[_Filling] = collections.deque()
        try:
            for number in range(start, len(keys)):
                waiting.append(self._submit(pool, epoch, number, keys[number], mirrored[number]))
                if len(waiting) > self._ahead:
                    yield waiting.popleft().batch()
            while waiting:
                yield waiting.popleft().batch()
        finally:
            for filling in waiting:
                filling.cancel()
            pool.shutdown(wait=True)

    def _submit(self, pool: ThreadPoolExecutor, epoch: int, number: int, keys: np.ndarray,
                mirrored: np.ndarray) -> "_Filling":
        data = np.empty((self.batch_size, 3) + tuple(self.image_size), dtype=np.float32)
        label = np.empty(self.batch_size, dtype=np.float32)
        first = self.first_position() + number * self.batch_size

        def fill(begin: int) -> None:
            for place in range(begin, min(begin + _SLICE, self.batch_size)):
                label[place] = self._one(int(keys[place]), epoch, first + place, bool(mirrored[place]), data[place])

        beside = {name: table[keys] for name, table in self.beside.items()}
        return _Filling(data, label, beside, [pool.submit(fill, begin) for begin in range(0, self.batch_size, _SLICE)])

    def picture(self, key: int) -> Tuple[int, np.ndarray]:
        """One record as (class, BGR uint8 (h, w, 3)); raises InputError where it is no image."""
        label, encoded = self.records.read(key)
        try:
            return label, fit(decode_bgr(encoded), self.image_size)
        except NoImage as error:
            raise InputError(f"{self.records.path}: record {key}: {error}; "
                             "find all of them with `python datasets/prepare.py verify`") from None

    def _one(self, key: int, epoch: int, position: int, mirror: bool, out: np.ndarray) -> int:
        """Decode one record into `out` float32 (3, h, w); returns its class."""
        label, image = self.picture(key)
        if mirror:
            image = cv2.flip(image, 1)
        if self.augmentation.changes_pixels:
            rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            out[:] = augment(rgb, self.augmentation, stream(self.seed, epoch, IMAGE, position)).transpose(2, 0, 1)
        else:
            out[2], out[1], out[0] = cv2.split(image)
        return label

    def _mirrored(self, epoch: int, count: int) -> np.ndarray:
        if not self.augmentation.mirror:
            return np.zeros(count, dtype=bool)
        first = self.first_position()
        return stream(self.seed, epoch, MIRROR).random(first + count, dtype=np.float32)[first:] < 0.5

    def _first_size(self) -> Tuple[int, int]:
        key = int(self.records.keys[0])
        try:
            height, width = decode_bgr(self.records.read(key)[1]).shape[:2]
        except NoImage as error:
            raise InputError(f"{self.records.path}: record {key}: {error}; use another copy of the set") from None
        return height, width


class _Filling:
    """A batch whose images are being decoded."""

    def __init__(self, data: np.ndarray, label: np.ndarray, beside: Dict[str, np.ndarray],
                 parts: List["Future[None]"]) -> None:
        self._data, self._label, self._beside, self._parts = data, label, beside, parts

    def batch(self) -> Batch:
        for part in self._parts:
            part.result()
        return Batch(self._data, self._label, self._beside)

    def cancel(self) -> None:
        for part in self._parts:
            part.cancel()


class ClassificationBatches(Batches):
    """All images in random order, an epoch at a time.

    records: an opened set; batch_size: images of a batch of this worker. part: (rank, size) of several machines; each
    takes its own floor(N / size) consecutive images of the one order all share, as in docs/original.md, section 1.5.
    """

    def __init__(self, records: RecordSet, batch_size: int, seed: int, augmentation: Optional[Augmentation] = None,
                 image_size: Optional[Tuple[int, int]] = None, part: Tuple[int, int] = (0, 1), shuffle: bool = True,
                 threads: Optional[int] = None, ahead: int = 3,
                 beside: Optional[Mapping[str, np.ndarray]] = None) -> None:
        """`image_size` (height, width) defaults to the property's; InputError where not one batch can be filled."""
        super().__init__(records, batch_size, seed, augmentation or Augmentation(), image_size, threads, ahead, beside)
        self.rank, self.workers = part
        if not 0 <= self.rank < self.workers:
            raise InputError(f"worker {self.rank} of {self.workers}: ranks count from 0")
        self.shuffle = shuffle
        if not self.batches_per_epoch:
            raise InputError(f"{records.path}: {records.images} images for {self.workers} worker(s) fill no batch of "
                             f"{batch_size}; lower --per-batch-size or take a larger set")

    @property
    def batches_per_epoch(self) -> int:
        """floor(floor(N / workers) / batch size)."""
        return self.records.images // self.workers // self.batch_size

    def first_position(self) -> int:
        """rank * floor(N / workers)."""
        return self.rank * (self.records.images // self.workers)

    def epoch_keys(self, epoch: int) -> np.ndarray:
        """The keys this worker sees in an epoch, in order."""
        count = self.records.images
        order = stream(self.seed, epoch, ORDER).permutation(count) if self.shuffle else np.arange(count)
        first = self.first_position()
        return self.records.keys[order[first:first + self.batches_per_epoch * self.batch_size]]


class IdentityBatches(Batches):
    """Batches of `identities_per_batch` x `images_per_identity`, the images of an identity side by side.

    For triplets. An epoch shows each identity with at least two images once, in random order; its images are drawn
    without replacement where it has enough, else each of them before any comes again.
    """

    def __init__(self, records: RecordSet, identities_per_batch: int, images_per_identity: int, seed: int,
                 augmentation: Optional[Augmentation] = None, image_size: Optional[Tuple[int, int]] = None,
                 threads: Optional[int] = None, ahead: int = 3) -> None:
        """Raises InputError where the set has too few identities of two images for one batch."""
        super().__init__(records, identities_per_batch * images_per_identity, seed, augmentation or Augmentation(),
                         image_size, threads, ahead)
        self.identities_per_batch, self.images_per_identity = identities_per_batch, images_per_identity
        self._by_label = np.argsort(records.labels, kind="stable")
        _, first, counts = np.unique(records.labels[self._by_label], return_index=True, return_counts=True)
        self._first, self._counts = first[counts > 1], counts[counts > 1]
        if not self.batches_per_epoch:
            raise InputError(f"{records.path}: {self._first.size} identities have two images or more, fewer than the "
                             f"{identities_per_batch} of a batch; lower the identities of a batch")

    @property
    def batches_per_epoch(self) -> int:
        """floor(identities / identities of a batch)."""
        return int(self._first.size) // self.identities_per_batch

    def epoch_keys(self, epoch: int) -> np.ndarray:
        """The keys of an epoch in order."""
        chance = stream(self.seed, epoch, ORDER)
        chosen = chance.permutation(self._first.size)[:self.batches_per_epoch * self.identities_per_batch]
        wanted = self.images_per_identity
        places = np.empty((chosen.size, wanted), dtype=np.int64)
        for row, identity in enumerate(chosen):
            count = int(self._counts[identity])
            rounds = [chance.permutation(count) for _ in range(-(-wanted // count))]
            places[row] = self._first[identity] + np.concatenate(rounds)[:wanted]
        return self.records.keys[self._by_label[places.reshape(-1)]]
