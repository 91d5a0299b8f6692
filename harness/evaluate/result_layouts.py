"""A record of another tool → the answers in it: which row, which sample, what was said or why not.

Understood are `id` and `response` (or another field of `TEXTS`), the results of VLMEvalKit, the
samples of lm-eval and lmms-eval, the batch output of OpenAI and `vllm run-batch`, the logs of
inspect_ai, and what the scripts of MathVista and MathVerse write. An answer is a text, content
parts, a chat, a chat completion, or a list of these, an entry for each sample; whatever else stands
where an answer should be is refused by name.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.text import listed, some
from harness.engines.reply import BROKEN_OFF, FINISHES, WITHHELD, Unreadable, text_of
from harness.evaluate.result_files import Record, read

NAMES = ("id", "pid", "question_id", "sample_index", "index", "custom_id", "doc_id")
"""Fields that may name the row that was answered, of an answer or of its `doc`."""

TEXTS = ("response", "prediction", "model_answer", "resps", "filtered_resps", "model_output",
         "model_response", "generated_text", "output", "pred", "completion", "text")  # fmt: skip
"""Fields that may hold the answer; where there are several, the first."""

FAILED = ("Failed to obtain answer", "[LMMS_EVAL_")
"""How a text begins that VLMEvalKit (vlmeval/inference.py@0044c573) or lmms-eval 0.7 writes where
no model answered."""

LONGEST = 32_767
"""Characters that a cell of a workbook holds: a longer answer was cut by whoever wrote it."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """One answer, as far as its own place tells."""

    text: str | None
    """None: there is none."""
    cut: bool = False
    error: str = ""
    """Why there is none, in the other tool's words."""


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
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: record {number}: {error}") from error
        taken, *others = [field for field in TEXTS if record.get(field)] or [""]
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
    for record in records:
        if "filtered_resps" in record and "filter" not in record:
            times[str(record.get("doc_id"))] += 1
            record["filter"] = str(times[str(record.get("doc_id"))])
    names = list(dict.fromkeys(r["filter"] for r in records if isinstance(r.get("filter"), str)))
    if wanted is not None:
        if wanted not in names:
            has = f"it has {', '.join(names)}" if names else "it has none"
            raise UserError(f"{path} has no filter {wanted!r}: {has}")
        own = [record for record in records if record.get("filter") == wanted]
        left = [
            {k: v for k, v in r.items() if k not in TEXTS or k == "filtered_resps"} for r in own
        ]
        return left, [f"the answers are what the filter {wanted} left of them"]
    if len(names) < 2:
        return records, []
    note = (
        f"of the filters {listed(names)} the lines of {names[0]} are read, the answers as the "
        "model gave them; --filter NAME reads what a filter left of them"
    )
    return [record for record in records if record.get("filter") == names[0]], [note]


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
        field: named for of in (record, doc) for field in NAMES if (named := _text(of.get(field)))
    }
    for of in (record, doc):
        if "ID" in of and "key" in of:  # We-Math
            names["id"] = f"{of['ID']}/{of['key']}"
    about = {
        "question": record.get("question", doc.get("question", record.get("input"))),
        "answer": record.get("answer", doc.get("answer", record.get("target"))),
    }
    field = next((field for field in TEXTS if record.get(field) is not None), None)
    several = _said(record[field]) if field else []
    if error := record.get("error"):
        several = [one if one.text else Said(text=None, error=_reason(error)) for one in several]
        several = several or [Said(text=None, error=_reason(error))]
    several = several or [Said(text=None)]
    sample = _sample(record.get("sample"))
    if sample is not None and len(several) > 1:
        raise ValueError(f"it has {len(several)} answers, and one number for them: sample {sample}")
    extractions = _extractions(record, len(several))
    told = zip(_ended(record, several), extractions, strict=True)
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
    text = _text(value)
    if text is None or not re.fullmatch(r"[0-9]{1,9}(\.0)?", text):
        raise ValueError(f"its sample is {value!r:.40}: expected 0, 1, 2 …")
    return int(float(text))


def _extractions(record: Record, answers: int) -> Sequence[str | None]:
    """Return what was extracted from each answer; one of several answers belongs to none."""
    told = record.get("extractions", record.get("extraction"))
    if not isinstance(told, list):
        return [_text(told)] if answers == 1 else [None] * answers
    if len(told) != answers:
        raise ValueError(f"it has {answers} answers and {len(told)} extractions")
    return [_text(one) for one in told]


def _reason(error: Any) -> str:
    """Return the words of an error, which may be an object with a message."""
    while isinstance(error, dict):
        error = next((error[k] for k in ("message", "error", "code", "type") if error.get(k)), None)
    return " ".join(str(error or "no reason given").split())[:300]


# One answer


def _text(value: Any) -> str | None:
    """Return a text, or a number as one; None for all else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if isinstance(value, str) or (is_number and math.isfinite(value)) else None


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _said(value: Any) -> list[Said]:
    """Return the answers where answers stand: one, or those of nested lists.

    Raises:
        ValueError: There is something else.
    """
    if value is None or value != value:
        return [Said(text=None)]
    if isinstance(value, dict):
        return _of_object(value)
    if isinstance(value, list):
        if value and all(isinstance(one, dict) for one in value):
            if all("role" in one for one in value):
                given = [one for one in value if one["role"] in ("assistant", "model")]
                return _said(given[-1]) if given else [Said(text=None)]
            if all(isinstance(one.get("type"), str) for one in value):
                return [_message({"content": list(_parts(value))})]
        if len(value) == 2 and _is_number(value[0]) and str(value[1]) in ("True", "False"):
            raise ValueError("it holds log-likelihoods of options, where a text is expected")
        return [said for one in value for said in _said(one)] or [Said(text=None)]
    text = _text(value)
    if text is None:
        raise ValueError(f"where its answer should be it holds {value!r:.40}")
    if text.lstrip().startswith(FAILED):
        return [Said(text=None, error=" ".join(text.split())[:300])]
    return [Said(text=text)]


def _of_object(value: Record) -> list[Said]:
    """Read a chat completion, one of its choices, a message, or an object with a text."""
    for field in ("choices", "outputs", "output"):  # `outputs`: vLLM's RequestOutput
        if isinstance(value.get(field), list):
            return _ended(value, _said(value[field]))
    if "content" in value:
        return _ended(value, [_message(value)])
    for field in ("message", "text", "generated_text"):
        if field in value:
            return _ended(value, _said(value[field]))
    raise ValueError(f"its answer is an object without a text: its fields are {some(list(value))}")


def _parts(items: Iterable[Record]) -> Iterator[Any]:
    """Yield content parts, those of the messages of an OpenAI response among them."""
    for one in items:
        inner = one.get("content") if one["type"] == "message" else None
        yield from inner if isinstance(inner, list) else [one]


def _message(message: Record) -> Said:
    try:
        text = text_of(message)
    except Unreadable as error:
        raise ValueError(str(error)) from error
    return Said(text=None if text == "" and message["content"] is None else text)


def _ended(of: Record, several: list[Said]) -> list[Said]:
    """Return answers as the reason tells for which they ended."""
    told = of.get("finish_reason") or of.get("stop_reason") or ("output" in of and of.get("status"))
    reason = told.lower() if isinstance(told, str) else ""
    if reason in (*WITHHELD, *BROKEN_OFF):
        return [Said(text=None, error=f"the answer ended for the reason {reason}") for _ in several]
    if FINISHES.get(reason) == "length" or reason == "incomplete":
        several = [one if one.error else Said(text=one.text or "", cut=True) for one in several]
    return several
