from pathlib import Path

import pytest
import torch
from tiny_models import PARTNERS, THREE, make_llm, make_rows, make_vlm


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """`<family>/{vlm,llm}`: a VLM and a reasoner of each family; a `base` of both for three."""
    folder = tmp_path_factory.mktemp("models")
    for family in PARTNERS:
        make_vlm(family, folder / family / "vlm")
        make_llm(family, folder / family / "llm", seed=1)
    for family in THREE:
        make_llm(family, folder / family / "base", seed=2)
    return folder


@pytest.fixture(params=THREE)
def family(request) -> str:
    return request.param


@pytest.fixture(params=PARTNERS)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def qwen(models) -> Path:
    return models / "qwen2_5_vl"


@pytest.fixture(scope="session")
def rows(tmp_path_factory) -> Path:
    return make_rows(tmp_path_factory.mktemp("data"))


@pytest.fixture
def pictures(tmp_path):
    """A folder with pictures of three shapes, `0.png` to `2.png`."""
    from PIL import Image

    for i, size in enumerate([(16, 16), (32, 16), (16, 32)]):
        Image.new("RGB", size, (80 * i, 10, 200)).save(tmp_path / f"{i}.png")
    return tmp_path
