"""What the steps of the paper's study are given: the real thing, or stand-ins."""

from collections.abc import Mapping
from dataclasses import dataclass

MODELS = {
    "llava_next/vlm": ("llava-hf/llama3-llava-next-8b-hf", 15.6),
    "llava_next/reasoner": ("hkust-nlp/dart-math-llama3-8b-uniform", 15.0),
    "idefics2/vlm": ("HuggingFaceM4/idefics2-8b", 31.3),
    # MetaMath's own files are pickles; the branch has the same weights as safetensors.
    "idefics2/reasoner": ("meta-math/MetaMath-Mistral-7B@refs/pr/3", 13.5),
    "qwen2_vl/vlm": ("Qwen/Qwen2-VL-7B-Instruct", 15.5),
    "qwen2_vl/reasoner": ("Qwen/Qwen2-Math-7B", 14.2),
    "qwen2_5_vl/vlm": ("Qwen/Qwen2.5-VL-7B-Instruct", 15.5),
    "qwen2_5_vl/reasoner": ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", 14.2),
    # The base of task vectors; the reasoner of another pairing, which the other grew from; the
    # model that wrote the training data.
    "qwen2_5_vl/base": ("Qwen/Qwen2.5-7B", 14.2),
    "qwen2_5_vl/math": ("Qwen/Qwen2.5-Math-7B", 14.2),
    "qwen2_5_vl/teacher": ("russwang/ThinkLite-VL-7B", 15.5),
    "data": ("ChaoHuangCS/DRIFT-TL-Distill-4K", 1.0),
}
"""What comes from the hub → its name there, and GiB."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What the steps are given: the real thing, or what stands for it where that is too large."""

    models: Mapping[str, str]
    """As `MODELS`, without sizes."""
    rows: str = "data"
    swapped: str = ",".join(map(str, range(6, 28)))
    """Layers that get the reasoner's share: their code leaves those up to k = 5 alone."""
    seeing: str = "paper,perception"
    everything: str = "paper,mathvision_testmini,perception,text"
    """Table 1's MathVision is testmini for three of its columns."""
    reasoning: str = "paper"
    text: str = "text"
    validation: str = "mmmu"
    options: tuple[str, ...] = ("--max-tokens", "4096")
    options_text: tuple[str, ...] = ()
    """Over those of each reasoner."""
    engine: tuple[str, ...] = ()
    training: tuple[str, ...] = ()
    standins: tuple[str, ...] = ()
    """What all that is fetched or asked is made from."""


REAL = Scale(models={name: place for name, (place, _) in MODELS.items()})
POCKET = Scale(
    models={name: f"standins/{name}" for name in MODELS} | {"data": "standins/world"},
    rows="data/train.jsonl",
    swapped="2,3",
    seeing="pocket",
    everything="pocket",
    reasoning="pocket",
    text="gsm8k",
    validation="pocket_validation",
    options=("--data", "standins/world", "--limit", "3", "--max-tokens", "4"),
    options_text=("--data", "standins/text", "--limit", "3", "--max-tokens", "4"),
    engine=("--engine", "hf"),
    training=("--set", "steps=2", "--set", "lr=0.001")
    + ("--set", "dtype=float32", "--set", "max_tokens=1024"),
    standins=("standins",),
)
"""Random tiny models of the same classes and a handful of questions. Answers come from
transformers, but for the sweeps."""
