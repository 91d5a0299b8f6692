"""One merge by mergekit, in an environment of its own, for `checkpoints.py`; nothing of ours here.

    python perf/mergekit_side.py METHOD FOLDER

FOLDER holds `vlm`, `llm` and `base` as `checkpoints.py` makes them. mergekit merges models of one
architecture, so it gets the VLM's decoder as a text model: a link to the same file under another
config.json. The merge is that of `driftbench merge --alpha 0.1`, computed in bfloat16 as it does.
"""

import json
import sys
import time
from pathlib import Path

ALPHA, DENSITY = 0.1, 0.5


def main(method: str, folder: Path) -> None:
    """Print the seconds that it took, and those that the cores worked."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    sides = {name: str(_as_text(folder / name)) for name in ("vlm", "llm", "base")}
    config: dict = {"merge_method": method, "dtype": "bfloat16"}
    if method == "slerp":
        config |= {"base_model": sides["vlm"], "parameters": {"t": ALPHA}}
        config["models"] = [{"model": sides["vlm"]}, {"model": sides["llm"]}]
    else:
        weights = (1.0 if method == "task_arithmetic" else 1 - ALPHA, ALPHA)
        config["models"] = [
            {"model": sides[name], "parameters": {"weight": weight, "density": DENSITY}}
            for name, weight in zip(("vlm", "llm"), weights, strict=True)
        ]
        if method != "linear":
            config |= {"base_model": sides["base"], "parameters": {"normalize": False}}
    options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True)
    started, worked = time.perf_counter(), time.process_time()
    run_merge(MergeConfiguration.model_validate(config), str(folder / "out"), options)
    print(json.dumps([time.perf_counter() - started, time.process_time() - worked]))


def _as_text(model: Path) -> Path:
    """`model` as a Qwen2, with what mergekit has to know of it."""
    with (model / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    layers = {name.split(".")[2] for name in header if name.startswith("model.layers.")}
    (vocabulary, width), (inner, _) = (
        header[name]["shape"]
        for name in ("model.embed_tokens.weight", "model.layers.0.mlp.gate_proj.weight")
    )
    config = {
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        "num_hidden_layers": len(layers),
        "hidden_size": width,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "tie_word_embeddings": True,
    }
    place = model.with_name(f"{model.name}-as-text")
    place.mkdir(exist_ok=True)
    (place / "config.json").write_text(json.dumps(config))
    if not (place / "model.safetensors").exists():
        (place / "model.safetensors").symlink_to(model / "model.safetensors")
    return place


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
