"""vLLM's own server, also with its build for CPUs: what `driftbench serve` runs.

    python -P -m harness.engines.vllm_server --model vlm --port 8000

An engine that it spawns imports its parent's main file before all else: this one, by which the
guard of torchvision stands there too.
"""

import os

from harness.engines.vllm import installed, settle

SETTINGS = {"VLLM_LOGGING_LEVEL": "INFO", "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
"""Instead of those for a run, unless the user has others."""

if __name__ in ("__main__", "__mp_main__"):
    for setting in SETTINGS.items():
        os.environ.setdefault(*setting)
    found = installed()
    settle(on_cpu=bool(found and found[1]))

if __name__ == "__main__":
    from vllm.entrypoints.launchers.api_server.entry import main

    main()
