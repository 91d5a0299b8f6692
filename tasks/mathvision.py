"""MATH-Vision: 3,040 competition problems with a picture each, in 16 subjects and 5 levels.

Paper: Wang et al. 2024, "Measuring Multimodal Mathematical Reasoning with MATH-Vision Dataset",
arXiv 2402.14804. Code: github.com/mathllm/MATH-V (MIT) at a1f5cc3a; VLMEvalKit (Apache-2.0) at
cfa63b1d, its judge's text from vlmeval/dataset/utils/mathv.py at 1344ef21, the nearest seen.

The official script evaluates what the model wrote; here a reader of the same arithmetic does.
"""

import re
from collections.abc import Iterator
from functools import lru_cache, partial

from tasks import multiple_choice, published
from tasks.data import FOLDER, Row
from tasks.data.loading import loader
from tasks.data.local import questions
from tasks.grading import arithmetic, latex2sympy, vlmevalkit
from tasks.grading import extract as answers
from tasks.judging import UNPARSED, Judging, Reading, metrics
from tasks.multiple_choice import listed, options
from tasks.published import Check, Pair, Record, Vectors

LETTERS = "ABCDE"

REQUEST = (
    'Please solve the problem step by step and put your answer in one "\\boxed{}". '
    'If it is a multiple choice question, only one letter is allowed in the "\\boxed{}".\n'
)
"""MATH-V models/Qwen-VL.py and models/GPT4.py, the chain-of-thought form."""

HINT_CHOICES = (
    "Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at "
    "the end."
)
HINT_FREE = "Hint: Please answer the question and provide the final answer at the end."


# Rows


def _row(row: Row) -> Row:
    image = row.get("image")
    return {
        "id": row["id"],
        "question": row["question"],
        "question_type": "multi_choice" if row["options"] else "free_form",
        "choices": row["options"],
        "answer": row["answer"],
        "metadata": {"subject": row["subject"], "level": row["level"]},
        "images": row.get("images") or ([image] if image else None),
        FOLDER: row[FOLDER],
        **{field: row[field] for field in ("image_sha256",) if field in row},
    }


_NAMES = "mathv_{split}.jsonl", "data/{split}.jsonl", "{split}.jsonl"

dataset = loader(
    "mathvision",
    _row,
    ["question", "choices", "answer", "images"],
    questions("mathvision", *_NAMES, benchmark="MATH-V"),
)

# Prompts


def to_prompt(row: Row) -> str:
    """Return the picture, the request, the question, and the options unless they are bare letters.

    The `<image1>` tags of the question stay in it, as in the official script.
    """
    bare = row["choices"] in ([], list(LETTERS))
    shown = "" if bare else listed(options(row), "({}) {}") + "\n"
    return f"<image>{REQUEST}{row['question']}\n{shown}"


def to_prompt_vlmevalkit(row: Row) -> str:
    """Return hint, question and choices, the form that VLMEvalKit's judge examples have.

    Its own table of questions was not seen.
    """
    hint = HINT_CHOICES if row["choices"] else HINT_FREE
    shown = listed(options(row), "({}) {}")
    choices = f"\nChoices:\n{shown}" if shown else ""
    return f"<image>{hint}\nQuestion: {row['question']}{choices}"


# The official script: evaluation/evaluate.py and evaluation/utils.py


def official(row: Row, text: str) -> Reading:
    """Extract by the script's rules; compare with the answer, and with the option's text."""
    said = extract(text)
    option = options(row).get(row["answer"], "")
    return said, equal(row["answer"], said) or equal(option, said)


_SPOKEN = ("the final answer is", "the answer is", "the correct answer is", "the answer should be")


def extract(response: str) -> str:
    r"""Return the answer that the script finds in a response.

    >>> extract("So the answer is (B)."), extract(r"first \boxed{3} then \boxed{2\sqrt3}")
    ('b', '2\\sqrt{3}')
    """
    said = response.strip()
    for letter in LETTERS:
        ends = (f" {letter}.", f" ({letter}).")
        starts = (f"{letter}\n", f"({letter})\n", f"({letter}) {letter}\n")
        if said.endswith(ends) or said.startswith(starts):
            said = letter
    tail = said.rpartition("is ")[2].rstrip(".")
    if _is_number(tail):
        said = tail
    if "oxed{" not in said:
        for flag in _SPOKEN:
            for spoken in (flag, flag.replace("the", "The")):
                _, found, rest = said.rpartition(spoken)
                said = rest.strip()
                if found:
                    said = said.partition("\n")[0].partition(". ")[0]
    elif said.count("oxed{") > 1:
        said = "\\boxed{" + said.rpartition("oxed{")[2]
    said = _cleaned(said)
    for letter in "abcde":
        said = said.replace(f"({letter})", letter)
    for letter in "abcde":
        said = said.replace(f"{{{letter}}}", letter)
    return said.rstrip(".").lstrip(":").strip()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


_DROPPED = ("\\text", "\\mbox", "\\left", "\\right", "^{\\circ}", "^\\circ", "{m}^3", "m^3",
            "{units}", "units", "{km}", "km")  # fmt: skip


def _cleaned(text: str) -> str:
    """Cut out the boxed part, else the part behind `=`, and unify the LaTeX (find_math_answer)."""
    text = text.lower().replace("{}", "")
    start, end = text.find("oxed{"), text.rfind("}")
    if start >= 0 and end >= start + len("oxed{"):
        text = text[start + len("oxed{") : end]
    close, open_ = text.find("}"), text.find("{")
    if close >= 0 and (open_ < 0 or close < open_):
        text = text[:close]
    text = text.rpartition("=")[2].rpartition("\\approx")[2]
    text = text.replace(" ", "").replace("\\,", "").replace("∞", "\\infty")
    text = text.replace("+\\infty", "\\infty").replace("\\\\", "\\").replace("\n", "")
    for part in _DROPPED:
        text = text.replace(part, "")
    return _stripped(text)


def _stripped(text: str) -> str:
    """Unify spellings as MATH's script does (_strip_string); fractions only beside a root."""
    text = text.replace("\\!", "").replace("\\\\", "\\")
    text = text.replace("tfrac", "frac").replace("dfrac", "frac")
    for part in ("\\left", "\\right", "^{\\circ}", "^\\circ", "\\$", "$"):
        text = text.replace(part, "")
    text = text.partition("\\text{ ")[0]
    text = text.replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.")
    if not text:
        return text
    if text[0] == ".":
        text = "0" + text
    for sign in ("=", "\\approx"):
        if text.count(sign) == 1:
            text = text.partition(sign)[2]
    if "sqrt" in text:
        first, *rest = text.split("\\sqrt")
        braced = [part if part[:1] in ("", "{") else f"{{{part[0]}}}{part[1:]}" for part in rest]
        text = "\\sqrt".join([first, *braced])
    text = text.replace(" ", "")
    if "sqrt" in text:
        text = _braced(text)
    if text == "0.5":
        text = "\\frac{1}{2}"
    if match := re.fullmatch(r"(0|-?[1-9][0-9]{0,4000})/(0|-?[1-9][0-9]{0,4000})", text):
        return f"\\frac{{{match[1]}}}{{{match[2]}}}"
    return text


def _braced(text: str) -> str:
    r"""Put braces around the arguments in `\frac12`; nothing at all if one has too few signs."""
    first, *rest = text.split("\\frac")
    if any(not part.startswith("{") and len(part) < 2 for part in rest):
        return text
    braced = [
        part if part[0] == "{"
        else f"{{{part[0]}}}{part[1:]}" if part[1] == "{"
        else f"{{{part[0]}}}{{{part[1]}}}{part[2:]}"
        for part in rest
    ]  # fmt: skip
    return "\\frac".join([first, *braced])


@lru_cache(maxsize=50_000)
def equal(truth: str, said: str) -> bool:
    r"""Whether two answers are the same text, or the same number to two decimals (is_equal).

    >>> equal(r"10\pi", "31.42"), equal("(1,2)", "(1, 2.0)"), equal("2", "2.006"), equal("", "5")
    (True, True, False, False)
    """
    truth, said = truth.lower(), said.lower()
    if not truth.replace(" ", "") or not said.replace(" ", ""):
        return False
    if truth.strip() == said.strip():
        return True
    truth, said = _tuple(truth), _tuple(said)
    if truth == said:
        return True
    first = latex2sympy.value(truth)
    second = None if first is None else latex2sympy.value(said)
    if first is None or second is None:
        return False
    return round(first, 2) == round(second, 2)


ELEMENTS = 50
"""Longest tuple that is evaluated."""


def _tuple(text: str) -> str:
    """Evaluate the elements of a tuple or list to two decimals; another text stays (eval_tuple)."""
    if (text[0], text[-1]) not in (("(", ")"), ("[", "]")) or not 0 < text.count(",") < ELEMENTS:
        return text
    elements = []
    for part in text[1:-1].split(","):
        if "infty" in part or part in ("a", "-a"):
            elements.append(part)
            continue
        value = latex2sympy.value(part)
        if value is None:
            return text
        elements.append(str(round(value, 2)))
    return f"{text[0]}{','.join(elements)}{text[-1]}"


# VLMEvalKit: vlmeval/dataset/utils/mathv.py


def by_vlmevalkit(row: Row, text: str, *, head: bool = False) -> Judging:
    """Match the response, else what the judge extracts from it."""
    choices = options(row)
    found = prefetch(row, text, head=head)
    if found is None:
        query = to_prompt_vlmevalkit(row).removeprefix("<image>")
        prompt = vlmevalkit.extraction_prompt([*[HINT_FREE] * 4, HINT_CHOICES], query, text)
        reply = yield from vlmevalkit.extract(prompt)
        if reply is None:
            return UNPARSED
        found = vlmevalkit.can_infer(reply, choices, head=head) if choices else reply
    return found, found is not None and close(row["answer"], found, head=head)


def prefetch(row: Row, text: str, *, head: bool = False) -> str | None:
    """Return what VLMEvalKit reads without a judge: any option, a free answer only if right."""
    if row["choices"]:
        return vlmevalkit.can_infer(text, options(row), head=head)
    return text if close(row["answer"], text, head=head) else None


def close(truth: str, said: str, *, head: bool = False) -> bool:
    """Whether two answers are the same text, or the same number but for 1e-6 (is_equal).

    As a number is read Python's arithmetic, then LaTeX without roots, pi and functions: their names
    are not known where VLMEvalKit evaluates. At `head` another parser reads the LaTeX, which passes
    by boxes, words around a number and degrees, and takes no equation; until then `x=5` was 5.
    """
    truth, said = truth.lower().strip(), said.lower().strip()
    if truth == said:
        return True
    if head:
        truth, said = _unwrapped(truth), _unwrapped(said)
        if "=" in truth + said:
            return False
    said = re.sub(r"^[a-z]\s*=\s*(?=[^=]*$)", "", said)
    for read in (_python, partial(latex2sympy.value, names=False)):
        first, second = read(truth), read(said)
        if first is not None and second is not None and abs(first - second) < 1e-6:
            return True
    return False


def _unwrapped(text: str) -> str:
    text = re.sub(r"\\(?:text|boxed)\{([^{}]*)\}|\^\{?\\circ\}?", r"\1", text)
    return text.replace("−", "-")


def _python(text: str) -> float | None:
    try:
        return arithmetic.worth(text)
    except ValueError:
        return None


# Our own reading


def robust(row: Row, text: str) -> Reading:
    """Read a letter or an option's text; a value where there are no options."""
    if row["choices"]:
        return multiple_choice.robust(row, text)
    # Four rows carry their answer boxed, and one a form feed for `\\f`.
    truth = (answers.boxed(row["answer"]) or row["answer"]).replace("\f", "\\f")
    return answers.read_value(text, truth)


def groups(row: Row) -> tuple[str, ...]:
    """Return subject, level, and both."""
    subject, level = row["metadata"]["subject"], row["metadata"]["level"]
    return f"subject: {subject}", f"level: {level}", f"level {level}: {subject}"


process_results = metrics(acc=robust, acc_official=official)


# Published outputs


def checks(_: Record) -> list[Check]:
    """Check verdicts and extractions, those of today's script too, and VLMEvalKit's letters."""
    return [
        Check("official", published.right(official), _scores),
        Check("official, now", published.right(official, expected="rerun_verdict")),
        Check("official, extraction", _extraction),
        Check("vlmevalkit, rules", published.matched(by_vlmevalkit)),
    ]


def _extraction(record: Record) -> Pair:
    expected = record.get("rerun_extraction", record["official_extraction"])
    return extract(record["response"] or ""), expected


def _scores(graded: published.Graded) -> dict[str, str]:
    found = published.counts(graded, _score_names)
    return {name: f"{k}/{n}={round(100 * k / n, 2)}%" for name, (k, n) in found.items()}


def _score_names(record: Record) -> Iterator[str]:
    subject, level, _ = (group.partition(": ")[2] for group in groups(record))
    yield from ("-all", f"-level{level}", subject)
    yield from (f"{subject}_level{level}", f"-level{level}_{subject}")


VECTORS: Vectors = {
    ("MathVision.is_equal", "old"): lambda vector: close(vector["gold"], vector["input"]),
    ("MathVision.is_equal", "new"): lambda vector: close(
        vector["gold"], vector["input"], head=True
    ),
    ("mathv.extract", "out"): lambda vector: extract(vector["response"]),
    ("mathv.is_equal", "out"): lambda vector: equal(vector["gt"], vector["answer"]),
}
