import csv
import io
import math
import re
import shutil

import graded
import pytest

from harness.statistics.resampling import holm
from reports import load, tables
from reports.blocks import Choice
from reports.plots import categories


def compare(path):
    material = load.collect([path])
    return material, [tables.compare(block) for block in material.blocks]


def test_a_table_by_hand(pair):
    _, [table] = compare(pair)
    lines = tables.markdown([table]).splitlines()
    # Differences in a: 0 1 1 0; in b: 0 −1 0 0. Errors: √(¼·4/3/4), √((3/16 + 9/16)/3/4), and half
    # of their hypotenuse. p before Holm: 2·(½)², 1, and 2·4/8, so all are 1 after.
    assert "|  | a | b | mean | n | unparsed | truncated | error |" in lines
    assert "| SFT | 25.0 ± 25.0 | 75.0 ± 25.0 | 50.0 ± 17.7 | 8 | 0 | 0 | 0 |" in lines
    assert (
        "| DRIFT | 75.0 ± 25.0 (+50.0 ± 28.9, p = 1.00, n.s.) "
        "| 50.0 ± 28.9 (−25.0 ± 25.0, p = 1.00, n.s.) "
        "| 62.5 ± 19.1 (+12.5 ± 19.1, p = 1.00, n.s.) | 8 | 1 | 1 | 0 |"
    ) in lines
    assert "| *guess floor* | 25.0 | 25.0 | 25.0 |  |  |  |  |" in lines
    assert table.comparisons == 3


def test_p_is_corrected_over_the_whole_table_and_marks_the_noise(study):
    _, counted = compare(study)
    for table in counted:
        entries = [e for line in table.lines for e in line.entries if e.versus]
        assert table.comparisons == len(entries) == 3 * 5 + 1  # the reasoner reads text only
        assert [e.p for e in entries] == holm([e.versus.p for e in entries])
        assert {e.noise for e in entries} == {True, False}
        text = tables.markdown([table])
        assert text.count(", n.s.)") == sum(e.noise for e in entries)
        assert text.count("(**") == sum(not e.noise for e in entries)


def test_the_reasoner_has_text_questions_only(study):
    _, [table, _] = compare(study)
    line = table.line("reasoner")
    assert [entry.cell is None for entry in line.entries] == [True, True, True, False, True]
    assert line.total.n == 12


def test_a_run_with_other_questions_is_not_compared(pair):
    shutil.rmtree(pair / "llava_next" / "runs" / "drift")
    questions = graded.simple_questions(3, groups=("a",))
    answers = graded.simple_answers(questions, [1, 1, 1])
    graded.write_run(pair / "llava_next" / "runs" / "drift", questions, answers)
    _, [table] = compare(pair)
    assert table.line("drift").entries[0].versus is None
    assert any("0 in common, 3 only in the first, 4 only in the second" in n for n in table.notes)


def test_a_score_without_spread_is_not_called_certain(tmp_path):
    questions = graded.simple_questions(10)
    graded.write_run(tmp_path / "r", questions, graded.simple_answers(questions, [1] * 10))
    _, [table] = compare(tmp_path / "r")
    assert any(
        "with 10 questions the true score may lie 30.0 points away" in n for n in table.notes
    )


def test_the_choice_is_told(study):
    _, [table, _] = compare(study)
    choice = table.block.choice
    assert tables.chosen(table.block).startswith(
        f"Best merge: α = {choice.alpha:g} (share of the reasoner), chosen on pocket_validation"
    )
    none = Choice(choice.task, 0.0, choice.score, (0.0, 1.0))
    assert "α = 0 is the VLM itself" in tables.chosen(
        type(table.block)(**{**vars(table.block), "choice": none})
    )


def test_csv_has_every_cell_at_full_precision(study, pair):
    material, counted = compare(pair)
    rows = list(csv.DictReader(io.StringIO(tables.long_form(material, counted))))
    [row] = [r for r in rows if (r["run"], r["group"]) == ("drift", "a")]
    assert float(row["stderr"]) == pytest.approx(math.sqrt(0.75 * 0.25 / 3), rel=1e-15)
    assert (row["difference"], row["p"], row["p_holm"]) == ("0.5", "0.5", "1.0")
    assert (row["only_run"], row["only_baseline"], row["floor"]) == ("2", "0", "0.25")
    assert row["baseline"] == "sft" and row["test"] == "exact McNemar"

    material, counted = compare(study)
    rows = list(csv.DictReader(io.StringIO(tables.long_form(material, counted))))
    keys = [(r["block"], r["run"], r["task"], r["group"]) for r in rows]
    assert len(set(keys)) == len(keys)
    for block in material.blocks:
        for row in (*block.rows, *block.sweep):
            for task, group in row.run.cells:
                assert (block.name, row.run.name, task, group) in keys
    swept = {r["alpha"] for r in rows if r["method"] == "merge"}
    assert swept == {"0.0", "0.3", "0.7", "1.0"}


def structure(text):
    """Fail unless braces, environments and the columns of each row are in order."""
    depth = 0
    for i, char in enumerate(text):
        if char in "{}" and (i == 0 or text[i - 1] != "\\"):
            depth += 1 if char == "{" else -1
            assert depth >= 0
    assert depth == 0
    begun = re.findall(r"\\begin\{(.*?)\}", text)
    assert sorted(begun) == sorted(re.findall(r"\\end\{(.*?)\}", text))
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    columns = len(re.search(r"\\begin\{tabular\}\{([lcr]+)\}", text)[1])
    rows = [row for row in body.splitlines() if row.rstrip().endswith("\\\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {columns - 1}
    bare = re.sub(r"\\[&%$#_{}]|\$[^$]*\$", "", body)
    assert not re.search(r"[%#_^~$]", bare)


def test_latex_is_balanced_and_escaped(tmp_path, study):
    _, counted = compare(study)
    for table in counted:
        text = tables.latex([table])
        structure(text)
        assert r"\caption{" in text and "\\alpha" in text and "$\\pm$" in text
    groups = ("50%_{x}", r"\input{/etc/passwd}", "a&b~c^d")
    questions = graded.simple_questions(12, groups=groups)
    for name in ("x_1", "50% #1 {b}"):
        answers = graded.simple_answers(questions, [1, 0] * 6)
        graded.write_run(tmp_path / name, questions, answers)
    material, _ = compare(tmp_path)
    [table] = map(tables.compare, categories.blocks(material))
    text = tables.latex([table])
    structure(text)
    assert r"\textbackslash{}input\{/etc/passwd\}" in text
    assert r"50\% \#1 \{b\}" in text


def test_markdown_names_cannot_break_the_table(tmp_path):
    questions = graded.simple_questions(2, task="a|b")
    graded.write_run(tmp_path / "<b>", questions, graded.simple_answers(questions, [1, 0]))
    _, [table] = compare(tmp_path / "<b>")
    text = tables.markdown([table])
    assert r"|  | a\|b | n |" in text and r"| \<b\> | 50.0" in text
