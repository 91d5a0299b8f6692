"""What the steps of the paper's study are given."""

from harness.studies.scale import RULE, STANDINS, Scale

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


TEACHER = "seed-0/qwen2_5_vl/teacher"
"""arXiv 2510.15050v2, section 4.1: the answers are ThinkLite-VL-7B's."""
GIB = {name: gib for name, (_, gib) in MODELS.items()}
REAL = Scale(
    models={name: place for name, (place, _) in MODELS.items()},
    gib=GIB,
    # Their code leaves the layers up to k = 5 alone.
    swapped=",".join(map(str, range(6, 28))),
    seeing="paper,perception",
    # Table 1's MathVision is testmini for three of its columns.
    everything="paper,mathvision_testmini,perception,text",
    reasoning="paper",
    text="text",
    rule=RULE,
    teacher=TEACHER,
    options=("--max-tokens", "4096"),
)
POCKET = Scale(
    models={name: f"standins/{name}" for name in MODELS} | {"data": "standins/world"},
    gib=GIB,
    swapped="2,3",
    teacher=TEACHER,
    **STANDINS,
)
