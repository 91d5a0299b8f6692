"""Random models of a few thousand parameters, of real families, as checkpoint folders."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from PIL import Image, ImageDraw
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

CELL = 16
DIGITS = "zero one two three four five six seven eight nine".split()
WORDS = [*DIGITS, *"what is the second word in this picture and that answer : ? .".split()]
BASIC = ["<pad>", "<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"]
QWEN = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
IDEFICS = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"] + [
    f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7)
]
INTERNVL = ["<img>", "</img>", "<IMG_CONTEXT>", "<video>"]
GEMMA = ["<start_of_image>", "<end_of_image>", "<image_soft_token>"]
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.08,
    "rms_norm_eps": 1e-6,
}
TEMPLATE = (
    "<s>{% for m in messages %}<|{{ m['role'] }}|> {% for p in m['content'] %}"
    "{% if p['type'] == 'image' %}IMAGE{% else %}{{ p['text'] }}{% endif %}{% endfor %}"
    "{% if m['role'] == 'assistant' %} </s> {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tokenizer(family: str) -> tf.PreTrainedTokenizerFast:
    special, mark, image, more = IDEFICS, "<image>", "<image>", {}
    if family.startswith("qwen"):
        special, mark, image = QWEN, QWEN[0] + QWEN[2] + QWEN[1], QWEN[2]
    elif family == "internvl":
        special, mark, image = INTERNVL, INTERNVL[2], INTERNVL[2]
        names = ("start_image_token", "end_image_token", "context_image_token", "video_token")
        more = dict(zip(names, INTERNVL, strict=True))
    elif family == "gemma3":
        special, mark, image = GEMMA, GEMMA[0], GEMMA[2]
        more = {"boi_token": GEMMA[0], "eoi_token": GEMMA[1]}
    elif family == "idefics2":
        more = {"image_boundary_token": IDEFICS[1]}
    words = [*BASIC, *WORDS, *special]
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(
        [AddedToken(word, special=True, normalized=False) for word in (*BASIC, *special)]
    )
    made = tf.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": image, **more},
        model_max_length=TEXT["max_position_embeddings"],
    )
    made.chat_template = TEMPLATE.replace("IMAGE", mark)
    return made


def processor(family: str) -> Any:
    words = tokenizer(family)
    common: dict[str, Any] = {"tokenizer": words, "chat_template": words.chat_template}
    square = {"height": CELL, "width": CELL}
    grid = [[CELL, 2 * CELL], [2 * CELL, CELL]]
    clip = {"size": {"shortest_edge": CELL}, "crop_size": square}
    if family.startswith("qwen"):
        kind = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL", "qwen3_vl": "Qwen3VL"}[family]
        video = "Qwen3VLVideoProcessor" if family == "qwen3_vl" else "Qwen2VLVideoProcessor"
        patches = {"patch_size": CELL // 2, "merge_size": 2}
        size = {"shortest_edge": CELL**2, "longest_edge": 16 * CELL**2}
        return getattr(tf, f"{kind}Processor")(
            image_processor=tf.Qwen2VLImageProcessor(size=size, **patches),
            video_processor=getattr(tf, video)(**patches),
            **common,
        )
    if family in ("llava", "llava_next"):
        tower = {
            "patch_size": CELL // 2,
            "vision_feature_select_strategy": "default",
            "image_token": "<image>",
            "num_additional_image_tokens": 1,
        }
        if family == "llava":
            return tf.LlavaProcessor(tf.CLIPImageProcessor(**clip), **tower, **common)
        return tf.LlavaNextProcessor(
            tf.LlavaNextImageProcessor(image_grid_pinpoints=grid, **clip), **tower, **common
        )
    if family == "llava_onevision":
        return tf.LlavaOnevisionProcessor(
            image_processor=tf.LlavaOnevisionImageProcessor(size=square, image_grid_pinpoints=grid),
            video_processor=tf.LlavaOnevisionVideoProcessor(size=square),
            num_image_tokens=4,
            vision_feature_select_strategy="full",
            **common,
        )
    if family == "idefics2":
        return tf.Idefics2Processor(
            tf.Idefics2ImageProcessor(
                size={"shortest_edge": CELL, "longest_edge": 2 * CELL}, do_image_splitting=False
            ),
            image_seq_len=4,
            **common,
        )
    if family == "internvl":
        return tf.InternVLProcessor(
            image_processor=tf.GotOcr2ImageProcessor(size=square, max_patches=2),
            video_processor=tf.InternVLVideoProcessor(size=square),
            image_seq_length=1,
            **common,
        )
    if family == "gemma3":
        return tf.Gemma3Processor(
            tf.Gemma3ImageProcessor(size=square), image_seq_length=4, **common
        )
    kind = "Idefics3" if family == "idefics3" else "SmolVLM"
    more = {} if family == "idefics3" else {"video_processor": tf.SmolVLMVideoProcessor()}
    return getattr(tf, f"{kind}Processor")(
        image_processor=getattr(tf, f"{kind}ImageProcessor")(
            size={"longest_edge": 2 * CELL}, max_image_size={"longest_edge": CELL}
        ),
        image_seq_len=1,
        **more,
        **common,
    )


def text_config(family: str, kind: str, **more: Any) -> Any:
    words = tokenizer(family)
    shape = TEXT | {
        "vocab_size": len(words),
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        "tie_word_embeddings": False,
    }
    return getattr(tf, kind)(**(shape | more))


def vlm_config(family: str) -> Any:
    """Configuration of a VLM of each family that `drift.families` knows, by model_type."""
    token = tokenizer(family).convert_tokens_to_ids
    tower = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": CELL,
        "patch_size": CELL // 2,
    }
    square = [CELL, CELL]
    qwen = {
        "depth": 1,
        "num_heads": 2,
        "patch_size": CELL // 2,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "hidden_size": 32,
    }
    mrope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}

    def text(kind: str, **more: Any) -> dict[str, Any]:
        return text_config(family, kind, **more).to_dict()

    def image(name: str) -> dict[str, Any]:
        ids = {"tie_word_embeddings": False, "pad_token_id": 0}
        if family.startswith("qwen"):
            return ids | {
                "image_token_id": token("<|image_pad|>"),
                "video_token_id": token("<|video_pad|>"),
                "vision_start_token_id": token("<|vision_start|>"),
                "vision_end_token_id": token("<|vision_end|>"),
            }
        return ids | {name: tokenizer(family).image_token_id}

    clip = tower | {"model_type": "clip_vision_model"}
    siglip = tower | {"model_type": "siglip_vision_model"}
    head = {"head_dim": 8}
    if family == "llava":
        return tf.LlavaConfig(
            vision_config=clip, text_config=text("LlamaConfig"), **image("image_token_index")
        )
    if family == "llava_next":
        grid = [[CELL, 2 * CELL], [2 * CELL, CELL]]
        return tf.LlavaNextConfig(
            vision_config=clip,
            text_config=text("LlamaConfig"),
            image_grid_pinpoints=grid,
            image_seq_length=4,
            vision_feature_layer=-1,
            **image("image_token_index"),
        )
    if family == "llava_onevision":
        return tf.LlavaOnevisionConfig(
            vision_config=siglip,
            text_config=text("Qwen2Config"),
            image_grid_pinpoints=[[CELL, 2 * CELL], [2 * CELL, CELL]],
            **image("image_token_index"),
        )
    if family == "idefics2":
        return tf.Idefics2Config(
            vision_config=tower,
            text_config=text("MistralConfig", **head),
            perceiver_config={
                "hidden_size": 32,
                "rms_norm_eps": 1e-6,
                "resampler_n_latents": 4,
                "resampler_depth": 1,
                "resampler_n_heads": 2,
                "num_key_value_heads": 2,
                "resampler_head_dim": 8,
            },
            **image("image_token_id"),
        )
    if family in ("idefics3", "smolvlm"):
        kind = tf.Idefics3Config if family == "idefics3" else tf.SmolVLMConfig
        return kind(
            vision_config=tower,
            text_config=text("LlamaConfig"),
            scale_factor=2,
            **image("image_token_id"),
        )
    if family == "qwen2_vl":
        return tf.Qwen2VLConfig(
            text_config=text("Qwen2VLTextConfig", rope_parameters=mrope),
            vision_config=qwen | {"embed_dim": 32},
            **image(""),
        )
    if family == "qwen2_5_vl":
        return tf.Qwen2_5_VLConfig(
            text_config=text("Qwen2_5_VLTextConfig", rope_parameters=mrope),
            vision_config=qwen
            | {
                "out_hidden_size": 32,
                "intermediate_size": 48,
                "window_size": 4 * CELL,
                "fullatt_block_indexes": [0],
            },
            **image(""),
        )
    if family == "qwen3_vl":
        return tf.Qwen3VLConfig(
            text_config=text("Qwen3VLTextConfig", rope_parameters=mrope, **head),
            vision_config=qwen
            | {
                "out_hidden_size": 32,
                "intermediate_size": 48,
                "num_position_embeddings": 16,
                "deepstack_visual_indexes": [0],
            },
            **image(""),
        )
    if family == "internvl":
        return tf.InternVLConfig(
            vision_config=tower | {"image_size": square, "patch_size": [CELL // 2, CELL // 2]},
            text_config=text("Qwen2Config"),
            **image("image_token_id"),
        )
    assert family == "gemma3"
    return tf.Gemma3Config(
        vision_config=siglip,
        text_config=text("Gemma3TextConfig", sliding_window=16, **head),
        mm_tokens_per_image=4,
        **image("image_token_index"),
    )


PARTNERS = {
    "llava": "LlamaConfig",
    "llava_next": "LlamaConfig",
    "llava_onevision": "Qwen2Config",
    "idefics2": "MistralConfig",
    "idefics3": "LlamaConfig",
    "smolvlm": "LlamaConfig",
    "qwen2_vl": "Qwen2Config",
    "qwen2_5_vl": "Qwen2Config",
    "qwen3_vl": "Qwen3Config",
    "internvl": "Qwen2Config",
    "gemma3": "Gemma3TextConfig",
}


def save(model: Any, folder: Path) -> Path:
    """As the hub has it: a model made from a config would lose part of LLaVA's tower names."""
    from transformers.conversion_mapping import get_model_conversion_mapping

    if getattr(model, "_weight_conversions", None) is None:
        model._weight_conversions = get_model_conversion_mapping(model, add_legacy=False)
    model.save_pretrained(folder)
    return folder


def make_vlm(family: str, folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    model = tf.AutoModelForImageTextToText.from_config(vlm_config(family))
    words = tokenizer(family)
    model.generation_config = tf.GenerationConfig(
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id
    )
    save(_shaken(model), folder)
    processor(family).save_pretrained(folder)
    return folder


def make_llm(family: str, folder: Path, seed: int = 1, **more: Any) -> Path:
    torch.manual_seed(seed)
    head = {"head_dim": 8} if family in ("idefics2", "qwen3_vl", "gemma3") else {}
    model = tf.AutoModelForCausalLM.from_config(
        text_config(family, PARTNERS[family], **(head | more))
    )
    save(_shaken(model), folder)
    tokenizer(family).save_pretrained(folder)
    return folder


def _shaken(model: Any) -> Any:
    """Norms and biases start at 1 and 0 in every model: make them differ."""
    with torch.no_grad():
        for name, param in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                param.add_(0.1 * torch.randn_like(param))
    return model


def make_rows(folder: Path, count: int = 16) -> Path:
    """A data file with pictures, two pictures, and text alone."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(count):
        names = [f"{i}_{j}.png" for j in range(i % 3)]
        for j, name in enumerate(names):
            picture = Image.new("RGB", (CELL * (1 + (i + j) % 2), CELL), (40 * (i % 6), 9 * i, 90))
            ImageDraw.Draw(picture).line((0, 0, i, CELL), fill=(255, 255, 255))
            picture.save(folder / name)
        question = " and ".join(["what is <image>"] * len(names)) or "what is the second word"
        answer = " ".join(DIGITS[(i + k) % 10] for k in range(1 + i % 4))
        rows.append({"question": f"{question} ?", "answer": f"{answer} .", "images": names})
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint, by another reader than the one under test."""
    from safetensors.torch import load_file

    tensors: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors
