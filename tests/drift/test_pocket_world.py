import json
import random

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from drift.pocket import world


def read(folder, split):
    return [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("pocket") / "world"
    world.write(made, seed=3, train=12, validation=5, test=7)
    return made


def test_a_chain_worked_by_hand():
    chain = world.Chain((3, 4, 2, 8), ("+", "*", "-"))
    # 3 + 4 = 7; 7 * 2 = 14 → 4; 4 - 8 = -4 → 6
    assert chain.steps() == [(3, "+", 4, 7), (7, "*", 2, 4), (4, "-", 8, 6)]
    assert chain.worked() == "<think> 3 + 4 = 7 ; 7 * 2 = 4 ; 4 - 8 = 6 </think> 6"


def test_every_answer_follows_from_its_question(folder):
    for row in read(folder, "test"):
        if row["group"] == "reasoning-text":
            words = row["question"].split()
            digits = [int(word) for word in words[1:5]]
            operators = words[words.index("compute") + 1 : -1]
            value = digits[0]
            for operator, digit in zip(operators, digits[1:], strict=True):
                value = eval(f"({value} {operator} {digit}) % 10")
            assert row["answer"] == str(value)


def test_the_versions_of_a_chain_ask_the_same_of_the_same_picture(folder):
    rows = {row["id"]: row for row in read(folder, "test")}
    for number in range(7):
        image, both, text = (
            rows[f"test-reasoning-{version}-{number:04d}"] for version in ("image", "both", "text")
        )
        assert image["answer"] == both["answer"] == text["answer"]
        assert image["images"] == both["images"] and text["images"] == []
        assert "<image>" not in text["question"] and both["question"].startswith("<image> ")


def test_every_group_has_its_share_and_every_picture_exists(folder):
    for split, size in (("validation", 5), ("test", 7)):
        rows = read(folder, split)
        assert [sum(r["group"] == group for r in rows) for group in world.GROUPS] == [size] * 4
        for row in rows:
            for name in row["images"]:
                with Image.open(folder / name) as picture:
                    assert picture.size == (112, 28)


def test_the_guess_floor_is_the_best_that_one_answer_can_do(folder):
    rows = read(folder, "test")
    for group in world.GROUPS:
        answers = [row["answer"] for row in rows if row["group"] == group]
        best = max(sum(given == answer for answer in answers) for given in map(str, range(10)))
        assert {row["floor"] for row in rows if row["group"] == group} == {best / 7}


def test_training_rows_are_worked_and_a_third_has_words_beside_the_picture(folder):
    rows = read(folder, "train")
    assert len(rows) == 12
    assert all(row["answer"].startswith("<think> ") for row in rows)
    assert sum(row["group"] == "reasoning-both" for row in rows) == 4


def test_no_split_shares_a_render():
    drawn = {
        split: {cell.tobytes() for cells in world.glyphs(0, split, 10) for cell in cells}
        for split in world.SPLITS
    }
    assert all(len(cells) == 100 for cells in drawn.values())
    assert len(set.union(*drawn.values())) == 300


def test_a_strip_shows_its_cards_from_left_to_right():
    bank = world.glyphs(0, "test", 1)
    strip = np.asarray(world.strip((7, 0, 4, 7), bank, random.Random(0)))
    for place, digit in enumerate((7, 0, 4, 7)):
        assert (strip[:, 28 * place : 28 * place + 28] == np.asarray(bank[digit][0])).all()


def test_the_same_seed_writes_the_same_bytes(folder, tmp_path):
    world.write(tmp_path / "again", seed=3, train=12, validation=5, test=7)
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            assert (tmp_path / "again" / file.relative_to(folder)).read_bytes() == file.read_bytes()
    world.write(tmp_path / "other", seed=4, train=12, validation=5, test=7)
    assert (tmp_path / "other/test.jsonl").read_bytes() != (folder / "test.jsonl").read_bytes()


def test_a_split_of_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match="the train split has 0 rows"):
        world.write(tmp_path / "w", seed=0, train=0, validation=1, test=1)
    assert list(tmp_path.iterdir()) == []
