import graded
import synthetic

from reports import load, tables
from reports import text as words


def said(paths):
    material = load.collect(paths)
    return [words.differences(tables.compare(block)) for block in material.blocks]


def write(folder, **bits):
    """Runs of one task, each given by its bits."""
    for name, row in bits.items():
        questions = graded.simple_questions(len(row))
        graded.write_run(folder / name, questions, graded.simple_answers(questions, row))
    return [folder / name for name in bits]


def test_a_difference_outside_the_noise(tmp_path):
    paths = write(tmp_path, sft=[0] * 20 + [1] * 20, drift=[1] * 20 + [1] * 19 + [0])
    assert said(paths) == [
        ["pocket: drift is 47.5 points above sft: supported (40 questions, p < 0.001)."]
    ]


def test_a_difference_inside_the_noise_says_what_would_settle_it(tmp_path):
    # 12 against 8 of 100: ψ = 0.2, δ = 0.04; Connor's formula: 978.7 questions, 12.38 points.
    up, down, same = [0] * 12, [1] * 8, [1] * 80
    paths = write(tmp_path, sft=up + down + same, drift=[1] * 12 + [0] * 8 + same)
    [[text]] = said(paths)
    assert text == (
        "pocket: drift is 4.0 points above sft: inside the noise (100 questions, p = 0.50). So "
        "many find 12.4 points four times in five; a true difference as small as this takes about "
        "979."
    )


def test_no_disagreement_is_said(tmp_path):
    [[text]] = said(write(tmp_path, sft=[1, 0, 1], drift=[1, 0, 1]))
    assert text == (
        "pocket: drift is level with sft: cannot be told (3 questions, p = 1.00). They came out "
        "differently on too few questions for any test."
    )


def test_a_study_speaks_of_drift_group_by_group(pair):
    assert said([pair]) == [
        [
            "pocket: DRIFT is 12.5 points above SFT: cannot be told (8 questions, p = 1.00). They "
            "came out differently on too few questions for any test.",
            "DRIFT, taken apart: cannot be told on a (+50.0 ± 28.9) and b (−25.0 ± 25.0).",
        ]
    ]


def test_merging_is_told_from_end_to_end(tmp_path):
    questions = graded.simple_questions(40, groups=("see",))
    bits = {0.0: [1] * 40, 0.5: [1] * 30 + [0] * 10, 1.0: [0] * 40}
    for alpha, row in bits.items():
        made = synthetic.made("merge", method="linear", alpha=alpha)
        run = tmp_path / "llava_next" / "runs" / f"merge-{alpha:.2f}"
        graded.write_run(run, questions, graded.simple_answers(questions, row), made=made)
    synthetic.record(tmp_path)
    [block] = load.collect([tmp_path]).blocks
    assert words.merging(block) == [
        "see falls from 100.0 ± 0.0 to 0.0 ± 0.0: −100.0 (−100.0 to −82.5), p < 0.001, supported"
    ]
