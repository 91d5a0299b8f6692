"""Train every family by two processes that share the model (FSDP2), cut off and taken up again.

    python perf/sharded.py
    python perf/sharded.py llava gemma3

Tiny models with random weights, over gloo, on rows with pictures and without. It fails unless each
model comes out as one process makes it, and the one that was cut off as the one that was not, bit
for bit. The suite runs one of the families.
"""

import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/drift/training")]

if __name__ == "__main__":
    import tiny_models as tiny
    import worker

    from drift.training.config import TrainConfig

    for family in sys.argv[1:] or tiny.PARTNERS:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            config = TrainConfig(
                vlm=str(tiny.make_vlm(family, folder / "vlm")),
                reasoner=str(tiny.make_llm(family, folder / "llm")),
                data=str(tiny.make_rows(folder / "data")),
                prior="reasoner-vlm",
                prior_dtype="float32",
                dtype="float32",
                lr=1e-3,
            )
            worker.check_shared(config, folder)
        print(f"{family}: as one, and as if never cut off ({time.perf_counter() - began:.0f} s)")
