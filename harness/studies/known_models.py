"""What is known of the models of the bundled studies where the hub is out of reach.

Dimensions are those of `drift.published`. Contexts are those of the models' config.json, 4,096 of
Qwen2.5-Math as open-r1's issue 469 has it; those of the small models were not seen, and follow from
the models that they were trained from. Sampling is that of DeepSeek-R1's card. That MetaMath's
tokenizer comes without a chat template was not seen, but its card has the prompt alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drift.published import PUBLISHED, QWEN2_7B


@dataclass(frozen=True, kw_only=True)
class Known:
    """One model."""

    settings: Mapping[str, Any]
    """Its `config.json`, as far as it decides shapes and context."""
    generation: Mapping[str, Any]
    """Its `generation_config.json`, as far as it advises how to sample."""
    has_template: bool
    """Whether it may have a chat template of its own."""


CONTEXTS = {
    "llava-hf/llama3-llava-next-8b-hf": 8192,
    "hkust-nlp/dart-math-llama3-8b-uniform": 8192,
    "HuggingFaceM4/idefics2-8b": 32768,
    "meta-math/MetaMath-Mistral-7B": 32768,
    "Qwen/Qwen2-VL-7B-Instruct": 32768,
    "Qwen/Qwen2-Math-7B": 4096,
    "Qwen/Qwen2.5-VL-7B-Instruct": 128000,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": 131072,
    "Qwen/Qwen2.5-7B": 131072,
    "Qwen/Qwen2.5-Math-7B": 4096,
    "russwang/ThinkLite-VL-7B": 128000,
    "HuggingFaceTB/SmolVLM-500M-Instruct": 8192,
    "prithivMLmods/SmolLM2-CoT-360M": 8192,
    "OpenGVLab/InternVL3-2B-hf": 32768,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": 131072,
    "Qwen/Qwen3-VL-2B-Instruct": 262144,
    "Qwen/Qwen3-1.7B": 40960,
    "Qwen/Qwen2.5-VL-3B-Instruct": 128000,
    "PowerInfer/SmallThinker-3B-Preview": 32768,
    "Qwen/Qwen3-VL-4B-Instruct": 262144,
    "Qwen/Qwen3-4B-Thinking-2507": 262144,
}
"""Tokens of prompt and answer together."""
R1 = {"do_sample": True, "temperature": 0.6, "top_p": 0.95}
SAMPLING = {
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": R1,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": R1,
}
WITHOUT_TEMPLATE = ("meta-math/MetaMath-Mistral-7B",)


def known(name: str) -> Known | None:
    """Return what is known of a model of the hub, by its name there."""
    found = {one.llm: one.partner for one in PUBLISHED}
    found |= {one.vlm: one.of_vlm() for one in PUBLISHED}
    found["Qwen/Qwen2.5-7B"] = QWEN2_7B
    # Fine-tuned from it.
    found["russwang/ThinkLite-VL-7B"] = found["Qwen/Qwen2.5-VL-7B-Instruct"]
    if name not in CONTEXTS:
        return None
    settings, context = found[name], {"max_position_embeddings": CONTEXTS[name]}
    text = settings.get("text_config")
    return Known(
        settings=settings | ({"text_config": text | context} if text else context),
        generation=SAMPLING.get(name, {}),
        has_template=name not in WITHOUT_TEMPLATE,
    )
