"""A record of another tool → the answers in it: which row, which sample, what was said or why not.

Understood are `id` and `response` (or another field of `TEXTS`), the results of VLMEvalKit, the
samples of lm-eval and lmms-eval, the batch output of OpenAI and `vllm run-batch`, the logs of
inspect_ai, and what the scripts of MathVista and MathVerse write.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.text import some
from harness.evaluate.answer_shapes import Said, as_text, ended, said_in
from harness.evaluate.result_files import Record, read

NAMES = ("id", "pid", "question_id", "sample_index", "index", "custom_id", "doc_id")
"""Fields that may name the row that was answered, of an answer or of its `doc`."""

TEXTS = ("response", "prediction", "model_answer", "resps", "filtered_resps", "model_output",
         "model_response", "generated_text", "output", "pred", "completion", "text")  # fmt: skip
"""Fields that may hold the answer; where there are several, the first."""

LONGEST = 32_767
"""Characters that a cell of a workbook holds: a longer answer was cut by whoever wrote it."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer of a file."""

    names: dict[str, str]
    """Field → what it says of the row that was answered."""
    sample: int
    said: Said
    extraction: str | None
    """What the other tool read as the final answer."""
    about: dict[str, Any]
    """`question` and `answer` as the file has them, to see that it speaks of the same rows."""


def answers_of(path: Path, wanted: str | None = None) -> tuple[list[Answer], list[str]]:
    """Read the answers of a file, and notes on how they were read.

    Args:
        path: The file.
        wanted: The filter of lm-eval or lmms-eval whose results are the answers; None: the answers
            are those that the model gave.

    Raises:
        UserError: The file, its layout or an answer is not understood.
    """
    records, notes = read(path, TEXTS)
    records, more = _filtered(path, [_unwrapped(record) for record in records], wanted)
    fields = dict.fromkeys(field for record in records for field in record)
    if records and not any(field in fields for field in TEXTS):
        raise UserError(
            f"{path} has no field with answers ({', '.join(TEXTS)}): its fields are "
            f"{some(list(fields), 12)}; rename the one that holds them"
        )
    found: list[Answer] = []
    beside: dict[str, str] = {}
    for number, record in enumerate(records, start=1):
        try:
            found.extend(_answers(record))
        except ValueError as error:
            raise UserError(f"{path}: record {number}: {error}") from error
        taken, *others = _holding(record) or [""]
        beside.update({field: taken for field in others if field != "filtered_resps"})
    for field, taken in beside.items():
        more.append(f"the answers are those of the field {taken}, not of {field}")
    full = [_full(answer) for answer in found]
    if any(full):
        more.append(
            f"{sum(full)} answers of {LONGEST} characters were cut by the workbook that held them"
        )
    found = [
        replace(answer, said=replace(answer.said, cut=True)) if is_full else answer
        for answer, is_full in zip(found, full, strict=True)
    ]
    return found, notes + more


def _holding(record: Record) -> list[str]:
    """Return the fields that hold an answer; those that hold an empty one where no other does."""
    there = [field for field in TEXTS if record.get(field) is not None]
    return [field for field in there if record[field] != ""] or there


def _full(answer: Answer) -> bool:
    text = answer.said.text or ""
    # Excel counts a character beyond the first 65,536 as two.
    return LONGEST in (len(text), len(text.encode("utf-16-le", "surrogatepass")) // 2)


def _filtered(
    path: Path, records: list[Record], wanted: str | None
) -> tuple[list[Record], list[str]]:
    """Return the records of one filter: lm-eval writes each document once for every filter.

    So does lmms-eval, without the names of the filters, which are counted here.
    """
    times = Counter[str]()
    filtered = [record for record in records if {"doc_id", "filtered_resps"} <= record.keys()]
    for record in filtered:
        if "filter" not in record:
            times[str(record["doc_id"])] += 1
            record["filter"] = str(times[str(record["doc_id"])])
    names = list(dict.fromkeys(str(record["filter"]) for record in filtered))
    if wanted is not None:
        if wanted not in names:
            has = f"it has {some(names)}" if names else "it has none"
            raise UserError(f"{path} has no filter {wanted!r}: {has}")
        own = [record for record in filtered if str(record["filter"]) == wanted]
        left = [
            {k: v for k, v in r.items() if k not in TEXTS or k == "filtered_resps"} for r in own
        ]
        return left, [f"the answers are what the filter {wanted} left of them"]
    if len(names) < 2:
        return records, []
    note = (
        f"of the filters {some(names)} the lines of {names[0]} are read, the answers whole where "
        "they stand there; --filter NAME reads what a filter left of them"
    )
    return [record for record in filtered if str(record["filter"]) == names[0]], [note]


# One record


def _unwrapped(record: Record) -> Record:
    """Return a record of a batch or of an inspect log as one with `response` and `error`."""
    response, output = record.get("response"), record.get("output")
    if "custom_id" in record and isinstance(response, dict) and "body" in response:
        body, status = response["body"], response.get("status_code")
        failed = isinstance(status, int) and status >= 400
        error = record.get("error") or (f"HTTP {status}: {_reason(body)}" if failed else None)
        return {**record, "response": None if failed else body, "error": error}
    if isinstance(record.get("epoch"), int) and isinstance(output, dict) and "id" in record:
        error = record.get("error") or output.get("error") or record.get("limit")
        about = {"question": record.get("input"), "answer": record.get("target")}
        response = _attached(output.get("choices") or None, record.get("attachments") or {})
        return {"id": record["id"], "sample": record["epoch"] - 1, "error": error, **about,
                "response": response}  # fmt: skip
    return record


def _attached(value: Any, attachments: Record) -> Any:
    """Put the long texts that an inspect log holds apart back where they belong."""
    if isinstance(value, dict):
        return {name: _attached(part, attachments) for name, part in value.items()}
    if isinstance(value, list):
        return [_attached(part, attachments) for part in value]
    if isinstance(value, str) and value.startswith("attachment://"):
        return attachments.get(value.removeprefix("attachment://"), value)
    return value


def _answers(record: Record) -> Iterator[Answer]:
    doc = record["doc"] if isinstance(record.get("doc"), dict) else {}
    names = {
        field: named for of in (record, doc) for field in NAMES if (named := as_text(of.get(field)))
    }
    for of in (record, doc):
        if "ID" in of and "key" in of:  # We-Math
            names["id"] = f"{of['ID']}/{of['key']}"
    about = {
        "question": record.get("question", doc.get("question", record.get("input"))),
        "answer": record.get("answer", doc.get("answer", record.get("target"))),
    }
    several = [said for field in _holding(record)[:1] for said in said_in(record[field])]
    if error := record.get("error"):
        several = [one if one.text else Said(text=None, error=_reason(error)) for one in several]
        several = several or [Said(text=None, error=_reason(error))]
    several = several or [Said(text=None)]
    sample = _sample(record.get("sample"))
    if sample is not None and len(several) > 1:
        raise ValueError(f"it has {len(several)} answers, and one number for them: sample {sample}")
    extractions = _extractions(record, len(several))
    told = zip(ended(record, several), extractions, strict=True)
    for number, (said, extraction) in enumerate(told):
        yield Answer(
            names=names,
            sample=number if sample is None else sample,
            said=said,
            extraction=extraction,
            about=about,
        )


def _sample(value: Any) -> int | None:
    if value is None or value == "":
        return None
    text = as_text(value)
    if text is None or not re.fullmatch(r"[0-9]{1,9}(\.0)?", text):
        raise ValueError(f"its sample is {value!r:.40}: expected 0, 1, 2 …")
    return int(float(text))


def _extractions(record: Record, answers: int) -> Sequence[str | None]:
    """Return what was extracted from each answer; one of several answers belongs to none."""
    told = record.get("extractions", record.get("extraction"))
    if not isinstance(told, list):
        return [as_text(told)] if answers == 1 else [None] * answers
    if len(told) != answers:
        raise ValueError(f"it has {answers} answers and {len(told)} extractions")
    return [as_text(one) for one in told]


def _reason(error: Any) -> str:
    """Return the words of an error, which may be an object with a message."""
    while isinstance(error, dict):
        error = next((error[k] for k in ("message", "error", "code", "type") if error.get(k)), None)
    return " ".join(str(error or "no reason given").split())[:300]
