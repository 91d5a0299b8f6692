"""vLLM's own server, also with its build for CPUs: what `driftbench serve` runs.

    python -P -m harness.engines.vllm_server --model vlm --port 8000

An engine that it spawns imports its parent's main file before all else: this one, by which the
guard of torchvision stands there too.
"""

import os

from harness.engines.vllm import installed, settle

if __name__ in ("__main__", "__mp_main__"):
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "INFO")
    # On a CPU without a worker beside the engine: the two wait for each other in busy loops, which
    # on cores with other work take the time of the answer.
    found = installed()
    settle(on_cpu=bool(found and found[1]))

if __name__ == "__main__":
    from vllm.entrypoints.launchers.api_server.entry import main

    main()
