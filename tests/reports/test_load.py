import json
import shutil

import graded
import pytest
import synthetic

from common.errors import UserError
from reports import load, tables


def write_sweep(folder, validation, test):
    """A family of merges; α → bits of its answers on the validation and on the test questions."""
    asked = graded.simple_questions(4, task="pocket_validation", groups=("a",))
    tested = graded.simple_questions(4, groups=("a",))
    for alpha in validation:
        answers = graded.simple_answers(asked, validation[alpha])
        answers |= graded.simple_answers(tested, test[alpha])
        made = synthetic.made("merge", method="linear", alpha=alpha)
        run = folder / "idefics3" / "runs" / f"merge-{alpha:.2f}"
        graded.write_run(run, asked + tested, answers, made=made)
    synthetic.record(folder)
    return load.collect([folder]).blocks[0]


def test_a_study_is_read_family_by_family(study):
    material = load.collect([study])
    assert [block.title for block in material.blocks] == ["Qwen2.5-VL", "LLaVA-NeXT"]
    block = material.blocks[0]
    assert [column.title for column in block.columns] == list(synthetic.GROUPS)
    assert {column.task for column in block.columns} == {"pocket"}
    labels = [row.label for row in block.rows]
    assert labels[:2] == ["VLM", "reasoner"] and labels[3:] == ["SFT", "DRIFT"]
    assert labels[2] == f"best merge (α = {block.choice.alpha:g})"
    assert block.baseline.run.name == "sft"
    assert [row.alpha for row in block.sweep] == [0.0, 0.3, 0.7, 1.0]
    assert block.notes == () and material.notes == ()
    names = [step.name for step in material.steps]
    assert names[0] == "world" and names[-2:] == ["evaluate", "all, side by side"]
    costs = [cost for cost in block.costs if not cost.name.startswith("merge-")]
    assert [cost.name for cost in costs] == ["base", "vlm", "reasoner", "sft", "drift"]
    assert costs[0].asking is None and costs[3].asking == 11.5


def test_a_merge_of_what_was_fine_tuned_is_no_point_of_the_sweep(study, tmp_path):
    """SFT, then merge is a linear merge too, of other weights than the VLM's."""
    own = shutil.copytree(study, tmp_path / "study")
    runs = own / "qwen2_5_vl" / "runs"
    shutil.copytree(runs / "merge-0.30", runs / "sft_then_merge")
    card = json.loads((runs / "sft_then_merge" / "run.json").read_text())
    card["made"]["settings"]["alpha"] = 0.05
    card["made"]["parents"][0]["fingerprint"] = json.loads((runs / "sft/run.json").read_text())[
        "fingerprint"
    ]
    (runs / "sft_then_merge" / "run.json").write_text(json.dumps(card))
    found = load.collect([own]).blocks[0]
    assert "sft_then_merge" in [row.run.name for row in found.rows]
    assert [row.alpha for row in found.sweep] == [0.0, 0.3, 0.7, 1.0]
    # Nor does its α of 0, which is SFT, stand in for a VLM that was not asked.
    card["made"]["settings"]["alpha"] = 0.0
    (runs / "sft_then_merge" / "run.json").write_text(json.dumps(card))
    shutil.rmtree(runs / "vlm")
    shutil.rmtree(runs / "merge-0.00")
    found = load.collect([own]).blocks[0]
    assert "VLM" not in [row.label for row in found.rows]
    assert [row.alpha for row in found.sweep] == [0.3, 0.7, 1.0]


def test_the_best_merge_is_the_best_on_validation_not_on_the_test(tmp_path):
    block = write_sweep(
        tmp_path,
        validation={0.0: [0, 0, 0, 0], 0.5: [1, 1, 0, 0], 1.0: [1, 0, 0, 0]},
        test={0.0: [0, 0, 0, 0], 0.5: [0, 0, 0, 1], 1.0: [1, 1, 1, 1]},
    )
    assert block.choice.alpha == 0.5
    assert block.choice.score.score == 0.5
    assert block.choice.task == "pocket_validation"
    assert block.choice.candidates == (0.0, 0.5, 1.0)


def test_of_equal_merges_the_smallest_is_chosen_and_it_may_be_none(tmp_path):
    bits = {alpha: [1, 0, 1, 0] for alpha in (0.0, 0.5, 1.0)}
    assert write_sweep(tmp_path, bits, bits).choice.alpha == 0.0


def test_a_merge_with_answers_missing_is_no_candidate(tmp_path):
    bits = {0.0: [0, 0, 1, 0], 1.0: [0, 1, 1, 0]}
    write_sweep(tmp_path, bits, bits)
    run = tmp_path / "idefics3" / "runs" / "merge-1.00"
    lines = (run / "verdicts.jsonl").read_text().splitlines(keepends=True)
    (run / "verdicts.jsonl").write_text("".join(lines[1:]))
    block = load.collect([tmp_path]).blocks[0]
    assert block.choice.candidates == (0.0,)
    assert "merge-1.00 is no candidate: its validation answers are incomplete." in block.notes


def test_without_validation_no_merge_is_chosen(tmp_path):
    study = synthetic.write_study(
        tmp_path / "s", families=("idefics3",), alphas=(0.0, 1.0), per_group=2, validation=False
    )
    block = load.collect([study]).blocks[0]
    assert block.choice is None
    assert any("choosing on the test questions would flatter it" in note for note in block.notes)
    assert not any(row.label.startswith("best merge") for row in block.rows)


def test_what_is_missing_is_said(study, tmp_path):
    broken = tmp_path / "pocket"
    shutil.copytree(study, broken)
    shutil.rmtree(broken / "llava_next" / "runs")
    for file in (broken / "steps").glob("*.json"):
        file.unlink()
    synthetic.record(study, out=broken)
    for name in ("vlm", "reasoner", "drift"):
        shutil.rmtree(broken / "qwen2_5_vl" / "runs" / name)
    material = load.collect([broken])
    [block] = material.blocks
    assert any("No cost of the steps" in note for note in material.notes)
    assert "LLaVA-NeXT has no run yet." in material.notes
    assert "VLM has no run of its own; merge-0.00 holds the same weights." in block.notes
    assert {"reasoner was not run.", "DRIFT was not run."} <= set(block.notes)


def test_a_study_whose_record_names_no_methods_reads_as_runs(study, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(study, old)
    (old / "steps" / "study.json").write_text(json.dumps({"recipe": "mine", "seconds": 1.0}))
    material = load.collect([old])
    assert material.study is None
    [answered] = [block for block in material.blocks if len(block.rows) > 2]
    assert len(answered.rows) == 2 * (4 + 4)
    assert "llava_next/runs/sft" in [row.label for row in answered.rows]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "study.json is not JSON"),
        ("[]", "study.json is not a JSON object"),
        ('{"methods": 3}', "study.json: methods is a list, not 3"),
        ('{"methods": [{"name": "a"}]}', r"study.json: methods\[0\] has no field label"),
        ('{"methods": [{"name": "a", "label": {}, "runs": []}]}', "label is of type str"),
        (
            '{"methods": [{"name": "a", "label": "A", "runs": [{"family": "f", "seed": 0, '
            '"folder": "../x"}]}]}',
            r"study.json: methods\[0\] cannot be so: method a names the path '../x'",
        ),
    ],
)
def test_a_broken_record_is_one_sentence(study, tmp_path, content, sentence):
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "study.json").write_text(content)
    with pytest.raises(UserError, match=sentence) as caught:
        load.collect([tmp_path])
    assert "\n" not in str(caught.value)


def test_unlike_settings_and_unfinished_runs_are_said(tmp_path):
    questions = graded.simple_questions(2)
    answers = graded.simple_answers(questions, [1, 0])
    graded.write_run(tmp_path / "a", questions, answers)
    graded.write_run(tmp_path / "b", questions, answers, dtype="bfloat16", finished=False)
    other = graded.simple_questions(2, prompt="in other words")
    graded.write_run(tmp_path / "c", other, answers)
    [block] = load.collect([tmp_path / name for name in "abc"]).blocks
    notes = tables.compare(block).notes
    assert "pocket: b had other settings than a: dtype bfloat16 against float32." in notes
    assert "b is not finished: 2 of 2 answers are graded." in notes
    assert any(note.startswith("pocket: c saw 2 of the shared questions in oth") for note in notes)


def test_other_checkpoints_of_a_study_follow_as_rows(study, tmp_path):
    more = tmp_path / "pocket"
    shutil.copytree(study, more)
    runs = more / "qwen2_5_vl" / "runs"
    shutil.copytree(runs / "sft", runs / "merge-then-sft")
    card = json.loads((runs / "merge-then-sft" / "run.json").read_text())
    (runs / "merge-then-sft" / "run.json").write_text(json.dumps(card))
    block = load.collect([more]).blocks[0]
    assert block.rows[-1].label == "merge-then-sft"


def test_any_runs_make_one_block_of_all_their_tasks(tmp_path):
    one, two = graded.simple_questions(2, "t"), graded.simple_questions(2, "u", ("g",))
    answers = graded.simple_answers(one + two, [1, 0, 1, 1])
    for name in ("x/m", "y/m"):
        graded.write_run(tmp_path / name, one + two, answers)
    [block] = load.collect([tmp_path / "y" / "m", tmp_path / "x"]).blocks
    assert [row.label for row in block.rows] == ["y/m", "x/m"]
    assert block.baseline.label == "y/m"
    assert block.title == "all tasks"
    assert [column.key for column in block.columns] == [("t", "all"), ("u", "all")]
    assert load.collect([tmp_path / "x", tmp_path / "y"], "y/m").blocks[0].baseline.label == "y/m"
    graded.write_run(tmp_path / "z" / "m", two, graded.simple_answers(two, [0, 1]))
    graded.write_run(tmp_path / "w" / "m", [], {})
    paths = [tmp_path / name for name in ("x", "y", "z", "w")]
    material = load.collect(paths)
    [block] = material.blocks
    assert [row.label for row in block.rows] == ["x/m", "y/m", "z/m"]
    assert material.notes == ("w/m has no verdict yet.",)
    found = tables.compare(load.collect(paths, "z/m").blocks[0]).found
    assert found.of("y/m", "t").baseline == "x/m" and found.of("y/m", "u").baseline == "z/m"
    assert "t: z/m did not answer it: compared with x/m." in found.notes


@pytest.mark.parametrize("seeds", [1, 2, 11])
def test_a_study_of_seeds_is_shown_by_its_first(study, tmp_path, seeds):
    for seed in range(seeds):
        (tmp_path / "s" / f"seed-{seed}").mkdir(parents=True)
        for family in ("llava_next", "qwen2_5_vl"):
            (tmp_path / "s" / f"seed-{seed}" / family).symlink_to(study / family)
    shutil.copytree(study / "steps", tmp_path / "s" / "steps")
    whole = json.loads((study / "steps" / "study.json").read_text())
    synthetic.record(tmp_path / "s", seconds=whole["seconds"], peak_memory_bytes=2**31)
    (tmp_path / "s" / "seed-99").mkdir()  # not begun
    material = load.collect([tmp_path / "s"])
    old = load.collect([study])
    assert list(dict.fromkeys(part.seed for part in material.parts)) == list(range(seeds))
    assert material.title == "s" and material.steps == old.steps
    for block, same in zip(material.blocks, old.blocks, strict=True):
        assert [r.label for r in block.rows] == [r.label for r in same.rows]
        assert all("seed-0" in str(row.run.folder) for row in block.rows)
    told = [note for note in material.notes if "training seeds" in note]
    assert told == (
        []
        if seeds == 1
        else [f"Tables, plots and questions are of seed 0, one of {seeds} training seeds."]
    )


@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (lambda run: (run / "run.json").unlink(), "holds no run"),
        (lambda run: (run / "run.json").write_text("{"), "run.json"),
        (lambda run: (run / "run.json").write_text('{"name": "x"}'), "run.json"),
        (lambda run: (run / "verdicts.jsonl").write_text("{\n"), "verdicts.jsonl line 1"),
        (lambda run: (run / "verdicts.jsonl").write_text('{"id": 1}\n'), "verdicts.jsonl"),
        (lambda run: (run / "verdicts.jsonl").unlink(), "none of the runs has a verdict"),
        (lambda run: (run / "questions.jsonl").write_text("{}\n"), "questions.jsonl"),
        (
            lambda run: (run / "verdicts.jsonl").write_text(
                2 * (run / "verdicts.jsonl").read_text()
            ),
            "two verdicts",
        ),
    ],
)
def test_a_broken_run_is_one_sentence(tmp_path, spoil, sentence):
    questions = graded.simple_questions(2)
    graded.write_run(tmp_path / "r", questions, graded.simple_answers(questions, [1, 0]))
    spoil(tmp_path / "r")
    with pytest.raises(UserError, match=sentence) as caught:
        load.collect([tmp_path / "r"])
    assert "\n" not in str(caught.value)


def test_what_cannot_be_meant_is_refused(study, tmp_path):
    run = study / "llava_next" / "runs" / "sft"
    with pytest.raises(UserError, match="either one study folder or run folders"):
        load.collect([study, run])
    with pytest.raises(UserError, match="given twice"):
        load.collect([run, run])
    with pytest.raises(UserError, match="there are vlm, reasoner, .*, sft, drift"):
        load.collect([study], "sftt")
    with pytest.raises(UserError, match="no run is named 'x': there are sft"):
        load.collect([run], "x")
    with pytest.raises(UserError, match="not a folder"):
        load.collect([tmp_path / "nowhere"])
