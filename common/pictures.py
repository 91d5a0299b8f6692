"""The pixels of a picture, decided once for evaluation and training.

A file says more than samples: which side is up, what is transparent, how deep white lies. Pillow's
`convert("RGB")` drops the first two and clips the third; models then see a photograph lying on its
side, a diagram in black on black, a scan that is all white.
"""

import base64
import binascii
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

ORIENTATION = 0x0112
"""EXIF tag of the side that is up, 1 to 8 (JEITA CP-3451, 4.6.4)."""

BASE64 = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR")
"""How PNG, JPEG, GIF and WebP begin as base64."""


def decoded(source: Path | bytes) -> "Image":
    """Decode a picture to RGB of 8 bits: the right side up, transparent parts on white.

    Samples deeper than 8 bits are scaled, not clipped: see `_shallow`. Of several frames the first
    counts.

    Args:
        source: The file, or its bytes.

    Raises:
        ValueError: It cannot be decoded; the message is the decoder's reason.
    """
    from PIL import Image

    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as opened:
            deep = opened.mode == "F" or opened.mode.startswith("I")
            image = _on_white(_shallow(opened) if deep else opened)
            turn = _TURNS.get(_orientation(opened))
    except Exception as error:  # whatever a decoder makes of a broken file
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
    return image if turn is None else image.transpose(Image.Transpose[turn])


_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


def _orientation(opened: "Image") -> Any:
    """Return the side that is up; 1 where nothing says so. For a TIFF, Pillow has turned it."""
    try:
        return opened.getexif().get(ORIENTATION, 1)
    except Exception:  # broken metadata turn no picture
        return 1


def _on_white(image: "Image") -> "Image":
    from PIL import Image

    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _shallow(image: "Image") -> "Image":
    """Return samples of 16 bits, 32 bits or floats as 8 bits of grey.

    White is 65535 where samples have 16 bits. Other depths do not say what white is: it is the
    least of 1 (for floats), 255 and 65535 that no sample exceeds; samples below 0 or beyond 65535
    are spread from the least, black, to the largest, white. What is no number is black.
    """
    import numpy as np
    from PIL import Image

    samples = np.asarray(image, dtype=np.float64)
    known = samples[np.isfinite(samples)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 0.0)
    whites = {"F": (1, 255, 65535), "I": (255, 65535)}.get(image.mode, (65535,))
    black, white = low, max(high, low + 1)
    if low >= 0 and high <= whites[-1]:
        black, white = 0, next(white for white in whites if high <= white)
    scaled = np.clip((samples - black) * (255 / (white - black)), 0, 255)
    grey = Image.fromarray(np.nan_to_num(scaled).round().astype(np.uint8))
    clear = image.info.get("transparency")
    if clear is None:
        return grey
    return Image.merge("LA", (grey, Image.fromarray(np.uint8(255) * (samples != clear))))


def is_plain(opened: "Image", content: bytes) -> bool:
    """Whether all who decode an opened file see what `decoded` gives.

    Args:
        opened: By Pillow, its samples not yet read.
        content: The file's bytes.
    """
    # Pillow looks for metadata behind the samples of a PNG, which decodes it.
    may_be_turned = opened.format != "PNG" or b"eXIf" in content
    return (
        opened.mode in ("RGB", "L", "P", "1")
        and not opened.has_transparency_data
        and not (may_be_turned and _orientation(opened) in _TURNS)
        and getattr(opened, "n_frames", 1) == 1
    )


def encoded(cell: Any) -> bytes | None:
    """Return the encoded picture in a cell of a table; None where there is none.

    Args:
        cell: Bytes, `{"bytes": …}` as `datasets` has it, or base64 text.
    """
    if isinstance(cell, dict):
        cell = cell.get("bytes")
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell) or None
    if isinstance(cell, str) and cell.startswith(BASE64):
        try:
            return base64.b64decode("".join(cell.splitlines()), validate=True)
        except binascii.Error:
            return None
    return None


def undecoded(table: Any) -> Any:
    """Return a table of `datasets` with its pictures as encoded bytes, lists of them too."""
    from datasets import Image

    for column, feature in table.features.items():
        inner = getattr(feature, "feature", None)
        if isinstance(feature, Image):
            table = table.cast_column(column, Image(decode=False))
        elif isinstance(inner, Image):
            table = table.cast_column(column, type(feature)(Image(decode=False)))
    return table
