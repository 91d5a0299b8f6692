import json

import pytest
import tiny_models as tiny

from common.errors import UserError
from drift.training import noise
from drift.training.rows import read_rows


def test_all_rows_come_twice_and_no_noisy_one_keeps_its_answer(tmp_path):
    rows = tiny.make_rows(tmp_path / "data", 16)
    assert noise.write(rows, tmp_path / "noisy", seed=3) == 32
    before, after = read_rows(rows), read_rows(tmp_path / "noisy" / noise.ROWS)
    kept, noisy = after[:16], after[16:]
    assert [row.turns for row in kept] == [row.turns for row in before]
    answers = [row.turns[-1].text for row in before]
    assert sorted(row.turns[-1].text for row in noisy) == sorted(answers)
    for old, new in zip(before, noisy, strict=True):
        assert new.turns[:-1] == old.turns[:-1]
        assert [p.read_bytes() for p in new.images] == [p.read_bytes() for p in old.images]
    # Rows that say the same by chance aside, each answer is that of another row.
    assert sum(row.turns[-1].text == own for row, own in zip(noisy, answers, strict=True)) <= 3
    noise.write(rows, tmp_path / "again", seed=3)
    first, second = (tmp_path / name / noise.ROWS for name in ("noisy", "again"))
    assert first.read_bytes() == second.read_bytes()


def test_distinct_answers_all_change_hands(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps({"question": f"q{i}", "answer": f"a{i}"}) + "\n" for i in range(9))
    )
    noise.write(path, tmp_path / "noisy", seed=0)
    said = [row.turns for row in read_rows(tmp_path / "noisy" / noise.ROWS)][9:]
    assert all(question.text[1:] != answer.text[1:] for question, answer in said)


def test_slips_are_one_sentence(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "q", "answer": "a"}\n')
    with pytest.raises(UserError, match="has 1 row: noise takes at least 2"):
        noise.write(path, tmp_path / "noisy", seed=0)
    with pytest.raises(UserError, match="is already there; give another --out$"):
        noise.write(path, tmp_path, seed=0)
