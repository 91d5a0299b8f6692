"""CharXiv: verdicts from the judge's scores, prompts byte for byte, judges, loading."""

import hashlib
import json

import published
import pytest

import tasks
from tasks import charxiv
from tasks.judging import settle

NAME = "charxiv_descriptive_val__gpt-4o-mini-2024-07-18"

SHA256 = {  # of the script's constants, as JSON with its keys in order
    "descriptive": "f4dbce9b61f84f445d6fcf09d5a65c46efd1ed01256d053436146329b9c8d23a",
    "reasoning": "dd788d95518121374bab68991573c7da6d85eb4c4220969c96e8aeacae25b2b5",
    "overarching": "b594cdcdf322bec960fe5d5130236543c541e467d365e950bc740382e647873f",
    "judge descriptive": "f04d1536f0280544144214fe95018dad8f6fddfc1ad4e0a71657c910b1252288",
    "rubrics": "7eae4bc6bf96649641274a9f4398916e5923986a6a9f4801217e80d009ed856e",
    "judge reasoning": "700f2784e5f6b94732785fd1e4be1efa31771fd53debe9e984f9d65e7504379e",
    "rules": "d3f046199f9b13d09ed286ce35f76f3818aa353b49b7860470353c543fa67f6b",
}


@pytest.mark.parametrize("name", SHA256)
def test_the_texts_are_the_official_ones_byte_for_byte(name):
    text = charxiv.texts()[name]
    whole = text if isinstance(text, str) else json.dumps(text, sort_keys=True, ensure_ascii=False)
    assert hashlib.sha256(whole.encode()).hexdigest() == SHA256[name]


def test_every_published_question_is_made_of_its_template():
    for record in published.records(NAME):
        about = record["metadata"]
        made = charxiv.descriptive_question(about["qid"], about["subplot_loc"])
        assert made == record["question"], record["id"]


def test_the_published_verdicts_follow_from_the_judges_scores():
    for record in published.records(NAME):
        found, expected = charxiv._judged(record)
        assert found is expected, record["id"]


def test_requests_for_an_answer_follow_its_kind():
    def asked(kind, answer="0.25"):
        row = {"question": "How {much}?", "answer": answer, "metadata": {"inst_category": kind}}
        return charxiv.to_prompt_reasoning(row)

    assert asked(4) == (
        "<image>How {much}?\n    * Your final answer must be a number with 2 decimal places.\n    "
    )
    assert asked(4, "7") == (
        "<image>How {much}?\n    * Your final answer must be an exact integer.\n    "
    )
    assert asked(3).startswith("<image>How {much}?\n    * Your final answer must be grounded to a ")
    assert charxiv.descriptive_question(1, "the inset").startswith("For the inset, what is its ")
    assert charxiv.descriptive_question(2, [0, 0]).startswith("For the current plot, what is the ")
    assert charxiv.descriptive_question(18, [1, 2]).startswith("What is the layout of the subplots")


ROW = {"id": "3_0", "question": "Which?", "answer": "α", "metadata": {"qid": 13}}
REASON = {"id": "3", "question": "Which?", "answer": "7", "metadata": {"inst_category": 4}}


def test_what_the_judges_are_asked():
    prompt = next(charxiv.official_descriptive(ROW, "{alpha}")).prompt
    assert prompt.startswith("\nYou will be given 1 pairs of ground truth answers and model ")
    assert "with keys [['extract_answer_T1', 'score_T1']] where" in prompt
    assert "Overarching Question: What are the names of the labels in the legend? (from" in prompt
    assert "Response 3: \alpha, \beta, \\gamma^t_v" in prompt  # with two control characters
    assert prompt.endswith("### Example End ###\nT1:\nResponse 1: {alpha}\nGround Truth 1: α\n\n")
    request = next(charxiv.official_reasoning(REASON, "It is <|x|>."))
    assert request.prompt.endswith(
        "### Your Turn ###\n    * Question: Which?\n    * Ground Truth: 7\n"
        "    * Response: It is <|x|>.\n\n    "
    )
    assert (request.temperature, request.max_tokens) == (0, 256)


def reply(score, key="extracted_answer"):
    return json.dumps({key: "7", "score": score})


@pytest.mark.parametrize(
    ("replies", "reading"),
    [
        ([reply(1)], ("7", True)),
        ([reply(0)], ("7", False)),
        ([reply(2)], ("7", False)),
        ([reply(1, "extract_answer")] * 9 + [reply(1)], ("7", True)),
        ([reply(1, "extract_answer")] * 10, (None, None)),
        (['{"extracted_answer": "7'] * 3, (None, None)),
        (["[1]", "null", "7", reply(1)], ("7", True)),
    ],
)
def test_replies_of_the_judge(replies, reading):
    assert settle(charxiv.official_reasoning, REASON, "7", replies)[0] == reading


def test_a_reply_that_was_cut_is_asked_for_with_more_tokens():
    asked = charxiv.official_descriptive(ROW, "α")
    tokens = [next(asked).max_tokens]
    tokens += [asked.send('{"extract_answer_T1": "a').max_tokens for _ in range(2)]
    assert tokens == [256, 512, 1024]
    with pytest.raises(StopIteration) as end:
        asked.send('{"extract_answer_T1": "a')
    assert end.value.value == (None, None)
    wrong = json.dumps({"extract_answer_T1": "a", "score_T1": -1})
    right = json.dumps({"extract_answer_T1": "a", "score_T1": 1.0})
    assert settle(charxiv.official_descriptive, ROW, "α", [wrong, right])[0] == ("a", True)


@pytest.mark.parametrize(
    ("truth", "text", "right"),
    [
        ("Not Applicable", "There is none, so the answer is Not Applicable.", True),
        ("5", "Not applicable", False),
        ("Not Applicable", "<think>Not Applicable</think> 5", False),
        ("Not Applicable", "N/A", True),
        ("Not Applicable", "Not Applicable. There is no legend.", True),
        ("Not Applicable", "Not applicable, as the plot has no legend.", True),
        ("3", "If there were none I would say Not Applicable, but the answer is 3.", True),
        ("Not Applicable", "If there were none I would say Not Applicable, but I see 3.", False),
        ("3", r"\boxed{3} (not 'Not Applicable', as a legend is present)", True),
        ("Not Applicable", "The answer is not 'Not Applicable'; it is 5.", None),
        ("5", "The answer is not 'Not Applicable'; it is 5.", True),
        ("0.10", "The difference is 0.1.", True),
        ("Yes", "Yes, twice.", True),
        ("Yes", "The lines do not intersect: No.", False),
        ("2 by 3", "2 by 3", True),
    ],
)
def test_the_robust_rule(truth, text, right):
    assert charxiv.robust({**ROW, "answer": truth}, text)[1] is right


ABOUT = ("subplots: 2-4 Subplots", "subject: Quantitative Finance", "year: 2021")


def test_it_loads_from_its_own_repository(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "7.jpg").write_bytes(published.picture())
    figure = {
        "reasoning": {"query": "Which?", "answer": "a", "inst_category": 1, "qa_source": 3},
        "descriptive": {"num_subplots": 3, "subplot_loc": [1, 3], "qids": [2, 9, 17, 19],
                        "answers": ["x", "5", "12", "3"]},
        "image_metadata": {"category": "q-fin", "year": "21"},
    }  # fmt: skip
    for name, value in figure.items():
        (tmp_path / "data" / f"{name}_val.json").write_text(json.dumps({"7": value}))
    check(tmp_path, "1 and column 3")


def test_it_loads_from_a_snapshot_of_the_hub(tmp_path):
    row = {"image": published.picture(), "figure_path": "images/7.jpg", "category": "q-fin",
           "year": "21", "num_subplots": 3, "subplot_row": 1, "subplot_col": 3, "subplot_loc": None,
           "reasoning_q": "Which?", "reasoning_a": "a", "reasoning_q_source": 3,
           "reasoning_a_type": 1}  # fmt: skip
    for place, (qid, answer) in enumerate([(2, "x"), (9, "5"), (17, "12"), (19, "3")], start=1):
        row |= {f"descriptive_q{place}": qid, f"descriptive_a{place}": answer}
    published.snapshot(tmp_path / "validation.parquet", [row])
    check(tmp_path, "1 and column 3")


def check(folder, place):
    task = tasks.load("charxiv_descriptive")
    rows = task.rows(folder)
    assert [row["id"] for row in rows] == ["7_0", "7_1", "7_2", "7_3"]
    assert task.to_prompt(rows[0]).startswith(f"<image>For the subplot at row {place}, what is the")
    assert task.groups(rows[1]) == ("Q9", "category: Enumeration", *ABOUT)
    assert (rows[2]["answer"], task.groups(rows[2])[1]) == ("12", "category: Compositionality")
    assert task.to_images(rows[3])[0].read_bytes() == published.picture()
    task = tasks.load("charxiv_reasoning")
    (row,) = task.rows(folder)
    assert (row["id"], row["question"]) == ("7", "Which?")
    assert task.groups(row) == ("answer: Text-in-Chart", "source: Completely Human", *ABOUT)
