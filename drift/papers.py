"""What a checkpoint needs beside its weights: configuration, tokenizer, processor, template."""

import shutil
from pathlib import Path

from drift.fingerprints import SHAPING

NEEDED = (*SHAPING, "*.model", "*.tiktoken", "LICENSE*", "NOTICE*")
"""Nothing of how it came to be (`made.json`, logs, `checkpoint-5/`), of other formats (`onnx/`), or
of an adapter: those belong to the checkpoint that they lie beside."""


def copy_papers(source: Path, target: Path) -> None:
    """Copy what a checkpoint folder holds of `NEEDED`."""
    for path in sorted({path for pattern in NEEDED for path in source.glob(pattern)}):
        if path.is_file():
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
