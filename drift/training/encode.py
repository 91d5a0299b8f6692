"""A conversation → the tokens a VLM is trained on, the loss on the words of its answers alone.

Each stretch of a conversation is put through the checkpoint's own chat template and processor as it
will be when the model is asked: what stands before an answer is tokenised as a prompt is, and the
answer as it goes on from there.
"""

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.pictures import decoded
from common.text import said
from drift import chat_template
from drift.training.forms import MARK, THOUGHTS
from drift.training.rows import Row

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

IGNORED = -100
"""Label that transformers' losses leave out."""
KINDS = ("mm_token_type_ids", "token_type_ids")
"""Under which names processors tell image tokens from words."""
PLACEHOLDERS = "image_token video_token audio_token boi_token eoi_token fake_image_token".split()
"""Attributes of processors: words by which a prompt holds a place for a picture."""
BEHIND = 64
"""Characters before a stretch that it is tokenised behind."""

Sample = dict[str, "torch.Tensor"]
"""What a processor gives for one row, `labels` added; token-level tensors have shape (tokens,)."""


@dataclass(frozen=True)
class Stretch:
    """A piece of a rendered conversation."""

    text: str
    images: int
    """Pictures that lie in it."""
    answer: bool


def stretches(row: Row, processor: Any, day: str = "") -> list[Stretch]:
    """Render `row` and split it: what the model is given, what it should say, and so on.

    Answers that are learnt reach up to and include the template's end-of-turn mark; others are part
    of what the model is given. What comes after the last that is learnt is left off.

    Args:
        row: The conversation.
        processor: The checkpoint's own.
        day: What a template with a clock tells (`2026-01-31`); empty: today.

    Raises:
        UserError: the template does not render a conversation as a continuation of its beginning,
            or leaves out some of an answer.
    """
    template = chat_template.default(processor.chat_template)
    messages = _messages(row, processor, template)
    clock = chat_template.clock(template, day)

    def render(count: int, ask: bool) -> str:
        try:
            return processor.apply_chat_template(
                messages[:count], tokenize=False, add_generation_prompt=ask, **clock
            )
        except Exception as error:  # whatever a template makes of a conversation
            raise UserError(f"{row.where}: the chat template refuses it: {said(error)}") from error

    found, done, images = [], "", 0
    for i, turn in enumerate(row.turns):
        images += turn.text.count(MARK)
        if not turn.learnt:
            continue
        before, after = render(i, True), render(i + 1, False)
        if not before.startswith(done):
            raise UserError(
                f"{row.where}: the chat template writes an earlier answer otherwise once the "
                'conversation goes on; give the earlier answers "loss": false, or a row to each'
            )
        if not after.startswith(before):
            raise UserError(
                f"{row.where}: the chat template renders an answer not as a continuation of its "
                "question, so it cannot be told which tokens to learn"
            )
        answer = after[len(before) :].rstrip()
        for text in (turn.thought, turn.text):
            if _bare(text) not in _bare(answer):
                raise UserError(
                    f"{row.where}: the chat template leaves out some of the answer that begins "
                    f"{text[:40]!r} and writes {answer[:40]!r}; train with another template, or "
                    "write the row as this one has it"
                )
        found.append(Stretch(before[len(done) :], images, False))
        found.append(Stretch(answer, 0, True))
        done, images = before + answer, 0
    return found


def _messages(row: Row, processor: Any, template: str) -> list[dict[str, Any]]:
    """The turns as chat templates of VLMs want them.

    Raises:
        UserError: a turn says what this VLM or its template cannot be told.
    """
    named = [
        str(getattr(one, name))
        for name in PLACEHOLDERS
        for one in (processor, processor.tokenizer)
        if getattr(one, name, None)
    ]
    # Which of the fields a template reads; that it writes the thought is seen in what it renders.
    field = next((name for name in THOUGHTS if name in template), None)
    messages = []
    for turn in row.turns:
        content = turn.text.replace(MARK, "") + turn.thought
        if literal := [word for word in named if word in content]:
            raise UserError(
                f"{row.where} has {literal[0]} in a text, by which this VLM holds a place for a "
                f"picture; write {MARK} where a picture goes, and otherwise something else"
            )
        message: dict[str, Any] = {"role": turn.role, "content": _parts(turn.text)}
        if turn.thought:
            if field is None:
                raise UserError(
                    f"{row.where} has a thought beside its answer, and the chat template of the "
                    "VLM writes none; put it into the content, between the model's own marks "
                    "(<think> and </think>)"
                )
            message[field] = turn.thought
        messages.append(message)
    return messages


def _parts(text: str) -> list[dict[str, str]]:
    parts: list[dict[str, str]] = []
    for i, piece in enumerate(text.split(MARK)):
        if i:
            parts.append({"type": "image"})
        if piece:
            parts.append({"type": "text", "text": piece})
    return parts


def _bare(text: str) -> str:
    """The text without what templates and tokenizers may change: spaces, composed letters."""
    return "".join(unicodedata.normalize("NFKC", text).split())


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


def encode(
    row: Row,
    processor: Any,
    ends: frozenset[int],
    per_row: bool = False,
    *,
    max_pixels: int | None = None,
    day: str = "",
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
        day: See `stretches`.

    Returns:
        `input_ids` and `labels` of shape (tokens,), one of `KINDS` too where the processor gives
        it, and the pixel tensors as the processor makes them for one row.

    Raises:
        UserError: the row cannot be learnt from with this checkpoint; the sentence names it.
    """
    import torch

    tokenizer = processor.tokenizer
    pictures = [open_image(source, row.where, max_pixels) for source in row.images]
    pieces = stretches(row, processor, day)
    ids: list[int] = []
    labels: list[int] = []
    kinds: dict[str, list[int]] = {key: [] for key in KINDS}
    pixels: dict[str, list[torch.Tensor]] = {}
    behind = ""
    for piece in pieces:
        shown, pictures = pictures[: piece.images], pictures[piece.images :]
        try:
            made = _tokenised(processor, piece.text, shown, behind)
        except Exception as error:  # whatever a processor makes of a picture or a text
            raise UserError(f"{row.where}: the processor refuses it: {said(error)}") from error
        behind = piece.text[-BEHIND:]
        new = made.pop("input_ids")[0].tolist()
        if piece.answer:
            _check_kept(new, piece.text, tokenizer, row.where)
            if new[-1] not in ends and piece is pieces[-1]:
                new.append(tokenizer.eos_token_id)
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


def _tokenised(processor: Any, text: str, shown: list["Image"], behind: str) -> dict[str, Any]:
    """What the processor makes of a stretch that goes on from `behind`, of that stretch alone.

    By itself it would get what SentencePiece puts before a text: Llama 2 reads " two" behind
    "ASSISTANT:" as `▁two`, alone as `▁▁two`. Where the two grow together over their border, the
    stretch is tokenised behind a line feed, which grows together with nothing.
    """
    tokenizer = processor.tokenizer

    def made(text: str, special: bool) -> dict[str, Any]:
        options = {"add_special_tokens": special, "return_tensors": "pt"}
        if shown:
            return dict(processor(text=[text], images=[shown], **options))
        return dict(tokenizer([text], **options))

    if not behind:
        # As transformers' own apply_chat_template: special tokens unless the template wrote them.
        return made(text, not (tokenizer.bos_token and text.startswith(tokenizer.bos_token)))
    for before in (behind, "\n"):
        known = tokenizer(before, add_special_tokens=False)["input_ids"]
        both = made(before + text, False)
        if known and both["input_ids"][0, : len(known)].tolist() == known:
            rows = ("input_ids", *KINDS)
            return {k: v[:, len(known) :] if k in rows else v for k, v in both.items()}
    return made(text, False)


def _check_kept(ids: list[int], text: str, tokenizer: Any, where: str) -> None:
    """Stop where the tokens of an answer do not say its text."""
    read = tokenizer.decode([one for one in ids if one != tokenizer.unk_token_id])
    if tokenizer.unk_token_id in ids or _bare(text) not in _bare(read):
        raise UserError(
            f"{where} has an answer with words that the tokenizer does not know; "
            f"what it reads is {read[:80]!r}"
        )


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
