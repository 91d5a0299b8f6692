"""Values as what they are meant to be."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest

from common.errors import UserError
from common.typed import as_kind


@pytest.mark.parametrize(
    ("value", "kind", "meant"),
    [
        (3, float, 3.0),
        ("1e-6", float, 1e-6),  # as YAML reads it
        (7, str, "7"),
        ([1, 2], tuple[float, ...], (1.0, 2.0)),
        ("a/b", Path, Path("a/b")),
        (None, int | None, None),
        (4, int | None, 4),
        ("up", Literal["up", "down"], "up"),
        ({"a": 1}, Mapping[str, str], {"a": "1"}),
    ],
)
def test_what_can_only_be_meant_so_is_taken(value, kind, meant):
    found = as_kind(value, kind, "x")
    assert found == meant and type(found) is type(meant)


@pytest.mark.parametrize(
    ("value", "kind", "sentence"),
    [
        (True, int, "x is of type int, not True"),
        (1, bool, "x is of type bool, not 1"),
        (2.5, int, "x is of type int, not 2.5"),
        (float("nan"), float, "x is a finite number, not nan"),
        ("inf", float, "x is a finite number, not 'inf'"),
        (None, str, "x is of type str, not None"),
        ("a", tuple[str, ...], "x is a list, not 'a'; write"),
        ("dwon", Literal["up", "down"], "x is one of up, down, not 'dwon'; did you mean down"),
        ([1], Literal["up", "down"], "x is one of up, down"),
        ("a\x1bb", str, "x has control characters"),
        ("x" * 10**6, int, r"x is of type int, not 'xxx.*\.\.\..*"),
    ],
)
def test_anything_else_is_one_short_sentence(value, kind, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        as_kind(value, kind, "x")
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(("value", "read"), [(3, 3.0), ("0,1", "0,1"), (0.5, 0.5)])
def test_a_value_may_be_of_one_of_several_kinds(value, read):
    assert as_kind(value, float | str, "alpha") == read
    assert as_kind([value], tuple[float | str, ...], "alphas") == (read,)


def test_none_is_no_value_of_several_kinds_unless_it_is_one_of_them():
    assert as_kind(None, float | str | None, "alpha") is None
    with pytest.raises(UserError, match="alpha"):
        as_kind(None, float | str, "alpha")
