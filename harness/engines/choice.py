"""Which engine answers, where the user leaves it open."""

import sys

from harness.checkpoints.kinds import Checkpoint, folder_of
from harness.engines import Engine, Maker
from harness.runs.schema import RunCard


def maker(engine: str | Maker, checkpoint: Checkpoint, old: RunCard | None) -> Maker:
    """Resolve the engine; `auto` is what a run was begun with, else vLLM where it can."""
    from harness.engines import hf, vllm

    if not isinstance(engine, str):
        return engine
    makers: dict[str, Maker] = {"vllm": vllm.VllmEngine, "hf": hf.HfEngine}
    if engine == "auto" and old is not None and old.engine in makers:
        engine = old.engine
    elif engine == "auto":
        if vllm.installed() is not None and vllm.lacks(folder_of(checkpoint)):
            return _instead_of_vllm
        engine = "vllm" if vllm.installed() else "hf"
    return makers[engine]


def _instead_of_vllm(checkpoint: Checkpoint) -> Engine:
    from harness.engines import hf, vllm

    said = f"{vllm.lacks(folder_of(checkpoint))}: transformers answers, which is slower"
    print(f"driftbench: {said}", file=sys.stderr)
    return hf.HfEngine(checkpoint, (said,))
