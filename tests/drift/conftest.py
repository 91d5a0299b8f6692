from pathlib import Path

import pico
import pytest
import torch

from drift.families import FAMILIES

EVERY = tuple(family.model_type for family in FAMILIES)
"""Every family that is known."""
THREE = ("qwen2_5_vl", "llava_next", "idefics3")
"""One of each way to hold a decoder and to see a picture, for what takes longer."""


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """`<family>/{vlm,llm}`: a VLM and a reasoner of each family; a `base` of both for three."""
    folder = tmp_path_factory.mktemp("models")
    for family in EVERY:
        pico.make_vlm(family, folder / family / "vlm")
        pico.make_llm(family, folder / family / "llm", seed=1)
    for family in THREE:
        pico.make_llm(family, folder / family / "base", seed=2)
    return folder


@pytest.fixture(params=THREE)
def family(request) -> str:
    return request.param


@pytest.fixture(params=EVERY)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def qwen(models) -> Path:
    return models / "qwen2_5_vl"


@pytest.fixture(scope="session")
def rows(tmp_path_factory) -> Path:
    return pico.make_rows(tmp_path_factory.mktemp("data"))
