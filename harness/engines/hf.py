"""The cross-check: transformers' own `generate`, one answer at a time, in float32.

Slow and plain on purpose: no padding, no batching, nothing that could change an answer. It also
runs the architectures that vLLM does not know.
"""

import importlib.metadata
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from harness.checkpoint import Checkpoint
from harness.engines import Ask, refusal, rendering, said
from harness.engines.pictures import decoded
from harness.errors import UserError
from harness.records import Question, Response, Sampling


class HfEngine:
    """transformers over one checkpoint, or over one after another."""

    name = "hf"
    dtype = "float32"
    notes = ()

    def __init__(self, checkpoint: Checkpoint) -> None:
        versions = [importlib.metadata.version(name) for name in ("transformers", "torch")]
        self.version = f"{versions[0]} on torch {versions[1]}"
        self.device = "cpu"
        self._checkpoint = checkpoint
        self._loaded: Path | None = None
        self._processor: Any = None
        self._model: Any = None
        self._ends: set[int] = set()

    def render(self, question: Question) -> str:
        """Return the prompt as the checkpoint's own chat template makes it."""
        if self._processor is None:
            _settle()
            self._processor = rendering.load_processor(self._checkpoint)
        return rendering.render(self._processor, self._checkpoint, question)

    def start(self) -> None:
        """Load the weights now, instead of with the first question."""
        if self._loaded != self._checkpoint.path:
            self._model = None
            self._model, self._ends, self.device = _load(self._checkpoint)
            self._loaded = self._checkpoint.path

    def ask(self, asks: Iterable[Ask]) -> Iterator[Response]:
        """Answer one after the other; see `Engine.ask`."""
        self.start()
        for ask, pictures in decoded(asks, ahead=8):
            if ask.sampling.stop:
                raise UserError("the hf engine knows no stop strings: use --engine vllm")
            if isinstance(pictures, Exception):
                yield refusal(ask, f"a picture cannot be decoded: {said(pictures)}")
            else:
                yield self._answer(ask, pictures)

    def swap(self, checkpoint: Checkpoint) -> None:
        """Go on with a swappable checkpoint, from the next question on."""
        self._checkpoint = checkpoint

    def close(self) -> None:
        """Free everything."""
        self._model = None
        self._loaded = None

    def _answer(self, ask: Ask, pictures: list[Any]) -> Response:
        import torch

        began = time.monotonic()
        inputs = self._inputs(ask, pictures)
        tokens_in = inputs["input_ids"].shape[1]
        room = rendering.context(self._model.config.get_text_config()) - tokens_in
        if room < 1:
            return refusal(ask, f"the prompt has {tokens_in} tokens, {1 - room} beyond the context")
        tokenizer = getattr(self._processor, "tokenizer", self._processor)
        ends = self._ends | {tokenizer.eos_token_id} - {None}
        torch.manual_seed(ask.seed)
        with torch.inference_mode():
            # (1, tokens_in + tokens_out)
            ids = self._model.generate(
                **inputs.to(self.device),
                generation_config=_generation(ask.sampling, room, ends, tokenizer),
            )
        made = ids[0, tokens_in:].tolist()
        return Response(
            key=ask.key,
            task=ask.question.task,
            id=ask.question.id,
            sample=ask.sample,
            text=tokenizer.decode(made, skip_special_tokens=True),
            finish="stop" if made and made[-1] in ends else "length",
            tokens_in=tokens_in,
            tokens_image=self._image_tokens(inputs),
            tokens_out=len(made),
            seconds=round(time.monotonic() - began, 4),
        )

    def _inputs(self, ask: Ask, pictures: list[Any]) -> Any:
        special = rendering.adds_special_tokens(self._processor, self._checkpoint, ask.prompt)
        arguments = {"return_tensors": "pt", "add_special_tokens": special}
        if pictures:
            return self._processor(text=[ask.prompt], images=[pictures], **arguments)
        tokenizer = getattr(self._processor, "tokenizer", self._processor)
        return tokenizer([ask.prompt], **arguments)

    def _image_tokens(self, inputs: Any) -> int:
        config = self._checkpoint.config
        token = config.get("image_token_id", config.get("image_token_index"))
        return 0 if token is None else int((inputs["input_ids"] == token).sum())


def _settle() -> None:
    for name in ("TRANSFORMERS_VERBOSITY", "TORCH_CPP_LOG_LEVEL"):
        os.environ.setdefault(name, "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _load(checkpoint: Checkpoint) -> tuple[Any, set[int], str]:
    """Return the model, the tokens that its generation config ends at, and its device."""
    _settle()
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        GenerationConfig,
    )

    kind: Any = AutoModelForImageTextToText if checkpoint.is_multimodal else AutoModelForCausalLM
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model, loaded = kind.from_pretrained(
            str(checkpoint.path),
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:
        raise UserError(
            f"{checkpoint.path}: transformers cannot load {checkpoint.architecture}: {said(error)}"
        ) from error
    if missing := sorted(loaded["missing_keys"]):
        # transformers would fill them with random numbers.
        raise UserError(
            f"{checkpoint.path} lacks {len(missing)} weights of {checkpoint.architecture}, the "
            f"first is {missing[0]}"
        )
    ends = model.generation_config.eos_token_id
    # What our sampling leaves unset, `generate` would take from here: a repetition penalty, say.
    model.generation_config = GenerationConfig()
    listed = ends if isinstance(ends, list) else [ends]
    return model.eval().to(device), {end for end in listed if end is not None}, device


def _generation(sampling: Sampling, room: int, ends: set[int], tokenizer: Any) -> Any:
    """Return our sampling in transformers' words."""
    from transformers import GenerationConfig

    drawn: dict[str, Any] = {"do_sample": False}
    if sampling.temperature > 0:
        drawn = {
            "do_sample": True,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
        }
    pad = tokenizer.pad_token_id
    return GenerationConfig(
        max_new_tokens=min(sampling.max_tokens, room),
        eos_token_id=sorted(ends),
        pad_token_id=min(ends) if pad is None and ends else pad,
        **drawn,
    )
