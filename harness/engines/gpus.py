"""The GPUs of this machine, told without loading torch."""

import os
import re
import subprocess
from glob import glob
from itertools import takewhile

DEVICES = "/dev/nvidia[0-9]*"
"""Files of NVIDIA's driver, one a GPU; a container has those that it was given."""

NODES = "/sys/class/kfd/kfd/topology/nodes/*/gpu_id"
"""Of AMD's: 0 is a processor."""


def visible() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.

    Slices of a GPU (MIG) count where the user names them.
    """
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        names = (name.strip() for name in named.split(","))
        # CUDA stops at the first that is none.
        return list(takewhile(lambda name: name not in ("", "-1", "NoDevFiles"), names))
    listed = [line for line in _nvidia_smi("-L") if re.match(r"GPU \d+:", line)]
    return [str(number) for number in range(len(listed) or len(glob(DEVICES)) or _amd())]


def memory() -> int | None:
    """Return the bytes of the smallest GPU, None where none is here or tells."""
    told = _nvidia_smi("--query-gpu=memory.total", "--format=csv,noheader,nounits")
    sizes = [int(line) for line in told if line.strip().isdecimal()]
    return 2**20 * min(sizes) if sizes else None


def _nvidia_smi(*words: str) -> list[str]:
    try:
        said = subprocess.run(["nvidia-smi", *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return said.stdout.splitlines()


def _amd() -> int:
    count = 0
    for path in glob(NODES):
        with open(path) as file:
            count += file.read().strip() not in ("", "0")
    return count
