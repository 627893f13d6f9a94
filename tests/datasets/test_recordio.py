"""RecordIO frames against MXNet's own writer and reader, in both directions."""
from arcface_mxnet.datasets.recordio import MAGIC, BrokenRecord, frame, pack_image, part_length, unframe, unpack_image
from arcface_mxnet.engines.mxnet.mx import mx

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

MAGIC_BYTES = np.uint32(MAGIC).tobytes()
# Payloads in which the magic is likely, at multiples of 4 and elsewhere.
payloads = st.lists(st.one_of(st.just(MAGIC_BYTES), st.binary(max_size=9)), max_size=8).map(b"".join)


@settings(max_examples=60)
@given(st.lists(payloads, min_size=1, max_size=6))
def test_frames_are_what_mxnet_writes_and_reads(tmp_path_factory, records):
    folder = tmp_path_factory.mktemp("recordio")
    theirs = mx.recordio.MXRecordIO(str(folder / "theirs.rec"), "w")
    for record in records:
        theirs.write(record)
    theirs.close()
    ours = b"".join(frame(record) for record in records)
    assert (folder / "theirs.rec").read_bytes() == ours
    assert [unframe(frame(record)) for record in records] == records


def test_mxnet_reads_our_multi_part_records(tmp_path):
    records = [MAGIC_BYTES * 3, b"a" * 5 + MAGIC_BYTES, b"abcd" + MAGIC_BYTES + b"tail", MAGIC_BYTES[:3]]
    (tmp_path / "ours.rec").write_bytes(b"".join(frame(record) for record in records))
    reader = mx.recordio.MXRecordIO(str(tmp_path / "ours.rec"), "r")
    assert [reader.read() for _ in records] == records
    assert reader.read() is None


@settings(max_examples=60)
@given(st.one_of(st.integers(0, 1 << 24), st.lists(st.integers(0, 1 << 24), min_size=1, max_size=4)),
       st.integers(0, 2 ** 40), st.binary(max_size=20))
def test_image_records_are_mxnets(label, key, encoded):
    packed = pack_image(label, key, encoded)
    assert packed == mx.recordio.pack(mx.recordio.IRHeader(0, label, key, 0), encoded)
    header, body = mx.recordio.unpack(packed)
    record = unpack_image(packed)
    assert record.encoded == body == encoded and record.id == header.id == key
    assert list(record.labels) == list(np.atleast_1d(header.label))
    assert record.vector == isinstance(label, list)


@pytest.mark.parametrize("broken", [b"", b"\x0a\x23\xd7", frame(b"abcdefgh")[:-3], b"JFIF" * 4,
                                    frame(b"abcd" + MAGIC_BYTES + b"efgh")[:-4]])
def test_what_is_no_whole_frame_is_refused(broken):
    with pytest.raises(BrokenRecord):
        unframe(broken)


def test_a_header_holds_three_bits_of_part_and_29_of_length():
    assert part_length(MAGIC_BYTES + b"\xff\xff\xff\x3f") == (1, 2 ** 29 - 1)
    assert part_length(MAGIC_BYTES + b"\x00\x00\x00\x70") == (3, 2 ** 28)


def test_middle_part_cannot_begin_a_record():
    middle = (2 << 29 | 4).to_bytes(4, "little")
    with pytest.raises(BrokenRecord, match="out of order"):
        unframe(MAGIC_BYTES + middle + b"abcd")


@pytest.mark.parametrize("data", [b"short", pack_image([1.0, 2.0, 3.0], 0, b"")[:30]])
def test_an_image_record_too_short_for_its_header_is_refused(data):
    with pytest.raises(BrokenRecord):
        unpack_image(data)
