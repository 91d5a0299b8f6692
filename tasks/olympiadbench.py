"""OlympiadBench: 4,055 open-ended questions with pictures, maths and physics, English and Chinese.

Paper: He et al. 2024, "OlympiadBench: A Challenging Benchmark for Promoting AGI with Olympiad-Level
Bilingual Multimodal Scientific Problems", arXiv 2402.14008. Code: github.com/OpenBMB/OlympiadBench
(MIT) at ba5b26a7, inference/ and eval/auto_scoring_judge.py (`tasks.grading.olympiad`).

Of the dataset's 18 configurations these are the five of open-ended questions with pictures; the
others are text alone, or proofs, which no script scores. VLMEvalKit's rules for it are broken (a
function that is commented out is called, and the error swallowed), so there is no `vlmevalkit`.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tasks.data import FOLDER, Data, Row, Source, hub
from tasks.data.loading import loader
from tasks.grading import amounts, equivalence, extract, olympiad, relations, units
from tasks.judging import Reading, metrics

CONFIGS = (
    "OE_MM_maths_en_COMP", "OE_MM_maths_zh_CEE", "OE_MM_maths_zh_COMP", "OE_MM_physics_en_COMP",
    "OE_MM_physics_zh_CEE",
)  # fmt: skip

_ENGLISH = (
    "The following is an open-ended problem from an International {subject} competition. {kind}"
    "Please calculate the answer according to the given requirements and the information provided. "
    "Please use LaTeX format to represent the variables and formulas used in the solution process "
    'and results. Please end your solution with "So the final answer is {box}." and give the '
    "result explicitly{unit}."
)
_CHINESE = (
    "以下是中国{subject}竞赛中的解答题{kind}。请根据题目的要求和所提供的信息计算得出答案。"
    "解答过程和结果中使用的变量和公式请使用LaTeX格式表示。请在最后以“所以最终答案是{box}。”显式给出结果{unit}。"
)

_KINDS = {
    "Numerical": ("a numerical value", "数值"),
    "Expression": ("an expression", "表达式"),
    "Equation": ("an equation", "方程"),
    "Interval": ("an interval", "区间"),
}

_WORDS: dict[str, dict[str, Any]] = {
    "English": {
        "subject": {"Math": "Math", "Physics": "Physics"},
        "one": "The answer of The problem should be {}. ",
        "same": "The problem has multiple answers, each of them should be {}. ",
        "mixed": "The problem has multiple answers, with the answers in order being {}. ",
        "comma": ", ",
        "box": ("\\boxed{answer}", "\\boxed{multiple answers connected with commas}", "(unit)"),
        "unit": ", note that the unit of the answer should not be included in \\boxed{}",
        "final": "So the final answer is (.*)",
    },
    "Chinese": {
        "subject": {"Math": "数学", "Physics": "物理"},
        "one": "，答案类型为{}",
        "same": "，题目有多个答案，答案类型均为{}",
        "mixed": "，题目有多个答案，答案类型分别为{}",
        "comma": "、",
        "box": ("\\boxed{答案}", "\\boxed{用英文逗号连接的多个答案}", "(单位)"),
        "unit": "，注意答案的单位不要放在\\boxed{}中",
        "final": "所以最终答案是(.*)",
    },
}

_TAG = re.compile(r"<img_\d+>")


# Rows


def _own(data: Data, source: Source) -> Iterator[Row]:
    for config in CONFIGS:
        for row in hub.rows("olympiadbench", replace(source, config=config), data):
            yield {**row, "config": config}


def _row(row: Row) -> Row:
    config = row["config"]
    return {
        "id": f"{config}/{row['id']}",
        "question": row["question"],
        "context": row["context"] or "",
        "answer": (row["final_answer"] or [None])[0],
        "answer_type": row["answer_type"],
        "several": bool(row["is_multiple_answer"]),
        "unit": row["unit"] or "",
        "error": row["error"] or "",
        "metadata": {
            "config": config,
            "subject": "Math" if "maths" in config else "Physics",
            "language": "English" if "_en_" in config else "Chinese",
            "subfield": row["subfield"],
        },
        "images": row["images"] or None,
        FOLDER: row[FOLDER],
    }


dataset = loader("olympiadbench", _row, ["question", "answer", "images"], _own)


# Prompt


def to_prompt(row: Row) -> str:
    """Return the request in the question's language, context and question, pictures at their tags.

    Pictures without a tag come first.
    """
    language = row["metadata"]["language"]
    words = _WORDS[language]
    one, several, unit = words["box"]
    asked = (_ENGLISH if language == "English" else _CHINESE).format(
        subject=words["subject"][row["metadata"]["subject"]],
        kind=_kind(row, language),
        box=(several if row["several"] else one) + (unit if row["unit"] else ""),
        unit=words["unit"] if row["unit"] else "",
    )
    text = f"{row['context']}\n{row['question']}" if row["context"] else row["question"]
    tags = len(_TAG.findall(text))
    n = len(row["images"])
    placed = _TAG.sub("<image>", text, n)
    return "<image>" * max(0, n - tags) + f"{asked}\n{_TAG.sub('', placed)}"


def _kind(row: Row, language: str) -> str:
    """Return the sentence about the kinds of the answers; of a tuple there is none."""
    words, place = _WORDS[language], ("English", "Chinese").index(language)
    kinds = row["answer_type"].split(",")
    if any(kind not in _KINDS for kind in kinds):
        return ""
    named = [_KINDS[kind][place] for kind in kinds]
    if not row["several"]:
        return str(words["one"].format(named[0]))
    if len(named) == 1:
        return str(words["same"].format(named[0]))
    return str(words["mixed"].format(words["comma"].join(named)))


# Verdicts

_SHOWN = 200
"""Characters of an extraction that are kept as the answer read."""


def official(row: Row, text: str) -> Reading:
    """Judge what follows the last "So the final answer is", else the whole: inference/judge.py.

    The response comes first in the comparison, as in the script, so that several precisions are in
    the order of its answers.
    """
    found = re.findall(_WORDS[row["metadata"]["language"]]["final"], text)
    said = found[-1].strip() if found else text
    return said[:_SHOWN], olympiad.judge(said, row["answer"], _precisions(row))


def _precisions(row: Row) -> list[float]:
    """Return the absolute errors that are allowed."""
    if "Tuple" in row["answer_type"] or not row["error"]:
        return [olympiad.PRECISION]
    return [float(part) if part.strip() else olympiad.PRECISION for part in row["error"].split(",")]


def robust(row: Row, text: str) -> Reading:
    """Read a value; a number within the question's error is right too."""
    truth = extract.boxed(row["answer"]) or row["answer"].strip("$ \n")
    said, right = extract.read_value(text, truth, unit=row["unit"] or None)
    if said is not None and right is False and row["error"]:
        right = _is_near(row, truth, said)
    return said, right


def _is_near(row: Row, truth: str, said: str) -> bool:
    """Whether the stated numbers are the true ones, in any order, within the question's errors."""
    true, errors = equivalence.items(truth), _precisions(row)
    stated = [part for one in equivalence.items(said) for part in equivalence.both_signs(one)]
    if len(errors) == 1:
        errors *= len(true)
    if len(true) != len(errors):
        return False
    pairs = [
        (part, error)
        for one, error in zip(true, errors, strict=True)
        for part in equivalence.both_signs(one)
    ]
    if len(pairs) != len(stated):
        return False
    for one, error in pairs:
        near = [
            other for other in stated if _gap(one, other, row["unit"]) <= error * olympiad.SLACK
        ]
        if not near:
            return False
        stated.remove(near[0])
    return True


def _gap(truth: str, said: str, unit: str) -> float:
    """Return how far a stated number is from the true one, in its unit."""
    true, stated = (amounts.read(_worth(text), letters=False) for text in (truth, said))
    if not true or not stated or true.letters or stated.letters:
        return math.inf
    value = units.convert(stated.value, stated.unit, unit or true.unit)
    if value is None:
        return math.inf
    if not amounts.is_percent(unit):
        return olympiad.apart(true.value, value)
    wanted = true.value * 100 if true.percent else true.value
    shares = [value * 100] if stated.percent else [value, value * 100]
    return min(olympiad.apart(wanted, share) for share in shares)


def _worth(text: str) -> str:
    """Return the right side of an equation, also of a rough one; any other text as it is."""
    relation = relations.split(text)
    return relation.right if relation and relation.sign in ("=", "\\approx") else text


def groups(row: Row) -> tuple[str, ...]:
    """Return subject, language, configuration, field and kind of answer."""
    about = row["metadata"]
    kind = row["answer_type"] if row["answer_type"] in (*_KINDS, "Tuple") else "several kinds"
    return (
        about["subject"], about["language"], about["config"],
        f"field: {about['subfield']}", f"answer: {kind}",
    )  # fmt: skip


process_results = metrics(acc=robust, acc_official=official)
