"""What an encoded picture says about itself, read here before any decoder sees it: its format, its size, its end.

Formats are told by their first bytes, from a short list: JPEG, PNG, BMP, WebP, binary PGM and PPM, and TIFF where a
command is told to take it. Nothing else reaches a decoder: not JPEG 2000, EXR, HDR, GIF, AVIF, text PNM, nor an
animation.
"""
import re
import struct
from typing import Callable, Dict, NamedTuple, Tuple

MOST_PIXELS = 1 << 27  # 134 million, more than any camera for portraits has; 400 MB decoded
MOST_SIDE = 32766  # OpenCV's warps take no longer side
MOST_BYTES = 1 << 28  # of an encoded picture
JPEG, PNG, BMP, WEBP, PNM, TIFF = "JPEG", "PNG", "BMP", "WebP", "PNM", "TIFF"
FORMATS = (JPEG, PNG, BMP, WEBP, PNM)
_KNOWN_OTHERS = (
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"), (b"\xff\x4f\xff\x51", "JPEG 2000"), (b"GIF8", "GIF"),
    (b"v/1\x01", "OpenEXR"), (b"#?RADIANCE", "Radiance HDR"), (b"#?RGBE", "Radiance HDR"),
    (b"\x59\xa6\x6a\x95", "Sun raster"),
    (b"II+\0", "BigTIFF"), (b"MM\0+", "BigTIFF"), (b"%PDF", "PDF"), (b"\x93NUMPY", "a NumPy array"),
    (b"PK\x03\x04", "a zip"),
    (b"version https://git-lfs", "a Git LFS pointer"), (b"Pf", "PFM"), (b"PF", "PFM"), (b"P7", "PAM"),
    (b"<", "a web page or SVG"))
_PNM_HEAD = re.compile(rb"P([56])(?:\s|#[^\n]{0,200}\n)+([0-9]{1,9})(?:\s|#[^\n]{0,200}\n)+([0-9]{1,9})"
                       rb"(?:\s|#[^\n]{0,200}\n)+([0-9]{1,9})\s")
_PLAIN_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive Huffman coding: what photographs are
_FRAMES = frozenset((*_PLAIN_FRAMES, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF))
_NO_SEGMENT = frozenset((0, 1, 0xFF, *range(0xD0, 0xD8), 0xD9))  # after 0xFF: no marker, or one without a length
_CHUNK = struct.Struct(">I4s")
_JPEG_END = b"\xff\xd9"  # never inside a scan, so the first after one starts is the end; cameras append more
_FRAME = struct.Struct(">BHHB")
# A deflated byte makes 1,032 bytes at most, and a JPEG needs a bit for 8x8 pixels: a larger claim is made up.
_DEFLATE_MOST, _JPEG_PIXELS_A_BYTE = 1032, 8 * 64


def image_suffixes(tiff: bool = False) -> Tuple[str, ...]:
    """How the names of image files end, in lower case."""
    return (".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".ppm", ".webp") + ((".tif", ".tiff") if tiff else ())


class NoImage(ValueError):
    """The bytes are no image that can be decoded; the message says so without a name."""


class ImageHeader(NamedTuple):
    """A picture's format, width and height in pixels as stored, whether all its bytes are there."""

    format: str
    width: int
    height: int
    whole: bool = True


def read_header(encoded: bytes, tiff: bool = False, most_pixels: int = MOST_PIXELS) -> ImageHeader:
    """Format and size of an encoded picture; raises NoImage where it is none of the formats, or larger than is read.

    `tiff`: TIFF is taken as well. `most_pixels`: the most pixels a picture may have.
    """
    if len(encoded) > MOST_BYTES:
        raise NoImage(f"its {len(encoded)} bytes are more than the {MOST_BYTES} that are read")
    form = _format(encoded)
    if form == TIFF and not tiff:
        raise NoImage("is a TIFF, which is read only with --tiff")
    header = _READERS[form](encoded)
    if header.width < 1 or header.height < 1:
        raise NoImage(f"is a {form} of {header.height}x{header.width}, without a pixel")
    if max(header.width, header.height) > MOST_SIDE:
        raise NoImage(f"is {header.height}x{header.width}; a side is at most {MOST_SIDE}")
    if header.width * header.height > most_pixels:
        raise NoImage(f"is {header.height}x{header.width}, more than the {most_pixels} pixels that are read")
    return header


def _format(encoded: bytes) -> str:
    if encoded.startswith(b"\xff\xd8\xff"):
        return JPEG
    if encoded.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if encoded.startswith(b"RIFF") and encoded[8:12] == b"WEBP":
        return WEBP
    if encoded.startswith((b"P5", b"P6")):
        return PNM
    if encoded.startswith((b"II*\0", b"MM\0*")):
        return TIFF
    if encoded.startswith(b"BM") and len(encoded) > 17:
        return BMP
    if not encoded:
        raise NoImage("is empty, no image")
    other = next((name for start, name in _KNOWN_OTHERS if encoded.startswith(start)), None)
    if other is None and encoded[4:12] in (b"ftypavif", b"ftypheic", b"ftypmif1", b"ftypheix"):
        other = "HEIF or AVIF"
    what = f"is {other}" if other else f"its {len(encoded)} bytes begin as no image"
    raise NoImage(f"{what}; {', '.join(FORMATS)} are read")


def _jpeg(encoded: bytes) -> ImageHeader:
    """Walk the segments as decoders do: up to the frame header, and on to the first scan."""
    at, end = 2, len(encoded)
    frame = None
    while True:
        if at + 4 > end:
            raise NoImage("is a JPEG cut off before its picture")
        if encoded[at] != 0xFF or encoded[at + 1] in _NO_SEGMENT:
            at = _next_marker(encoded, at)
            continue
        marker, length = encoded[at + 1], encoded[at + 2] << 8 | encoded[at + 3]
        if marker == 0xDA:
            break
        if marker in _FRAMES:
            if marker not in _PLAIN_FRAMES:
                raise NoImage(f"is a JPEG of a coding (0xFF{marker:02X}) that photographs do not have")
            if frame is not None or length < 8 or at + 10 > end:
                raise NoImage("is a damaged JPEG (two sizes, or half of one)")
            frame = _FRAME.unpack_from(encoded, at + 4)
        if length < 2:
            raise NoImage("is a damaged JPEG (a segment of no length)")
        at += 2 + length
    if frame is None:
        raise NoImage("is a damaged JPEG (no size before its picture)")
    bits, height, width, channels = frame
    if bits != 8 or channels not in (1, 3, 4):
        raise NoImage(f"is a JPEG of {bits} bits and {channels} channels; 8 bits and 1, 3 or 4 channels are read")
    if width * height > _JPEG_PIXELS_A_BYTE * end + 64 * 64:
        raise NoImage(f"is a JPEG that claims {height}x{width}, more than its {end} bytes can hold")
    return ImageHeader(JPEG, width, height, encoded.endswith(_JPEG_END) or encoded.find(_JPEG_END, at) >= 0)


def _next_marker(encoded: bytes, at: int) -> int:
    """Where the next segment may start: decoders pass over bytes that are none."""
    if encoded[at] == 0xFF:
        if encoded[at + 1] == 0xD9:
            raise NoImage("is a JPEG that ends before its picture")
        return at + (1 if encoded[at + 1] == 0xFF else 2)
    found = encoded.find(b"\xff", at)
    return found if found >= 0 else len(encoded)


def _png(encoded: bytes) -> ImageHeader:
    if len(encoded) < 33 or encoded[8:16] != b"\0\0\0\rIHDR":
        raise NoImage("is a damaged PNG (no size at its start)")
    width, height, bits, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", encoded, 16)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour)
    if channels is None or bits not in (1, 2, 4, 8, 16):
        raise NoImage(f"is a damaged PNG (colour type {colour} of {bits} bits)")
    if height * (width * channels * bits // 8) > _DEFLATE_MOST * len(encoded) and not interlaced:
        raise NoImage(f"is a PNG that claims {height}x{width}, more than its {len(encoded)} bytes can hold")
    return ImageHeader(PNG, width, height, _png_is_whole(encoded))


def _png_is_whole(encoded: bytes) -> bool:
    """Whether every chunk lies in the file, to the last: OpenCV's reader makes room for the length of any."""
    at = 33
    while at + 12 <= len(encoded):
        length, kind = _CHUNK.unpack_from(encoded, at)
        if not kind.isalpha():
            raise NoImage("is a damaged PNG (a chunk without a name)")
        if kind == b"acTL":
            raise NoImage("is an animated PNG; give one picture")
        at += 12 + length
        if kind == b"IEND":
            return at <= len(encoded)
    return False


def _bmp(encoded: bytes) -> ImageHeader:
    start, size = struct.unpack_from("<II", encoded, 10)
    if size == 12 and len(encoded) >= 26:
        width, height, _, bits = struct.unpack_from("<HHHH", encoded, 18)
        packed = 0
    elif size >= 40 and len(encoded) >= 54:
        width, height, _, bits, packed = struct.unpack_from("<iiHHI", encoded, 18)
    else:
        raise NoImage("is a damaged BMP (no size at its start)")
    if packed not in (0, 3) or bits not in (1, 4, 8, 16, 24, 32):
        raise NoImage(f"is a BMP of a coding ({packed}, {bits} bits) that is not read")
    height = abs(height)
    row = (max(width, 0) * bits + 31) // 32 * 4
    return ImageHeader(BMP, width, height, start + row * height <= len(encoded))


def _webp(encoded: bytes) -> ImageHeader:
    if len(encoded) < 30:
        raise NoImage("is a WebP cut off before its picture")
    kind, whole = encoded[12:16], int.from_bytes(encoded[4:8], "little") + 8 <= len(encoded)
    if kind == b"VP8 " and encoded[23:26] == b"\x9d\x01\x2a":
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", encoded, 26))
    elif kind == b"VP8L" and encoded[20] == 0x2F:
        bits = int.from_bytes(encoded[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":
        if encoded[20] & 2:
            raise NoImage("is an animated WebP; give one picture")
        width = int.from_bytes(encoded[24:27], "little") + 1
        height = int.from_bytes(encoded[27:30], "little") + 1
    else:
        raise NoImage("is a damaged WebP (no size at its start)")
    return ImageHeader(WEBP, width, height, whole)


def pnm_layout(encoded: bytes) -> Tuple[int, int, int, int]:
    """(width, height, channels, where the pixels start) of a binary PGM or PPM of 8 bits; raises NoImage."""
    head = _PNM_HEAD.match(encoded[:1024])
    if head is None:
        raise NoImage("is a damaged PGM or PPM (no size at its start)")
    if int(head[4]) != 255:
        raise NoImage(f"is a PGM or PPM with values to {int(head[4])}; 255 is read")
    return int(head[2]), int(head[3]), 1 if head[1] == b"5" else 3, head.end()


def _pnm(encoded: bytes) -> ImageHeader:
    width, height, channels, start = pnm_layout(encoded)
    return ImageHeader(PNM, width, height, start + width * height * channels <= len(encoded))


def _tiff(encoded: bytes) -> ImageHeader:
    """Width and height of the first page's directory."""
    order = "<" if encoded.startswith(b"II") else ">"
    try:
        place, = struct.unpack_from(order + "I", encoded, 4)
        count, = struct.unpack_from(order + "H", encoded, place)
        found: Dict[int, int] = {}
        for number in range(count):
            tag, kind, many, = struct.unpack_from(order + "HHI", encoded, place + 2 + 12 * number)
            if tag in (256, 257) and many == 1 and kind in (3, 4):
                found.setdefault(tag, struct.unpack_from(order + ("H" if kind == 3 else "I"), encoded,
                                                         place + 10 + 12 * number)[0])
    except struct.error:
        raise NoImage("is a damaged TIFF (its directory lies outside)") from None
    if len(found) != 2:
        raise NoImage("is a damaged TIFF (no size in its first page)")
    return ImageHeader(TIFF, found[256], found[257])


_READERS: Dict[str, Callable[[bytes], ImageHeader]] = {JPEG: _jpeg, PNG: _png, BMP: _bmp, WEBP: _webp, PNM: _pnm,
                                                       TIFF: _tiff}
