"""Answers of other tools, in the forms that they write, scored as if asked here."""

import csv
import json
import zipfile
from pathlib import Path

import pytest

from common.errors import UserError
from harness.evaluate.import_responses import run_of
from harness.evaluate.result_layouts import answers_of
from harness.runs import log
from harness.runs.folder import (
    image_path,
    read_card,
    read_cells,
    read_questions,
    read_verdicts,
)

CHOICES = list("ABCDE")
ROWS = [
    {"id": str(number), "question": f"What is the sum of {number} and four?\n<image1>",
     "options": options, "answer": answer, "level": 1, "subject": "algebra",
     "image": f"images/{number}.jpg"}
    for number, (options, answer) in enumerate(
        [([], "14"), (CHOICES, "B"), (CHOICES, "C"), ([], "9"), ([], "0.5")], start=11
    )
]  # fmt: skip
TEXTS = ["so \\boxed{14}", "\\boxed{B}", "\\boxed{D}", "", "Half of it: \\boxed{\\frac{1}{2}}"]
RIGHT = [True, True, False, None, True]


def lines(path: Path, found) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in found))
    return path


@pytest.fixture
def data(tmp_path) -> Path:
    (tmp_path / "data").mkdir()
    return lines(tmp_path / "data" / "test.jsonl", ROWS).parent


def answers(texts=TEXTS):
    return [{"id": row["id"], "response": text} for row, text in zip(ROWS, texts, strict=True)]


def plain(folder: Path) -> Path:
    return lines(folder / "Model.jsonl", answers())


def vlmevalkit_records():
    return [
        {"index": row["id"], "question": row["question"], "answer": row["answer"],
         "prediction": text}
        for row, text in zip(ROWS, TEXTS, strict=True)
    ]  # fmt: skip


def vlmevalkit_tsv(folder: Path) -> Path:
    path = folder / "Model_MathVision.tsv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(vlmevalkit_records()[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(vlmevalkit_records())
    return path


def vlmevalkit_json(folder: Path) -> Path:
    path = folder / "Model_MathVision.json"
    path.write_text(json.dumps(vlmevalkit_records()))
    return path


def vlmevalkit_columns(folder: Path) -> Path:
    """As pandas writes a table by default."""
    path = folder / "Model_MathVision.json"
    found = vlmevalkit_records()
    path.write_text(
        json.dumps({name: {str(n): r[name] for n, r in enumerate(found)} for name in found[0]})
    )
    return path


def vlmevalkit_xlsx(folder: Path) -> Path:
    path = folder / "Model_MathVision.xlsx"
    write_sheet(path, vlmevalkit_records())
    return path


def lm_eval(folder: Path) -> Path:
    return lines(
        folder / "samples_mathvision_2026-01-01.jsonl",
        [
            {"doc_id": number, "doc": row, "target": row["answer"], "resps": [[text]],
             "filtered_resps": [text[:3]], "acc": 0.0}
            for number, (row, text) in enumerate(zip(ROWS, TEXTS, strict=True))
        ],
    )  # fmt: skip


def lmms_eval(folder: Path) -> Path:
    """Documents without ids: the place in the dataset is all there is."""
    return lines(
        folder / "20260101_samples_mathvision_test.jsonl",
        [
            {"doc_id": number, "doc": {"question": row["question"]}, "target": row["answer"],
             "resps": [text], "filtered_resps": [text]}
            for number, (row, text) in enumerate(zip(ROWS, TEXTS, strict=True))
        ],
    )  # fmt: skip


def by_id(folder: Path) -> Path:
    path = folder / "output.json"
    path.write_text(json.dumps(
        {row["id"]: {"response": text} for row, text in zip(ROWS, TEXTS, strict=True)}
    ))  # fmt: skip
    return path


def write_sheet(path: Path, found) -> None:
    """Write a workbook as openpyxl does: numbers as numbers, texts in a table of their own."""
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    strings: list[str] = []

    def cell(column: int, row: int, value: str) -> str:
        at = f"{chr(65 + column)}{row}"
        if value == "":
            return ""
        if value.isdigit():
            return f'<c r="{at}"><v>{value}</v></c>'
        escaped = value.replace("&", "&amp;").replace("<", "&lt;").replace("\x0b", "_x000B_")
        strings.append(f'<si><t xml:space="preserve">{escaped}</t></si>')
        return f'<c r="{at}" t="s"><v>{len(strings) - 1}</v></c>'

    table = [list(found[0]), *(list(record.values()) for record in found)]
    body = "".join(
        f'<row r="{n}">' + "".join(cell(k, n, value) for k, value in enumerate(row)) + "</row>"
        for n, row in enumerate(table, start=1)
    )
    with zipfile.ZipFile(path, "w") as book:
        sheet = f"<worksheet {space}><sheetData>{body}</sheetData></worksheet>"
        book.writestr("xl/worksheets/sheet1.xml", sheet)
        book.writestr("xl/sharedStrings.xml", f"<sst {space}>{''.join(strings)}</sst>")


MATHVISION = "score --task mathvision --responses"
FORMS = [plain, vlmevalkit_tsv, vlmevalkit_json, vlmevalkit_columns, vlmevalkit_xlsx, lm_eval,
         lmms_eval, by_id]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=[form.__name__ for form in FORMS])
def test_every_form_gives_the_same_verdicts(tmp_path, data, form, driftbench):
    out = tmp_path / "run"
    printed = driftbench(MATHVISION, form(tmp_path), "--data", data, "--out", out).out
    found = read_verdicts(out)
    assert [(v.id, v.correct) for v in found] == [
        (row["id"], right) for row, right in zip(ROWS, RIGHT, strict=True)
    ]
    card = read_card(out)
    assert (card.engine, card.finished, card.tasks[0].asked) == ("elsewhere", True, "")
    cells = {cell.group: cell for cell in read_cells(out)}
    # An empty cell of a workbook is no answer; elsewhere it is an empty one.
    unread = "error" if form is vlmevalkit_xlsx else "unparsed"
    assert (cells["all"].correct, getattr(cells["all"], unread)) == (3, 1)
    assert cells["subject: algebra"].n == 5
    assert "mathvision has 3040 questions, 5 are used here" in printed


def test_the_same_answers_are_scored_under_each_protocol(tmp_path, data, driftbench):
    out = tmp_path / "run"
    run_of(plain(tmp_path), "mathvision", out, data=data, name="theirs")
    driftbench("score", out)
    own = {name: (out / name).read_bytes() for name in ("verdicts.jsonl", "cells.json", "run.json")}
    for protocol in ("official", "vlmevalkit-2025", "vlmevalkit-2026"):
        driftbench("score", out, "--protocol", protocol)
        card = read_card(out / "scored" / protocol)
        assert (card.name, card.tasks[0].protocol) == (f"theirs ({protocol})", protocol)
    assert own == {name: (out / name).read_bytes() for name in own}
    official = read_verdicts(out / "scored" / "official")
    assert [verdict.correct for verdict in official] == [True, True, False, False, True]
    asked = read_card(out / "scored" / "vlmevalkit-2026").tasks[0]
    assert (asked.reworded, read_card(out / "scored" / "official").tasks[0].reworded) == (5, 0)


def test_a_run_made_anew_has_no_scores_of_the_one_before(tmp_path, data, driftbench):
    out, words = tmp_path / "run", (MATHVISION, plain(tmp_path), "--out", tmp_path / "run")
    driftbench(*words, "--data", data)
    driftbench("score", out, "--protocol official")
    lines(data / "test.jsonl", [{**row, "answer": "none of them"} for row in ROWS])
    driftbench(*words, "--data", data)
    assert not any(verdict.correct for verdict in read_verdicts(out))
    assert not (out / "scored").exists()


def test_diff_shows_the_rows_where_two_protocols_disagree(tmp_path, data, driftbench):
    out = tmp_path / "run"
    texts = [
        "\x1b[2Jthe sum \u202eis \\boxed{14}.",
        "B because of A\n\nThe answer is B.",
        "",
        "9",
        "x",
    ]
    run_of(lines(tmp_path / "a.jsonl", answers(texts)), "mathvision", out, data=data)
    driftbench("score", out)
    printed = driftbench("score", out, "--diff --protocol vlmevalkit").out
    assert "\x1b" not in printed and "\u202e" not in printed
    assert "mathvision 11  robust: right, read 14  vlmevalkit-2026: unparsed" in printed
    assert "\\x1b[2Jthe sum \\u202eis \\boxed{14}." in printed
    assert printed.splitlines()[0] == "a: where robust and vlmevalkit-2026 disagree"
    assert "mathvision 14" not in printed
    assert not (out / "scored").exists()
    driftbench("score", out, "--diff --protocol robust", status=2)


def test_an_extraction_stands_for_the_judges_first_reply(tmp_path, data, driftbench):
    out = tmp_path / "run"
    found = [{"id": row["id"], "response": "?", "extraction": row["answer"]} for row in ROWS]
    path = lines(tmp_path / "a.jsonl", found)
    run_of(path, "mathvision", out, data=data, protocol="vlmevalkit")
    driftbench("score", out)
    assert [(v.how, v.correct) for v in read_verdicts(out)] == [("judge", True)] * 5


def test_several_answers_to_a_question_are_samples(tmp_path, data, driftbench):
    out = tmp_path / "run"
    found = [
        {"doc_id": number, "doc": row, "resps": [[text, "none"]]}
        for number, (row, text) in enumerate(zip(ROWS, TEXTS, strict=True))
    ]
    run_of(lines(tmp_path / "samples_a.jsonl", found), "mathvision", out, data=data)
    driftbench("score", out)
    assert read_card(out).sampling.n == 2
    assert read_cells(out)[0].score == 3 / 10


def test_answers_without_a_row_and_rows_without_an_answer_are_counted(tmp_path, data, driftbench):
    out, found = tmp_path / "run", answers()
    found[0]["id"] = "999"
    found[1] = {"id": ROWS[1]["id"]}
    found[2]["response"] = "Failed to obtain answer via API. "
    path = lines(tmp_path / "a.jsonl", found)
    printed = driftbench(MATHVISION, path, "--out", out, "--data", data).out
    assert "a: 1 answers are to no row of mathvision (999)" in printed
    assert "the engine failed on 3, at first: a.jsonl has no answer" in printed
    cell = read_cells(out)[0]
    assert (cell.n, cell.correct, cell.error) == (5, 1, 3)
    reasons = [response.reason for response in log.read_responses(out)]
    assert reasons[2] == "a.jsonl says: Failed to obtain answer via API."


def test_the_same_command_again_makes_the_same_run(tmp_path, data, driftbench):
    words, made = (MATHVISION, plain(tmp_path), "--out", tmp_path / "run", "--data", data), []
    for _ in range(2):
        driftbench(*words)
        made.append({path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()})
    assert made[0] == made[1]


BAD = {
    "a.parquet": (b"", "convert it to JSON lines or TSV"),
    "a.pkl": (b"", "is a pickle, which can run code when it is read: have the tool write TSV"),
    "a.jsonl": (b"{\n", "a.jsonl line 1 is not JSON"),
    "b.jsonl": (b"\x80\x81\xff", "b.jsonl line 1 is not JSON"),
    "c.jsonl": (b"[1]\n", "line 1 is not a JSON object"),
    "d.jsonl": (b"", "holds no answers"),
    "e.jsonl": (b'{"response": "7"}\n', "names no rows: expected one of the fields id, pid"),
    "f.jsonl": (b'{"id": "x", "response": "7"}\n', "rows that mathvision does not have (id x"),
    "g.jsonl": (b'{"id": "11", "response": "7"}\n' * 2, "answers 11 2 times: give each answer its"),
    "h.json": (b'{"a": 3}', "cannot be read"),
    "i.xlsx": (b"PK", "it is no XLSX workbook"),
    "j.jsonl": (b'{"id": "11", "sample": "one", "response": "7"}\n', "its sample is 'one'"),
    "k.json": (b"[" * 100_000, "k.json is nested more than 100 deep"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_answers_gives_one_sentence(tmp_path, data, mistake, name):
    content, sentence = BAD[name]
    (tmp_path / name).write_bytes(content)
    out = tmp_path / "run"
    assert sentence in mistake(MATHVISION, tmp_path / name, "--out", out, "--data", data)
    assert not out.exists()


def test_rows_that_are_numbered_in_another_way_are_noticed(tmp_path, data):
    shifted = [
        {**record, "index": str(int(record["index"]) - 1)} for record in vlmevalkit_records()
    ]
    with pytest.raises(
        UserError, match="other questions or answers than mathvision in 4 of 4 rows"
    ):
        run_of(lines(tmp_path / "a.jsonl", shifted), "mathvision", tmp_path / "run", data=data)


MISTAKES = [
    ("score", "name a run folder, or --responses FILE"),
    ("score x --task mathvision", "--task, --out, --data, --name and --filter are for --responses"),
    ("score --responses a.jsonl --out o", "--responses needs --task TASK and --out RUN"),
    ("score x --responses a.jsonl", "--responses makes a run of its own: leave RUN and --diff out"),
    ("score --responses a.jsonl --task mathvision --out o", "there is no file a.jsonl"),
    ("score --responses a.jsonl --task mathvison --out o", "did you mean mathvision?"),
    ("score x --judge http://h/v1", "needs the judge's name, --judge-model"),
    ("score x --judge-key-env KEY", "--judge-timeout are for a judge at --judge URL"),
    ("score x --judge-model vlm --judge-timeout 5", "are for a judge at --judge URL"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "sentence"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_gives_one_sentence(tmp_path, monkeypatch, mistake, line, sentence):
    monkeypatch.chdir(tmp_path)
    assert sentence in mistake(line)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_protocol_of_a_run_names_those_there_are(tmp_path, data, mistake):
    run_of(plain(tmp_path), "mathvision", tmp_path / "run", data=data)
    said = mistake("score", tmp_path / "run", "--protocol offical")
    assert "mathvision has no protocol 'offical': it has" in said
    assert not (tmp_path / "run" / "scored").exists()


def test_a_folder_of_another_run_is_left_alone(tmp_path, data):
    run_of(plain(tmp_path), "mathvision", tmp_path / "run", data=data)
    other = lines(tmp_path / "other.jsonl", [{"id": "11", "response": "14"}])
    with pytest.raises(UserError, match="holds another run: choose another --out"):
        run_of(other, "mathvision", tmp_path / "run", data=data)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="is not empty and holds no run"):
        run_of(other, "mathvision", tmp_path / "full", data=data)


HOSTILE = ["", "\x00" * 1000, "9**9**9**9", "{" * 20_000, "\\boxed{" * 5_000, "a" * 1_000_000,
           "<think>" * 50_000, "the answer is " * 20_000, "\udc80\ufffe", "1" * 10**5]  # fmt: skip


def test_whatever_a_model_wrote_it_is_graded(tmp_path, data, driftbench):
    for number in range(0, len(HOSTILE), len(ROWS)):
        out = tmp_path / f"run{number}"
        texts = HOSTILE[number : number + len(ROWS)]
        run_of(lines(tmp_path / f"{number}.jsonl", answers(texts)), "mathvision", out, data=data)
        for more in ("--protocol robust", "--protocol official", "--protocol vlmevalkit", "--diff"):
            assert "broke on" not in driftbench("score", out, more).err
        assert [v.correct for v in read_verdicts(out)].count(True) == 0


def test_a_control_character_in_a_workbook_is_read_back(tmp_path):
    write_sheet(tmp_path / "a.xlsx", [{"index": "1", "prediction": "a\x0bb < c & d\n é"}])
    ((answer,), _) = answers_of(tmp_path / "a.xlsx")
    assert (answer.names, answer.said.text) == ({"index": "1"}, "a\x0bb < c & d\n é")


def test_pictures_that_are_here_are_kept_and_the_others_not_needed(tmp_path, data):
    (data / "images").mkdir()
    (data / "images" / "12.jpg").write_bytes(b"twelve")
    run_of(plain(tmp_path), "mathvision", tmp_path / "runs" / "theirs", data=data)
    asked = read_questions(tmp_path / "runs" / "theirs")
    assert [len(one.images) for one in asked] == [0, 1, 0, 0, 0]
    kept = image_path(tmp_path / "runs" / "theirs", asked[1].images[0])
    assert kept.read_bytes() == b"twelve"
