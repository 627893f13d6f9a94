"""Encoded images to RGB pixels and back: the one decoder of training, packs and checks."""
from typing import Optional, Tuple

import cv2
import numpy as np

JPEG_QUALITY = 95
_JPEG, _JPEG_END, _PNG = b"\xff\xd8\xff", b"\xff\xd9", b"\x89PNG\r\n\x1a\n"
_TAIL = 1024  # cameras append padding and notes after the end marker


class NoImage(ValueError):
    """The bytes are no image that can be decoded; the message says so without a name."""


def decode_rgb(encoded: bytes) -> np.ndarray:
    """Decode a JPEG or PNG (grey becomes three equal channels) to RGB uint8 (h, w, 3); raises NoImage.

    The same pixels as MXNet's imdecode: OpenCV with libjpeg-turbo, its default transform.
    """
    return cv2.cvtColor(decode_bgr(encoded), cv2.COLOR_BGR2RGB)


def decode_bgr(encoded: bytes) -> np.ndarray:
    """Decode to BGR uint8 (h, w, 3), OpenCV's order; raises NoImage."""
    try:
        image = cv2.imdecode(np.frombuffer(encoded, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise NoImage(f"its {len(encoded)} bytes are no image that can be decoded")
    return image


def encode_jpeg(bgr: np.ndarray, quality: int = JPEG_QUALITY) -> bytes:
    """Encode BGR uint8 (h, w, 3) as JPEG; quality 95 is the original builder's."""
    done, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise NoImage(f"an array of shape {bgr.shape} cannot be encoded as JPEG")
    return encoded.tobytes()


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


def is_whole(encoded: bytes) -> bool:
    """Whether a JPEG or PNG has its end marker; decoders fill what is cut off with grey in silence. Others: True."""
    if encoded.startswith(_JPEG):
        return encoded.endswith(_JPEG_END) or _JPEG_END in encoded[-_TAIL:]
    if encoded.startswith(_PNG):
        return b"IEND" in encoded[-_TAIL:]
    return True


def kept_as_it_is(encoded: bytes) -> bool:
    """Whether these bytes may stand in a record unchanged: JPEG and PNG, which every reader decodes."""
    return encoded.startswith((_JPEG, _PNG))


def suffix(encoded: bytes) -> str:
    """The file name suffix that fits the bytes: .jpg, .png, or .img where it is neither."""
    return ".jpg" if encoded.startswith(_JPEG) else ".png" if encoded.startswith(_PNG) else ".img"
