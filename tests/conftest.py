"""Before any test imports transformers or vLLM."""

import io
import os
import re
from unittest import mock

import pytest
from fakehub import FakeHub

from common import torch_guard
from driftbench import __main__
from harness.studies import arms

torch_guard.install()


def pytest_configure(config):
    """Tests are of a machine without a GPU; `-m gpu` runs those that need one."""
    if not config.option.markexpr.startswith("gpu"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items):
    """Files with a slow test come first: the quick ones then keep every process busy to the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def driftbench(capsys):
    """Run a command line, which must end with `status`; return what is printed until then."""

    def run(*words, status=0):
        pieces = [word.split() if isinstance(word, str) else [str(word)] for word in words]
        assert __main__.run(sum(pieces, [])) == status
        return capsys.readouterr()

    return run


@pytest.fixture
def mistake(driftbench):
    """Run a command line that cannot be meant; return the one sentence that it gets."""

    def run(*words):
        said = driftbench(*words, status=2)
        # Without lines on progress, which a busy machine alone gets to see.
        err = re.sub(r"^(?!driftbench: ).* …\n", "", said.err, flags=re.MULTILINE)
        assert said.out == "" and "Traceback" not in err
        assert err.startswith("driftbench: ") and err.count("\n") == 1
        return err

    return run


@pytest.fixture(scope="module")
def one_seed_of_tuning():
    """Studies leave out a second seed of tuning: it would tell nothing but the time it takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arms, "SEEDS", arms.SEEDS[:1])
        yield


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when told, for everything that shows progress."""

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    made = Clock()
    monkeypatch.setattr("common.progress.time", made)
    monkeypatch.setattr("common.progress.Timer", lambda *_: mock.Mock())
    monkeypatch.setattr("harness.evaluate.progress.time", made)
    return made


@pytest.fixture
def screen(monkeypatch):
    """A terminal, to be put in the place of `sys.stderr`."""
    made = io.StringIO()
    monkeypatch.setattr(made, "isatty", lambda: True)
    return made


@pytest.fixture
def heard(monkeypatch):
    """What a tracker in the place of TensorBoard hears: (event, run's name, step, what)."""
    import transformers as tf

    found = []

    class Tracker(tf.TrainerCallback):
        logging_dir = None

        def on_train_begin(self, args, state, control, **_):
            found.append(("begin", args.run_name, state.global_step, args.to_dict()))

        def on_log(self, args, state, control, logs=None, **_):
            found.append(("log", args.run_name, state.global_step, logs))

        def on_train_end(self, args, state, control, **_):
            found.append(("end", args.run_name, state.global_step, self.logging_dir))

    table = tf.integrations.integration_utils.INTEGRATION_TO_CALLBACK
    monkeypatch.setitem(table, "tensorboard", Tracker)
    monkeypatch.setattr("common.tracking.find_spec", lambda name: name == "tensorboard" or None)
    return found


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
