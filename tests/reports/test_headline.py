import graded
import synthetic

from harness.runs.schema import Question
from reports import headline, load, tables
from reports.plots import style


def counted(*paths):
    return [tables.compare(block) for block in load.collect(list(paths)).blocks]


def write(folder, task, **runs):
    """Runs of a task with groups `see` and `think`, 40 questions each: how many are right."""
    questions = {
        (group, i): Question(
            task=task, id=f"{group}{i}", prompt="?", row={"answer": "7", "groups": (group,)}
        )
        for group in ("see", "think")
        for i in range(40)
    }
    for name, right in runs.items():
        kept = [q for (group, _), q in questions.items() if right[group] is not None]
        bits = [int(i < right[group]) for group, i in questions if right[group] is not None]
        graded.write_run(folder / name, kept, graded.simple_answers(kept, bits))
    return [folder / name for name in runs]


def said(table):
    return [(one.name, one.verdict, one.text) for one in headline.sentences(table)]


def test_a_sentence_a_run_and_what_a_gain_has_cost(tmp_path):
    paths = write(
        tmp_path,
        "t",
        base={"see": 30, "think": 5},
        drift={"see": 10, "think": 40},
        same={"see": 30, "think": 5},
        worse={"see": 0, "think": 0},
        part={"see": 40, "think": None},
    )
    found = counted(*paths)
    difference = {name: found[0].found.of(name, "t").difference for name in ("drift", "worse")}
    assert difference == {"drift": (50 - 35) / 80, "worse": -35 / 80}
    (drift, same, worse, part) = said(found)
    assert drift[:2] == ("drift", "mixed")
    assert drift[2].startswith("undecided on t (+18.8 ± ")
    assert ". Among groups of questions, better on t, think (+87.5 ± " in drift[2]
    assert "; worse on t, see (−50.0 ± " in drift[2] and drift[2].count("Among groups") == 1
    assert same[:2] == ("same", "undecided") and same[2].startswith("undecided on t (0.0 ")
    assert worse[:2] == ("worse", "worse") and worse[2].startswith("worse than base on t (−43.8 ± ")
    assert "Among" not in worse[2], "its groups say what the whole says"
    assert part == ("part", "undecided", "answered a part of the questions only: see the table.")


def test_a_method_of_a_study_is_one_sentence_over_its_families(study):
    found = counted(study)
    names = [name for name, *_ in said(found)]
    assert names == ["VLM", "reasoner", "best merge (α = 0.7)", "DRIFT"]
    drift = said(found)[-1][2]
    assert "LLaVA-NeXT (" in drift and "Qwen2.5-VL (" in drift
    assert len(drift.split(" than SFT on ")) <= 3


def test_many_runs_are_named_by_what_is_said_of_them(tmp_path):
    runs = {f"run{i:02}": {"see": 40 if i % 2 else 5, "think": 20} for i in range(20)}
    found = said(counted(*write(tmp_path, "t", **runs)))
    assert [verdict for _, verdict, _ in found] == ["better", "undecided"]
    assert found[0][0].startswith("run01, run03, ") and found[0][2].startswith("better")


def test_validation_is_no_headline(tmp_path):
    paths = write(tmp_path, "t_validation", a={"see": 1, "think": 1}, b={"see": 40, "think": 40})
    [(name, verdict, text)] = said(counted(*paths))
    assert (name, verdict) == ("b", "undecided") and "validation questions alone" in text


def test_the_figure_is_of_the_differences_of_the_table(study):
    found = counted(study)
    plot = headline.plot(found)
    assert "SFT" in plot.title and "Holm" in plot.text
    drawn = style.figure(plot)
    titles = [axis.get_title(loc="left") for axis in drawn.axes[:2]]
    assert titles == [table.title for table in found] == ["Qwen2.5-VL", "LLaVA-NeXT"]
    labels = [text.get_text() for text in drawn.axes[0].get_yticklabels()]
    assert labels == ["pooled", "VLM", "best merge (α = 0.7)", "DRIFT"], (
        "the reasoner answered a part only"
    )
    points = [x.get_xdata()[0] for x in drawn.axes[0].lines if x.get_marker() == "o"]
    one = [found[0].found.of(line.row.label, "pocket") for line in found[0].lines[:3:2]]
    assert points[:2] == [100 * each.difference for each in one]


def test_one_run_against_another_is_a_row_a_benchmark(tmp_path):
    tasks = [q for task in ("t", "u") for q in graded.simple_questions(4, task)]
    for name, bits in {"a": [0, 1] * 4, "b": [1, 1] * 4}.items():
        graded.write_run(tmp_path / name, tasks, graded.simple_answers(tasks, bits))
    [axis] = style.figure(headline.plot(counted(tmp_path / "a", tmp_path / "b"))).axes
    assert [t.get_text() for t in axis.get_yticklabels()] == ["t", "u", "mean over tasks"]
    assert headline.plot(counted(tmp_path / "a")) is None


def test_seeds_have_a_figure_of_their_own(study, tmp_path):
    from reports.plots import figures

    for seed in range(2):
        (tmp_path / f"seed-{seed}").mkdir()
        for family in ("llava_next", "qwen2_5_vl"):
            (tmp_path / f"seed-{seed}" / family).symlink_to(study / family)
    synthetic.record(tmp_path)
    material = load.collect([tmp_path])
    assert figures.of(material, [tables.compare(b) for b in material.blocks])["headline"] == []
