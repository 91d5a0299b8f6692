"""What is poured into an engine is what `merge` would have written, bit for bit."""

import io
import json
from math import prod

import pytest
from tiny_models import read

from common.errors import UserError
from drift import merge as merging
from drift import pour
from drift.families import pair
from drift.merge import Recipe


def poured(stream):
    """One merge off the stream: name → bytes."""
    found = {}
    for _ in range(json.loads(stream.readline())["tensors"]):
        head = json.loads(stream.readline())
        size = {"float32": 4, "bfloat16": 2}[head["dtype"]] * prod(head["shape"])
        found[head["name"]] = stream.read(size)
    return found


@pytest.mark.parametrize("method", merging.METHODS)
def test_every_method_pours_the_bytes_that_merge_writes(models, family, method, tmp_path):
    folder = models / family
    base = folder / "base" if method in merging.NEEDS_BASE else None
    layers = (1,) if method == "layer_swap" else ()
    recipe = Recipe(method, 0.3, swap_layers=layers)
    out = io.BytesIO()
    asked = [b'{"alpha": 0.3}\n', b'{"alpha": 0}\n']
    pour.serve(folder / "vlm", folder / "llm", recipe, base, asked, out)
    dict(merging.merge(folder / "vlm", folder / "llm", {tmp_path / "m": recipe}, base))
    stream = io.BytesIO(out.getvalue())
    names = {
        weight.vlm_key
        for weight in pair(folder / "vlm", folder / "llm").weights
        if weight.role in recipe.modules
    }
    for source in (tmp_path / "m", folder / "vlm"):
        written, found = read(source), poured(stream)
        assert set(found) == names
        for name, raw in found.items():
            assert raw == written[name].contiguous().view(-1).numpy().tobytes()
    assert stream.read() == b""


def test_a_line_that_cannot_be_meant_is_one_sentence(qwen):
    for line, said in ((b"nonsense\n", "a line is"), (b'{"alpha": 2}\n', "between 0 and 1")):
        with pytest.raises(UserError, match=said):
            pour.serve(qwen / "vlm", qwen / "llm", Recipe(), None, [line], io.BytesIO())
