"""Published outputs scored again: every row is exact, and a row that is not is seen."""

import gzip
import hashlib
import json
from pathlib import Path

import places
import pytest

from common.errors import UserError
from harness.evaluate import published_verdicts


@pytest.fixture(scope="module", params=places.PARITY, ids=lambda folder: folder.parent.name)
def found(request) -> list[published_verdicts.Outcome]:
    return list(published_verdicts.outcomes(request.param / "open"))


BENCHMARKS = {
    "mathvista_testmini", "mathv_test", "logicvista", "wemath_testmini", "mmmu_val", "mmmu_pro",
    "pope_adversarial", "hallusionbench",
}  # fmt: skip


def test_every_published_row_is_reproduced(found):
    assert [(one.file, one.what, one.wrong) for one in found if one.wrong] == []
    verdicts = [one for one in found if one.what == "official"]
    assert {one.file.partition("__")[0] for one in verdicts} >= BENCHMARKS
    for one in verdicts:
        assert one.rows > 90
        if not one.flagged:
            assert one.score == one.published, one.file
    scored = {one.file.partition("__")[0] for one in found if one.what == "official: scores"}
    assert scored >= BENCHMARKS
    assert sum(one.rows for one in found) in (106_875, 166_292)


@pytest.mark.parametrize("folder", places.MORE)
def test_the_benchmarks_of_2026_are_reproduced(folder):
    found = list(published_verdicts.outcomes(folder / "open"))
    assert [(one.file, one.what, one.wrong) for one in found if one.wrong] == []
    scored = {one.file: (one.rows, one.agree) for one in found if one.what == "official: scores"}
    assert scored == {
        "charxiv_descriptive_val__gpt-4o-mini-2024-07-18.jsonl.gz": (42, 42),
        "dynamath__verdicts_7_models.jsonl.gz": (637, 637),
        "emma_mini__cot_3_models.jsonl.gz": (216, 216),
        "emma_mini__direct_1_model.jsonl.gz": (108, 108),
    }


def test_what_is_flagged_is_drawn_or_stale(found):
    flagged = {(one.file, one.what): one.flagged for one in found if one.flagged}
    assert flagged == {
        ("mathv_test__Gemini-Pro.jsonl.gz", "official"): 1,
        ("mathvista_testmini__chatgpt.jsonl.gz", "official: scores"): 1,
        ("mmmu_val__llava1.5_13b.jsonl.gz", "official"): 2,
        ("mmmu_pro__gpt-4o_vision_direct.jsonl.gz", "official"): 48,
    }


OLDER_TABLES = ("rule_vectors.json", "wemath_published_aggregates.json")


def test_the_tables_are_reproduced(found):
    tables = [one for one in found if one.file in OLDER_TABLES]
    assert all(one.rows == one.agree for one in tables)
    assert {one.what: one.rows for one in tables} == {
        "mathvista.normalize out_current": 34,
        "mathvista.normalize out_legacy_2023": 9,
        "mathv.extract out": 20,
        "mathv.is_equal out": 15,
        "option_match vlmevalkit_2025": 81,
        "option_match vlmevalkit_head": 81,
        "option_match mmmu_official": 81,
        "option_match mmmu_pro_official": 81,
        "mmmu.open parsed": 10,
        "mmmu.open verdict": 10,
        "yes_no pope_official": 12,
        "yes_no vlmevalkit": 12,
        "relaxed_correctness out": 14,
        "wemath.letter out": 11,
        "Qwen2VL": 4,
        "LLaVA-NeXT": 4,
        "InternVL2-voting": 4,
    }


# A folder of one's own


RECORDS = [
    {"id": "1", "choices": [], "answer": "9", "response": "\\boxed{9}", "official_verdict": True,
     "official_extraction": "9"},
    {"id": "2", "choices": [], "answer": "9", "response": "The answer is 8",
     "official_verdict": False, "official_extraction": "8"},
    {"id": "3", "choices": list("ABCDE"), "answer": "B", "response": "\\boxed{B}",
     "official_verdict": True, "official_extraction": "b"},
]  # fmt: skip
SCORES = {"-all": "2/3=66.67%", "-level1": "2/3=66.67%", "algebra": "2/3=66.67%"}


def folder_of(tmp_path, records, scores=SCORES, **entry) -> Path:
    content = gzip.compress(b"".join(
        json.dumps({"benchmark": "MATH-V", "question_type": "x",
                    "metadata": {"level": 1, "subject": "algebra"}, **record}).encode() + b"\n"
        for record in records
    ))  # fmt: skip
    (tmp_path / "a.jsonl.gz").write_bytes(content)
    listed = {"file": "a.jsonl.gz", "benchmark": "MATH-V", "official_scores": scores,
              "sha256": hashlib.sha256(content).hexdigest(), **entry}  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps({"files": [listed]}))
    return tmp_path


def test_a_folder_that_agrees_ends_well(tmp_path, driftbench):
    printed = driftbench("parity", folder_of(tmp_path, RECORDS)).out.splitlines()
    assert printed[1].split() == "a.jsonl.gz official 3 3 66.67 66.67 0.0".split()
    assert printed[2].split()[:5] == "a.jsonl.gz official: scores 3 3".split()
    assert printed[3].split()[:5] == "a.jsonl.gz official, extraction 3 3".split()
    assert printed[-1].startswith("9 of 9 agree, 0 are flagged, 0 differ; ")


def test_one_verdict_that_differs_is_named_and_ends_badly(tmp_path, driftbench):
    records = [RECORDS[0], {**RECORDS[1], "id": "2\x1b[2J", "official_verdict": True}, RECORDS[2]]
    printed = driftbench("parity", folder_of(tmp_path, records), status=1).out
    assert "a.jsonl.gz, official: 1 differ\n  2\\x1b[2J: False, published True" in printed
    assert "8 of 9 agree, 0 are flagged, 1 differ; " in printed


def test_a_row_that_is_stale_may_differ(tmp_path):
    stale = {**RECORDS[1], "official_verdict": True, "rerun_verdict": False}
    records = [RECORDS[0], stale, RECORDS[2]]
    folder = folder_of(tmp_path, records, {"-all": "3/3=100.0%"})
    outcomes = list(published_verdicts.outcomes(folder))
    assert (outcomes[0].agree, outcomes[0].flagged, outcomes[0].wrong) == (2, 1, ())
    assert (outcomes[1].what, outcomes[1].agree) == ("official: scores", 1)


def test_a_row_that_was_drawn_may_differ_where_none_is_read(tmp_path):
    drawn = {"id": "1", "choices": ["cat", "dog"], "answer": "A", "official_verdict": True,
             "metadata": {"subject": "Art"}, "question_type": "multiple-choice",
             "random_fallback": True}  # fmt: skip
    for response, flagged, wrong in (("hm", 1, 0), ("(B)", 0, 1)):
        record = {**drawn, "response": response}
        folder = folder_of(tmp_path, [record], {}, benchmark="MMMU")
        (one,) = published_verdicts.outcomes(folder)
        assert (one.agree, one.flagged, len(one.wrong)) == (0, flagged, wrong)


def test_a_record_that_lacks_a_field_differs_and_breaks_nothing(tmp_path):
    bare = {name: value for name, value in RECORDS[0].items() if name != "answer"}
    outcomes = list(published_verdicts.outcomes(folder_of(tmp_path, [bare, *RECORDS[1:]])))
    assert outcomes[0].wrong == ("1: \"KeyError 'answer'\", published 'a value'",)


MISTAKES = [
    ({"sha256": "0"}, "a.jsonl.gz is not the file that its manifest.json lists: copy it again"),
    ({"file": "b.jsonl.gz"}, "b.jsonl.gz is not the file that its manifest.json lists"),
    ({"benchmark": "MATH-X"}, "is of the benchmark 'MATH-X': expected one of MathVista, MATH-V"),
]


@pytest.mark.parametrize(("entry", "sentence"), MISTAKES)
def test_a_folder_that_is_not_whole_gives_one_sentence(tmp_path, entry, sentence):
    folder = folder_of(tmp_path, RECORDS, **entry)
    with pytest.raises(UserError) as error:
        list(published_verdicts.outcomes(folder))
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    "manifest", [None, "[", "[]", '{"files": 3}', '{"files": [3]}', '{"files": [{"file": "a"}]}']
)
def test_a_folder_without_a_manifest_gives_one_sentence(tmp_path, mistake, manifest):
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    assert "manifest.json" in mistake("parity", tmp_path)
