"""The pairs that papers merged or trained with, in their published dimensions.

Data only: what `config.json` of the two sides says that decides the shapes of a decoder. The pairs
are those of DRIFT (arXiv 2510.15050v2, tables 1, 2 and 5), of Bring Reason to Vision (arXiv
2505.05464, its merge scripts) and of the sweeps published with OrtalDayan/mh-neuron@ddea772.
What no copy of a `config.json` was at hand for is named in `unseen`: it follows from the model that
the papers name as its base. The vision towers are the defaults of transformers' classes.

Left out: OpenGVLab/InternVL2-Llama3-76B, which comes with code of its own and in no form that
transformers has a class for.
"""

from dataclasses import dataclass
from typing import Any

Dimensions = dict[str, Any]

VICUNA_7B: Dimensions = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "rms_norm_eps": 1e-5,
    "vocab_size": 32000,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}
LLAMA_3_8B = VICUNA_7B | {
    "intermediate_size": 14336,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
}
MISTRAL_7B = VICUNA_7B | {
    "model_type": "mistral",
    "intermediate_size": 14336,
    "num_key_value_heads": 8,
}
QWEN2_7B: Dimensions = {
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-6,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
}
QWEN2_7B_MATH = QWEN2_7B | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
QWEN2_3B = QWEN2_7B | {
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}
QWEN3_8B: Dimensions = {
    "model_type": "qwen3",
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "rms_norm_eps": 1e-6,
    "vocab_size": 151936,
    "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
}
QWEN3_4B = QWEN3_8B | {
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "tie_word_embeddings": True,
}
QWEN3_2B = QWEN3_4B | {
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
}
QWEN2_1B = QWEN2_3B | {
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "tie_word_embeddings": False,
}
SMOLLM2_360M = VICUNA_7B | {
    "hidden_size": 960,
    "intermediate_size": 2560,
    "num_attention_heads": 15,
    "num_key_value_heads": 5,
    "vocab_size": 49152,
    "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0},
}
VISION_QWEN2_5_VL_3B: Dimensions = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "out_hidden_size": 2048,
}
MROPE = {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [16, 24, 24]}
_QWEN3_MROPE = MROPE | {"rope_theta": 5000000.0, "mrope_section": [24, 20, 20]}


@dataclass(frozen=True, kw_only=True)
class Published:
    """A VLM and a text-only reasoner of the literature."""

    vlm: str
    """Hub id."""
    llm: str
    """Hub id of the reasoner; others of the same base have the same dimensions."""
    model_type: str
    """Of the VLM."""
    inside: Dimensions
    """Configuration of the language model inside the VLM."""
    partner: Dimensions
    """Configuration of the reasoner."""
    unseen: str = ""
    """Figures that no copy of a config.json showed."""
    vision: Dimensions | None = None
    """Configuration of the vision tower, where it is not the default of its class."""

    def of_vlm(self) -> Dimensions:
        """Configuration of the VLM as a whole."""
        tied = self.inside.get("tie_word_embeddings", False)
        whole = {"model_type": self.model_type, "text_config": self.inside}
        seeing = {"vision_config": self.vision} if self.vision else {}
        return whole | seeing | {"tie_word_embeddings": tied}


PUBLISHED: tuple[Published, ...] = (
    Published(
        vlm="llava-hf/llama3-llava-next-8b-hf",
        llm="hkust-nlp/dart-math-llama3-8b-uniform",
        model_type="llava_next",
        inside=LLAMA_3_8B | {"vocab_size": 128320},
        partner=LLAMA_3_8B,
        unseen="vocabulary of the VLM (128,257 words, padded to a multiple of 64)",
    ),
    Published(
        vlm="HuggingFaceM4/idefics2-8b",
        llm="meta-math/MetaMath-Mistral-7B",
        model_type="idefics2",
        inside=MISTRAL_7B | {"vocab_size": 32003},
        partner=MISTRAL_7B | {"vocab_size": 32001},
        unseen="vocabulary of the reasoner",
    ),
    Published(
        vlm="Qwen/Qwen2-VL-7B-Instruct",
        llm="Qwen/Qwen2-Math-7B",
        model_type="qwen2_vl",
        inside=QWEN2_7B | {"model_type": "qwen2_vl_text", "rope_parameters": MROPE},
        partner=QWEN2_7B_MATH,
        unseen="inner width and heads of both, RoPE base of the reasoner",
    ),
    Published(
        vlm="Qwen/Qwen2.5-VL-7B-Instruct",
        llm="deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
        model_type="qwen2_5_vl",
        inside=QWEN2_7B | {"model_type": "qwen2_5_vl_text", "rope_parameters": MROPE},
        partner=QWEN2_7B_MATH,
        unseen="inner width and heads of the reasoner",
        vision={
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "out_hidden_size": 3584,
        },
    ),
    Published(
        vlm="Qwen/Qwen2.5-VL-7B-Instruct",
        llm="Qwen/Qwen2.5-Math-7B",
        model_type="qwen2_5_vl",
        inside=QWEN2_7B | {"model_type": "qwen2_5_vl_text", "rope_parameters": MROPE},
        partner=QWEN2_7B_MATH,
        unseen="inner width and heads of the reasoner",
        vision={
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "out_hidden_size": 3584,
        },
    ),
    Published(
        vlm="llava-hf/llava-1.5-7b-hf",
        llm="meta-math/MetaMath-7B-V1.0",
        model_type="llava",
        inside=VICUNA_7B | {"vocab_size": 32064},
        partner=VICUNA_7B | {"vocab_size": 32001},
        unseen="vocabulary of the reasoner",
    ),
    Published(
        vlm="llava-hf/llava-v1.6-vicuna-7b-hf",
        llm="meta-math/MetaMath-7B-V1.0",
        model_type="llava_next",
        inside=VICUNA_7B | {"vocab_size": 32064},
        partner=VICUNA_7B | {"vocab_size": 32001},
        unseen="vocabularies",
    ),
    Published(
        vlm="llava-hf/llava-v1.6-mistral-7b-hf",
        llm="hkust-nlp/dart-math-mistral-7b-uniform",
        model_type="llava_next",
        inside=MISTRAL_7B | {"vocab_size": 32064},
        partner=MISTRAL_7B,
        unseen="vocabularies",
    ),
    Published(
        vlm="llava-hf/llava-onevision-qwen2-7b-ov-hf",
        llm="Qwen/Qwen2-Math-7B",
        model_type="llava_onevision",
        inside=QWEN2_7B | {"vocab_size": 152000},
        partner=QWEN2_7B_MATH,
        unseen="vocabulary of the VLM, inner width and heads of both, RoPE base of the reasoner",
    ),
    Published(
        vlm="Qwen/Qwen2.5-VL-3B-Instruct",
        llm="Qwen/Qwen2.5-3B",
        model_type="qwen2_5_vl",
        inside=QWEN2_3B | {"model_type": "qwen2_5_vl_text", "rope_parameters": MROPE},
        partner=QWEN2_3B,
        unseen="vocabularies and tied heads, all of the reasoner",
        vision=VISION_QWEN2_5_VL_3B,
    ),
    Published(
        vlm="Qwen/Qwen3-VL-8B-Instruct",
        llm="Qwen/Qwen3-8B",
        model_type="qwen3_vl",
        inside=QWEN3_8B
        | {
            "model_type": "qwen3_vl_text",
            "rope_parameters": _QWEN3_MROPE,
        },
        partner=QWEN3_8B,
        unseen="key-value heads, vocabularies, RoPE bases",
        vision={"out_hidden_size": 4096},
    ),
    Published(
        vlm="Qwen/Qwen2.5-VL-3B-Instruct",
        llm="PowerInfer/SmallThinker-3B-Preview",
        model_type="qwen2_5_vl",
        inside=QWEN2_3B | {"model_type": "qwen2_5_vl_text", "rope_parameters": MROPE},
        partner=QWEN2_3B,
        unseen="vocabularies and tied heads, all of the reasoner",
        vision=VISION_QWEN2_5_VL_3B,
    ),
    Published(
        vlm="Qwen/Qwen3-VL-4B-Instruct",
        llm="Qwen/Qwen3-4B-Thinking-2507",
        model_type="qwen3_vl",
        inside=QWEN3_4B | {"model_type": "qwen3_vl_text", "rope_parameters": _QWEN3_MROPE},
        partner=QWEN3_4B,
        unseen="heads, vocabularies, RoPE bases",
        vision={"out_hidden_size": 2560},
    ),
    Published(
        vlm="Qwen/Qwen3-VL-2B-Instruct",
        llm="Qwen/Qwen3-1.7B",
        model_type="qwen3_vl",
        inside=QWEN3_2B | {"model_type": "qwen3_vl_text", "rope_parameters": _QWEN3_MROPE},
        partner=QWEN3_2B,
        unseen="heads, vocabularies, RoPE bases",
        vision={"out_hidden_size": 2048},
    ),
    Published(
        vlm="OpenGVLab/InternVL3-2B-hf",
        llm="deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
        model_type="internvl",
        inside=QWEN2_1B | {"vocab_size": 151674},
        partner=QWEN2_1B | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
        unseen="everything",
    ),
    Published(
        vlm="HuggingFaceTB/SmolVLM-500M-Instruct",
        llm="prithivMLmods/SmolLM2-CoT-360M",
        model_type="idefics3",
        inside=SMOLLM2_360M | {"vocab_size": 49280},
        partner=SMOLLM2_360M,
        unseen="everything",
    ),
)
"""Each is built on the meta device and paired by a test."""
