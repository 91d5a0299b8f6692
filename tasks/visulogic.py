"""VisuLogic: 1,000 puzzles of visual logic whose options are drawn in the picture, of six kinds.

Paper: Xu et al. 2025, "VisuLogic: A Benchmark for Evaluating Visual Reasoning in Multi-modal Large
Language Models", arXiv 2504.15279. Code: github.com/VisuLogic-Benchmark/VisuLogic-Eval,
evaluation/eval_model.py at 00fba6dd and models/prompts.py at f54d3c2e; VLMEvalKit (Apache-2.0) at
cfa63b1d, vlmeval/dataset/utils/visulogic.py. The published script cannot reach its judge; here it
is asked as the script would.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from common import hub
from tasks import multiple_choice
from tasks.data import FOLDER, Data, Row, Source, local, pictures
from tasks.data.loading import loader
from tasks.judging import Judging, Reading, Request, metrics

LETTERS = "ABCD"

_STEPS = "Solve the complex visual logical reasoning problem through step-by-step reasoning."
_FORM = (
    "Think about the reasoning process first and answer the question following this format: "
    "Answer: \\boxed{$LETTER}"
)

FILES = ("data.jsonl", "images.zip")


# Rows


def _own(data: Data, source: Source) -> Iterator[Row] | None:
    """Return the rows of `data.jsonl`, with pictures from beside it or from `images.zip`."""
    folder = hub.fetch(source.repo, "dataset", source.revision, FILES) if data is None else data
    path = local.find(folder, FILES[0])
    return None if path is None else _rows(path)


def _rows(path: Path) -> Iterator[Row]:
    import zipfile

    archive = path.parent / FILES[1]
    packed = zipfile.ZipFile(archive) if archive.is_file() else None
    names = {Path(name).name: name for name in packed.namelist()} if packed else {}
    for row in local.read_lines(path):
        name = Path(row["image_path"]).name
        if packed is None or name not in names:
            yield {**row, "images": [row["image_path"]], FOLDER: str(path.parent)}
        else:
            kept = pictures.keep(packed.read(names[name]), pictures.picture_folder())
            yield {**row, "images": [kept], FOLDER: str(pictures.picture_folder())}


def _row(row: Row) -> Row:
    return {
        "id": row["id"],
        "question": row["question"],
        "answer": row.get("label") or row.get("answer"),
        "metadata": {"tag": row["tag"]},
        "images": row["images"],
        FOLDER: row[FOLDER],
    }


dataset = loader("visulogic", _row, ["question", "answer"], _own)


# Prompts


def to_prompt(row: Row) -> str:
    """Return picture and question, and the request without a blank before it."""
    return f"<image>\n{row['question']}{_STEPS} {_FORM}."


def to_prompt_vlmevalkit(row: Row) -> str:
    """Return VLMEvalKit's form: the request on a line of its own, without a blank and the dot."""
    return f"<image>{row['question']}\n{_STEPS}{_FORM}"


# The official script: evaluation/eval_model.py


def official(row: Row, text: str) -> Judging:
    """Read the box, else what follows "answer is" and the like; else the judge names a letter."""
    said = _boxed(text, "N") or _spoken(text)
    if said is None:
        said = _letter_of((yield Request(_ASK.format(text), system=_SYSTEM, temperature=1.0)))
    return said, said.lower() == row["answer"].lower()


_SYSTEM = "You are a helpful and precise assistant for extract the final option in the answer."
_ASK = (
    "Extract the option in the solution. Just answer only capital letters. If solution have multi "
    "options or has no clear option just answer None.\nSolution: {}\n"
)


def _letter_of(reply: str) -> str:
    said = reply.strip().partition("\n")[0].partition(".")[0]
    return "N" if "none" in said.lower() else said[:20]


_OPEN_OR_CLOSE = re.compile(r"\\boxed\{|[^\\]\}")
_WRAPS = ("\\text{", "\\rm{", "\\mathbf{", "$", "}")


def _boxed(text: str, missing: str) -> str | None:
    r"""Return the letter in the last outermost box; a text of two signs is its own box.

    Args:
        text: The response.
        missing: What is read where there is no box.

    >>> _boxed(r"\boxed{\text{B}}", "N"), _boxed("b", "N"), _boxed(r"\boxed{A or B}", "N")
    ('B', None, None)
    """
    found = text if len(text) < 3 else _last_box(text)
    if found is None:
        found = missing
    elif len(text) >= 3:
        for wrap in _WRAPS:
            found = found.replace(wrap, "")
        if "letter" in found.lower() or "or" in found or len(found) > 2:
            found = text
    said = found.strip()
    return said if len(said) == 1 and said in LETTERS else None


def _last_box(text: str) -> str | None:
    starts: list[int] = []
    last = None
    for mark in _OPEN_OR_CLOSE.finditer(text):
        if mark[0] == "\\boxed{":
            starts.append(mark.end())
        elif starts:
            start = starts.pop()
            last = last if starts else text[start : mark.start() + 1]
    return last


_FLAGS = (
    "answer:", "the final answer is:", "the answer is option:", "the answer is:",
    "the correct answer is option:", "the correct answer is:", "the answer should be:",
    "the final answer is", "the answer is option", "the answer is",
    "the correct answer is option", "the correct answer is", "the answer should be",
)  # fmt: skip
"""In the order of the script: each that is found shortens the text for those after it."""


def _spoken(text: str) -> str | None:
    """Return the letter at an end of the text, or all that follows one of the flags.

    >>> _spoken("so it is (B)."), _spoken("Answer: b. x"), _spoken("The answer is: (B)")
    ('B', 'B', None)
    """
    text = text.replace("<|endoftext|>", "")
    for letter in LETTERS:
        starts = (f"{letter}\n", f"({letter})\n", f"({letter}) {letter}\n")
        if text.endswith((f" {letter}.", f" ({letter}).")) or text.startswith(starts):
            return letter
    rest = text.lower()
    for flag in _FLAGS:
        if flag in rest:
            rest = rest.rpartition(flag)[2].strip().partition("\n")[0].partition(".")[0]
            if rest.upper() in tuple(LETTERS):
                return rest.upper()
    return None


# The other protocols


def by_vlmevalkit(row: Row, text: str) -> Reading:
    """Read as the script does, but for its judge; a response of a letter and blanks is a box."""
    said = _boxed(text, text) or _spoken(text) or "Z"
    return said, said == row["answer"]


def robust(row: Row, text: str) -> Reading:
    """Read a letter."""
    return multiple_choice.read(dict.fromkeys(LETTERS, ""), row["answer"], text)


def groups(row: Row) -> tuple[str, ...]:
    """Return the kind of reasoning."""
    return (row["metadata"]["tag"],)


process_results = metrics(acc=robust)
