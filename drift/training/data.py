"""Chat rows with pictures → batches, the loss on the assistant's words alone.

A row is one of

    {"messages": [{"role": "user", "content": "What is <image> ?"},
                  {"role": "assistant", "content": "A cat."}], "images": ["relative/path.png"]}
    {"question": "What is <image> ?", "answer": "A cat.", "images": ["relative/path.png"]}

in a JSONL, JSON or Parquet file, in a folder or hub data set that `datasets.load_dataset` reads
(split `train`, or `place:split`), or in whatever form a `dataset_info.json` of LLaMA-Factory
describes (`path/dataset_info.json:name`). `<image>` marks the place of each picture; without any
mark, pictures come first. Content may also be a list of parts as chat templates take it. Pictures
are paths, relative to the file (to the folder of `dataset_info.json`), or encoded: bytes, bare or
as `{"bytes": …}`, or base64. They are decoded as in evaluation (`common/pictures.py`).

Each stretch of a conversation is put through the checkpoint's own chat template and processor as it
will be when the model is asked: what stands before an answer is tokenised by itself, and so is the
answer. Nothing is ever cut: what does not fit the context is reported and left out.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.pictures import decoded, encoded, undecoded
from common.progress import counted

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

MARK = "<image>"
INFO = "dataset_info.json"
IGNORED = -100
"""Label that transformers' losses leave out."""
KINDS = ("mm_token_type_ids", "token_type_ids")
"""Under which names processors tell image tokens from words."""
CACHE_BYTES = 2 << 30
"""Prepared samples are kept in memory up to this much; the rest is prepared anew each epoch."""

Sample = dict[str, "torch.Tensor"]
"""What a processor gives for one row, `labels` added; token-level tensors have shape (tokens,)."""


@dataclass(frozen=True)
class Row:
    """One conversation."""

    where: str
    """For messages to people: file and row number."""
    messages: tuple[tuple[str, str], ...]
    """Role and text; as many `MARK` in all as there are images."""
    images: tuple[Any, ...]
    """A path each, or encoded bytes."""


def read_rows(place: Path | str, images: Path | str | None = None) -> list[Row]:
    """Read and check the rows of a data set.

    Args:
        place: A file, a folder, or `…/dataset_info.json:name`: see above.
        images: Folder that relative paths of pictures start from, if not that of the file.

    Raises:
        UserError: the file or a row is not of the form above; the sentence names the row.
    """
    text = str(place)
    info, _, name = text.partition(f"{INFO}:")
    if (Path(place).name == INFO or name) and Path(info.removesuffix(INFO), INFO).is_file():
        found = _described(Path(info.removesuffix(INFO)), name)
    else:
        found = _raw_rows(text)
    raw, where, folder = found
    if not isinstance(raw, list) or not raw:
        raise UserError(f"{where} holds no rows")
    start = folder if images is None else Path(images)
    return [_row(one, f"row {number} of {where}", start) for number, one in enumerate(raw, 1)]


def _raw_rows(place: str) -> tuple[Any, str, Path]:
    """What `place` holds, its name for messages, and the folder that its pictures start from."""
    path = Path(place)
    if path.is_dir():
        return _from_datasets(path, "train")
    folder, _, split = place.rpartition(":")
    if folder and Path(folder).is_dir():
        return _from_datasets(Path(folder), split)
    if not path.is_file():
        raise UserError(f"there is no data file {path}")
    try:
        if path.suffix == ".parquet":
            import pandas as pd

            raw = [_plain(row) for row in pd.read_parquet(path).to_dict("records")]
        elif path.suffix == ".json":
            raw = json.loads(path.read_text(encoding="utf-8"))
        else:
            text = path.read_text(encoding="utf-8")
            raw = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as {path.suffix or 'JSONL'} ({error})") from error
    return raw, str(path), path.parent


def _from_datasets(folder: Path, split: str) -> tuple[list[Any], str, Path]:
    """The rows of a folder as the hub has them; pictures stay encoded."""
    import datasets

    try:
        found = datasets.load_dataset(str(folder), split=split)
    except (ValueError, OSError, datasets.exceptions.DatasetGenerationError) as error:
        problem = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{folder} cannot be read as a data set ({problem})") from error
    return [dict(row) for row in undecoded(found)], f"{folder} ({split})", folder


def _described(folder: Path, name: str) -> tuple[list[Any], str, Path]:
    """The rows of the data set `name` that LLaMA-Factory's `dataset_info.json` describes.

    Source of the keys and their defaults: hiyouga/LLaMA-Factory, data/README.md.
    """
    path = folder / INFO
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error})") from error
    name = name or (next(iter(known)) if len(known) == 1 else "")
    if name not in known:
        raise UserError(f"{path} describes no {name!r}; give {path}:NAME, of {', '.join(known)}")
    about = known[name]
    if about.get("ranking"):
        raise UserError(f"{name} of {path} holds ranked answers, which are not for fine-tuning")
    if "hf_hub_url" in about:
        from common.hub import fetch

        source = f"{fetch(about['hf_hub_url'], 'dataset')}:{about.get('split', 'train')}"
    elif "file_name" in about:
        source = str(folder / about["file_name"])
    else:
        raise UserError(f"{name} of {path} has neither file_name nor hf_hub_url")
    raw, where, place = _raw_rows(source)
    columns, tags = about.get("columns", {}), about.get("tags", {})
    turns = _shared if about.get("formatting", "alpaca") == "sharegpt" else _alpaca
    rows = [
        turns(row, columns, tags, f"row {number} of {where}") if isinstance(row, dict) else row
        for number, row in enumerate(raw, 1)
    ]
    return rows, where, place if "hf_hub_url" in about else folder


def _shared(row: dict[str, Any], columns: Any, tags: Any, where: str) -> dict[str, Any]:
    """A row of LLaMA-Factory's `sharegpt` form as one of ours."""
    turns = row.get(columns.get("messages", "conversations"))
    role_tag, content_tag = tags.get("role_tag", "from"), tags.get("content_tag", "value")
    roles = {
        tags.get("user_tag", "human"): "user",
        tags.get("assistant_tag", "gpt"): "assistant",
        tags.get("system_tag", "system"): "system",
    }
    messages = []
    if columns.get("system") and row.get(columns["system"]):
        messages.append({"role": "system", "content": row[columns["system"]]})
    try:
        for turn in turns or []:
            messages.append({"role": roles[turn[role_tag]], "content": turn[content_tag]})
    except (TypeError, KeyError) as error:
        raise UserError(
            f"{where} has a turn without {role_tag} and {content_tag}, or of another role than "
            f"{', '.join(roles)}"
        ) from error
    return {"messages": messages, "images": row.get(columns.get("images", "images"))}


def _alpaca(row: dict[str, Any], columns: Any, tags: Any, where: str) -> dict[str, Any]:
    """A row of LLaMA-Factory's `alpaca` form as one of ours."""

    def cell(key: str, default: str) -> Any:
        return row.get(columns.get(key, default))

    asked = [cell("prompt", "instruction"), cell("query", "input")]
    pairs = [*(cell("history", "history") or []), ["\n".join(filter(None, asked))]]
    pairs[-1].append(cell("response", "output"))
    messages = []
    if columns.get("system") and row.get(columns["system"]):
        messages.append({"role": "system", "content": row[columns["system"]]})
    for question, answer in pairs:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer})
    return {"messages": messages, "images": row.get(columns.get("images", "images"))}


def _plain(value: Any) -> Any:
    """Arrays of a Parquet row as lists, all the way down."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if hasattr(value, "tolist") or isinstance(value, list):
        return [_plain(inner) for inner in list(value)]
    return value


def _row(raw: Any, where: str, folder: Path) -> Row:
    if not isinstance(raw, dict):
        raise UserError(f"{where} is no JSON object")
    images = raw.get("images") or raw.get("image") or []
    if not isinstance(images, list):
        images = [images]
    if "messages" in raw:
        try:
            turns = [(turn["role"], turn["content"]) for turn in raw["messages"]]
        except (TypeError, KeyError) as error:
            raise UserError(f"{where} has messages without role and content") from error
    elif "question" in raw and "answer" in raw:
        turns = [("user", raw["question"]), ("assistant", raw["answer"])]
    else:
        raise UserError(f"{where} has neither `messages` nor `question` and `answer`")
    shown: list[Any] = []
    messages = [(role, _text(content, shown)) for role, content in turns]
    images = images + shown
    if not all(isinstance(role, str) and isinstance(text, str) for role, text in messages):
        raise UserError(f"{where} has a message whose role or content is no text")
    if len(messages) < 2 or messages[-1][0] != "assistant":
        raise UserError(f"{where} does not end with an answer of the assistant")
    if not all(text.strip() for role, text in messages if role == "assistant"):
        raise UserError(f"{where} has an empty answer")
    marks = sum(text.count(MARK) for _, text in messages)
    if marks == 0 and images:
        first = next((i for i, (role, _) in enumerate(messages) if role == "user"), 0)
        messages[first] = (messages[first][0], MARK * len(images) + messages[first][1])
    elif marks != len(images):
        raise UserError(f"{where} has {marks} {MARK} marks and {len(images)} images")
    if any(MARK in text for role, text in messages if role == "assistant"):
        raise UserError(f"{where} has an {MARK} mark in an answer")
    places = tuple(_image_source(image, where, folder) for image in images)
    return Row(where, tuple(messages), places)


def _text(content: Any, shown: list[Any]) -> Any:
    """Message content as one text; pictures among its parts are marked, and added to `shown`."""
    if not isinstance(content, list):
        return content
    pieces: list[Any] = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") not in ("text", "image"):
            return None
        pieces.append(MARK if part["type"] == "image" else part.get("text"))
        if part["type"] == "image" and part.get("image") is not None:
            shown.append(part["image"])
    return "".join(pieces) if all(isinstance(piece, str) for piece in pieces) else None


def _image_source(image: Any, where: str, folder: Path) -> Path | bytes:
    if (content := encoded(image)) is not None:
        return content
    if isinstance(image, dict):
        image = image.get("path")
    if not isinstance(image, str):
        raise UserError(f"{where} has an image that is neither a path nor bytes")
    # Some data sets name their pictures from a folder that they were not published with (`../`).
    inside = re.sub(r"^(\.\./)+", "", image)
    for place in (folder / image, folder / inside):
        if place.is_file():
            return place
    raise UserError(
        f"{where} names the image {image}, which is not in {folder}; if pictures lie elsewhere, "
        "say where with images"
    )


def open_image(source: Path | bytes, where: str, max_pixels: int | None) -> "Image":
    """Decode a picture as RGB, made smaller if it has more than `max_pixels`.

    Raises:
        UserError: it cannot be decoded; the sentence names the row.
    """
    from PIL import Image

    try:
        picture = decoded(source)
    except ValueError as error:
        name = "an image" if isinstance(source, bytes) else f"the image {source}"
        raise UserError(f"{where}: {name} cannot be decoded ({error})") from error
    if max_pixels and picture.width * picture.height > max_pixels:
        shrink = (max_pixels / (picture.width * picture.height)) ** 0.5
        size = (max(1, int(picture.width * shrink)), max(1, int(picture.height * shrink)))
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    return picture


def _parts(text: str) -> list[dict[str, str]]:
    """Message content as chat templates of VLMs want it."""
    parts: list[dict[str, str]] = []
    for i, piece in enumerate(text.split(MARK)):
        if i:
            parts.append({"type": "image"})
        if piece:
            parts.append({"type": "text", "text": piece})
    return parts


@dataclass(frozen=True)
class Stretch:
    """A piece of a rendered conversation."""

    text: str
    images: int
    """Pictures that lie in it."""
    answer: bool


def stretches(row: Row, processor: Any) -> list[Stretch]:
    """Render `row` and split it: what the model is given, what it should say, and so on.

    Answers reach up to and include the template's end-of-turn mark.

    Raises:
        UserError: the template does not render a conversation as a continuation of its beginning.
    """
    messages = [{"role": role, "content": _parts(text)} for role, text in row.messages]

    def render(count: int, ask: bool) -> str:
        return processor.apply_chat_template(
            messages[:count], tokenize=False, add_generation_prompt=ask
        )

    found, done, images = [], "", 0
    for i, (role, text) in enumerate(row.messages):
        images += text.count(MARK)
        if role != "assistant":
            continue
        before, after = render(i, True), render(i + 1, False)
        if not (before.startswith(done) and after.startswith(before)):
            raise UserError(
                f"{row.where}: the chat template renders an answer not as a continuation of its "
                "question, so it cannot be told which tokens to learn"
            )
        found.append(Stretch(before[len(done) :], images, False))
        found.append(Stretch(after[len(before) :].rstrip(), 0, True))
        done, images = before + found[-1].text, 0
    return found


def encode(
    row: Row,
    processor: Any,
    ends: frozenset[int],
    per_row: bool = False,
    max_pixels: int | None = None,
) -> Sample:
    """One row as the model takes it.

    Pictures are prepared stretch by stretch. (LLaVA-OneVision alone would see a difference: it
    cuts a lone picture into tiles but not several, and counts those of the whole conversation.)

    Args:
        row: The conversation.
        processor: The checkpoint's own.
        ends: Token ids that stop a generation. An answer that its template closes with none of
            them gets the tokenizer's end of sequence, or the model would never learn to stop.
        per_row: `Family.pixels_per_row`.
        max_pixels: See `open_image`.

    Returns:
        `input_ids` and `labels` of shape (tokens,), one of `KINDS` too where the processor gives
        it, and the pixel tensors as the processor makes them for one row.
    """
    import torch

    tokenizer = processor.tokenizer
    pictures = [open_image(source, row.where, max_pixels) for source in row.images]
    pieces = stretches(row, processor)
    # As transformers' own apply_chat_template: special tokens unless the template wrote them.
    bos = tokenizer.bos_token
    special = not (bos and pieces[0].text.startswith(bos))
    ids: list[int] = []
    labels: list[int] = []
    kinds: dict[str, list[int]] = {key: [] for key in KINDS}
    pixels: dict[str, list[torch.Tensor]] = {}
    for piece in pieces:
        shown, pictures = pictures[: piece.images], pictures[piece.images :]
        options = {"add_special_tokens": special and not ids, "return_tensors": "pt"}
        if shown:
            made = dict(processor(text=[piece.text], images=[shown], **options))
        else:
            made = dict(tokenizer([piece.text], **options))
        new = made.pop("input_ids")[0].tolist()
        if piece.answer and new[-1] not in ends and piece is pieces[-1]:
            new.append(tokenizer.eos_token_id)
        if piece.answer and tokenizer.unk_token_id in new:
            known = tokenizer.decode([one for one in new if one != tokenizer.unk_token_id])
            raise UserError(
                f"{row.where} has an answer with words that the tokenizer does not know; "
                f"what it reads is {known[:80]!r}"
            )
        ids += new
        labels += new if piece.answer else [IGNORED] * len(new)
        for name in KINDS:
            kind = made.pop(name)[0].tolist() if name in made else []
            kinds[name] += kind + [0] * (len(new) - len(kind))
        made.pop("attention_mask", None)
        for key, value in made.items():
            pixels.setdefault(key, []).append(value)
    sample = {"input_ids": torch.tensor(ids), "labels": torch.tensor(labels)}
    sample |= {key: torch.tensor(kind) for key, kind in kinds.items() if any(kind)}
    return sample | {key: join(values, int(per_row)) for key, values in pixels.items()}


def join(tensors: "list[torch.Tensor]", dim: int = 0) -> "torch.Tensor":
    """Concatenate along `dim`; in every other dimension pad with zeros to the largest."""
    import torch

    sizes = [max(sizes) for sizes in zip(*(tensor.shape for tensor in tensors), strict=True)]
    padded = []
    for tensor in tensors:
        wanted = [tensor.shape[i] if i == dim else size for i, size in enumerate(sizes)]
        if list(tensor.shape) != wanted:
            room = tensor.new_zeros(wanted)
            room[tuple(slice(0, size) for size in tensor.shape)] = tensor
            tensor = room
        padded.append(tensor)
    return torch.cat(padded, dim)


def collate(samples: list[Sample], pad: int, per_row: bool = False) -> Sample:
    """Samples → one batch, padded on the right.

    Args:
        samples: As `encode` gives them; each may have its number as `row`.
        pad: Token id of the padding.
        per_row: `Family.pixels_per_row`: rows without pictures then get blank ones, which these
            models leave out, when another row of the batch has some.

    Returns:
        Token-level tensors of shape (rows, tokens), pixel tensors of all rows one after the other,
        and the numbers as `rows`, if given.
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence

    fill = {"input_ids": pad, "labels": IGNORED} | dict.fromkeys(KINDS, 0)
    batch: Sample = {}
    for key in sorted({key for sample in samples for key in sample}):
        if key == "row":
            batch["rows"] = torch.stack([sample[key] for sample in samples])
        elif key in fill:
            values = [
                sample.get(key, sample["input_ids"].new_zeros(len(sample["input_ids"])))
                for sample in samples
            ]
            batch[key] = pad_sequence(values, batch_first=True, padding_value=fill[key])
        else:
            values = [sample[key] for sample in samples if key in sample]
            if per_row:
                blank = values[0].new_zeros([1] * values[0].ndim)
                values = [sample.get(key, blank) for sample in samples]
            batch[key] = join(values)
    lengths = [len(sample["input_ids"]) for sample in samples]
    ones = [batch["input_ids"].new_ones(length) for length in lengths]
    batch["attention_mask"] = pad_sequence(ones, batch_first=True, padding_value=0)
    return batch


class Samples:
    """The rows of a data file that fit the context, prepared on demand, for a data loader."""

    def __init__(
        self,
        rows: list[Row],
        processor: Any,
        ends: frozenset[int],
        max_tokens: int,
        per_row: bool = False,
        max_pixels: int | None = None,
    ) -> None:
        """Prepare every row once, to know its length; keep what the cache holds.

        Args:
            rows: As `read_rows` gives them.
            processor: The checkpoint's own.
            ends: See `encode`.
            max_tokens: Longest sample that may be learnt from.
            per_row: See `encode`.
            max_pixels: See `open_image`.

        Raises:
            UserError: no row fits, or an image cannot be read.
        """
        self._encode = lambda row: encode(row, processor, ends, per_row, max_pixels)
        self._cache: dict[int, Sample] = {}
        self.rows: list[Row] = []
        self.dropped: list[str] = []
        room = CACHE_BYTES
        for row in counted("preparing samples", rows, len(rows)):
            sample = self._encode(row)
            length = len(sample["input_ids"])
            if length > max_tokens:
                self.dropped.append(f"{row.where} ({length} tokens)")
                continue
            room -= sum(tensor.nbytes for tensor in sample.values())
            if room >= 0:
                self._cache[len(self.rows)] = sample
            self.rows.append(row)
        if not self.rows:
            raise UserError(
                f"none of {len(rows)} rows fits into {max_tokens} tokens (the first: "
                f"{self.dropped[0]}); raise max_tokens or lower image_max_pixels"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        """The sample, and its number in `rows` as `row`."""
        import torch

        found = self._cache.get(index)
        made = self._encode(self.rows[index]) if found is None else found
        return made | {"row": torch.tensor(index)}
