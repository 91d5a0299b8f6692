"""Files from others: read within bounds, or refused in a sentence."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.errors import UserError
from common.typed import AnyText, MaybeNan, as_json, as_yaml, read_json, record


@dataclass(frozen=True)
class Point:
    x: float


@dataclass(frozen=True, kw_only=True)
class Line:
    name: str
    points: tuple[Point, ...] = ()
    error: MaybeNan = 0.0
    said: AnyText = ""
    notes: dict[str, int] | None = None


def test_a_record_is_built_by_its_annotations():
    row = {"name": "a", "points": [{"x": 1}], "said": "\x1b[2J", "notes": {"n": 2}}
    assert record(Line, row, "f") == Line(
        name="a", points=(Point(1.0),), said="\x1b[2J", notes={"n": 2}
    )
    assert str(record(Line, {"name": "a", "error": None}, "f").error) == "nan"
    assert record(Point, {"x": 1, "y": 2}, "f", part=True) == Point(1.0)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ([], r"f is an object, not \[\]"),
        ({}, "f has no field name"),
        ({"name": 3.5, "pointz": []}, "f has the unknown field 'pointz'; did you mean points"),
        ({"name": "a\x00"}, "f: name has control characters"),
        ({"name": "a", "points": [{"x": 1}, {"x": "b"}]}, r"f: points\[1\].x is of type float"),
        ({"name": "a", "notes": {"n": True}}, "f: notes.n is of type int, not True"),
        ({"name": "a", "error": float("inf")}, "f: error is a finite number, not inf"),
    ],
)
def test_what_does_not_fit_is_named_by_its_place(row, sentence):
    with pytest.raises(UserError, match=sentence):
        record(Line, row, "f")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "f is not JSON"),
        (b"\xff\xfe\x00", "f is not JSON"),
        (b"[" * 10**6, "f is nested more than 100 deep"),
        (b"[" * 500 + b"]" * 500, "f is nested more than 100 deep"),
        (b"1" * 5000, "f is not JSON: a number of 5000 digits"),
    ],
)
def test_json_is_bounded(content, sentence):
    with pytest.raises(UserError, match=sentence):
        as_json(content, "f")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: &x [1]\nb: *x", "an alias in line 2: write out"),
        ("a: 1\nb: 2\na: 3", "the field a stands there twice"),
        (f"a: {'9' * 5000}", "f is no valid YAML"),
        (f"a: 0x{'f' * 5000}", "a number of more than 40 digits"),
        ("[" * 5000, "f is nested too deeply"),
        ("a: 1\n".encode("utf-16")[:-1], "f is no valid YAML"),
        ("größe: 1".encode("latin-1"), "f is no valid YAML"),
        ('a: !!int ""', "f is no valid YAML"),
        ("a: !!timestamp no", "f is no valid YAML"),
        ("? [1]\n: 2", "f is no valid YAML"),
        ("a: \x00", "f is no valid YAML"),
    ],
)
def test_yaml_is_bounded(text, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        as_yaml(text, "f")
    assert len(str(caught.value)) < 260


def test_a_date_in_yaml_is_text():
    assert as_yaml("data: 2026-01-31", "f") == {"data": "2026-01-31"}


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(UserError, match="is no regular file|Is a directory"):
            read_json(path)
    with pytest.raises(UserError, match="cannot be read: embedded null byte"):
        read_json(tmp_path / "a\x00b")
    (tmp_path / "large").write_text("{}")
    os.truncate(tmp_path / "large", 2**31)
    with pytest.raises(UserError, match="has 2,147,483,648 bytes, expected at most 1,073,741,824"):
        read_json(tmp_path / "large")
