"""Formats and sizes are told before a decoder sees a byte; what is decoded is what OpenCV decodes."""
import ast
import struct
import zlib
from pathlib import Path

from arcface_mxnet.datasets import image_headers, images
from arcface_mxnet.datasets.align import align
from arcface_mxnet.datasets.embedding_angles import thumbnail
from arcface_mxnet.datasets.image_headers import MOST_PIXELS, MOST_SIDE, NoImage, read_header
from arcface_mxnet.datasets.images import decode_bgr, decode_rgb, kept_as_it_is, mime, suffix

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
SHAPES = [(5, 7), (112, 112), (1, 300), (300, 1), (1, 1), (40, 2000)]
KINDS = [(".jpg", []), (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]), (".png", []), (".bmp", []), (".webp", []),
         (".ppm", []),
         (".pgm", []), (".tif", [])]


def encoded(suffix=".jpg", shape=(112, 112), flags=(), seed=0):
    picture = np.random.default_rng(seed).integers(0, 255, (*shape, 3), np.uint8)
    return cv2.imencode(suffix, picture[:, :, 0].copy() if suffix == ".pgm" else picture, list(flags))[1].tobytes()


def opencv(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("suffix,flags", KINDS)
def test_every_format_gives_opencvs_pixels_and_its_size_is_read_from_the_header(suffix, flags, shape):
    data = encoded(suffix, shape, flags)
    header = read_header(data, tiff=True)
    assert (header.height, header.width) == shape and header.whole
    found = decode_bgr(data, tiff=True)
    assert np.array_equal(found, opencv(data)) and found.flags.c_contiguous and found.flags.writeable
    assert np.array_equal(decode_rgb(data, tiff=True), found[:, :, ::-1])


@pytest.mark.parametrize("suffix,flags", KINDS)
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_what_is_cut_off_is_no_image(suffix, flags, part):
    data = encoded(suffix, (60, 80), flags)
    with pytest.raises(NoImage, match="cut off before its|cannot be decoded|directory lies outside"):
        decode_bgr(data[:int(part * len(data))], tiff=True)


def test_published_pictures_decode_to_the_same_pixels(fixtures):
    found = [path for path in sorted(fixtures.rglob("*")) if path.suffix.lower() in (".jpg", ".png", ".pgm")][::7]
    assert len(found) > 20
    for path in found:
        assert np.array_equal(decode_bgr(path.read_bytes()), opencv(path.read_bytes())), path


@pytest.mark.parametrize("extra", [b"\0" * 5000, b"\xff" * 3000, b"MPF or a film appended by a telephone" * 99])
def test_what_a_camera_appends_changes_nothing(extra):
    data = encoded() + extra
    assert read_header(data).whole and np.array_equal(decode_bgr(data), opencv(data))


def test_a_last_chunk_longer_than_the_file_is_not_whole():
    data = encoded(".png")
    assert read_header(data).whole and not read_header(data[:-12] + b"\0\1\0\0" + data[-8:]).whole


def test_a_thumbnail_inside_does_not_count_as_the_end():
    data, small = encoded(), encoded(shape=(8, 8))
    inside = data[:2] + b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small + data[2:]
    assert read_header(inside)[1:] == (112, 112, True)
    assert not read_header(inside[:-40]).whole


@pytest.mark.parametrize("data,said", [
    (b"", "is empty"), (b"nothing", "its 7 bytes begin as no image; JPEG, PNG, BMP, WebP, PNM are read"),
    (b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 99, "is JPEG 2000"), (b"\xff\x4f\xff\x51" + b"\0" * 99, "is JPEG 2000"),
    (b"GIF89a" + b"\0" * 99, "is GIF"), (b"v/1\x01" + b"\0" * 99, "is OpenEXR"), (b"#?RADIANCE\n", "is Radiance HDR"),
    (b"\0\0\0 ftypavif" + b"\0" * 99, "HEIF or AVIF"), (b"P2\n1 1 255 0", "begin as no image"),
    (b"<html>", "a web page"),
    (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer")])
def test_only_the_formats_of_the_list_reach_a_decoder(data, said, monkeypatch):
    monkeypatch.setattr(images.cv2, "imdecode", None)  # calling it would fail
    with pytest.raises(NoImage, match=said):
        decode_bgr(data, tiff=True)


def test_tiff_is_taken_by_name_only():
    with pytest.raises(NoImage, match="TIFF, which is read only with --tiff"):
        decode_bgr(encoded(".tif"))


def claimed_jpeg(height, width, padding=0):
    data = bytearray(encoded(shape=(16, 16)))
    place = data.index(b"\xff\xc0") + 5
    data[place:place + 4] = struct.pack(">HH", height, width)
    return bytes(data[:-2]) + b"\0" * padding + b"\xff\xd9"


def claimed_png(height, width):
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I",
                                                                                        zlib.crc32(b"IHDR" + head))
            + b"\0\0\0\0IEND\xaeB`\x82")


def claimed_webp(height, width):
    body = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3,
                                                                                                                     "little")
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def claimed_bmp(height, width):
    return b"BM" + struct.pack("<IIIIiiHHI", 54, 0, 54, 40, width, height, 1, 24, 0) + b"\0" * 24


def claimed_pnm(height, width):
    return f"P6\n# made\n{width} {height}\n255\n".encode() + b"\0" * 99


def claimed_tiff(height, width):
    return b"II*\0" + struct.pack("<IHHHIIHHIII", 8, 2, 256, 4, 1, width, 257, 4, 1, height, 0)


CLAIMS = [claimed_jpeg, claimed_png, claimed_webp, claimed_bmp, claimed_pnm, claimed_tiff]


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("height,width", [(30000, 30000), (1, MOST_SIDE + 1), (MOST_SIDE + 1, 1), (12000, 12000)])
def test_a_claimed_size_above_the_limits_never_reaches_a_decoder(claim, height, width, monkeypatch):
    monkeypatch.setattr(images.cv2, "imdecode", None)
    with pytest.raises(NoImage, match=rf"{height}x{width}(, more than|; a side is at most|\)| takes|$)"):
        decode_bgr(claim(height, width), tiff=True)


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_limit_is_that_of_the_caller(claim):
    with pytest.raises(NoImage, match="is 40x50, more than the 1999 pixels that are read"):
        read_header(claim(40, 50), True, 1999)
    assert read_header(claim(40, 50), True, 2000)[1:3] == (50, 40)


@pytest.mark.parametrize("claim", [claimed_jpeg, claimed_png])
def test_more_pixels_than_the_bytes_can_hold(claim, monkeypatch):
    """3.5 KB that claim to be 30,000 x 30,000 took 5 GB; below the limit as well a claim is held against the bytes."""
    monkeypatch.setattr(image_headers, "MOST_SIDE", 1 << 20)
    with pytest.raises(NoImage, match="claims 30000x30000, more than its [0-9]* bytes can hold"):
        read_header(claim(30000, 30000), most_pixels=1 << 40)
    for shape in ((3000, 4000), (2, 30000)):  # one colour: as few bytes a pixel as there can be
        plain = cv2.imencode(".png" if claim is claimed_png else ".jpg",
                             np.full((*shape, 3), 128, np.uint8))[1].tobytes()
        assert decode_bgr(plain).shape[:2] == shape


@pytest.mark.parametrize("damage,said", [
    (lambda data: data.replace(b"\xff\xc0", b"\xff\xc9", 1), "a coding .0xFFC9. that photographs do not have"),
    (lambda data: data.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c", 1), "12 bits"),
    (lambda data: data.replace(b"\xff\xda", b"\xff\xc0\0\x11\x08\0\x10\0\x10\3\xff\xda", 1), "two sizes"),
    (lambda data: data.replace(b"\xff\xc0", b"\xff\xfe", 1), "no size before"),
    (lambda data: data[:2] + b"\xff\xd9", "ends before|cut off"),
    (lambda data: data[:20] + b"\xff\xe1\0\1", "no length"), (lambda data: b"\xff\xd8\xff\xe0\xff\xff" + data[2:],
                                                              "cut off"),
    (lambda data: b"\xff\xd8" + b"\xff" * 9999, "cut off before its picture")])
def test_damaged_jpegs(damage, said):
    with pytest.raises(NoImage, match=said):
        decode_bgr(damage(encoded(shape=(16, 16))))


@pytest.mark.parametrize("data,said", [
    (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "no size at its start"), (claimed_png(4, 4)[:25] + b"\7" + claimed_png(4,
                                                                                                               4)[26:],
                                                                  "colour type"),
    (claimed_png(4, 4)[:33] + b"\0\0\0\x08acTL" + b"\0" * 12, "animated PNG"),
    (claimed_png(4, 4)[:33] + b"null\0\0\x09\x1dIDAT", "without a name"),
    (claimed_png(4, 4)[:33] + b"\x6e\0\0\0IDAT" + b"\0" * 9, "cut off"), (b"RIFF\0\0\0\0WEBP", "cut off"),
    (b"RIFF\x99\0\0\0WEBPABCD" + b"\0" * 20, "no size"), (claimed_webp(9, 9)[:20] + b"\2" + claimed_webp(9, 9)[21:],
                                                          "animated WebP"),
    (b"BM" + b"\0" * 60, "no size"), (claimed_bmp(4, 4)[:30] + b"\1" + claimed_bmp(4, 4)[31:], "a coding"),
    (claimed_bmp(0, 4), "without a pixel"),
    (claimed_bmp(4, -4), "without a pixel"), (b"P6 4 4 65535 ", "values to 65535"),
    (b"P5\n9999999999 1 255\n", "no size"),
    (b"II*\0\xff\xff\xff\xff", "outside"), (b"II*\0\x08\0\0\0\0\0", "no size in its first page"),
    (claimed_tiff(0, 3), "without a pixel")])
def test_damaged_headers_of_the_other_formats(data, said):
    with pytest.raises(NoImage, match=said):
        decode_bgr(data, tiff=True)


@settings(max_examples=300)
@given(kind=st.sampled_from(KINDS), flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 7)), max_size=4),
       cut=st.floats(0.01, 1), head=st.booleans())
def test_damaged_pictures_are_decoded_or_refused(kind, flips, cut, head):
    data = bytearray(encoded(kind[0], (12, 10), kind[1]))
    for place, bit in flips:
        data[int(place * (min(len(data), 40) if head else len(data)))] ^= 1 << bit
    try:
        found = decode_bgr(bytes(data[:max(int(cut * len(data)), 1)]), tiff=True)
        assert found.ndim == 3 and found.dtype == np.uint8 and found.shape[0] * found.shape[1] <= MOST_PIXELS
    except NoImage as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("shape", [(1, 3000), (3000, 1), (1, 1), (60, MOST_SIDE), (MOST_SIDE, 60)])
def test_narrow_and_panoramic_pictures_pass_every_step(shape):
    picture = np.zeros((*shape, 3), np.uint8)
    assert align(picture, np.array([[38, 51], [73, 51], [56, 71], [41, 92], [70, 92]], float)).shape == (112, 112, 3)
    thumbnail(picture)


def test_what_may_stay_in_a_record_and_be_shown():
    for ending, kept, shown in ((".jpg", True, "image/jpeg"), (".png", True, "image/png"),
                                (".webp", False, "image/webp")):
        data = encoded(ending)
        assert kept_as_it_is(data) is kept and mime(data) == shown and suffix(data) == (ending if kept else ".img")
    for data in (b"<svg onload=alert(1)>", b"", encoded(".bmp")):
        with pytest.raises(NoImage):
            mime(data)
    assert suffix(b"nothing") == ".img" and not kept_as_it_is(b"nothing")


DECODERS = {"imdecode", "imread", "imdecodemulti", "imreadmulti", "imreadanimation", "VideoCapture", "ImageRecordIter",
            "ImageDetRecordIter", "ImageRecordIter_v1", "ImageRecordUInt8Iter", "ImageIter", "imdecode_np",
            "unpack_img"}


def test_nobody_else_decodes():
    """OpenCV's and MXNet's decoders are reached in datasets/images.py alone; tests and benchmarks compare."""
    allowed = {ROOT / "datasets" / "images.py"}
    for folder in ("runtime", "graph", "datasets", "evaluation", "recognition", "logs"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            names = {node.attr for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node,
                                                                                                               ast.Attribute)}
            assert path in allowed or not names & DECODERS, f"{path}: {names & DECODERS}"
