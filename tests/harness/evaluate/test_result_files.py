"""Files that other tools wrote, scored to the numbers that those tools give."""

import csv
import json
import re
import struct
import zipfile
from pathlib import Path

import pytest

from common.errors import UserError
from harness.evaluate import import_responses
from harness.evaluate.grade import score
from harness.evaluate.import_responses import run_of
from harness.evaluate.result_layouts import answers_of
from harness.runs import log
from harness.runs.folder import read_card, read_cells, read_verdicts

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "tests" / "data" / "results"

# File, the protocol whose rule is the tool's, right answers, errors; beside them what the tool says
SCORED = [
    ("gsm8k/lm_eval.jsonl", "official", 5, 0),  # exact_match,flexible-extract: 0.625
    ("gsm8k/lmms_eval_two_filters.jsonl", "official", 5, 0),  # exact_match,flexible-extract: 0.625
    # Its rule here was the text behind ####, without a filter: 0.375. Two more end in the number.
    ("gsm8k/lmms_eval.jsonl", "official", 5, 0),
    ("gsm8k/lmms_eval_0.3.jsonl", "official", 5, 0),
    # Accuracy 0.571: inspect has 4 right of 7, and leaves the sample that failed out.
    ("gsm8k/inspect.eval", "official", 4, 1),
    ("gsm8k/openai_batch.jsonl", "official", 5, 1),
    ("gsm8k/vllm_batch.jsonl", "official", 5, 1),
    ("mathvista/mathvista_scored.json", "official", 4, 0),  # true_false: 4
    ("mathvista/mathvista_five_answers.json", "official", 14, 0),
    # Where no judge is asked VLMEvalKit's rule has 4 right, and draws lots for the failed one.
    ("mathvista/vlmevalkit.xlsx", "vlmevalkit", 4, 1),
    ("mathvista/vlmevalkit.tsv", "vlmevalkit", 4, 1),
    ("mathvista/vlmevalkit.json", "vlmevalkit", 4, 1),
    ("mathvista/vlmevalkit.jsonl", "vlmevalkit", 4, 1),
    ("mathverse/mathverse_scored.json", "robust", 3, 0),  # judgement: 3
]


@pytest.mark.parametrize(("name", "protocol", "right", "errors"), SCORED)
def test_a_file_has_the_number_that_its_tool_gives(tmp_path, name, protocol, right, errors):
    path, out = RESULTS / name, tmp_path / "run"
    run_of(path, path.parent.name, out, protocol=protocol, data=path.parent)
    score(out)
    verdicts = read_verdicts(out)
    assert [v.correct for v in verdicts].count(True) == right
    assert read_cells(out)[0].error == errors


PAGE = (ROOT / "docs" / "scoring_result_files.md").read_text().replace("\\\n", "")
COMMANDS = re.findall(r"^    driftbench (score .*--data .*)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("line", COMMANDS, ids=[line.rpartition("/")[2] for line in COMMANDS])
def test_the_lines_of_the_guide_work_in_a_clone(tmp_path, monkeypatch, driftbench, line):
    monkeypatch.chdir(ROOT)
    words, _, name = line.rpartition(" runs/")
    assert "score" in driftbench(words, tmp_path / name).out
    assert read_cells(tmp_path / name)[0].correct >= 3


def test_each_row_is_right_where_the_tool_says_so(tmp_path):
    """MathVista's, MathVerse's and inspect's files have a verdict in each row."""
    for name, field, protocol in [
        ("mathvista/mathvista_scored.json", "true_false", "official"),
        ("mathverse/mathverse_scored.json", "judgement", "robust"),
    ]:
        path = RESULTS / name
        told = json.loads(path.read_text())
        told = list(told.values()) if isinstance(told, dict) else told
        out = tmp_path / path.stem
        run_of(path, path.parent.name, out, protocol=protocol, data=path.parent)
        score(out)
        assert [v.correct for v in read_verdicts(out)] == [bool(row[field]) for row in told]


def test_several_answers_have_an_extraction_each(tmp_path):
    path, out = RESULTS / "mathvista" / "mathvista_five_answers.json", tmp_path / "run"
    run_of(path, "mathvista", out, protocol="official", data=path.parent)
    score(out)
    told = json.loads(path.read_text())
    found = {id: [] for id in told}
    for verdict in read_verdicts(out):
        found[verdict.id].append(verdict.correct)
    assert found["2"] == [False, False, True, True, True]
    assert found["4"] == [True, True, True, False, False]
    # One of several answers was taken, and which is not said: it is nobody's.
    for row in told.values():
        del row["extractions"]
    (tmp_path / "one.json").write_text(json.dumps(told))
    answers, _ = answers_of(tmp_path / "one.json")
    assert {answer.extraction for answer in answers} == {None}


GSM8K = RESULTS / "gsm8k"
SCORE = "score --task gsm8k --protocol official --responses"


def test_one_filter_is_taken_and_another_can_be_named(tmp_path, driftbench, mistake):
    path = GSM8K / "lm_eval.jsonl"
    words = SCORE, path, "--data", GSM8K, "--out"
    assert "of the filters strict-match and flexible-extract the lines of strict-match are" in (
        driftbench(*words, tmp_path / "a").out
    )
    driftbench(*words, tmp_path / "b", "--filter strict-match")
    assert read_cells(tmp_path / "b")[0].score == 0.375  # exact_match,strict-match
    said = mistake(*words, tmp_path / "c", "--filter strict")
    assert "has no filter 'strict': it has strict-match and flexible-extract" in said
    path = GSM8K / "lmms_eval_two_filters.jsonl"
    driftbench(SCORE, path, "--data", GSM8K, "--out", tmp_path / "d", "--filter 1")
    assert read_cells(tmp_path / "d")[0].score == 0.375
    path = GSM8K / "openai_batch.jsonl"
    said = mistake(SCORE, path, "--data", GSM8K, "--out", tmp_path / "e", "--filter x")
    assert "has no filter 'x': it has none" in said


def test_how_an_answer_ended_and_what_was_thought_is_kept(tmp_path):
    found = {}
    for name in ("inspect.eval", "openai_batch.jsonl", "vllm_batch.jsonl"):
        run_of(GSM8K / name, "gsm8k", tmp_path / name, data=GSM8K)
        found[name] = log.read_responses(tmp_path / name)
    assert [r.finish for r in found["inspect.eval"]][2] == "length"
    assert [r.finish for r in found["openai_batch.jsonl"]][7] == "length"
    for name in ("inspect.eval", "vllm_batch.jsonl"):
        thought = "<think>90 / 15 is 6, I think. Or 5? No, 6.</think>There are 6 pieces."
        assert found[name][6].text == thought
    reasons = {name: [r.reason for r in rs if r.reason] for name, rs in found.items()}
    assert reasons == {
        "inspect.eval": ["inspect.eval says: RuntimeError('the GPU fell off the bus')"],
        "openai_batch.jsonl": ["openai_batch.jsonl says: This request could not be executed "
                               "before the completion window expired."],
        "vllm_batch.jsonl": ["vllm_batch.jsonl says: This model's maximum context length is "
                             "64 tokens."],
    }  # fmt: skip


def test_epochs_of_an_inspect_log_are_samples(tmp_path):
    """As its JSON, with a long text that is held apart."""
    samples = [
        {"id": 0, "epoch": epoch, "attachments": {"f00": "15"}, "output": {
            "choices": [{"message": {"content": text}, "stop_reason": "stop"}]}}
        for epoch, text in ((1, "attachment://f00"), (2, "16"))
    ]  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps({"eval": {}, "samples": samples}))
    found, _ = answers_of(tmp_path / "a.json")
    assert [(a.sample, a.said.text) for a in found] == [(0, "15"), (1, "16")]


# Where the answer stands

PART = {"type": "text", "text": "14"}
CHAT = [{"role": "user", "content": "?"}, {"role": "assistant", "content": [PART]}]
SHAPES = {
    "response": "14", "prediction": 14, "model_answer": 14.0, "resps": [["14"]],
    "filtered_resps": "14", "model_output": [PART], "model_response": {"text": "14"},
    "generated_text": CHAT, "output": {"choices": [{"message": CHAT[1]}]}, "pred": ["14"],
    "completion": {"content": "14"}, "text": {"output": [{"type": "message", "content": [PART]}]},
}  # fmt: skip


@pytest.mark.parametrize("field", SHAPES)
def test_an_answer_is_read_in_each_known_field_and_shape(tmp_path, field):
    ((answer,), notes) = answers_of(lines(tmp_path, {"id": 1, field: SHAPES[field]}))
    assert (answer.said.text, answer.names, answer.sample, notes) == ("14", {"id": "1"}, 0, [])


def lines(folder: Path, *records) -> Path:
    path = folder / "a.JSONL"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


OTHER = {
    "has no field with answers (response, prediction": {"id": 1, "antwort": "14"},
    "its fields are id and antwort; rename the one": {"id": 1, "antwort": "14"},
    "its answer is an object without a text: its fields are a and b": {"output": {"a": 1, "b": 2}},
    "where its answer should be it holds True": {"response": True},
    "where its answer should be it holds inf": {"response": float("inf")},
    "its answer has a part that is no text": {"response": [{"type": "image_url", "image_url": ""}]},
    "it holds log-likelihoods of options": {"resps": [[["-1.5", "False"]], [["-0.2", "True"]]]},
    "its sample is -1: expected 0, 1, 2": {"response": "14", "sample": -1},
    "its sample is inf: expected 0, 1, 2": {"response": "14", "sample": float("inf")},
    "its sample is 1000000000000": {"response": "14", "sample": 10**39},
    "it has 2 answers, and one number for them": {"response": ["1", "2"], "sample": 0},
    "it has 2 answers and 1 extractions": {"response": ["1", "2"], "extractions": ["1"]},
}


@pytest.mark.parametrize("sentence", OTHER)
def test_what_is_not_understood_is_refused_by_name(tmp_path, sentence):
    with pytest.raises(UserError) as said:
        answers_of(lines(tmp_path, {"id": 1, **OTHER[sentence]}))
    assert sentence in str(said.value) and "\n" not in str(said.value)


FAILURES = {
    "Failed to obtain answer: <class 'RuntimeError'> CUDA": {
        "prediction": "Failed to obtain answer: <class 'RuntimeError'> CUDA"
    },
    "[LMMS_EVAL_REQUEST_FAILED after 3 retries]": {
        "filtered_resps": "[LMMS_EVAL_REQUEST_FAILED after 3 retries]"
    },
    "timed out": {"response": "", "error": {"error": {"message": "timed\nout"}}},
    "HTTP 500: overloaded": {
        "custom_id": "1",
        "response": {"status_code": 500, "body": {"error": {"message": "overloaded"}}},
    },
    "the answer ended for the reason content_filter": {
        "response": {"choices": [{"message": {"content": "I"}, "finish_reason": "content_filter"}]}
    },
}


@pytest.mark.parametrize("reason", FAILURES)
def test_an_error_of_the_other_tool_is_no_answer(tmp_path, reason):
    ((answer,), _) = answers_of(lines(tmp_path, {"id": 1, **FAILURES[reason]}))
    assert (answer.said.text, answer.said.error) == (None, reason)


def test_a_field_that_is_passed_by_is_told(tmp_path):
    path = lines(tmp_path, {"id": 1, "text": "the question", "response": "14"})
    ((answer,), notes) = answers_of(path)
    assert answer.said.text == "14"
    assert notes == ["the answers are those of the field response, not of text"]
    ((answer,), notes) = answers_of(lines(tmp_path, {"id": 1, "response": "", "prediction": 0}))
    assert (answer.said.text, notes) == ("0", [])


def test_numbers_of_samples_ask_for_no_more_work_than_there_are_answers(tmp_path, monkeypatch):
    path = lines(tmp_path, {"id": 0, "response": "15", "sample": 100_000_000})
    with pytest.raises(UserError, match="has a sample 100000000, and 1 different ones: number"):
        run_of(path, "gsm8k", tmp_path / "run", data=GSM8K)
    monkeypatch.setattr(import_responses, "MOST_MISSING", 400)
    path = lines(tmp_path, *({"id": 0, "response": "", "sample": n} for n in range(51)))
    with pytest.raises(UserError, match="has up to 51 answers to a row and 51 to 8 rows"):
        run_of(path, "gsm8k", tmp_path / "run", data=GSM8K)
    assert not (tmp_path / "run").exists()


def test_numbers_that_a_table_tool_made_fractions_name_their_rows(tmp_path):
    with (tmp_path / "a.CSV").open("w", newline="") as file:
        csv.writer(file).writerows([["index", "prediction"], ["0.0", "15"], ["1.0", "420"]])
    run_of(tmp_path / "a.CSV", "gsm8k", tmp_path / "run", data=GSM8K)
    score(tmp_path / "run")
    assert [v.correct for v in read_verdicts(tmp_path / "run")][:2] == [True, True]


# Workbooks and archives

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def workbook(path: Path, text: str) -> Path:
    """Two sheets, the first of which lies in the second file."""
    cell = '<c r="{}" t="inlineStr"><is><t>{}</t></is></c>'
    rows = [("A1", "index", "B1", "prediction"), ("A2", "0", "B2", text)]
    body = "".join(f"<row>{cell.format(*r[:2])}{cell.format(*r[2:])}</row>" for r in rows)
    sheets = '<sheet name="answers" r:id="r2"/><sheet name="notes" r:id="r1"/>'
    links = "".join(f'<x Id="r{n}" Target="worksheets/sheet{n}.xml"/>' for n in (1, 2))
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("xl/workbook.xml", f'<w xmlns="{MAIN}" xmlns:r="{OFFICE}">{sheets}</w>')
        book.writestr("xl/_rels/workbook.xml.rels", f"<x>{links}</x>")
        book.writestr("xl/worksheets/sheet1.xml", f'<w xmlns="{MAIN}"/>')
        book.writestr("xl/worksheets/sheet2.xml", f'<w xmlns="{MAIN}">{body}</w>')
    return path


def test_the_sheet_that_is_read_and_a_cell_that_was_cut_are_told(tmp_path):
    path = workbook(tmp_path / "a.xlsx", "x" * 32_767)
    run_of(path, "gsm8k", tmp_path / "run", data=GSM8K)
    assert read_card(tmp_path / "run").notes[:2] == (
        "of the sheets answers, notes the first is read",
        "1 answers of 32767 characters were cut by the workbook that held them",
    )
    assert log.read_responses(tmp_path / "run")[0].finish == "length"


def damaged(path: Path) -> bytes:
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            at = info.header_offset
            name, extra = struct.unpack("<2H", content[at + 26 : at + 30])
            at += 30 + name + extra + info.compress_size // 2
            content[at] ^= 0xFF
    return bytes(content)


def encrypted(path: Path) -> bytes:
    """Bit 0 of the flags of each entry says that a password is needed."""
    content = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(mark)
        while at >= 0:
            content[at + flags] |= 1
            at = content.find(mark, at + 4)
    return bytes(content)


XLSX, LOG = RESULTS / "mathvista" / "vlmevalkit.xlsx", GSM8K / "inspect.eval"
BROKEN = {
    "a.xlsx": (b"\xd0\xcf\x11\xe0" + bytes(100), "it is encrypted, or no XLSX but an XLS"),
    "b.xlsx": (damaged(XLSX), "it is no XLSX workbook"),
    "c.xlsx": (encrypted(XLSX), "it is no XLSX workbook"),
    "d.xlsx": (XLSX.read_bytes()[:-100], "it is no XLSX workbook"),
    "e.eval": (damaged(LOG), "cannot be read"),
    "f.eval": (encrypted(LOG), "it is no log of inspect"),
    "g.eval": (LOG.read_bytes()[:5000], "it is no log of inspect"),
    "h.csv": (b"index,prediction\n1,2,3\n", "row 1 has more cells than there are headings"),
    "i.json": (b'{"response": ["1"], "id": ["1", "2"]}', "its columns are not of one length"),
    "j.json": (b'{"model": "x", "score": 3}', "its fields are model, score"),
    "k.jsonl": (b'{"id": 1e999, "response": "7"}\n', "names no rows"),
    "l.pkl": (b"cposix\nsystem\n(S'true'\ntR.", "is a pickle, which can run code"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_gets_one_sentence(tmp_path, mistake, name):
    content, sentence = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    words = SCORE, tmp_path / name, "--data", GSM8K, "--out", tmp_path / "run"
    assert sentence in mistake(*words)
    assert not (tmp_path / "run").exists()


def test_a_row_without_a_field_that_its_task_needs_gets_one_sentence(tmp_path, mistake):
    run_of(GSM8K / "vllm_batch.jsonl", "gsm8k", tmp_path / "run", data=GSM8K)
    path = tmp_path / "run" / "questions.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()]
    del found[3]["row"]["answer"]
    path.write_text("".join(json.dumps(question) + "\n" for question in found))
    said = mistake("score", tmp_path / "run")
    assert "has a row of gsm8k (3) without the field answer, which its verdict needs" in said
