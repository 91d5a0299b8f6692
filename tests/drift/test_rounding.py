import numpy as np
import pytest
import torch

from drift.rounding import rounded


@pytest.mark.parametrize(
    ("kind", "bits"), [(torch.bfloat16, 7), (torch.float16, 10)], ids=["bfloat16", "float16"]
)
def test_by_chance_the_mean_stays_and_only_neighbours_are_met(kind, bits):
    chance = torch.Generator().manual_seed(0)
    tiny = 1.3 * 2.0**-24 if kind == torch.float16 else 2.0**-20  # float16's smallest numbers
    for value in (1.0 + 2.0 ** (-bits - 3), -1.0 - 2.0 ** (-bits - 2), 0.01, 3e-5, tiny, 0.75):
        many = rounded(torch.full((100_000,), value), kind, chance).double()
        exponent = np.floor(np.log2(abs(value)))
        step = 2.0 ** (max(exponent, -14 if kind == torch.float16 else -126) - bits)
        value = float(torch.tensor(value))
        below = np.floor(value / step) * step
        assert set(many.unique().tolist()) <= {below, below + step}
        assert abs(many.mean() - value) < 5 * step * 0.5 / 100_000**0.5


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float32])
def test_what_the_format_holds_stays_as_it_is(kind):
    numbers = torch.randn(10_000, generator=torch.Generator().manual_seed(1)).mul(0.02).to(kind)
    for chance in (None, torch.Generator().manual_seed(0)):
        assert torch.equal(rounded(numbers.float(), kind, chance), numbers)


def test_without_chance_it_is_the_nearest():
    numbers = torch.randn(10_000, generator=torch.Generator().manual_seed(1))
    assert torch.equal(rounded(numbers, torch.float16, None), numbers.half())
