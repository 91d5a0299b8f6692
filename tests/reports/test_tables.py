import csv
import io
import math
import re
import shutil

import graded
import pytest

from common.errors import UserError
from harness.statistics.resampling import holm
from reports import formats, load, tables
from reports.blocks import Choice
from reports.plots import categories


def compare(path):
    material = load.collect([path])
    return material, [tables.compare(block) for block in material.blocks]


def test_a_table_by_hand(pair):
    _, [table] = compare(pair)
    lines = formats.markdown([table]).splitlines()
    # Differences in a: 0 1 1 0; in b: 0 −1 0 0. Errors: √(¼·4/3/4), √((3/16)/3), and of all eight
    # √((3 − 1/8)/7/8). p before Holm: 2·(½)², 1, and of all eight 2·4/8.
    assert "|  | pooled | a | b | n | unparsed | truncated | error |" in lines
    assert "| SFT | 50.0 ± 18.9 | 25.0 ± 25.0 | 75.0 ± 25.0 | 8 | 0 | 0 | 0 |" in lines
    assert (
        "| DRIFT | 62.5 ± 18.3 (+12.5 ± 22.7, p = 1.00, cannot be told) "
        "| 75.0 ± 25.0 (+50.0 ± 28.9, p = 1.00, cannot be told) "
        "| 50.0 ± 28.9 (−25.0 ± 25.0, p = 1.00, cannot be told) | 8 | 1 | 1 | 0 |"
    ) in lines
    assert "| guess floor | 25.0 | 25.0 | 25.0 |  |  |  |  |" in lines
    assert "Pooled: all questions of pocket, each weighing alike." in lines[-4]


def test_p_is_corrected_by_family_and_what_is_supported_is_bold(study):
    _, counted = compare(study)
    for table in counted:
        for family, count in (("headline", 4), ("exploratory", 3 * 4 + 1)):
            own = table.found.family(family)
            assert len(own) == count  # the reasoner reads text only
            assert [one.p_holm for one in own] == holm([one.p for one in own])
        entries = [e for line in table.lines for e in line.entries if e.versus]
        assert {id(e.versus) for e in entries} == {id(one) for one in table.found.differences}
        text = formats.markdown([table])
        supported = sum(e.versus.finding == "supported" for e in entries)
        assert text.count("(**") == text.count(", supported**)") == supported > 0
        assert text.count(", inside the noise)") + text.count(", cannot be told)") == (
            len(entries) - supported
        )


def test_the_reasoner_has_text_questions_only(study):
    _, [table, _] = compare(study)
    line = table.line("reasoner")
    assert [entry.cell is None for entry in line.entries] == [False, True, True, True, False]
    assert line.total.n == 12
    pooled, *_, text = line.entries
    assert pooled.part and tables.score(pooled).endswith(" (n = 12)") and not text.part
    assert pooled.versus.n == 12


def test_a_run_with_other_questions_is_not_compared(pair):
    shutil.rmtree(pair / "llava_next" / "runs" / "drift")
    questions = graded.simple_questions(3, groups=("a",))
    answers = graded.simple_answers(questions, [1, 1, 1])
    graded.write_run(pair / "llava_next" / "runs" / "drift", questions, answers)
    _, [table] = compare(pair)
    assert table.line("drift").entries[0].versus is None
    said = "pocket: DRIFT cannot be compared with SFT: they have no question in common."
    assert said in table.notes


def test_the_mean_over_tasks_is_a_column_of_its_own(tmp_path):
    one, two = graded.simple_questions(4, "t"), graded.simple_questions(8, "u")
    more = graded.simple_questions(2, "u_validation")
    for name, bits in (("a", [1, 0, 0, 0] + [1] * 2 + [0] * 6), ("b", [1, 1, 1, 0] + [1] * 8)):
        answers = graded.simple_answers(one + two + more, [*bits, 1, 1])
        graded.write_run(tmp_path / name, one + two + more, answers)
    graded.write_run(tmp_path / "c", two, graded.simple_answers(two, [1] * 8))
    _, [table] = compare(tmp_path)
    assert [column.title for column in table.columns] == ["t", "u", "mean over tasks"]
    a, b, c = (line.entries for line in table.lines)
    assert (a[2].cell.score, b[2].cell.score) == ((1 / 4 + 1 / 4) / 2, (3 / 4 + 1) / 2)
    assert b[2].versus.difference == pytest.approx((1 / 2 + 3 / 4) / 2)
    assert b[2].versus.family == "exploratory"
    assert c[0].cell is c[2].cell is None and c[1].versus.difference == 3 / 4
    assert "t: c did not answer it." in table.notes


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


def test_a_floor_that_is_no_number_is_named_with_its_file(pair):
    place = pair / "llava_next" / "runs" / "sft" / "questions.jsonl"
    place.write_text(place.read_text().replace('"floor": 0.25', '"floor": "x"', 1))
    with pytest.raises(UserError, match=f"{place}: floor of pocket aq0 is of type float, not 'x'"):
        compare(pair)


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_every_difference_and_every_cell_at_full_precision(study, pair):
    material, counted = compare(pair)
    [row] = [
        r for r in read(formats.scores_csv(material)) if (r["run"], r["group"]) == ("drift", "a")
    ]
    assert float(row["stderr"]) == pytest.approx(math.sqrt(0.75 * 0.25 / 3), rel=1e-15)
    assert row["floor"] == "0.25"
    [row] = [r for r in read(formats.differences_csv(counted)) if r["group"] == "a"]
    assert (row["difference"], row["p"], row["p_holm"]) == ("0.5", "0.5", "1.0")
    assert (row["above"], row["below"], row["finding"]) == ("2", "0", "cannot be told")
    assert (row["name"], row["baseline"], row["test"]) == ("DRIFT", "SFT", "exact McNemar")

    material, counted = compare(study)
    rows = read(formats.scores_csv(material))
    keys = [(r["block"], r["run"], r["task"], r["group"]) for r in rows]
    assert len(set(keys)) == len(keys)
    for block in material.blocks:
        for row in (*block.rows, *block.sweep):
            for task, group in row.run.cells:
                assert (block.name, row.run.name, task, group) in keys
    swept = {r["alpha"] for r in rows if r["method"] == "merge"}
    assert swept == {"0.0", "0.3", "0.7", "1.0"}
    assert {r["block"] for r in read(formats.differences_csv(counted))} == {
        "qwen2_5_vl",
        "llava_next",
    }


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
        text = formats.latex([table])
        structure(text)
        assert r"\caption{" in text and "\\alpha" in text and "$\\pm$" in text
    groups = ("50%_{x}", r"\input{/etc/passwd}", "a&b~c^d")
    questions = graded.simple_questions(12, groups=groups)
    for name in ("x_1", "50% #1 {b}"):
        answers = graded.simple_answers(questions, [1, 0] * 6)
        graded.write_run(tmp_path / name, questions, answers)
    _, [whole] = compare(tmp_path)
    [table] = categories.tables(whole)
    text = formats.latex([table])
    structure(text)
    assert r"\textbackslash{}input\{/etc/passwd\}" in text
    assert r"50\% \#1 \{b\}" in text


def test_markdown_names_cannot_break_the_table(tmp_path):
    questions = graded.simple_questions(2, task="a|b")
    graded.write_run(tmp_path / "<b>", questions, graded.simple_answers(questions, [1, 0]))
    _, [table] = compare(tmp_path / "<b>")
    text = formats.markdown([table])
    assert r"|  | a\|b | n |" in text and r"| \<b\> | 50.0" in text
