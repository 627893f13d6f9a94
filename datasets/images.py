"""Encoded images to RGB pixels and back: the one decoder of training, packs, folders, archives and checks.

Nothing reaches OpenCV before `arcface_mxnet.datasets.image_headers` has told its format and size from its own bytes.
"""
import errno
import os
import stat
from typing import Optional, Tuple

from arcface_mxnet.datasets.image_headers import (
    JPEG,
    MOST_BYTES,
    MOST_PIXELS,
    PNG,
    PNM,
    WEBP,
    ImageHeader,
    NoImage,
    pnm_layout,
    read_header,
)
from arcface_mxnet.runtime.files import PathLike

import cv2
import numpy as np

__all__ = ["NoImage", "decode_bgr", "decode_rgb", "encode_jpeg", "fit", "grey", "kept_as_it_is", "mime", "read_image",
           "suffix"]

JPEG_QUALITY = 95
_SUFFIXES = {JPEG: ".jpg", PNG: ".png"}
_MIMES = {JPEG: "image/jpeg", PNG: "image/png", WEBP: "image/webp"}


def read_image(path: PathLike) -> bytes:
    """The bytes of an image file; raises OSError where it is no regular file (it is not waited for) or too large."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "no regular file", os.fspath(path))
        if status.st_size > MOST_BYTES:
            raise OSError(errno.EINVAL, f"{status.st_size} bytes, more than the {MOST_BYTES} that are read")
        return stream.read()


def decode_rgb(encoded: bytes, tiff: bool = False) -> np.ndarray:
    """Decode an image (grey becomes three equal channels) to RGB uint8 (h, w, 3); raises NoImage.

    The same pixels as MXNet's imdecode: OpenCV with libjpeg-turbo, its default transform.
    """
    return cv2.cvtColor(decode_bgr(encoded, tiff), cv2.COLOR_BGR2RGB)


def decode_bgr(encoded: bytes, tiff: bool = False, most_pixels: int = MOST_PIXELS) -> np.ndarray:
    """Decode to BGR uint8 (h, w, 3), OpenCV's order; raises NoImage for what is none, cut off or too large.

    `tiff`: TIFF is read as well; `most_pixels`: the most pixels the image may have.
    """
    header = read_header(encoded, tiff, most_pixels)
    if not header.whole:
        raise NoImage(f"is cut off before its end (a {header.format} of {header.height}x{header.width})")
    if header.format == PNM:
        return _decode_pnm(encoded)
    try:
        image = cv2.imdecode(np.frombuffer(encoded, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None or 0 in image.shape:
        raise NoImage(f"its {len(encoded)} bytes are a {header.format} that cannot be decoded")
    return image


def _decode_pnm(encoded: bytes) -> np.ndarray:
    width, height, channels, start = pnm_layout(encoded)
    pixels = np.frombuffer(encoded, np.uint8, width * height * channels, start).reshape(height, width, channels)
    return np.ascontiguousarray(pixels[:, :, ::-1] if channels == 3 else np.repeat(pixels, 3, axis=2))


def encode_jpeg(bgr: np.ndarray, quality: int = JPEG_QUALITY) -> bytes:
    """Encode BGR uint8 (h, w, 3) as JPEG; quality 95 is the original builder's."""
    done, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise NoImage(f"an array of shape {bgr.shape} cannot be encoded as JPEG")
    return encoded.tobytes()


def grey(images: np.ndarray) -> np.ndarray:
    """RGB uint8 (n, 3, h, w) as grey uint8 (n, 1, h, w), by OpenCV's weights 0.299, 0.587, 0.114."""
    return np.stack([cv2.cvtColor(np.ascontiguousarray(image.transpose(1, 2, 0)), cv2.COLOR_RGB2GRAY)[None]
                     for image in images])


def fit(image: np.ndarray, size: Optional[Tuple[int, int]]) -> np.ndarray:
    """Resize (h, w, 3) to `size` (height, width) where it differs by scale alone; raises NoImage where the shape does.

    The original resizes the short side (docs/original.md, section 1.5) and fails on any other shape; so do we.
    """
    if size is None or image.shape[:2] == tuple(size):
        return image
    height, width = image.shape[:2]
    if height * size[1] != width * size[0]:
        raise NoImage(f"it is {height}x{width}, which does not scale to {size[0]}x{size[1]}")
    return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def kept_as_it_is(encoded: bytes) -> bool:
    """Whether these bytes may stand in a record unchanged: JPEG and PNG, which every reader decodes."""
    header = _header(encoded)
    return header is not None and header.format in _SUFFIXES


def suffix(encoded: bytes) -> str:
    """The file name suffix that fits the bytes: .jpg, .png, or .img where it is neither."""
    header = _header(encoded)
    return ".img" if header is None else _SUFFIXES.get(header.format, ".img")


def mime(encoded: bytes) -> str:
    """The type under which a web page may show these bytes; raises NoImage where browsers should not be given them."""
    form = read_header(encoded).format
    if form not in _MIMES:
        raise NoImage(f"is a {form}, which a page does not show")
    return _MIMES[form]


def _header(encoded: bytes) -> Optional[ImageHeader]:
    try:
        return read_header(encoded, tiff=True)
    except NoImage:
        return None
