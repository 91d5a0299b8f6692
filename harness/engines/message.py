"""A question as the content of a chat message, its pictures where they stand."""

import base64
import io
from typing import Any

from common.pictures import is_plain
from common.text import said
from harness.engines import Request, rendering
from harness.engines.pictures import decoded_image
from harness.engines.reply import Refused
from harness.runs.schema import Image

AS_THEY_ARE = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp"}
"""Formats that every endpoint with pictures takes."""


def content(request: Request) -> str | list[dict[str, Any]]:
    """Return the content.

    Raises:
        Refused: A picture cannot be decoded.
    """
    parts: list[dict[str, Any]] = []
    images = iter(request.question.images)
    for part in rendering.content(request.question):
        if part["type"] == "image":
            parts.append({"type": "image_url", "image_url": {"url": _data_url(next(images))}})
        else:
            parts.append(part)
    return parts if request.question.images else request.question.prompt


def _data_url(image: Image) -> str:
    """Return a picture as it lies on disk, where all who decode it see the same pixels.

    Transparency, orientation, depth, rarer formats and colours are read differently by different
    servers: such a picture, and one of a pixel budget, is decoded here, as other engines see it,
    and sent as PNG.
    """
    from PIL import Image as Pillow

    try:
        with Pillow.open(io.BytesIO(image.data)) as opened:
            known = image.budget is None and opened.format in AS_THEY_ARE
            plain = known and is_plain(opened, image.data)
            kind, data = AS_THEY_ARE.get(opened.format or "", ""), image.data
        if not plain:
            file = io.BytesIO()
            decoded_image(image).save(file, "PNG")
            kind, data = "png", file.getvalue()
    except (OSError, ValueError, Pillow.DecompressionBombError) as error:
        raise Refused(f"a picture cannot be decoded: {said(error)}", certain=True) from None
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
