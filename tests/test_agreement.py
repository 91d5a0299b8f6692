"""The engines give the same greedy answers, token for token, on pocket questions.

The models are random, so nothing but the implementations' agreement makes the answers equal.
"""

import functools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import tasks
from common.errors import UserError
from drift.pocket import models, world
from harness.checkpoints.preflight import open_checkpoint
from harness.engines.connection import address
from harness.engines.server import ServerEngine, Service, served_checkpoint
from harness.evaluate.run import EvalConfig, run
from harness.runs.log import read_responses

PER_GROUP = 12

SERVED = "llava_next"
"""Its beginning token is added by the tokenizer, which vLLM's server must be told to do."""


@pytest.mark.slow
@pytest.mark.parametrize("family", models.FAMILIES)
def test_greedy_answers_agree_on_48_questions(family, tmp_path):
    world.write(tmp_path / "world", seed=5, train=1, validation=1, test=PER_GROUP)
    torch.manual_seed(0)
    models.save(models.vlm(family, 1000.0), family, tmp_path / "vlm")
    said = {}
    for engine in ("vllm", "hf"):
        run(
            [open_checkpoint(tmp_path / "vlm")],
            [tasks.load("pocket")],
            tmp_path / engine,
            EvalConfig(data=tmp_path / "world"),
            engine=engine,
        )
        said[engine] = answers(tmp_path / engine)
    assert len(said["vllm"]) == 4 * PER_GROUP
    assert said["vllm"] == said["hf"]
    assert len({text for text, *_ in said["vllm"].values()}) > 4  # they depend on the question
    if family == SERVED:
        with serving(tmp_path / "vlm", tmp_path / "log") as service:
            run(
                [served_checkpoint("pocket", service, open_checkpoint(tmp_path / "vlm"))],
                [tasks.load("pocket")],
                tmp_path / "server",
                EvalConfig(data=tmp_path / "world"),
                engine=functools.partial(ServerEngine, service=service),
            )
        assert answers(tmp_path / "server") == said["vllm"]


def answers(folder: Path) -> dict[str, tuple]:
    responses = read_responses(folder)
    return {r.id: (r.text, r.finish, r.tokens_in, r.tokens_out) for r in responses}


@contextmanager
def serving(checkpoint: Path, log: Path) -> Iterator[Service]:
    """Start vLLM's own server over a checkpoint, on a free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # The server and its engine are processes of their own: both need the guard of torchvision.
    (log.parent / "sitecustomize.py").write_text(
        "from common import torch_guard\ntorch_guard.install()\n"
    )
    command = [sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server",
               "--model", str(checkpoint), "--served-model-name", "pocket", "--dtype", "float32",
               "--host", "127.0.0.1", "--port", str(port), "--enforce-eager"]  # fmt: skip
    settings = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "TORCHDYNAMO_DISABLE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(log.parent),
    }
    service = Service((address(f"http://127.0.0.1:{port}"),))
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env={**os.environ, **settings}, cwd=log.parent
        )
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                served_checkpoint("pocket", service)
                break
            except UserError:
                ended = process.poll() is not None or time.monotonic() > deadline
                assert not ended, log.read_text()[-3000:]
                time.sleep(1)
        yield service
    finally:
        process.terminate()
        process.wait(60)
