"""Random models of a few ten thousand parameters, one of each family, as checkpoint folders.

Two layers, a hidden size of 64, a tokenizer that reads letter by letter. The families differ in
the traps they set: Qwen's have no beginning token, LLaVA-NeXT's is added by the tokenizer, the
others' by the template.
"""

import io
import json
import random
import shutil
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drift.families import BY_TYPE, FAMILIES
from drift.pocket import models
from drift.pocket.world import CELL

PARTNERS = {family.model_type: family.text_types[0] for family in FAMILIES}
"""Every family that is known, with the type of its text-only model."""
THREE = models.FAMILIES
"""One of each way to hold a decoder and to see a picture, for what takes longer."""
LACKING = "idefics2"
"""A family that vLLM has not."""
CONTEXT = 256
HIDDEN = 64
SPREAD = 0.15
"""Of fresh weights: enough for answers that hardly repeat themselves and depend on a picture."""

_QWEN_MOE = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "norm_topk_prob": True,
}
_GLM_MOE = {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "attention_bias": True,
}
EXPERTS = {
    **dict.fromkeys(("qwen3_moe", "qwen3_vl_moe_text"), _QWEN_MOE),
    "qwen3_5_moe_text": _QWEN_MOE | {"shared_expert_intermediate_size": 16},
    **dict.fromkeys(("glm4_moe", "glm4v_moe_text"), _GLM_MOE),
}
LINEAR = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_conv_kernel_dim": 4,
    "layer_types": ["linear_attention", "full_attention"],
}

LETTERS = string.ascii_letters + string.digits + string.punctuation + " \n"
QWEN, IDEFICS = models.SPECIAL["qwen2_5_vl"], models.SPECIAL["idefics3"]
INTERNVL = ("<img>", "</img>", "<IMG_CONTEXT>", "<video>")
GEMMA = ("<start_of_image>", "<end_of_image>", "<image_soft_token>")
GLM = tuple(f"<|{word}|>" for word in ("image", "video", "begin_of_image", "end_of_image"))
GLM += ("<|begin_of_video|>", "<|end_of_video|>")
OVIS = ("<IMG_ATOM>", *(f"<IMG_{word}>" for word in ("START", "GRID", "COL", "ROW", "END")))
MARKS = {
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "exaone4_5"), QWEN),
    **dict.fromkeys(("qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"), QWEN),
    **dict.fromkeys(("glm4v", "glm46v", "glm4v_moe"), GLM),
    "internvl": INTERNVL,
    "gemma3": GEMMA,
    "ovis2": ("<image>", *OVIS),
    "mistral3": ("<image>", "<break>", "<end>"),
    "cohere2_vision": ("<image>", "<start>", "<end>", "<break>", "<tile>", "<global>"),
}


def special(family: str) -> tuple[str, ...]:
    return MARKS.get(family, IDEFICS)


def image_token(family: str) -> str:
    """What each place of a picture is in a row of tokens."""
    places = {QWEN: "<|image_pad|>", INTERNVL: INTERNVL[2], GEMMA: GEMMA[2], GLM: GLM[0]}
    return OVIS[0] if family == "ovis2" else places.get(special(family), "<image>")


def mark(family: str) -> str:
    """What stands for a picture in a prompt."""
    marks = {QWEN: models.PICTURE["qwen2_5_vl"], GLM: GLM[2] + GLM[0] + GLM[3], GEMMA: GEMMA[0]}
    return "<image>" if family == "ovis2" else marks.get(special(family), image_token(family))


def tokenizer(family: str) -> Any:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import WordLevel
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    marks = (*models.BASIC, *special(family))
    vocabulary = {word: id for id, word in enumerate((*models.BASIC, *LETTERS, *special(family)))}
    backend = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(w, special=True, normalized=False) for w in marks])
    if family == "llava_next":
        begin = [("<s>", vocabulary["<s>"])]
        backend.post_processor = TemplateProcessing(single="<s> $A", special_tokens=begin)
    named = {"image_token": image_token(family)}
    if family == "idefics2":
        named |= {"image_boundary_token": "<fake_token_around_image>"}
    elif family == "gemma3":
        named |= {"boi_token": GEMMA[0], "eoi_token": GEMMA[1]}
    elif family == "internvl":
        names = ("start_image_token", "end_image_token", "context_image_token", "video_token")
        named |= dict(zip(names, INTERNVL, strict=True))
    elif special(family) == GLM:
        named |= {"video_token": GLM[1]}
    elif family == "ovis2":
        named = {"image_token": "<image>"}
    elif family == "cohere2_vision":
        names = ("boi_token", "eoi_token", "img_line_break_token", "tile_token", "global_token")
        named |= dict(zip(names, MARKS[family][1:], strict=True))
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=None if family.startswith("qwen") else "<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens=named,
        model_max_length=CONTEXT,
    )
    begins = not family.startswith("qwen") and family != "llava_next"
    template = models.TEMPLATE.replace("{{ '<s>' }}", "{{ bos_token }}" if begins else "")
    # Letter by letter, an answer goes on where its question ends, which is behind the space.
    template = template.replace("'<|assistant|>'", "'<|assistant|> '")
    made.chat_template = template.replace("PICTURE", mark(family))
    return made


SQUARE = {"height": CELL, "width": CELL}
GRID = [[CELL, 2 * CELL], [2 * CELL, CELL], [2 * CELL, 2 * CELL]]


def processor(family: str) -> Any:
    import transformers as tf

    words, video, more = tokenizer(family), None, {}
    clip = {"size": {"shortest_edge": CELL}, "crop_size": SQUARE}
    tiles = {"size": {"longest_edge": 2 * CELL}, "max_image_size": {"longest_edge": CELL}}
    tower = {"patch_size": CELL // 2, "vision_feature_select_strategy": "default"}
    tower |= {"image_token": "<image>", "num_additional_image_tokens": 1}
    match family:
        case "llava":
            kind, image, more = "Llava", tf.CLIPImageProcessor(**clip), tower
        case "llava_next":
            image = tf.LlavaNextImageProcessor(image_grid_pinpoints=GRID, **clip)
            kind, more = "LlavaNext", tower
        case "llava_onevision":
            image = tf.LlavaOnevisionImageProcessor(size=SQUARE, image_grid_pinpoints=GRID)
            kind, video = "LlavaOnevision", tf.LlavaOnevisionVideoProcessor(size=SQUARE)
            more = {"num_image_tokens": 4, "vision_feature_select_strategy": "full"}
        case "idefics2":
            size = {"shortest_edge": CELL, "longest_edge": 2 * CELL}
            image = tf.Idefics2ImageProcessor(size=size, do_image_splitting=False)
            kind, more = "Idefics2", {"image_seq_len": 4}
        case "idefics3":
            image = tf.Idefics3ImageProcessor(**tiles)
            kind, more = "Idefics3", {"image_seq_len": 1}
        case "smolvlm":
            image, video = tf.SmolVLMImageProcessor(**tiles), tf.SmolVLMVideoProcessor()
            kind, more = "SmolVLM", {"image_seq_len": 1}
        case "internvl":
            image = tf.GotOcr2ImageProcessor(size=SQUARE, max_patches=2)
            kind, video = "InternVL", tf.InternVLVideoProcessor(size=SQUARE)
            more = {"image_seq_length": 1}
        case "gemma3":
            image = tf.Gemma3ImageProcessor(size=SQUARE)
            kind, more = "Gemma3", {"image_seq_length": 4}
        case "glm4v" | "glm46v" | "glm4v_moe":
            kind = "Glm46V" if family == "glm46v" else "Glm4v"
            # Twice as many as of pixels: they count the two frames that a picture is.
            edges = {"shortest_edge": 2 * CELL**2, "longest_edge": 32 * CELL**2}
            patches: Any = {"patch_size": CELL // 2, "merge_size": 2}
            image = getattr(tf, f"{kind}ImageProcessor")(size=edges, **patches)
            video = getattr(tf, f"{kind}VideoProcessor")(**patches)
        case "mistral3":
            size = {"longest_edge": 2 * CELL}
            image = tf.PixtralImageProcessor(size=size, patch_size=CELL // 2)
            kind, more = "Pixtral", {"patch_size": CELL // 2, "spatial_merge_size": 2}
            more |= {
                "image_break_token": "<break>",
                "image_end_token": "<end>",
                "image_token": "<image>",
            }
        case "cohere2_vision":
            # Not the patch of the tower: it is the tokens a side of a tile.
            double = {"height": 2 * CELL, "width": 2 * CELL}
            image = tf.Cohere2VisionImageProcessor(size=double, patch_size=2, max_patches=2)
            kind = "Cohere2Vision"
        case "ovis2":
            image = tf.Ovis2ImageProcessor(size=SQUARE)
            kind, more = "Ovis2", {"image_seq_length": 4}
        case _:
            like: Any = models.processor("qwen2_5_vl")
            image, video = like.image_processor, like.video_processor
            if family.startswith("qwen3"):
                video = tf.Qwen3VLVideoProcessor(patch_size=CELL // 2, merge_size=2)
            names = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL", "qwen3_vl": "Qwen3VL"}
            names |= {"exaone4_5": "Exaone4_5_"}
            kind = names.get(family, "Qwen3VL")
    if video is not None:
        more = {**more, "video_processor": video}
    return getattr(tf, f"{kind}Processor")(
        image_processor=image, tokenizer=words, chat_template=words.chat_template, **more
    )


def text_config(family: str, kind: str, **more: Any) -> Any:
    """Of a language model of type `kind` that reads the words of `family`."""
    from transformers import AutoConfig

    words = tokenizer(family)
    shape = {
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,  # the smallest that vLLM's CPU attention knows
        "max_position_embeddings": CONTEXT,
        "initializer_range": SPREAD,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        "tie_word_embeddings": False,
        "vocab_size": len(words),
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    shape |= EXPERTS.get(kind, {})
    if "qwen3_5" in kind:
        shape |= LINEAR
    if kind == "cohere2":
        shape["logit_scale"] = 1.0  # transformers' VLM leaves it out
    return AutoConfig.for_model(kind, **(shape | more))


def vlm_config(family: str, tied: bool = False) -> Any:
    from transformers import AutoConfig

    token = tokenizer(family).convert_tokens_to_ids
    tower = {
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": CELL,
        "patch_size": CELL // 2,
        "initializer_range": SPREAD,
    }
    clip, siglip = (tower | {"model_type": f"{kind}_vision_model"} for kind in ("clip", "siglip"))
    grid = {"depth": 1, "num_heads": 2, "patch_size": CELL // 2, "spatial_merge_size": 2}
    grid |= {"hidden_size": HIDDEN, "initializer_range": SPREAD}
    qwen = grid | {"out_hidden_size": HIDDEN, "intermediate_size": 2 * HIDDEN}
    resampler = {
        "hidden_size": HIDDEN,
        "resampler_n_latents": 4,
        "resampler_depth": 1,
        "resampler_n_heads": 2,
        "resampler_head_dim": 32,
        "num_key_value_heads": 1,
        "initializer_range": SPREAD,
    }
    parts: dict[str, dict[str, Any]] = {
        "llava": {"vision_config": clip},
        "llava_next": {
            "vision_config": clip,
            "image_grid_pinpoints": GRID,
            "image_seq_length": 4,
            "vision_feature_layer": -1,
        },
        "llava_onevision": {"vision_config": siglip, "image_grid_pinpoints": GRID},
        "idefics2": {"vision_config": tower, "perceiver_config": resampler},
        "idefics3": {"vision_config": tower, "scale_factor": 2},
        "smolvlm": {"vision_config": tower, "scale_factor": 2},
        "qwen2_vl": {"vision_config": grid | {"embed_dim": HIDDEN}},
        "qwen2_5_vl": {
            "vision_config": qwen | {"window_size": 4 * CELL, "fullatt_block_indexes": [0]}
        },
        "qwen3_vl": {
            "vision_config": qwen | {"num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
        },
        "internvl": {
            "vision_config": tower | {"image_size": [CELL] * 2, "patch_size": [CELL // 2] * 2}
        },
        "gemma3": {"vision_config": siglip, "mm_tokens_per_image": 4},
        "mistral3": {
            "vision_config": tower | {"model_type": "pixtral", "head_dim": 32},
            "spatial_merge_size": 2,
        },
        "cohere2_vision": {
            "vision_config": siglip | {"image_size": 2 * CELL},
            "alignment_intermediate_size": HIDDEN,
        },
        "ovis2": {
            "vision_config": tower | {"vocab_size": 32, "hidden_stride": 1},
            "visual_indicator_token_ids": [token(word) for word in OVIS[1:]],
            "vocab_size": len(tokenizer(family)),
            "hidden_size": HIDDEN,
        },
        "exaone4_5": {"vision_config": qwen | {"num_key_value_heads": 2}},
    }
    glm = qwen | {"image_size": 4 * CELL, "model_type": "glm4v_vision"}
    parts |= dict.fromkeys(("glm4v", "glm46v"), {"vision_config": glm})
    parts["glm4v_moe"] = {"vision_config": glm | {"model_type": "glm4v_moe_vision"}}
    parts["qwen3_vl_moe"] = parts["qwen3_vl"]
    hybrid = {"vision_config": qwen | {"num_position_embeddings": 16}}
    parts |= dict.fromkeys(("qwen3_5", "qwen3_5_moe"), hybrid)
    kind, more, ids = BY_TYPE[family].inside, {}, {}
    if special(family) == GLM or family.startswith("qwen"):
        rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]}
        more = {"rope_parameters": rope}
    if family.startswith("qwen3_5"):
        rope |= {"partial_rotary_factor": 0.25, "mrope_section": [2, 1, 1]}  # as Qwen3.5 itself
    if special(family) == GLM:
        rope |= {"partial_rotary_factor": 0.5, "mrope_section": [2, 3, 3]}  # as GLM-4 itself
        ends = {f"{what}_{end}" for what in ("image", "video") for end in ("start", "end")}
        words = {"start": "begin", "end": "end"}
        for place in ends:
            what, end = place.split("_")
            ids[f"{place}_token_id"] = token(f"<|{words[end]}_of_{what}|>")
        ids["video_token_id"] = token("<|video|>")
    if special(family) == QWEN:
        ids = {"video_token_id": token("<|video_pad|>")}
        ids |= {f"vision_{end}_token_id": token(f"<|vision_{end}|>") for end in ("start", "end")}
    elif family == "gemma3":
        more = {"sliding_window": 16}
    by_index = ("llava", "gemma3", "mistral3")
    index = "index" if family.startswith(by_index) else "id"
    return AutoConfig.for_model(
        family,
        text_config=text_config(family, kind, tie_word_embeddings=tied, **more).to_dict(),
        tie_word_embeddings=tied,
        pad_token_id=0,
        **{f"image_token_{index}": token(image_token(family))},
        **ids,
        **parts[family],
    )


def make_vlm(family: str, folder: Path, seed: int = 0, tied: bool = False) -> Path:
    """Write a vision-language model with weights of its own."""
    from transformers import AutoModelForImageTextToText as Model

    return _make(Model, vlm_config(family, tied), processor(family), folder, seed)


def make_llm(family: str, folder: Path, seed: int = 1, **shape: Any) -> Path:
    """Write a text-only model that pairs with the VLM, unless `shape` differs."""
    from transformers import AutoModelForCausalLM as Model

    config = text_config(family, PARTNERS[family], **shape)
    return _make(Model, config, tokenizer(family), folder, seed)


def _make(kind: Any, config: Any, reader: Any, folder: Path, seed: int) -> Path:
    import torch
    from transformers import GenerationConfig

    torch.manual_seed(seed)
    model = kind.from_config(config)
    # Norms and biases start at 1 and 0 in every model: make them differ.
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                weight.add_(0.1 * torch.randn_like(weight))
    models.write(model, reader, folder)
    if config.model_type == "qwen3_vl_moe":
        turn_experts(folder)
    # The settings a chat model ships with; the harness must not let them in.
    GenerationConfig(
        eos_token_id=config.get_text_config().eos_token_id,
        pad_token_id=0,
        repetition_penalty=1.5,
        do_sample=True,
        temperature=0.7,
    ).save_pretrained(folder)
    return folder


def turn_experts(folder: Path) -> None:
    """Lay fused experts the other way round: as the hub has them, from what transformers writes."""
    from safetensors.torch import save_file

    def turned(name: str, tensor: Any) -> Any:
        return tensor.transpose(1, 2).contiguous() if ".experts." in name else tensor

    tensors = {name: turned(name, tensor) for name, tensor in read(folder).items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def read(folder: Path) -> dict[str, Any]:
    """All tensors of a checkpoint, by another reader than the one under test."""
    from safetensors.torch import load_file

    tensors: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors


def altered(folder: Path, target: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Copy a checkpoint; `change` alters the copy's tensors in place."""
    from safetensors.torch import save_file

    shutil.copytree(folder, target)
    tensors = read(target)
    change(tensors)
    save_file(tensors, target / "model.safetensors", {"format": "pt"})
    return target


def picture(seed: int, size: tuple[int, int] = (2 * CELL, CELL)) -> bytes:
    """A PNG of noise."""
    from PIL import Image

    pixels = random.Random(seed).randbytes(3 * size[0] * size[1])
    file = io.BytesIO()
    Image.frombytes("RGB", size, pixels).save(file, "PNG")
    return file.getvalue()


def question(id: str = "q", prompt: str = "what?", pictures: int = 0, **row: Any) -> Any:
    from harness.runs.schema import Image, Question

    images = tuple(Image(f"{n}" * 64, ".png", picture(n)) for n in range(pictures))
    return Question(task="pocket", id=id, prompt=prompt, images=images, row=row)


def make_rows(folder: Path, count: int = 16) -> Path:
    """A data file with pictures, two pictures, and text alone."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = "zero one two three four five six seven eight nine".split()
    rows = []
    for i in range(count):
        names = [f"{i}_{j}.png" for j in range(i % 3)]
        for j, name in enumerate(names):
            (folder / name).write_bytes(picture(i + j, (CELL * (1 + (i + j) % 2), CELL)))
        question = " and ".join(["what is <image>"] * len(names)) or "what is the second word"
        answer = " ".join(numbers[(i + k) % 10] for k in range(1 + i % 4))
        rows.append({"question": f"{question} ?", "answer": f"{answer} .", "images": names})
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_rows(folder: Path, *rows: Any, name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
