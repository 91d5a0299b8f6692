"""Tiny random models of three real families, saved as ordinary checkpoints.

Two layers, a hidden size of 64, a character tokenizer. They differ in the traps they set:
Qwen2.5-VL has no beginning token and an untied head, LLaVA-NeXT has its beginning token added by
the tokenizer and a tied head, Idefics3 writes it in its template and has a tied head.
"""

import io
import json
import random
import re
import shutil
import string
from pathlib import Path
from typing import Any

from harness.runs.schema import Image, Question

FAMILIES = ("qwen2_5_vl", "llava_next", "idefics3")
LACKING = "idefics2"
"""A family that vLLM has not."""
TIED = {"qwen2_5_vl": False, "llava_next": True, "idefics3": True, "idefics2": False}
CELL = 28
HIDDEN = 64
CONTEXT = 256

IMAGE = {
    "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "llava_next": "<image>",
    "idefics3": "<image>",
    "idefics2": "<image>",
}
SPECIAL = {
    "qwen2_5_vl": ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
    "llava_next": ("<image>",),
    "idefics3": (
        "<image>",
        "<fake_token_around_image>",
        "<global-img>",
        "<end_of_utterance>",
        *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
    ),
    "idefics2": ("<image>", "<fake_token_around_image>", "<end_of_utterance>"),
}
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def make(family: str, folder: Path, seed: int, text_only: bool = False) -> Path:
    """Write a checkpoint with fresh weights."""
    import torch
    from transformers import GenerationConfig
    from transformers.conversion_mapping import get_model_conversion_mapping

    torch.manual_seed(seed)
    words = _tokenizer(family)
    model = _text(family, words) if text_only else _vlm(family, words)
    if getattr(model, "_weight_conversions", None) is None:
        # Made from a config, LLaVA's tower would be saved under names that vLLM does not know.
        model._weight_conversions = get_model_conversion_mapping(model, add_legacy=False)
    # The settings a chat model ships with; the harness must not let them in.
    model.generation_config = GenerationConfig(
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        repetition_penalty=1.5,
        do_sample=True,
        temperature=0.7,
    )
    model.save_pretrained(folder)
    (words if text_only else _processor(family, words)).save_pretrained(folder)
    return folder


def _tokenizer(family: str) -> Any:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    special = ("<pad>", "<unk>", "<s>", "</s>", *SPECIAL[family])
    letters = string.ascii_letters + string.digits + string.punctuation + " \n"
    vocabulary = {word: number for number, word in enumerate([*special, *letters])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(w, special=True, normalized=False) for w in special])
    if family == "llava_next":
        backend.post_processor = TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", vocabulary["<s>"])]
        )
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=None if family == "qwen2_5_vl" else "<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={
            "image_token": "<|image_pad|>" if family == "qwen2_5_vl" else "<image>",
            "image_boundary_token": "<fake_token_around_image>",
        }
        if family == "idefics2"
        else {"image_token": "<|image_pad|>" if family == "qwen2_5_vl" else "<image>"},
    )
    begin = "{{ bos_token }}" if family in ("idefics3", "idefics2") else ""
    made.chat_template = begin + TEMPLATE.replace("IMAGE", IMAGE[family])
    return made


def _processor(family: str, words: Any) -> Any:
    import transformers as tf

    common = {"tokenizer": words, "chat_template": words.chat_template}
    if family == "qwen2_5_vl":
        size = {"shortest_edge": 4 * CELL**2, "longest_edge": 16 * CELL**2}
        return tf.Qwen2_5_VLProcessor(
            image_processor=tf.Qwen2VLImageProcessor(patch_size=14, merge_size=2, size=size),
            video_processor=tf.Qwen2VLVideoProcessor(patch_size=14, merge_size=2),
            **common,
        )
    if family == "llava_next":
        return tf.LlavaNextProcessor(
            image_processor=tf.LlavaNextImageProcessor(
                size={"shortest_edge": CELL},
                crop_size={"height": CELL, "width": CELL},
                image_grid_pinpoints=_grid(),
            ),
            patch_size=14,
            vision_feature_select_strategy="default",
            image_token="<image>",
            num_additional_image_tokens=1,
            **common,
        )
    if family == "idefics2":
        return tf.Idefics2Processor(
            image_processor=tf.Idefics2ImageProcessor(
                size={"shortest_edge": CELL, "longest_edge": 2 * CELL}, do_image_splitting=False
            ),
            image_seq_len=4,
            **common,
        )
    return tf.Idefics3Processor(
        image_processor=tf.Idefics3ImageProcessor(
            size={"longest_edge": 2 * CELL}, max_image_size={"longest_edge": CELL}
        ),
        image_seq_len=1,
        **common,
    )


def _grid() -> list[list[int]]:
    return [[CELL, 2 * CELL], [2 * CELL, CELL], [2 * CELL, 2 * CELL]]


def _text_config(family: str, words: Any) -> Any:
    import transformers as tf

    kinds = {"qwen2_5_vl": tf.Qwen2Config, "idefics2": tf.MistralConfig}
    kind = kinds.get(family, tf.LlamaConfig)
    return kind(
        hidden_size=HIDDEN,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,  # heads of 32: the smallest that vLLM's CPU attention knows
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=TIED[family],
        initializer_range=0.08,
        vocab_size=len(words),
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )


def _text(family: str, words: Any) -> Any:
    import transformers as tf

    kind = tf.Qwen2ForCausalLM if family == "qwen2_5_vl" else tf.LlamaForCausalLM
    return kind(_text_config(family, words))


def _vlm(family: str, words: Any) -> Any:
    import transformers as tf

    text = _text_config(family, words).to_dict()
    tied = {"tie_word_embeddings": TIED[family]}
    token = words.convert_tokens_to_ids
    if family == "qwen2_5_vl":
        text["rope_parameters"] |= {"mrope_section": [4, 6, 6]}
        vision = {
            "depth": 1,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "out_hidden_size": HIDDEN,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "window_size": 4 * CELL,
            "fullatt_block_indexes": [0],
            "initializer_range": 0.08,
        }
        return tf.Qwen2_5_VLForConditionalGeneration(
            tf.Qwen2_5_VLConfig(
                text_config=text,
                vision_config=vision,
                image_token_id=token("<|image_pad|>"),
                video_token_id=token("<|video_pad|>"),
                vision_start_token_id=token("<|vision_start|>"),
                vision_end_token_id=token("<|vision_end|>"),
                **tied,
            )
        )
    tower = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": CELL,
        "patch_size": 14,
        "initializer_range": 0.08,
    }
    if family == "llava_next":
        return tf.LlavaNextForConditionalGeneration(
            tf.LlavaNextConfig(
                text_config=text,
                vision_config=tower | {"model_type": "clip_vision_model"},
                image_token_index=token("<image>"),
                image_grid_pinpoints=_grid(),
                image_seq_length=4,
                vision_feature_layer=-1,
                **tied,
            )
        )
    if family == "idefics2":
        return tf.Idefics2ForConditionalGeneration(
            tf.Idefics2Config(
                text_config=text,
                vision_config=tower,
                perceiver_config={
                    "hidden_size": HIDDEN,
                    "resampler_n_latents": 4,
                    "resampler_depth": 1,
                    "resampler_n_heads": 2,
                    "resampler_head_dim": 32,
                    "num_key_value_heads": 1,
                    "initializer_range": 0.08,
                },
                image_token_id=token("<image>"),
                **tied,
            )
        )
    return tf.Idefics3ForConditionalGeneration(
        tf.Idefics3Config(
            text_config=text,
            vision_config=tower,
            image_token_id=token("<image>"),
            scale_factor=2,
            pad_token_id=words.pad_token_id,
            **tied,
        )
    )


def picture(seed: int, size: tuple[int, int] = (56, 28)) -> bytes:
    from PIL import Image as Pillow

    pixels = random.Random(seed).randbytes(3 * size[0] * size[1])
    file = io.BytesIO()
    Pillow.frombytes("RGB", size, pixels).save(file, "PNG")
    return file.getvalue()


def question(id: str = "q", prompt: str = "what?", pictures: int = 0, **row) -> Question:
    images = tuple(Image(f"{n}" * 64, ".png", picture(n)) for n in range(pictures))
    return Question("pocket", id, prompt, images, row)


DECODER = r"(language_model|text_model)\.layers\.\d+\."


def adapter(base: Path, folder: Path, seed: int, where: str = DECODER, rank: int = 4) -> Path:
    """Write a LoRA adapter in PEFT's layout, over all matrices of `base` whose names match."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    tensors = {}
    for name, module in _load(base).named_modules():
        if isinstance(module, torch.nn.Linear) and re.search(where, name):
            out, inner = module.weight.shape
            tensors[f"base_model.model.{name}.lora_A.weight"] = 0.2 * torch.randn(rank, inner)
            tensors[f"base_model.model.{name}.lora_B.weight"] = 0.2 * torch.randn(out, rank)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": str(base),
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": sorted({name.split(".")[-3] for name in tensors}),
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def merged(folder: Path, out: Path) -> Path:
    """Write an adapter's base with the adapter's products added to its weights."""
    import torch
    from safetensors.torch import load_file

    config = json.loads((folder / "adapter_config.json").read_text())
    base = Path(config["base_model_name_or_path"])
    model = _load(base)
    tensors = load_file(folder / "adapter_model.safetensors")
    with torch.no_grad():
        for name in {key.rpartition(".lora_")[0] for key in tensors}:
            a, b = (tensors[f"{name}.lora_{part}.weight"] for part in "AB")
            matrix = model.get_submodule(name.removeprefix("base_model.model.")).weight
            matrix += config["lora_alpha"] / config["r"] * b @ a
    shutil.copytree(base, out)
    model.save_pretrained(out)
    shutil.copy(base / "generation_config.json", out)
    return out


def _load(base: Path) -> Any:
    import torch
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
