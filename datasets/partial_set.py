"""A record set that is still being built, in a folder of its own, so that an interrupted build goes on where it was.

`OUT.partial/` holds train.rec and train.idx up to the last whole identity the journal knows to be on the disk. Going on
cuts off what lies beyond, and finds index and ranges again in the record file itself.
"""
import os
import time
from pathlib import Path
from typing import Any, Dict, Iterable, List, Sequence, Tuple

from arcface_mxnet.datasets.image_sources import Fingerprint
from arcface_mxnet.datasets.record_writer import SetStream
from arcface_mxnet.datasets.recordindex import framed_length
from arcface_mxnet.datasets.recordio import unframe, unpack_image
from arcface_mxnet.datasets.set_property import write_property
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import read_json, write_json

JOURNAL = "journal.json"
SECONDS_BETWEEN_JOURNALS = 5.0
_BUFFER = 1 << 20


class PartialSet:
    """Open (or go on with) the unfinished set in `folder` for one input, known by its fingerprint.

    What is in must be as it was; what comes after may have changed: the image a build stopped at was repaired, say.
    `next_image`: number of the first image of the source not yet in; `skipped`: what was left out so far.
    """

    def __init__(self, folder: Path, fingerprint: Fingerprint) -> None:
        """Raises InputError where the folder holds an unfinished build of something else."""
        self.folder, self.fingerprint = folder, fingerprint
        self.next_image = 0
        self.skipped: List[List[str]] = []
        journal = _journal(folder)
        if journal and not _same(journal, fingerprint):
            raise InputError(f"{folder}: an unfinished build of other images or other options; finish that one, or "
                             "remove the folder")
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.iterdir():
            if leftover.name not in (JOURNAL, "train.rec"):
                leftover.unlink()
        end = journal.get("offset", 0)
        self._rec = open(folder / "train.rec", "ab", buffering=_BUFFER)
        self._rec.truncate(end)
        self._rec.seek(end)
        self._idx = open(folder / "train.idx", "wb", buffering=_BUFFER)
        self.stream = SetStream(self._rec, self._idx, folder)
        if journal:
            self._recover(end, journal)
        else:
            self._note()
        self._noted = time.monotonic()

    def add(self, label: int, images: Iterable[bytes], next_image: int, left: Sequence[List[str]] = ()) -> None:
        """Append an identity, and what was left out up to it; the journal follows every few seconds."""
        self.stream.add(label, images)
        self.next_image = next_image
        self.skipped += left
        if time.monotonic() - self._noted > SECONDS_BETWEEN_JOURNALS:
            self.note()

    def note(self) -> None:
        """Bring everything so far onto the disk, then say so in the journal."""
        for stream in (self._rec, self._idx):
            stream.flush()
            os.fsync(stream.fileno())
        self._note()
        self._noted = time.monotonic()

    def finish(self, image_size: Tuple[int, int]) -> None:
        """Complete the set: ranges, header, property; the folder then holds a whole set and no journal."""
        self.stream.finish()
        self.note()
        self.close()
        write_property(self.folder / "property", self.stream.last_label + 1, image_size)

    def close(self) -> None:
        """Close the files as they are."""
        with self._idx, self._rec:
            pass

    def _note(self) -> None:
        write_json(self.folder / JOURNAL, {"fingerprint": self.fingerprint(self.next_image),
                                           "offset": self.stream.offset, "next_image": self.next_image,
                                           "skipped": self.skipped})

    def _recover(self, end: int, journal: Dict[str, Any]) -> None:
        """Index and ranges from the records themselves."""
        descriptor = os.open(self.folder / "train.rec", os.O_RDONLY)
        at, stream = 0, self.stream
        try:
            while at < end:
                length = framed_length(descriptor, at, end)
                record = unpack_image(unframe(os.pread(descriptor, length, at)))
                if not record.encoded:  # the build was already writing its ranges: they are written again
                    break
                if record.labels[0] != stream.last_label:
                    stream.last_label = int(record.labels[0])
                    stream.ranges.append((stream.key, stream.key))
                self._idx.write(b"%d\t%d\n" % (stream.key, at))
                stream.key += 1
                stream.ranges[-1] = (stream.ranges[-1][0], stream.key)
                at += length
        except ValueError as error:
            raise InputError(f"{self.folder}: the unfinished set is damaged at byte {at} ({error}); remove the folder "
                             "and start again") from None
        finally:
            os.close(descriptor)
        self._rec.truncate(at)
        self._rec.seek(at)
        stream.offset = at
        self.next_image, self.skipped = journal["next_image"], journal["skipped"]


def _same(journal: Dict[str, Any], fingerprint: Fingerprint) -> bool:
    """Whether the images in are still the first ones of the source."""
    try:
        return bool(journal["fingerprint"] == fingerprint(journal["next_image"]))
    except (KeyError, ValueError):
        return False


def _journal(folder: Path) -> Dict[str, Any]:
    """The journal of an unfinished build, empty for a new one; a folder of something else is not touched."""
    if (folder / JOURNAL).exists():
        return dict(read_json(folder / JOURNAL))
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: is no unfinished build (it has no {JOURNAL}); move it away")
    return {}
