"""transformers' own `generate`, in batches: the cross-check, and the families that vLLM lacks.

In float32 on a CPU, where a batch changes no greedy answer; in the model's own type on a GPU. Each
answer of a batch is drawn from its own seed, so that its neighbours do not matter either.
"""

import importlib.metadata
import os
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from common import torch_guard
from common.errors import UserError
from common.text import said
from drift import adapter_folder
from harness.checkpoints.kinds import AdaptedModel, Checkpoint, MergedModel, folder_of
from harness.checkpoints.preflight import declared_dtype, quantization
from harness.engines import Request, is_permanent, refusal, rendering
from harness.engines.pictures import decoded
from harness.runs.schema import Question, Response, Sampling

MOST_ROWS = 32
"""Questions at a time, where memory allows."""

WINDOW = 2 * MOST_ROWS
"""Questions among which those of about one length are put together."""

SHARE = 0.5
"""Of the free memory that keys and values may take; the rest is for everything else."""

STRETCHING = ("dynamic", "longrope")
"""Rotary embeddings that change with the longest row of a batch, and so its other rows' answers."""

MOST_FAILURES = 3
"""Of questions in a row, each asked alone: then it is not the questions' fault."""

GPUS = Path("/proc/driver/nvidia/gpus")

Row = tuple[Request, list[Any]]
"""A request and its decoded pictures."""


class _Unfit(Exception):
    """A question that cannot be put to this model, for good or this time."""

    def __init__(self, words: str, permanent: bool = True) -> None:
        super().__init__(words)
        self.permanent = permanent


class HfEngine:
    """transformers over one checkpoint, or over one after another."""

    name = "hf"
    context: int | None = None

    def __init__(self, checkpoint: Checkpoint, notes: tuple[str, ...] = ()) -> None:
        versions = [importlib.metadata.version(name) for name in ("transformers", "torch")]
        self.version = f"{versions[0]} on torch {versions[1]}"
        self.notes = notes
        has_gpu = GPUS.is_dir() and not versions[1].endswith("+cpu")
        self.dtype = declared_dtype(folder_of(checkpoint).config) if has_gpu else "float32"
        self.device = "cpu"
        self._checkpoint = checkpoint
        self._loaded: str | None = None
        self._processor: Any = None
        self._model: Any = None
        self._language: Any = None
        self._ends: set[int] = set()
        self._rows = MOST_ROWS
        self._failures = 0

    def render(self, question: Question) -> str:
        """Return the prompt as the checkpoint's own chat template makes it."""
        if self._processor is None:
            _settle()
            self._processor = rendering.load_processor(self._checkpoint)
        return rendering.render(self._processor, self._checkpoint, question)

    def start(self) -> None:
        """Load the weights now, instead of with the first question."""
        if self._loaded == self._checkpoint.fingerprint:
            return
        self._model = None
        self._model, self._ends, self.device = _load(self._checkpoint, self.dtype)
        self._language = self._model.config.get_text_config()
        if isinstance(self._checkpoint, AdaptedModel):
            _adapt(self._model, self._checkpoint.adapter)
        rope = getattr(self._language, "rope_parameters", None) or {}
        self._rows = 1 if rope.get("rope_type") in STRETCHING else MOST_ROWS
        self._loaded = self._checkpoint.fingerprint

    def generate(self, requests: Iterable[Request]) -> Iterator[Response]:
        """Answer, batch by batch; see `Engine.generate`."""
        self.start()
        source = decoded(requests, ahead=MOST_ROWS)
        while window := list(islice(source, WINDOW)):
            rows: list[Row] = []
            for request, pictures in window:
                if request.sampling.stop:
                    raise UserError("the hf engine knows no stop strings: use --engine vllm")
                if isinstance(pictures, Exception):
                    reason = f"a picture cannot be decoded: {said(pictures)}"
                    yield refusal(request, reason, permanent=True)
                else:
                    rows.append((request, pictures))
            for alike in self._alike(rows):
                while alike:
                    batch, alike = alike[: self._rows], alike[self._rows :]
                    yield from self._answer(batch)

    def swap(self, checkpoint: Checkpoint) -> None:
        """Go on with a swappable checkpoint, from the next question on."""
        self._checkpoint = checkpoint

    def close(self) -> None:
        """Free everything."""
        self._model = None
        self._loaded = None

    def _alike(self, rows: list[Row]) -> Iterator[list[Row]]:
        """Yield rows that can be asked together, about equally long ones beside each other."""
        groups: dict[Any, list[Row]] = {}
        for request, pictures in rows:
            kind = bool(pictures), request.sampling, self._adds_special_tokens(request)
            groups.setdefault(kind, []).append((request, pictures))
        for group in groups.values():
            yield sorted(group, key=_length)

    def _answer(self, rows: list[Row]) -> Iterator[Response]:
        """Answer rows together; in halves where that fails, down to the one at fault."""
        trouble = ""
        try:
            responses = self._together(rows)
        except Exception as error:
            # No common class: too little memory, a picture that the processor cannot take, …
            trouble, is_unfit = said(error), isinstance(error, _Unfit)
            permanent = isinstance(error, _Unfit) and error.permanent
            if _is_memory(error):
                self._rows = max(1, len(rows) // 2)
        # Not within the clause above, whose exception holds on to the memory.
        if not trouble:
            self._failures = 0
            yield from responses
            return
        _free()
        if len(rows) > 1:
            half = len(rows) // 2
            yield from self._answer(rows[:half])
            yield from self._answer(rows[half:])
            return
        self._failures += not is_unfit
        if self._failures == MOST_FAILURES:
            raise UserError(
                f"transformers fails: {trouble}; if memory is short, lower --max-tokens or "
                "--max-pixels"
            )
        yield refusal(rows[0][0], trouble, permanent)

    def _together(self, rows: list[Row]) -> list[Response]:
        import torch

        began = time.monotonic()
        try:
            inputs = self._inputs(rows)
        except Exception as error:
            raise _Unfit(said(error), is_permanent(error)) from error
        lengths = inputs["attention_mask"].sum(1).tolist()
        rooms = [rendering.context(self._language) - length for length in lengths]
        if min(rooms) < 1:
            raise _Unfit(
                f"the prompt has {max(lengths)} tokens, {1 - min(rooms)} beyond the context"
            )
        sampling = rows[0][0].sampling
        new = min(sampling.max_tokens, max(rooms))
        if len(rows) > max(1, self._bearable(max(lengths) + new)):
            raise MemoryError("too little memory for so many questions at a time")
        tokenizer = getattr(self._processor, "tokenizer", self._processor)
        ends = self._ends | {tokenizer.eos_token_id} - {None}
        width = inputs["input_ids"].shape[1]
        processors: list[Any] = []
        if sampling.presence_penalty:
            processors.append(_Presence(sampling.presence_penalty, width))
        if sampling.temperature > 0:
            processors.append(_Draw(sampling, [request.seed for request, _ in rows], self.device))
        with torch.inference_mode():
            # (rows, prompt + answer)
            ids = self._model.generate(
                **self._moved(inputs),
                generation_config=_generation(new, ends, tokenizer),
                logits_processor=processors,
            )
        seconds = round(time.monotonic() - began, 4)
        responses = []
        for row, (request, _) in enumerate(rows):
            made = _cut(ids[row, width:].tolist(), ends)[: rooms[row]]
            responses.append(
                Response(
                    key=request.key,
                    task=request.question.task,
                    id=request.question.id,
                    sample=request.sample,
                    text=tokenizer.decode(made, skip_special_tokens=True),
                    finish="stop" if made and made[-1] in ends else "length",
                    tokens_in=lengths[row],
                    tokens_image=self._image_tokens(inputs["input_ids"][row]),
                    tokens_out=len(made),
                    seconds=seconds,
                )
            )
        return responses

    def _inputs(self, rows: list[Row]) -> Any:
        """Return what the model takes, padded on the left."""
        tokenizer = getattr(self._processor, "tokenizer", self._processor)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        prompts = [request.prompt for request, _ in rows]
        arguments = {
            "return_tensors": "pt",
            "padding": True,
            "padding_side": "left",
            "add_special_tokens": self._adds_special_tokens(rows[0][0]),
        }
        if rows[0][1]:
            pictures = [pictures for _, pictures in rows]
            return self._processor(text=prompts, images=pictures, **arguments)
        return tokenizer(prompts, **arguments)

    def _adds_special_tokens(self, request: Request) -> bool:
        return rendering.adds_special_tokens(self._processor, self._checkpoint, request.prompt)

    def _moved(self, inputs: Any) -> dict[str, Any]:
        """Return the inputs on the model's device, pictures in its type."""
        return {
            name: value.to(self.device, self._model.dtype)
            if value.is_floating_point()
            else value.to(self.device)
            for name, value in inputs.items()
        }

    def _bearable(self, tokens: int) -> int:
        """Return how many rows of so many tokens memory bears."""
        itemsize = self._model.dtype.itemsize
        return int(SHARE * _free_bytes(self.device)) // (
            tokens * rendering.cache_bytes(self._language, itemsize)
        )

    def _image_tokens(self, ids: Any) -> int:
        config = folder_of(self._checkpoint).config
        token = config.get("image_token_id", config.get("image_token_index"))
        return 0 if token is None else int((ids == token).sum())


class _Presence:
    """Takes a penalty off the tokens that an answer has already, as vLLM does before it draws."""

    def __init__(self, penalty: float, width: int) -> None:
        self._penalty = penalty
        self._width = width  # of the prompts

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return scores, (rows, vocabulary) → the same."""
        import torch

        made = torch.zeros_like(scores, dtype=torch.bool)
        made.scatter_(1, input_ids[:, self._width :], True)
        return scores - self._penalty * made


class _Draw:
    """Draws the next token of each row from a generator of its own.

    The largest of p / e, with e drawn from the exponential distribution, falls on a token with
    probability p: so that `generate`, which takes the largest, draws.
    """

    def __init__(self, sampling: Sampling, seeds: list[int], device: str) -> None:
        import torch

        self._sampling = sampling
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return scores whose largest is drawn: (rows, vocabulary) → the same."""
        import torch
        from transformers import TopKLogitsWarper, TopPLogitsWarper

        scores = scores.float() / self._sampling.temperature
        if self._sampling.top_k:
            scores = TopKLogitsWarper(self._sampling.top_k)(input_ids, scores)
        if self._sampling.top_p < 1:
            scores = TopPLogitsWarper(self._sampling.top_p)(input_ids, scores)
        noise = [
            torch.empty_like(row).exponential_(generator=generator)
            for row, generator in zip(scores, self._generators, strict=True)
        ]
        return scores - torch.stack(noise).log()


def _length(row: Row) -> tuple[int, int]:
    request, pictures = row
    return sum(picture.width * picture.height for picture in pictures), len(request.prompt)


def _cut(made: list[int], ends: set[int]) -> list[int]:
    """Cut off what pads a row after its end."""
    end = next((place for place, token in enumerate(made) if token in ends), len(made))
    return made[: end + 1]


def _is_memory(error: Exception) -> bool:
    import torch

    short = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return short or "allocate memory" in str(error)  # what torch says on a CPU


def _free() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _free_bytes(device: str) -> int:
    import psutil
    import torch

    return torch.cuda.mem_get_info()[0] if device == "cuda" else psutil.virtual_memory().available


def _settle() -> None:
    for name in ("TRANSFORMERS_VERBOSITY", "TORCH_CPP_LOG_LEVEL"):
        os.environ.setdefault(name, "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    torch_guard.install()


def _load(checkpoint: Checkpoint, dtype: str) -> tuple[Any, set[int], str]:
    """Return the model, the tokens that its generation config ends at, and its device."""
    folder = folder_of(checkpoint)
    if packed := quantization(folder.config):
        raise UserError(
            f"{folder.path} is quantised ({packed}), which the hf engine cannot take: "
            "use --engine vllm"
        )
    if isinstance(checkpoint, MergedModel):
        raise UserError("merges are loaded into vLLM alone: use --engine vllm")
    _settle()
    import torch
    import transformers as tf
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        GenerationConfig,
        logging,
    )

    logging.disable_progress_bar()
    kind: Any = AutoModelForImageTextToText if folder.is_multimodal else AutoModelForCausalLM
    if folder.code and kind.__name__ not in folder.code.classes:
        own = ("AutoModelForCausalLM", "AutoModel")
        kind = next((getattr(tf, one) for one in own if one in folder.code.classes), kind)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model, loaded = kind.from_pretrained(
            str(folder.path),
            dtype=getattr(torch, dtype),
            trust_remote_code=bool(folder.code),
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:
        raise UserError(
            f"{folder.path}: transformers cannot load {folder.architecture}: {said(error)}"
        ) from error
    if missing := sorted(loaded["missing_keys"]):
        # transformers would fill them with random numbers.
        raise UserError(
            f"{folder.path} lacks {len(missing)} weights of {folder.architecture}, the "
            f"first is {missing[0]}"
        )
    ends = model.generation_config.eos_token_id
    # What our sampling leaves unset, `generate` would take from here: a repetition penalty, say.
    model.generation_config = GenerationConfig()
    listed = ends if isinstance(ends, list) else [ends]
    return model.eval().to(device), {end for end in listed if end is not None}, device


def _adapt(model: Any, found: adapter_folder.Adapter) -> None:
    """Add a LoRA adapter's products to what its matrices give."""
    from torch.nn import Linear

    held: dict[str, list[Any]] = {}
    for name, module in model.named_modules():
        if isinstance(module, Linear):
            held.setdefault(adapter_folder.plain(name), []).append(module)
    for name, (a, b, scale) in adapter_folder.load_pairs(found).items():
        if len(held.get(name, ())) != 1:
            raise UserError(
                f"{found.path} adapts {name}, which is no matrix of its own in transformers: merge "
                "the adapter into its base first"
            )
        (matrix,) = held[name]
        matrix.register_forward_hook(_product(a.to(matrix.weight), b.to(matrix.weight), scale))


def _product(a: Any, b: Any, scale: float) -> Any:
    def add(module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        return output + scale * (inputs[0] @ a.T @ b.T)

    return add


def _generation(new: int, ends: set[int], tokenizer: Any) -> Any:
    """Return greedy decoding of at most `new` tokens, in transformers' words."""
    from transformers import GenerationConfig

    pad = tokenizer.pad_token_id
    return GenerationConfig(
        do_sample=False,
        max_new_tokens=new,
        eos_token_id=sorted(ends),
        pad_token_id=min(ends) if pad is None and ends else pad,
    )
