"""DocVQA and InfoVQA: ANLS by hand, prompt, loading."""

import math

import published
import pytest

import tasks
from tasks import docvqa


@pytest.mark.parametrize(
    ("truths", "said", "found"),
    [
        (["Paris"], "PARIS", 1.0),
        (["Paris"], "Pari", 1 - 1 / 5),
        (["Paris"], "Par", 1 - 2 / 5),
        (["Paris"], "Pa", 0.0),  # 1 - 3/5 is below a half
        (["London", "Paris"], "paris", 1.0),
        (["new  york"], "new york", 1.0),
        (["abcdef"], "ab", 0.0),  # 4/6 apart
        (["abcdef"], "ab" + 8 * " ", 1 - 4 / 10),  # blanks count for the length, not the distance
        (["12"], "13", 0.5),
        ([""], "", 1.0),
        (["Paris"], "x" * 10_000, 0.0),
    ],
)
def test_similarity_by_hand(truths, said, found):
    assert math.isclose(docvqa.similarity(truths, said), found)


def test_anls_is_the_mean_of_what_was_read():
    graded = [({"answer": ["Paris"], "read": said}, False) for said in ("paris", "Pari", None, "x")]
    assert math.isclose(docvqa.summary(graded)["ANLS"], (1 + 0.8 + 0 + 0) / 4)
    assert docvqa.summary([]) == {}


@pytest.mark.parametrize(
    ("truth", "text", "right"),
    [
        ("Paris", "It is in Paris, France.", True),
        ("Paris", "Parisian", True),  # five of eight letters
        ("12", "12%", False),
        ("12", "12.5", False),
        ("500", "1,500", False),
        ("500", "The total is $1,500.", False),
        ("15", "10/15/99", False),
        ("10", "-10", False),
        ("10", "10-15", False),
        ("10/15/99", "The date is 10/15/99.", True),
        ("5", "It is dated May 5, 1998", True),
        ("12 mg", "15 mg", False),
        ("$500 million", "$600 million", False),
        ("June 5, 1998", "June 6, 1998", False),
        ("June 5, 1998", "June 5 1998", True),
        ("12:30", "2:30", False),
        ("1,500", "1500", True),
        ("$1,234.50", "1234.50", True),
        ("0.5", "0.50", True),
        ("12", "The total is 12.", True),
        ("0.28", "\\boxed{0.28}", True),
        ("a (b", "a (b", True),
        ("12 May", "**Answer:**\n\n12 May", True),
        ("12 May", "The answer is:\n\n**12 May**", True),
        ("12 May", "<answer>\n12 May\n</answer>", True),
        ("12 May", "The date is 12 May.\n\nLet me know if you need anything else!", True),
        ("4", "The page number is 4.\n\nIt is printed in the footer.", True),
        ("12 May", "It is dated 13 June.\n\nIt is printed in the footer.", False),
        ("12 May", "It is not 12 May.", None),
        ("12 May", "The date cannot be determined.", None),
        ("Acme Inc. Rome", "Acme Inc. Rom", True),
        ("Thank you", "Thank you!", True),
        ("What is love?", "What is love?", True),
        ("$4,500", "Revenue was $4,500 in 1998.\nSo revenue in 1999 is $5,200.", False),
        ("12", "The subtotal is 12.\nThe total is 15.", False),
        ("4", "Row 4 lists the totals.\nThe total is 17.", False),
        ("2010", "In 2010 there were 30 deaths.\nThe highest year was 2012.", False),
        ("Paris", "Paris hosts an office.\nThe head office is in London.", False),
        ("No", "No, it is not.", True),
        ("50%", "Over 50%", True),
        ("50%", "It is over 50%.", True),
        ("Sunday", "Closed except Sunday", True),
        ("Closed except Sunday", "The sign says Closed except Sunday.", True),
        ("sugar", "Without sugar", True),
        ("Do not be late", "It says: Do not be late", True),
        ("Philip Morris", "Philip Morris: No. 1", True),
        ("12 May", "12 May is not the date.", None),
        ("12 May", "It is dated 13 June rather than 12 May.", None),
        ("12 May", "It isn't the 12 May.", None),
        ("Jane", "The author is Jane? No, John.", None),
        ("Item A", "The list shows:\nItem B", False),
        ("Who is he?", "The heading reads:\nWho is he?", True),
        ("Thank you for your support", "The footer says:\nThank you for your support", True),
        ("Note: all", "The text says:\n\nNote: all", True),
        ("12", "The total is 15.\nNote that the subtotal is 12.", False),
        ("12 May", "The letter shows a date:\n13 May", False),
        ("Mr. J. Smith", "The name is at the bottom.\nIt is Mr. J. Smith.", True),
        ("No. 5", "The label is shown.\nIt reads No. 5", True),
        ("12", "Answer: 12\n\nNote: the last digit cannot be determined exactly.", True),
    ],
)
def test_the_robust_rule(truth, text, right):
    assert docvqa.robust({"answer": [truth]}, text)[1] is right


@pytest.mark.parametrize(
    ("name", "folder", "more", "groups"),
    [
        ("docvqa", "DocVQA", {"question_types": ["layout", "table/list"]},
         ("question: layout", "question: table/list")),
        ("infovqa", "InfographicVQA",
         {"answer_type": ["non-span"], "operation/reasoning": ["arithmetic"]},
         ("answer: non-span", "operation: arithmetic")),
    ],
)  # fmt: skip
def test_it_loads_from_a_snapshot_of_the_hub(tmp_path, name, folder, more, groups):
    raw = {"questionId": "49153", "question": "Which city?", "answers": ["Paris"], **more,
           "image": published.picture()}  # fmt: skip
    published.snapshot(tmp_path / folder / "validation-00000-of-00006.parquet", [raw])
    task = tasks.load(name)
    (row,) = task.rows(tmp_path)
    assert task.to_prompt(row) == (
        "<image>Which city?\nAnswer the question using a single word or phrase."
    )
    assert (row["id"], task.groups(row)) == ("49153", groups)
    assert task.to_images(row)[0].read_bytes() == published.picture()
