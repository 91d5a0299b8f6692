"""The pocket task's verdicts, and where pictures of any benchmark may lie."""

import pytest

import tasks
from common.errors import UserError
from tasks.data import pictures

CASES = [
    ({"answer": "7"}, "<think> 3 + 4 = 7 </think> 7", ("7", True)),
    ({"answer": "7"}, "7", ("7", True)),
    ({"answer": "7"}, "<think> 7 </think> 8", ("8", False)),
    ({"answer": "7"}, "<think> 3 + 4 = 7", (None, None)),
    ({"answer": "7"}, "<think> 7 </think>", (None, None)),
    ({"answer": "7"}, "", (None, None)),
    ({"answer": "7"}, "17", ("17", False)),
]


@pytest.mark.parametrize(("row", "text", "expected"), CASES)
def test_the_last_word_after_the_thought_counts(row, text, expected):
    assert tasks.load("pocket").verdict(row, text) == expected


def test_its_groups_are_the_kinds_of_question():
    assert tasks.load("pocket").groups({"group": "perception"}) == ("perception",)


def test_a_picture_outside_of_the_folder_is_refused(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"")
    row = {"id": "1", "folder": str(tmp_path / "data"), "images": ["../secret.png"]}
    with pytest.raises(UserError, match=r"the picture \.\./secret\.png lies outside"):
        pictures.to_images(row)
