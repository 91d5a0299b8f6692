"""One decision about pixels: the same for every way into evaluation and training."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageOps

from common import pictures
from drift.training.encode import open_image
from drift.training.rows import read_rows
from harness.engines import Request, message
from harness.engines.pictures import decoded_image
from harness.runs.schema import Image, Question
from tasks.data.pictures import shown as shown_to_lm_eval

DOTS = np.arange(6, dtype=np.float64).reshape(2, 3)
"""Two rows of three samples, no two alike."""


def file_of(picture, format="PNG", **settings):
    written = io.BytesIO()
    picture.save(written, format, **settings)
    return written.getvalue()


def by_a_task(content, folder):
    """As stock lm-eval gets it."""
    (folder / "a.bin").write_bytes(content)
    (shown,) = shown_to_lm_eval({"id": "1", "folder": str(folder), "images": ["a.bin"]})
    return shown


def by_an_engine(content, folder):
    return decoded_image(Image("0", ".bin", content))


def by_an_endpoint(content, folder):
    """As a server that knows no metadata, transparency or depth decodes what it is sent."""
    question = Question(task="t", id="1", prompt="<image>", images=(Image("0", ".bin", content),))
    (part,) = message.content(Request(question=question, key="k"))
    url = part["image_url"]["url"]
    return Pillow.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")


def by_training(content, folder):
    (folder / "a.bin").write_bytes(content)
    row = {"question": "<image>", "answer": "a", "images": ["a.bin"]}
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (read,) = read_rows(folder / "rows.jsonl")
    return open_image(read.images[0], read.where, None)


WAYS = [by_a_task, by_an_engine, by_an_endpoint, by_training]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def seen(request, tmp_path):
    """Bytes of a file → the samples that a model is given, height by width by 3."""

    def see(content):
        shown = request.param(content, tmp_path)
        assert shown.mode == "RGB"
        return np.asarray(shown)

    return see


def grey(*values):
    return np.repeat(np.array(values, dtype=np.uint8).reshape(2, 3, 1), 3, axis=2)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("side", [*range(1, 9), 0, 9])
def test_the_side_that_is_up_is_up(seen, side, format):
    exif = Pillow.Exif()
    exif[pictures.ORIENTATION] = side
    drawn = Pillow.fromarray(np.kron(DOTS * 50, np.ones((16, 16))).astype(np.uint8)).convert("RGB")
    content = file_of(drawn, format, exif=exif)
    with Pillow.open(io.BytesIO(content)) as opened:
        expected = ImageOps.exif_transpose(opened).convert("RGB")
    assert expected.size == ((32, 48) if side in (5, 6, 7, 8) else (48, 32))
    assert np.array_equal(seen(content), np.asarray(expected))


def test_broken_metadata_turn_no_picture(seen):
    drawn = Pillow.fromarray((DOTS * 50).astype(np.uint8)).convert("RGB")
    content = file_of(drawn, "PNG", exif=b"Exif\0\0no metadata at all")
    assert np.array_equal(seen(content), np.asarray(drawn))


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("L", 7, (7, 7, 7)),
        ("RGBA", (0, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 255), (0, 0, 0)),
        ("RGBA", (0, 100, 200, 51), (204, 224, 244)),
        ("LA", (0, 0), (255, 255, 255)),
        ("LA", (100, 255), (100, 100, 100)),
    ],
)
def test_transparent_parts_are_white(seen, mode, colour, expected):
    assert (seen(file_of(Pillow.new(mode, (3, 2), colour))) == expected).all()


@pytest.mark.parametrize("clear", [0, bytes([0, 255])])
def test_a_palette_may_have_transparent_entries(seen, clear):
    drawn = Pillow.new("P", (3, 2), 0)
    drawn.putpalette([0, 0, 0, 10, 20, 30])
    drawn.putpixel((2, 1), 1)
    shown = seen(file_of(drawn, transparency=clear))
    assert shown[0, 0].tolist() == [255, 255, 255]
    assert shown[1, 2].tolist() == [10, 20, 30]


def test_sixteen_bits_are_scaled_not_clipped(seen):
    deep = Pillow.fromarray((DOTS * 13107).astype(np.uint16))
    for format in ("PNG", "TIFF"):
        assert np.array_equal(seen(file_of(deep, format)), grey(0, 51, 102, 153, 204, 255))
    dark = Pillow.fromarray((DOTS * 257).astype(np.uint16))
    assert np.array_equal(seen(file_of(dark)), grey(0, 1, 2, 3, 4, 5))
    clear = file_of(deep, transparency=13107)
    assert np.array_equal(seen(clear), grey(0, 255, 102, 153, 204, 255))


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (DOTS / 5, (0, 51, 102, 153, 204, 255)),
        (DOTS * 51, (0, 51, 102, 153, 204, 255)),
        (DOTS * 13107, (0, 51, 102, 153, 204, 255)),
        (DOTS * 1e6, (0, 51, 102, 153, 204, 255)),
        (DOTS - 5, (0, 51, 102, 153, 204, 255)),
        (DOTS * 0, (0, 0, 0, 0, 0, 0)),
        (DOTS * 0 - 1, (0, 0, 0, 0, 0, 0)),
        (np.where(DOTS == 3, np.nan, DOTS / 5), (0, 51, 102, 0, 204, 255)),
        (np.where(DOTS == 3, np.inf, DOTS / 5), (0, 51, 102, 255, 204, 255)),
    ],
)
def test_floats_are_scaled_by_the_white_that_holds_them(seen, samples, expected):
    content = file_of(Pillow.fromarray(samples.astype(np.float32)), "TIFF")
    assert np.array_equal(seen(content), grey(*expected))


@pytest.mark.parametrize(("white", "steps"), [(255, 51), (65535, 13107), (5_000_000, 1_000_000)])
def test_integers_are_scaled_by_the_white_that_holds_them(seen, white, steps):
    content = file_of(Pillow.fromarray((DOTS * steps).astype(np.int32)), "TIFF")
    assert np.array_equal(seen(content), grey(0, 51, 102, 153, 204, 255)), white


def test_a_file_that_is_no_picture_says_why():
    for content in (b"", b"no picture", file_of(Pillow.effect_noise((99, 99), 50))[:999]):
        with pytest.raises(ValueError, match=r"cannot identify|truncated|broken"):
            pictures.decoded(content)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (b"raw", b"raw"),
        (bytearray(b"raw"), b"raw"),
        ({"bytes": b"raw", "path": None}, b"raw"),
        ({"bytes": None, "path": "a.png"}, None),
        ("a.png", None),
        ("iVBORw0KGgo is how it begins", None),
        (None, None),
        (7, None),
    ],
)
def test_what_a_cell_of_a_table_holds(cell, expected):
    assert pictures.encoded(cell) == expected


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP"])
def test_base64_in_a_cell_is_a_picture(format):
    content = file_of(Pillow.new("RGB", (3, 2), "red"), format)
    assert pictures.encoded(base64.b64encode(content).decode()) == content
    assert pictures.encoded(base64.encodebytes(content).decode()) == content
