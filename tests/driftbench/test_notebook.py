"""The notebook of the documents runs, and shows what it says."""

import ast
import base64
import io
import json
from pathlib import Path

import pytest
from PIL import Image
from places import ROOT

NOTEBOOK = json.loads((ROOT / "docs" / "python.ipynb").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def cells():
    """The code cells, each with the value that its last line shows; None: it has none."""
    names: dict[str, object] = {}
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT / "docs")
        for cell in NOTEBOOK["cells"]:
            if cell["cell_type"] == "code":
                code = ast.parse("".join(cell["source"]))
                last = code.body.pop() if isinstance(code.body[-1], ast.Expr) else None
                exec(compile(code, "cell", "exec"), names)
                value = last and eval(compile(ast.Expression(last.value), "cell", "eval"), names)
                found.append((cell, value))
        yield found
    names["work"].cleanup()  # type: ignore[attr-defined]


def shown(cell, kind):
    return "".join(cell["outputs"][0]["data"][kind])


def test_every_cell_shows_what_is_committed(cells):
    assert len(cells) == 9
    for cell, value in cells[1:]:
        if isinstance(value, list):
            assert ast.literal_eval(shown(cell, "text/plain")) == value
        else:
            assert shown(cell, "text/plain") == repr(value)


def test_the_figure_is_a_picture_without_pyplot(cells):
    drawn = [value for _, value in cells if hasattr(value, "savefig")]
    assert len(drawn) == 1
    with Image.open(io.BytesIO(drawn[0]._repr_png_())) as picture:
        assert picture.format == "PNG" and picture.width > 400


def test_the_question_shows_its_own_picture(cells):
    (cell,) = [cell for cell, _ in cells if ".question(" in "".join(cell["source"])]
    file = Path("tests/data/published/images_sample/logicvista/v1_445.png")
    data = shown(cell, "text/html").partition("base64,")[2].partition("'")[0]
    with Image.open(io.BytesIO(base64.b64decode(data))) as own, Image.open(ROOT / file) as theirs:
        assert own.convert("RGB").tobytes() == theirs.convert("RGB").tobytes()


def test_it_is_a_notebook_that_says_nothing_of_the_machine_it_ran_on(cells):
    assert (NOTEBOOK["nbformat"], set(NOTEBOOK["metadata"])) == (4, {"kernelspec", "language_info"})
    text = json.dumps(NOTEBOOK)
    assert len(text) < 100_000 and "/tmp/" not in text
    assert all(output["output_type"] != "error" for cell, _ in cells for output in cell["outputs"])
