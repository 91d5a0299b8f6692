"""Studies by name and from files: what is asked of them, what they have, and what is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import UserError
from harness.studies import load

STUDY = """
from pathlib import Path
from typing import Literal

from harness.studies.step import Step, Study


def study(*, seeds: int = 1, scale: Literal["small"] | None = None, length: float = 1.0,
          count: int = 3, loud: bool = False, place: Path = Path("a"), word: str | None = None):
    said = f"{seeds} {scale} {length} {count} {loud} {place} {word}"
    step = Step(name="a", run=("report", "."), writes=("a",))
    return Study(name="mine", about=said, steps=(step,))
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        (tmp_path / "mine.py").write_text(text)
        return str(tmp_path / "mine.py")

    return write


def test_what_is_asked_reaches_the_parameters_as_what_they_are(write):
    settings = ["length=0.5", "count=4", "loud=true", "place=b/c", "word=x=y"]
    made = load.load(write(STUDY), seeds=2, scale="small", settings=settings)
    assert made.about == "2 small 0.5 4 True b/c x=y"
    assert load.load(write(STUDY)).about == "1 None 1.0 3 False a None"


def test_a_parameter_without_annotation_is_of_the_kind_of_its_default(write):
    plain = """
from harness.studies.step import Step, Study


def study(seeds=1, controls=False, scale=None, length=1.0, loud=False, word="a", free=None,
          layers=(0,)):
    values = (seeds, controls, scale, length, loud, word, free, layers)
    return Study(name="mine", about=repr(values),
                 steps=(Step(name="a", run=("report", "."), writes=("a",)),))
"""
    settings = ["length=2", "loud=true", "word=7", "free=x", "layers=[1, 2]"]
    made = load.load(write(plain), seeds=2, controls=True, scale="small", settings=settings)
    assert made.about == "(2, True, 'small', 2.0, True, '7', 'x', [1, 2])"
    with pytest.raises(UserError, match="length is of type float, not 'long'"):
        load.load(write(plain), settings=["length=long"])
    bare = plain.replace("seeds=1", "seeds").replace("controls=False", "controls=None")
    assert load.load(write(bare), seeds=2, controls=True).about.startswith("(2, True, None")


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"controls": True}, "has no controls; leave --controls out"),
        ({"scale": "smal"}, "scale is one of small, not 'smal'; did you mean small"),
        (
            {"settings": ["lenght=1"]},
            "--set lenght=…: did you mean length. there are length, count",
        ),
        ({"settings": ["length"]}, "--set takes key=value, not 'length'"),
        ({"settings": ["length=long"]}, "length is of type float, not 'long'"),
        ({"settings": ["count=1.5"]}, "count is of type int, not 1.5"),
        ({"settings": ["loud=maybe"]}, "loud is of type bool, not 'maybe'"),
        ({"settings": ["word=[a"]}, "the value of --set word is no valid YAML"),
    ],
)
def test_what_a_study_does_not_have_is_one_sentence(write, asked, sentence):
    with pytest.raises(UserError, match=sentence):
        load.load(write(STUDY), **asked)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("def study(:\n", "mine.py, line 1: SyntaxError: invalid syntax"),
        ("x = 1\n", "defines no function study"),
        ("study = 3\n", "defines no function study"),
        ("\nimport nothing_at_all\n", "line 2: ModuleNotFoundError: No module named"),
        ("def study():\n    return 1 / 0\n", "line 2: ZeroDivisionError: division by zero"),
        ("def study():\n    return 'x'\n", "study.. in .* returns a str, expected a Study"),
        ("def study(needed):\n    pass\n", "TypeError: .*needed"),
        ("def study(*, a: 'Nope' = 1):\n    pass\n", "the parameters of study.. in .* cannot be"),
        (
            "from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\n"
            "class A:\n    x: int\n1 / 0\n",
            "line 6: ZeroDivisionError",
        ),
        ("raise ValueError('a\\nb')\n", "line 1: ValueError: a"),
        ("#\0", "mine.py"),
        (STUDY.replace('writes=("a",)', 'writes=("../a",)'), "step a names the path '../a'"),
        (STUDY.replace("about=said", "about=[]"), "study 'mine': about is of type str"),
    ],
)
def test_a_broken_file_is_one_sentence(write, text, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        load.load(write(text))
    assert "\n" not in str(caught.value)


def test_an_unknown_study_names_the_known(tmp_path):
    with pytest.raises(UserError, match="no study 'poket'; did you mean pocket.*pocket, small, or"):
        load.load("poket")
    with pytest.raises(UserError, match="no file .*none.py"):
        load.load(str(tmp_path / "none.py"))


def test_a_file_of_ones_own_runs_from_the_command_line(write, tmp_path):
    words = ["reproduce", write(STUDY), "--plan", "--set", "length=2"]
    door = [sys.executable, "-P", "-m", "driftbench"]
    done = subprocess.run([*door, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].startswith("1 steps.")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_the_study_of_the_documents_is_one(write):
    page = (Path(__file__).parents[3] / "docs" / "reproducing_the_paper.md").read_text()
    (code,) = [part.partition("```")[0] for part in page.split("```python\n")[1:]]
    made = load.load(write(code), seeds=2, settings=["vlm=/models/another"])
    assert len(made.steps) == 9 and "vlm=/models/another" in made.steps[0].run
    assert [len(method.runs) for method in made.methods] == [2, 2]
