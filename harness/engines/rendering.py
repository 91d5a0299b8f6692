"""From a question to the prompt that the checkpoint was trained on: its own chat template."""

import json
import re
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from common import processes, torch_guard
from common.errors import UserError
from common.loading import loaded
from common.text import said, shown
from drift import chat_template
from harness.checkpoints.kinds import Checkpoint, ModelFolder, folder_of
from harness.runs.schema import Question

MARK = "<image>"

SAMPLE = "What is 6 times 7?"
"""Rendered by each chat template before a run."""

WAIT_SECONDS = 60.0
"""For the process that renders it; its own bound is of the processor's time."""

WITHOUT_KEYS = ("linear_attention", "conv", "mamba")
"""Types of layers whose memory does not grow with the text, in transformers' words."""

LONGEST_CONTEXT = 32768
"""Tokens of prompt and answer together that an engine makes room for, where a model allows more and
the user does not ask for it."""

STRETCHED = ("linear", "dynamic")
"""Rotary embeddings whose factor is not in `max_position_embeddings`, as vLLM 0.32 has it
(config/model.py)."""


def load_processor(checkpoint: Checkpoint) -> Any:
    """Load the processor of a VLM, the tokenizer of a text-only model.

    Raises:
        UserError: transformers cannot load it, or its chat template makes no prompt of a question.
    """
    torch_guard.install()
    from transformers import AutoProcessor, AutoTokenizer

    folder = folder_of(checkpoint)
    kind = AutoProcessor if folder.is_multimodal else AutoTokenizer
    part = "processor" if folder.is_multimodal else "tokenizer"
    processor = loaded(kind, folder.path, part, own_code=bool(folder.code))
    processor.chat_template = folder.template
    _prove(processor, folder)
    return processor


def _prove(processor: Any, folder: ModelFolder) -> None:
    """Render a short question within bounds, before the template is let loose on all.

    Raises:
        UserError: The template does not end, takes too much, refuses, loses the question, or does
            not read what it is told.
    """
    parts = [{"type": "text", "text": SAMPLE}] if folder.is_multimodal else SAMPLE
    known = getattr(processor, "tokenizer", processor).special_tokens_map
    request = {
        "template": folder.template,
        "messages": [{"role": "user", "content": parts}],
        "variables": {**folder.template_args, **known},
        "told": sorted(folder.template_args),
    }
    if trouble := _trouble(json.dumps(request, default=str)):
        raise UserError(
            f"{folder.path}: its chat template makes no prompt of a short question: {trouble}; "
            "--chat-template FILE gives another"
        )


@cache
def _trouble(request: str) -> str:
    """Return what is wrong with a template, rendered by a process of its own; or nothing."""
    worker = Path(__file__).with_name("template_worker.py")
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(worker)],
            input=request,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            preexec_fn=processes.tie(),
        )
    except subprocess.TimeoutExpired:
        return "it does not end"
    if done.returncode:
        ended = done.returncode in (-signal.SIGXCPU, -signal.SIGKILL)
        return "it does not end" if ended else "the process that renders it breaks"
    told = json.loads(done.stdout)
    if "error" in told:
        return shown(told["error"])
    if told["unread"]:
        reads = ", ".join(told["reads"]) or "none"
        raise UserError(
            f"--template-args {shown(told['unread'][0])} would change nothing: the chat template "
            f"reads no such name (of its own it reads {shown(reads)})"
        )
    if re.search("""['"]type['"]: *['"]text""", told["text"]):
        return "it is for plain text, and writes the parts of a message as code"
    return "" if SAMPLE in told["text"] else "it leaves the question out"


def language_config(checkpoint: Checkpoint) -> Any:
    """Load the settings of the language model, with transformers' defaults where the file is brief.

    Raises:
        UserError: transformers does not know them.
    """
    from transformers import AutoConfig

    folder = folder_of(checkpoint)
    config = loaded(AutoConfig, folder.path, "config", own_code=bool(folder.code))
    return config.get_text_config()


def context(language: Any, wanted: int | None = None) -> int:
    """Return how many tokens prompt and answer may have together, of a `language_config`.

    Args:
        language: The settings of the language model.
        wanted: By the user; None: the model's own, at most `LONGEST_CONTEXT`.

    Raises:
        UserError: The model does not have as many.
    """
    own = getattr(language, "max_position_embeddings", None)
    if wanted is None:
        return min(own or LONGEST_CONTEXT, LONGEST_CONTEXT)
    rope = getattr(language, "rope_parameters", None) or {}
    if own and rope.get("rope_type") in STRETCHED:
        own = int(own * (rope.get("factor") or 1))
    if own and wanted > own:
        raise UserError(
            f"--context {wanted} is beyond the model, whose own is {own}: give that or less"
        )
    return wanted


def cache_bytes(language: Any, itemsize: int) -> int:
    """Return the bytes of keys and values that one token takes, of a `language_config`.

    Layers may differ in their heads (Gemma 4), and some keep none: linear attention, convolutions,
    layers that share those of another.

    Args:
        language: The settings of the language model.
        itemsize: Bytes of one number.
    """
    count = language.num_hidden_layers
    kinds = getattr(language, "layer_types", None) or ["full_attention"] * count
    keeping = count - (getattr(language, "num_kv_shared_layers", None) or 0)
    layers = getattr(language, "per_layer_config", None) or [language] * count
    numbers = 0
    for layer in (layers[i] for i in range(keeping) if kinds[i] not in WITHOUT_KEYS):
        heads = layer.num_attention_heads
        head = getattr(layer, "head_dim", None) or layer.hidden_size // heads
        numbers += (getattr(layer, "num_key_value_heads", None) or heads) * head
    return 2 * itemsize * max(1, numbers)


def render(processor: Any, checkpoint: Checkpoint, question: Question) -> str:
    """Render a question as one user message, ready to be continued by the model.

    Each `<image>` mark becomes an image part of the message, and so the family's own placeholder.

    Raises:
        UserError: The marks do not match the pictures, or the template refuses the message.
    """
    parts, folder = content(question), folder_of(checkpoint)
    message = {"role": "user", "content": parts if folder.is_multimodal else question.prompt}
    clock = chat_template.clock(folder.template, folder.day)
    try:
        return processor.apply_chat_template(
            [message], tokenize=False, add_generation_prompt=True, **clock, **folder.template_args
        )
    except Exception as error:
        name = f"{question.task}/{question.id}"
        raise UserError(
            f"{folder.path}: its chat template refuses {name}: {said(error)}"
        ) from error


def content(question: Question) -> list[dict[str, str]]:
    """Split a prompt at its `<image>` marks into text parts and image parts, in order."""
    texts = question.prompt.split(MARK)
    if len(texts) - 1 != len(question.images):
        raise UserError(
            f"{question.task}/{question.id}: the prompt has {len(texts) - 1} {MARK} marks "
            f"for {len(question.images)} pictures"
        )
    parts: list[dict[str, str]] = []
    for index, text in enumerate(texts):
        if index:
            parts.append({"type": "image"})
        if text:
            parts.append({"type": "text", "text": text})
    return parts


def adds_special_tokens(processor: Any, checkpoint: Checkpoint, prompt: str) -> bool:
    """Whether tokenizing a rendered prompt puts special tokens around it, as transformers does.

    A tokenizer never does so after a chat template. A processor does unless the template already
    wrote the beginning-of-sequence token (transformers 5.19, `ProcessorMixin.apply_chat_template`):
    LLaVA 1.5's template relies on it.
    """
    if not folder_of(checkpoint).is_multimodal:
        return False
    bos = processor.tokenizer.bos_token
    return not (bos is not None and prompt.startswith(bos))
