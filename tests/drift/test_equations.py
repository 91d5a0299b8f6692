"""Sums over tensors against NumPy in float64, and the pull on a GPU against that on a processor."""

import functools
import math

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from drift import equations
from drift.equations import Buffers, dots, in_one_pass, of_rows, subtract

PAIRS = [(0, 0), (0, 1), (2, 1)]
KINDS = [
    (torch.float32, torch.bfloat16, torch.float32),
    (torch.bfloat16, torch.bfloat16, torch.bfloat16),
]
SIZES = [1024, 1024 * 300 + 17, (1 << 22) + 1023]


def drawn(size, kinds):
    torch.manual_seed(size)
    scales = (1e-3, 4e-3, 2e-2)
    return [(torch.randn(size) * scale).to(kind) for kind, scale in zip(kinds, scales, strict=True)]


def near(found, tensors):
    """Whether sums are exact to 1e-7 of the norms."""
    exact = [one.double().numpy() for one in tensors]
    for value, (a, b) in zip(found.tolist(), PAIRS, strict=True):
        norms = ((exact[a] ** 2).sum() * (exact[b] ** 2).sum()) ** 0.5
        assert value == pytest.approx((exact[a] * exact[b]).sum(), abs=1e-7 * norms)


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_sums_in_stretches_and_in_one_pass_are_exact(size, kinds):
    tensors = drawn(size, kinds)
    near(dots(tensors, PAIRS, Buffers()), tensors)
    near(in_one_pass(tensors, PAIRS, functools.partial(of_rows, tuple(PAIRS))), tensors)


def test_a_tensor_may_be_of_any_shape_and_layout():
    a, b = torch.randn(300, 500), torch.randn(500, 300).T
    (found,) = in_one_pass([a, b], [(0, 1)], functools.partial(of_rows, ((0, 1),)))
    assert float(found) == pytest.approx(float((a.double() * b.double()).sum()), abs=1e-3)


def test_a_gpu_that_torch_compiles_nothing_for_is_told_of(monkeypatch):
    def compile(function):
        raise RuntimeError("Failed to find C compiler.\nmore")

    monkeypatch.setattr(torch, "compile", compile)
    equations._compiles.cache_clear()
    with pytest.warns(match=r"nothing for this GPU \(Failed to find C compiler.\): a pull takes"):
        assert not equations._compiles()
    equations._compiles.cache_clear()


def test_sums_of_all_shapes_of_a_model_are_compiled_once(monkeypatch):
    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=counter))
    # vLLM's engine on a CPU turns it off.
    monkeypatch.delenv("TORCHDYNAMO_DISABLE", raising=False)
    monkeypatch.setattr(torch._dynamo.config, "disable", False)
    equations._compiled.cache_clear()
    for shape in [(896, 896), (128, 896), (4736, 896), (896, 4736), (1 << 20,)]:
        tensors = [one.view(shape) for one in drawn(math.prod(shape), KINDS[0])]
        near(in_one_pass(tensors, PAIRS, equations._compiled(tuple(PAIRS))), tensors)
    equations._compiled.cache_clear()
    assert counter.frame_count == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_a_gpu_sums_and_subtracts_as_a_processor_does(size, kinds, monkeypatch):
    tensors = drawn(size, kinds)
    there = [one.cuda() for one in tensors]
    near(dots(there, PAIRS, Buffers()).cpu(), tensors)
    subtract(there[0], there[1], 0.0301, Buffers())
    subtract(tensors[0], tensors[1], 0.0301, Buffers())
    assert torch.equal(there[0].cpu(), tensors[0]) or kinds[0] == torch.float32
    torch.testing.assert_close(there[0].cpu(), tensors[0])
    monkeypatch.setattr(equations, "_compiles", lambda: False)
    near(
        dots([one.cuda() for one in drawn(size, kinds)], PAIRS, Buffers()).cpu(), drawn(size, kinds)
    )
