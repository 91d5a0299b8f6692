"""Before any test imports transformers or vLLM."""

import pytest
from fakehub import FakeHub

from common import torch_guard
from driftbench import __main__

torch_guard.install()


@pytest.fixture
def driftbench(capsys):
    """Run a command line, which must end with `status`; return what is printed until then."""

    def run(*words, status=0):
        assert __main__.run(" ".join(map(str, words)).split()) == status
        return capsys.readouterr()

    return run


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub that is asked, and a cache of its own."""
    with FakeHub(tmp_path / "hub") as made:
        settings = {
            "ENDPOINT": made.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": made.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "hub-cache"),
            "HF_HUB_OFFLINE": False,
        }
        for name, value in settings.items():
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
        yield made
