"""MMMU-Pro: 1,730 questions of MMMU with ten options, and the same as pictures of the question.

Paper: Yue et al. 2024, "MMMU-Pro: A More Robust Multi-discipline Multimodal Understanding
Benchmark", arXiv 2409.02813. Code: github.com/MMMU-Benchmark/MMMU at bb0b95a9, mmmu-pro/.

The prompts are the chain-of-thought ones. The official script draws a random letter where it reads
none; here such an answer stays unparsed. Its GPT client sends the pictures behind the text; here
they stand where the question names them, as in VLMEvalKit.
"""

from string import ascii_uppercase

from tasks import published
from tasks.data import FOLDER, Row
from tasks.data.loading import loader
from tasks.grading import vlmevalkit
from tasks.judging import UNPARSED, Judging, Reading, metrics
from tasks.mmmu import named_pictures, placed, read_letter, unquoted
from tasks.multiple_choice import listed, options, robust
from tasks.published import Check, Record, Vectors

_LAST_LINE = (
    "The last line of your response should be of the following format: 'Answer: $LETTER' "
    "(without quotes) where LETTER is one of {}options. Think step by step before answering."
)

STANDARD = "Answer the preceding multiple choice question. " + _LAST_LINE.format("")
VISION = "Write out the multiple-choice question in the image and then solve it. " + (
    _LAST_LINE.format("")
)
"""mmmu-pro/prompts.yaml, cot."""

STANDARD_VLMEVALKIT = "Answer the following multiple-choice question. " + (
    _LAST_LINE.format("the ") + " "
)
VISION_VLMEVALKIT = "Answer the following multiple-choice question in the image. " + (
    _LAST_LINE.format("the ") + " "
)
"""VLMEvalKit vlmeval/dataset/image_mcq.py MMMUProDataset, `MMMU_Pro_10c_COT`, `MMMU_Pro_V_COT`."""


def _row(row: Row) -> Row:
    choices = unquoted(row["options"])
    question = row.get("question") or ""
    return {
        "id": row["id"],
        "question": question,
        "choices": choices,
        "answer": row["answer"],
        "metadata": {"subject": row["subject"], "topic_difficulty": row.get("topic_difficulty")},
        "images": named_pictures(row, [question, *choices] if question else []),
        FOLDER: row[FOLDER],
    }


def _standard(row: Row) -> Row:
    return {**_row(row), "question": row.get("question")}


dataset = loader("mmmu_pro", _row, ["answer", "images"])
standard = loader("mmmu_pro_standard", _standard, ["question", "answer", "images"])


def to_prompt(row: Row) -> str:
    """Return question, options and request."""
    return placed(f"{row['question']}\n{listed(options(row))}\n{STANDARD}", row)


def to_prompt_vision(row: Row) -> str:
    """Return the request; the question is in the picture."""
    return f"<image>{VISION}"


def to_prompt_vlmevalkit(row: Row) -> str:
    """Return question, options and request as VLMEvalKit words them."""
    asked = f"Question: {row['question']}\nOptions:\n{listed(options(row))}\n"
    return placed(f"{asked}{STANDARD_VLMEVALKIT}", row)


def to_prompt_vision_vlmevalkit(row: Row) -> str:
    """Return VLMEvalKit's request; the question is in the picture."""
    return f"<image>{VISION_VLMEVALKIT}"


LETTER_FORMS = (("({})", "({})"), ("{} ", " {} "), ("{}.", " {} "))
"""Unlike MMMU's, these find a letter that ends a word, or that a dot follows."""


def official(row: Row, text: str) -> Reading:
    """Read the one letter behind the last `Answer:`, else as MMMU: mmmu-pro/evaluate.py."""
    choices = options(row)
    _, marked, tail = text.rpartition("Answer:")
    named = [letter for letter in choices if letter in tail] if marked else []
    letter = named[0] if len(named) == 1 else read_letter(text, choices, LETTER_FORMS)
    return UNPARSED if letter is None else (letter, letter == row["answer"])


def by_vlmevalkit(row: Row, text: str, *, head: bool = False) -> Judging:
    """Match what stands on the last line that starts with `Answer:`, else the whole response.

    A published answer to a direct request, which asks for no such line, is matched whole.
    """
    direct = row.get("setting", "").endswith("direct")
    said = text if direct else _marked(text) if head else _marked_2025(text)
    choices = options(row)
    return (yield from vlmevalkit.choose(row["question"], choices, row["answer"], said, head=head))


def _marked(text: str) -> str:
    """Reduce to the last such line if there is one, and to its capital if that is but one."""
    lines = (line.strip() for line in text.strip().split("\n"))
    marked = [line.removeprefix("Answer:") for line in lines if line.startswith("Answer:")]
    if not marked:
        return text
    return _capital(marked[-1]) or marked[-1]


def _marked_2025(text: str) -> str:
    """Reduce only where there is just one such line; the A of "Answer" is a capital of it too."""
    lines = [line.strip() for line in text.strip().split("\n")]
    marked = [line for line in lines if line.startswith("Answer:")]
    if len(marked) != 1:
        return text
    return _capital(marked[0]) or marked[0].removeprefix("Answer:")


def _capital(text: str) -> str | None:
    found = {letter for letter in text if letter in ascii_uppercase}
    return found.pop() if len(found) == 1 else None


process_results = metrics(acc=robust, acc_official=official)


# Published outputs


def checks(_: Record) -> list[Check]:
    """Check letters and verdicts, and VLMEvalKit's letters."""
    return [
        Check("official", published.whole(official), published.counter(lambda _: ["overall"])),
        Check("vlmevalkit, rules", published.matched(_as_published)),
    ]


def _as_published(row: Row, text: str) -> Judging:
    """Match by the options' rules of 2025 what the later version takes for the answer's line."""
    said = text if row.get("setting", "").endswith("direct") else _marked(text)
    return (yield from vlmevalkit.choose(row["question"], options(row), row["answer"], said))


VECTORS: Vectors = {
    ("MMMUPro.cot_postproc", "old"): lambda vector: _marked_2025(vector["input"]),
    ("MMMUPro.cot_postproc", "new"): lambda vector: _marked(vector["input"]),
    ("option_match", "mmmu_pro_official"): lambda vector: (
        official({**vector, "answer": ""}, vector["response"])[0] or "RANDOM"
    ),
}
