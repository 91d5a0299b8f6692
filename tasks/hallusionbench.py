"""HallusionBench: 1,129 yes/no questions, most of them twice: of a figure and of an edited one.

Paper: Guan et al. 2024, "HallusionBench: An Advanced Diagnostic Suite for Entangled Language
Hallucination and Visual Illusion in Large Vision-Language Models", arXiv 2310.14566. Code and the
judge's text: github.com/tianyi-lab/HallusionBench (BSD-3-Clause) at 744007c2, utils.py.

178 questions have no picture. The script's shares of language hallucination, visual illusion and
mixed errors want a second judge that compares answers with one another; they are not made here.
"""

from collections import defaultdict
from collections.abc import Iterable

from tasks import multiple_choice, published
from tasks.data import FOLDER, Row
from tasks.data.loading import loader
from tasks.data.local import questions
from tasks.grading import vlmevalkit
from tasks.judging import Judging, Reading, Request, metrics
from tasks.published import Check, Record

Graded = list[tuple[Row, bool]]

_FIGURE = ("category", "subcategory", "set_id", "figure_id")
_QUESTION = ("category", "subcategory", "set_id", "question_id")
_DETAILS = (*_FIGURE, "question_id", "visual_input", "gt_answer_details")


def _row(row: Row) -> Row:
    if "images" not in row:  # of the benchmark's own file
        row = {**row, "images": [row["filename"].removeprefix("./")] if row["filename"] else []}
    details = {name: str(row[name]) for name in _DETAILS}
    has_picture = details["visual_input"] != "0"
    return {
        "id": "_".join(details[name] for name in (*_FIGURE, "question_id")),
        "question": row["question"],
        "answer": {"0": "No", "1": "Yes"}[str(row["gt_answer"])],
        "metadata": details,
        "images": (row["images"] or None) if has_picture else [],
        FOLDER: row[FOLDER],
    }


_OWN = questions("hallusionbench", "HallusionBench.json", "hallusionbench.json")

dataset = loader("hallusionbench", _row, ["question", "answer", "images"], _OWN)


def to_prompt(row: Row) -> str:
    """Return the bare question, behind its picture if it has one."""
    return "<image>" * len(row["images"]) + row["question"]


_JUDGE = (
    "Imagine you are an intelligent teacher. Thoroughly read the question, reference answer and "
    "the prediction answer to ensure a clear understanding of the information provided. Assess "
    "the correctness of the predictions. If the prediction answer does not conflict with the "
    "reference answer, please generate “correct”. If the prediction answer conflict with the "
    "reference answer, please generate “incorrect”. If the prediction answer is unclear about the "
    'answer, please generate "unclear". \n\n Question:{}\nReference answer: {}\n'
    "Prediction answer:{}\nOutput:"
)


def official(row: Row, text: str) -> Judging:
    """Let the judge compare with the reference answer: correct, incorrect or unclear.

    Unclear is right where the question has no picture that it could be answered from.
    """
    details = row["metadata"]
    reply = yield Request(
        _JUDGE.format(row["question"], details["gt_answer_details"], text), max_tokens=128
    )
    said = reply.lower()
    if "incorrect" in said:
        return "incorrect", False
    if "correct" in said:
        return "correct", True
    return "unclear", _is_without_figure(row)


def _is_without_figure(row: Row) -> bool:
    return row["metadata"]["category"] == "VS" and row["metadata"]["figure_id"] == "0"


def by_vlmevalkit(row: Row, text: str) -> Judging:
    """Read the one of the two words that is there."""
    return (yield from vlmevalkit.say_yes_no(row["question"], row["answer"], text))


def robust(row: Row, text: str) -> Reading:
    """Read yes or no."""
    return multiple_choice.read_yes_no(row["answer"], text)


def groups(row: Row) -> tuple[str, ...]:
    """Return visual dependent or supplement, that with the kind of figure, and the input."""
    details = row["metadata"]
    category, kind = details["category"], f"{details['category']} {details['subcategory']}"
    shown = {"0": "no figure", "1": "original", "2": "edited"}[details["visual_input"]]
    return category, kind, f"input: {shown}"


def cluster(row: Row) -> str:
    """Return the set: the same questions, asked of a figure and of its edited versions."""
    return "_".join(str(row["metadata"][name]) for name in ("category", "subcategory", "set_id"))


def summary(graded: Graded) -> dict[str, float]:
    """Return the official metrics, over all, and of VD and VS.

    `aAcc` is the share of right answers, `fAcc` of figures with all answers right, `qAcc` of
    questions answered right of every figure, `easy` and `hard` the same of original and of edited
    figures alone. `yes_diff` is the share of yes among the answers less that among the truths,
    `fp_ratio` the share of a wrong yes among the wrong answers. What our own reader could not read
    is in neither a yes nor a no; of the script's three words all but "correct" is the wrong one.
    """
    found = _accuracies(graded)
    for category in ("VD", "VS"):
        part = [one for one in graded if one[0]["metadata"]["category"] == category]
        found |= {f"{name} {category}": value for name, value in _accuracies(part).items()}
    return found | _bias(graded)


def _accuracies(graded: Graded) -> dict[str, float]:
    edited = [one for one in graded if one[0]["metadata"]["visual_input"] == "2"]
    original = [one for one in graded if one[0]["metadata"]["visual_input"] != "2"]
    figures = [one for one in graded if not _is_without_figure(one[0])]
    shares = {
        "aAcc": _share([right for _, right in graded]),
        "fAcc": _share(_all_right(figures, _FIGURE)),
        "qAcc": _share(_all_right(graded, _QUESTION)),
        "easy": _share(_all_right(original, _QUESTION)),
        "hard": _share(_all_right(edited, _QUESTION)),
    }
    return {name: share for name, share in shares.items() if share is not None}


def _all_right(graded: Graded, key: Iterable[str]) -> list[bool]:
    found: dict[tuple[str, ...], list[bool]] = defaultdict(list)
    for row, right in graded:
        found[tuple(row["metadata"][name] for name in key)].append(right)
    return [all(rights) for rights in found.values()]


def _share(rights: list[bool]) -> float | None:
    return sum(rights) / len(rights) if rights else None


def _bias(graded: Graded) -> dict[str, float]:
    pairs = [(row["answer"], _said(row, right)) for row, right in graded]
    false_yes, false_no = pairs.count(("No", "Yes")), pairs.count(("Yes", "No"))
    wrong = false_yes + false_no
    ratio = {"fp_ratio": false_yes / wrong} if wrong else {}
    said, true = (sum(pair[place] == "Yes" for pair in pairs) for place in (1, 0))
    return {"yes_diff": (said - true) / len(pairs), **ratio} if pairs else {}


def _said(row: Row, right: bool) -> str:
    """`Yes`, `No`, or neither where our own reader read neither; the script knows no third."""
    read = row.get("read", "by the script")
    if read is None or read.capitalize() in ("Yes", "No"):
        return (read or "").capitalize()
    return row["answer"] if right else {"Yes": "No", "No": "Yes"}[row["answer"]]


def summary_vlmevalkit(graded: Graded) -> dict[str, float]:
    """Return VLMEvalKit's accuracies, of the questions with a picture: it asks no others."""
    pictured = [one for one in graded if one[0]["metadata"]["visual_input"] != "0"]
    return rates_vlmevalkit(pictured)


def rates_vlmevalkit(graded: Graded) -> dict[str, float]:
    """Return the three accuracies and their average, which is the headline there.

    Figures and questions are told apart without VD and VS.
    """
    shares = {
        "aAcc": _share([right for _, right in graded]),
        "fAcc": _share(_all_right(graded, _FIGURE[1:])),
        "qAcc": _share(_all_right(graded, _QUESTION[1:])),
    }
    known = {name: share for name, share in shares.items() if share is not None}
    return known | ({"average": sum(known.values()) / len(known)} if known else {})


process_results = metrics(acc=robust)


# Published outputs


def from_record(record: Record) -> Row:
    """Return the row of a published answer, which may lack what is only asked."""
    details = {"gt_answer_details": "", **record["metadata"]}
    return {**published.bare(record), "metadata": details}


def checks(_: Record) -> list[Check]:
    """Check verdicts, from the judge's codes, and the words that VLMEvalKit reads."""
    return [
        Check("official", published.right(official, from_record, replies=_replies), _scores),
        Check("vlmevalkit, rules", published.word(by_vlmevalkit, from_record)),
    ]


def _replies(record: Record) -> list[str]:
    said = {"0": "That is incorrect.", "1": "correct", "2": "unclear"}
    return [said[record["judge_code"]]] if "judge_code" in record else []


def _scores(graded: Graded) -> dict[str, float]:
    found = summary(graded)
    scores = {name: found[name] for name in ("yes_diff", "fp_ratio")}
    for part, suffix in (("overall", ""), ("VD", " VD"), ("VS", " VS")):
        for name in ("aAcc", "fAcc", "qAcc", "easy", "hard"):
            scores[f"{part}/{name}"] = 100 * found[f"{name}{suffix}"]
    return scores
