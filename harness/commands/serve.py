"""`driftbench serve`: a checkpoint behind an OpenAI-compatible endpoint."""

import os
import sys
from typing import Annotated

from typer import Argument, Context

from common.errors import UserError
from common.hub import local

SETTINGS = {"ignore_unknown_options": True, "allow_extra_args": True}
"""Of the command: what it does not know is vLLM's."""


def serve(
    context: Context,
    checkpoint: Annotated[str, Argument(metavar="CKPT", help="Folder or hub id of a model.")],
) -> None:
    """Serve a checkpoint by vLLM, whose own options follow CKPT.

    For example --port 8000 --max-model-len 8192. It does what `vllm serve` does, and does it with
    vLLM's build for CPUs too.
    """
    from harness.engines.vllm import installed

    if checkpoint.startswith("-"):
        raise UserError(f"the checkpoint comes first: driftbench serve CKPT {checkpoint} …")
    if installed() is None:
        raise UserError("vLLM is not installed: `make setup` does it")
    named = ["--model", str(local(checkpoint)), "--served-model-name", checkpoint]
    words = [sys.executable, "-P", "-m", "harness.engines.vllm_server", *named, *context.args]
    sys.stdout.flush()
    os.execv(sys.executable, words)
