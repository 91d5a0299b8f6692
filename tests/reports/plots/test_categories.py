import graded

from harness.runs.schema import Question
from harness.statistics.resampling import holm
from reports import formats, load, tables
from reports.plots import categories, style


def write(folder, counts, runs):
    """Runs of one task whose questions have groups; group → number of questions."""
    questions = [
        Question(task="t", id=f"{group}{i}", prompt="?", row={"answer": "7", "groups": (group,)})
        for group, n in counts.items()
        for i in range(n)
    ]
    for name, right in runs.items():
        bits = [int(right(q.row["groups"][0], i)) for i, q in enumerate(questions)]
        answers = graded.simple_answers(questions, bits)
        graded.write_run(folder / name, questions, answers)
    return load.collect([folder / name for name in runs])


def test_kinds_are_apart_in_natural_order_without_the_small_and_the_crossed(tmp_path):
    counts = {
        "level: 10": 10, "level: 9": 10, "level: 2": 9, "subject: b": 12, "subject: a": 11,
        "alone: x": 20, "level 1: a": 10, "level 1: b": 10, "plain": 10, "other": 10,
    }  # fmt: skip
    material = write(tmp_path, counts, {"a": lambda group, i: i % 2})
    [whole] = map(tables.compare, material.blocks)
    found = {one.title: [c.title for c in one.columns] for one in categories.tables(whole)}
    assert found == {
        "t: level": ["9", "10"],
        "t: subject": ["a", "b"],
        "t: group": ["other", "plain"],
    }


def test_categories_are_corrected_together_and_apart_from_the_headline(tmp_path):
    counts = {"level: 1": 40, "level: 2": 30, "subject: a": 20, "subject: b": 25}
    runs = {
        "base": lambda group, i: i % 3 == 0,
        "better": lambda group, i: i % 3 == 0 or group == "level: 1",
    }
    material = write(tmp_path, counts, runs)
    [whole] = map(tables.compare, material.blocks)
    [level, subject] = categories.tables(whole)
    entries = [level.lines[1].entries, subject.lines[1].entries]
    differences = [entry.versus for own in entries for entry in own]
    assert [one.p_holm for one in differences] == holm([one.p for one in differences])
    assert [one.finding for one in differences] == [
        "supported",
        "cannot be told",
        "cannot be told",
        "cannot be told",
    ]
    assert differences[1].difference == 0
    heads, [first, second] = formats.grid(level)
    assert (heads, first[:2], second[0]) == (["", "n", "base", "better"], ["1", "40"], "2")
    assert "| 1 | 40 | 35.0 ± 7.6 | 100.0 ± 0.0 (**+65.0" in formats.markdown([level])
    with style._settings():
        [axis] = categories.plot(level).draw().axes
    marks = [line for line in axis.lines if line.get_marker() not in ("None", None, "")]
    assert [round(line.get_xdata()[0], 9) for line in marks] == [65.0, 0.0]
    filled = [line.get_markerfacecolor() != style.GROUND for line in marks]
    assert filled == [True, False]


def test_a_study_of_one_task_has_its_groups_as_columns_already(study):
    for block in load.collect([study]).blocks:
        assert categories.tables(tables.compare(block)) == []


def test_runs_beyond_the_panels_are_told(tmp_path):
    runs = {f"run{k}": lambda group, i, k=k: i % (k + 2) == 0 for k in range(7)}
    material = write(tmp_path, {"level: 1": 20, "level: 2": 20}, runs)
    [whole] = map(tables.compare, material.blocks)
    [level] = categories.tables(whole)
    plot = categories.plot(level)
    assert plot.text.endswith("Drawn are the first 4 of 6 runs; the table has all.")
    assert len(style.figure(plot).axes) == 4
