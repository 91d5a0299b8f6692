"""Run folders and studies from anywhere: every reader takes a file, or refuses it in a sentence."""

import json
import random
import shutil

import graded
import pytest

from common.errors import UserError
from common.provenance import cost_of, coverage_of, read_made
from harness.runs import folder, log
from harness.statistics.sides import read_run
from harness.studies import record
from reports import load
from reports.plots import maps, training

HUGE = "9" * 5000
VALUES = (None, True, -1, 1.5, "", "a", "\x00", [], [1], {}, {"a": []}, 10**39, [[[[]]]], "NaN")
TEXTS = (
    b"", b"{", b"null", b"[]", b"{}", b'"a"', b"\x00" * 9, b"\xff\xfe{\x00}\x00", b"\x80\x03]q.",
    b"[" * 100_000, b'{"a":' * 300, HUGE.encode(), b'{"name": "\\ud800"}', b"NaN", b"1e999",
    f'{{"seconds": {HUGE}}}'.encode(), b'{"a": 1}\n\n{"a"', b"PK\x03\x04" + bytes(99),
)  # fmt: skip
READERS = {
    "run.json": folder.read_card,
    "questions.jsonl": folder.read_questions,
    "responses.jsonl": lambda run: (log.read_responses(run), log.errors(run), [*log.answered(run)]),
    "verdicts.jsonl": read_run,
    "cells.json": folder.read_cells,
    "summary.json": folder.read_summary,
    "keys.json": folder.read_keys,
    "judge.jsonl": folder.read_replies,
    "made.json": lambda run: (made := read_made(run)) and (cost_of(made), coverage_of(made)),
    "drift_log.jsonl": training.read,
    "distance.json": maps.read,
    "steps/study.json": lambda run: (record.name(run), record.read(run)),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder with every file that is read."""
    run = tmp_path_factory.mktemp("sound") / "run"
    graded.write(run, {"1": ["7", "3"], "2": [None, "7"]}, groups=lambda id: ["a"])
    counts = dict.fromkeys(("n", "correct", "unparsed", "truncated", "error"), 1)
    cell = {"run": "r", "task": "t", "group": "all", **counts, "score": 0.5, "stderr": None}
    parents = [{"role": "vlm", "path": "a", "fingerprint": "f"}]
    took = {"settings": {"seed": 1}, "cost": {"seconds": 2.5}, "coverage": {"tensors": 4}}
    made = {"method": "merge", "parents": parents, **took}
    method = {"name": "m", "label": "M", "runs": [{"family": "f", "seed": 0, "folder": "x"}]}
    claim = {"text": "x", "method": "m", "against": "m", "group": "all", "sign": 1}
    study = {"recipe": "a", "baseline": "m", "methods": [method], "claims": [claim]}
    total = {"relative_l2": 0.5, "cosine": 0.5}
    (run / "steps").mkdir()
    for name, content in (
        ("cells.json", [cell]),
        ("summary.json", {"t": {"average": 0.5}}),
        ("keys.json", {"of": "x", "keys": {"t": {"1": ["k", "l"]}}}),
        ("drift_log.jsonl", {"step": 1, "loss": 2.5, "rho": 0.1, "mlp": {"cos": 0.5, "rho": 0.2}}),
        ("distance.json", {"llm": "a", "total": total, "tensors": [], "warnings": ["w"]}),
        ("judge.jsonl", {"key": "k", "judge": "j", "reply": "A"}),
        ("made.json", made),
        ("steps/study.json", study),
    ):
        (run / name).write_text(json.dumps(content) + "\n")
    return run


def mutations(content: bytes, chance: random.Random, count: int):
    """Yield a file's content with one value of another kind, cut short, or one byte changed."""
    first, *rest = content.splitlines(keepends=True) if content.count(b"\n") < 9 else [content]
    for _ in range(count):
        row = json.loads(first)
        holder, name = chance.choice(list(_places(row)))
        holder[name] = chance.choice(VALUES)
        yield json.dumps(row).encode() + b"\n" + b"".join(rest)
        at = chance.randrange(len(content))
        yield content[:at] + b"\n"
        yield content[:at] + bytes([chance.randrange(256)]) + content[at + 1 :]


def _places(value):
    for name, part in (
        value.items() if isinstance(value, dict) else enumerate(value)
        if isinstance(value, list) else ()
    ):  # fmt: skip
        yield value, name
        yield from _places(part)


@pytest.mark.parametrize("name", READERS)
def test_every_broken_file_is_read_or_refused_in_one_sentence(sound, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(sound, run)
    READERS[name](run)
    content = (run / name).read_bytes()
    refused = 0
    for broken in (*(text + b"\n" for text in TEXTS), *mutations(content, random.Random(name), 60)):
        (run / name).write_bytes(broken)
        try:
            READERS[name](run)
        except UserError as error:
            refused += 1
            assert len(str(error)) < 700, error
            assert name in str(error) or "is not a run folder" in str(error)
    assert refused > 60


@pytest.mark.parametrize("name", ["run.json", "verdicts.jsonl", "questions.jsonl"])
def test_a_broken_run_does_not_hide_the_others(sound, tmp_path, name, driftbench, caplog):
    runs = tmp_path / "runs"
    for one in ("a", "bad", "c"):
        shutil.copytree(sound, runs / one)
    (runs / "bad" / name).write_text('{"a": 1}\n')
    found = load.collect([runs])
    assert [row.label for row in found.blocks[0].rows] == ["a", "c"]
    assert [note for note in found.notes if note.startswith(f"bad is left out: {runs}/bad/{name}")]
    with pytest.raises(UserError, match=name):
        load.collect([runs / "a", runs / "bad"])
    if name != "questions.jsonl":
        assert "c" in driftbench("compare", runs).out
        assert f"left out: {runs}/bad/{name}" in caplog.text
