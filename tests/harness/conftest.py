import json
import os
from pathlib import Path

import pytest

# Two threads on a busy machine wait for each other; the models here are tiny.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import tiny_models as tiny  # noqa: E402


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """Rows of the pocket task: pictures of several shapes, two of them, one in the middle, none."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "images").mkdir()
    for number, size in enumerate([(56, 28), (28, 56), (60, 60), (90, 31)]):
        (folder / "images" / f"{number}.png").write_bytes(tiny.picture(number, size))
    rows = [
        ("<image>what is it?", ["images/0.png"], "reasoning-image"),
        ("<image>what is it?", ["images/1.png"], "reasoning-image"),
        ("<image>what is it?", ["images/2.png"], "perception"),
        ("look: <image> and say 1 + 2", ["images/3.png"], "reasoning-both"),
        ("<image>first<image>second", ["images/0.png", "images/2.png"], "reasoning-image"),
        ("what is 3 + 4?", [], "reasoning-text"),
        ("say Q", [], "reasoning-text"),
    ]
    with (folder / "test.jsonl").open("w") as file:
        for number, (text, images, group) in enumerate(rows):
            row = {"id": f"q{number}", "question": text, "answer": "7", "group": group}
            file.write(json.dumps({**row, "images": images}) + "\n")
    return folder


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    """Two VLMs a family that differ in weights, `-a` and `-b`, and its text-only model, `-text`."""
    base = tmp_path_factory.mktemp("checkpoints")
    made = {}
    for family in tiny.THREE:
        tied = family != "qwen2_5_vl"
        for seed, name in enumerate(("a", "b")):
            folder = base / f"{family}-{name}"
            made[f"{family}-{name}"] = tiny.make_vlm(family, folder, seed, tied)
        folder = base / f"{family}-text"
        made[f"{family}-text"] = tiny.make_llm(family, folder, 2, tie_word_embeddings=tied)
    return made
