from dataclasses import replace

import graded
import pytest
import synthetic


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """A small pocket study; read only."""
    folder = tmp_path_factory.mktemp("studies") / "pocket"
    return synthetic.write_study(
        folder, families=("llava_next", "qwen2_5_vl"), alphas=(0.0, 0.3, 0.7, 1.0), per_group=12
    )


@pytest.fixture
def pair(tmp_path):
    """A family whose SFT and DRIFT answers are given as bits, counted by hand in the tests.

    Group a: SFT 1000, DRIFT 1110; group b: SFT 1101, DRIFT 1 (unread) (truncated) 1.
    """
    questions = [
        q for group in "ab" for q in graded.simple_questions(4, groups=(group,), floor=0.25)
    ]
    questions = [replace(q, id=f"{q.row['groups'][0]}{q.id}") for q in questions]
    answers = {
        "sft": [1, 0, 0, 0, 1, 1, 0, 1],
        "drift": [1, 1, 1, 0, 1, "unparsed", "truncated", 1],
    }
    for name, bits in answers.items():
        said = graded.simple_answers(questions, bits)
        graded.write_run(tmp_path / "study" / "llava_next" / "runs" / name, questions, said)
    synthetic.record(tmp_path / "study")
    return tmp_path / "study"
