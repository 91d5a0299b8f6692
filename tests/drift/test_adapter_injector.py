import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers as tf

from common.errors import UserError
from drift import delta as priors
from drift.adapted import Adapted, adapted, factor_pull, start_along, within_reach
from drift.adapter_injector import FACTOR_MODES, AdapterInjector
from drift.equations import biased
from drift.injector import Injector


def lora(folder, rank=4, targets=("q_proj", "o_proj", "down_proj"), **more):
    peft = pytest.importorskip("peft")
    model = tf.AutoModelForImageTextToText.from_pretrained(folder / "vlm", dtype=torch.float32)
    places = rf".*(language_model|text_model)\.layers.*\.({'|'.join(targets)})"
    settings = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=places, **more)
    return peft.get_peft_model(model, settings)


def prior_of(folder, **more):
    return priors.build(folder / "vlm", folder / "llm", dtype="float32", **more)


def stir(model, seed=0):
    """Factors as in the middle of a training."""
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for one in adapted(model):
            for factor in (one.a, one.b):
                factor.add_(0.3 * torch.randn(factor.shape, generator=numbers))


def backward(model, seed=1):
    ids = torch.randint(4, 90, (2, 12), generator=torch.Generator().manual_seed(seed))
    model(input_ids=ids, labels=ids).loss.backward()


@pytest.mark.parametrize("live", [False, True])
def test_the_pull_is_the_gradient_of_the_inner_product_with_delta(live):
    numbers = torch.Generator().manual_seed(0)
    base, delta = (torch.randn(24, 40, generator=numbers) for _ in range(2))
    a, b = torch.randn(5, 40, generator=numbers), torch.randn(24, 5, generator=numbers)
    one = Adapted(
        name="w",
        layer=0,
        role="mlp",
        a=torch.nn.Parameter(a),
        b=torch.nn.Parameter(b),
        scale=0.7,
    )
    exact_a, exact_b = a.double().requires_grad_(), b.double().requires_grad_()
    along = delta.double() - (0.7 * b.double() @ a.double() if live else 0)
    ((base.double() + 0.7 * exact_b @ exact_a) * along).sum().backward()
    to_a, to_b, moved = factor_pull(one, delta, live)
    for ours, exact in ((to_a, exact_a.grad), (to_b, exact_b.grad)):
        assert (ours - exact).norm() < 1e-6 * exact.norm()
    assert moved == pytest.approx(float((0.7 * b.double() @ a.double() * delta).sum()), rel=1e-6)


@pytest.mark.parametrize("mode", FACTOR_MODES)
def test_the_strength_is_that_of_both_factors_as_one_vector(qwen, mode):
    model, prior = lora(qwen), prior_of(qwen)
    injector = AdapterInjector(model, prior, alpha=0.5, mode=mode)
    stir(model)
    backward(model)
    expected = []
    for one in adapted(model):
        to_a, to_b, _ = factor_pull(one, prior.read(one.name))
        pair = torch.cat([one.a.grad.flatten(), one.b.grad.flatten()])
        pull = torch.cat([to_a.flatten(), to_b.flatten()])
        expected.append(biased(pair, pull, 0.5, mode))
    said = injector.apply()
    for one, pair in zip(adapted(model), expected, strict=True):
        ours = torch.cat([one.a.grad.flatten(), one.b.grad.flatten()])
        torch.testing.assert_close(ours, pair, rtol=1e-5, atol=1e-7)
    if mode == "grad_norm":
        assert said["mlp"]["ratio"] == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("mode", FACTOR_MODES)
def test_full_rank_with_a_the_identity_is_the_full_method(qwen, mode):
    model, prior = lora(qwen, rank=64, targets=("q_proj", "o_proj")), prior_of(qwen)
    whole = tf.AutoModelForImageTextToText.from_pretrained(qwen / "vlm", dtype=torch.float32)
    for one in adapted(model):
        torch.nn.init.eye_(one.a)
    ours = AdapterInjector(model, prior, mode=mode, modules=("attention",))
    full = Injector(whole, prior, mode=mode, modules=("attention",))
    theirs = {target.name: target.param for target in full.targets}
    for one_model, injector in ((model, ours), (whole, full)):
        backward(one_model)
        injector.apply()
    for one in adapted(model):
        assert one.scale == 2
        torch.testing.assert_close(
            one.b.grad / one.scale, theirs[one.name].grad, rtol=1e-4, atol=1e-6
        )
        assert not one.a.grad.any()  # B is 0


def test_rho_is_measured_on_the_adapted_weights(qwen):
    model, prior = lora(qwen), prior_of(qwen)
    stir(model, seed=2)
    injector = AdapterInjector(model, prior, alpha=0.0)
    before = [one.scale * (one.b @ one.a).detach() for one in adapted(model)]
    stir(model)
    backward(model)
    gradients = copy.deepcopy([one.b.grad for one in adapted(model)])
    said = injector.apply()
    assert all(
        torch.equal(one.b.grad, old) for one, old in zip(adapted(model), gradients, strict=True)
    )
    along = whole = 0.0
    for one, old in zip(adapted(model), before, strict=True):
        delta = prior.read(one.name).double()
        along += float((((one.scale * one.b @ one.a).detach() - old).double() * delta).sum())
        whole += float((delta * delta).sum())
    assert said["rho"] == pytest.approx(along / whole, rel=1e-4)
    assert AdapterInjector(model, prior, stop_rho=-1.0).apply()["alpha"] == 0
    assert AdapterInjector(model, prior, stop_rho=0.1).apply()["alpha"] == 1
    assert AdapterInjector(model, prior, schedule="decay").apply(0.75)["alpha"] == 0.25


def test_reach_is_that_of_numpys_decomposition():
    numbers = np.random.default_rng(0)
    left, right = (np.linalg.qr(numbers.normal(size=(n, 20)))[0] for n in (30, 50))
    delta = left * 0.7 ** np.arange(20) @ right.T
    a = numbers.normal(size=(6, 50))
    basis = np.linalg.svd(a, full_matrices=False)[2]
    found = within_reach(torch.tensor(delta).float(), torch.tensor(a).float())
    assert found == pytest.approx(((delta @ basis.T) ** 2).sum(), rel=1e-5)


def test_the_start_along_delta_reaches_most_and_changes_no_logit(models, family):
    folder = models / family
    prior, model = prior_of(folder), lora(folder)
    ids = torch.arange(4, 40)[None]
    first = model(input_ids=ids).logits
    shares = [AdapterInjector(model, prior).coverage().reach]
    start_along(model, prior, modules=("attention", "mlp"), seed=0)
    assert torch.equal(model(input_ids=ids).logits, first)
    coverage = AdapterInjector(model, prior).coverage()
    best = whole = 0.0
    for one in adapted(model):
        squares = np.linalg.svd(prior.read(one.name).numpy(), compute_uv=False) ** 2
        best, whole = best + squares[:4].sum(), whole + squares.sum()
        torch.testing.assert_close(one.a @ one.a.T, torch.eye(4), rtol=0, atol=1e-5)
    # A spectrum as flat as that of random weights is the hardest for the randomised decomposition.
    assert 0.95 * best / whole < coverage.reach < (1 + 1e-6) * best / whole
    assert coverage.reach > 1.5 * shares[0]
    assert coverage.tensors == 6 and coverage.by_role == {"attention": 4, "mlp": 2}
    assert coverage.parameters == 2 * (2 * 64 * 64 + 64 * 128)
    sizes = sum(
        param.numel()
        for name, param in prior.shapes.items()
        for param in [torch.empty(param, device="meta")]
        if prior.role(name) in ("attention", "mlp", "norm")
    )
    assert coverage.decoder_share == pytest.approx(coverage.parameters / sizes)
    assert f"{coverage.reach:.1%} of ‖Δ‖² is within their reach" in coverage.line()


def test_a_matrix_in_4_bits_counts_as_what_it_stands_for(qwen):
    """The two entries of a byte, with an adapter on it and without."""
    prior, model = prior_of(qwen), lora(qwen)
    whole = AdapterInjector(model, prior).coverage()
    for name, module in model.named_modules():
        if name.endswith(("layers.0.mlp.up_proj", "layers.0.mlp.down_proj.base_layer")):
            packed = torch.zeros(module.weight.numel() // 2, 1, dtype=torch.uint8)
            packed = torch.nn.Parameter(packed, requires_grad=False)
            packed.quant_state = SimpleNamespace(shape=module.weight.shape)
            module.weight = packed
    assert AdapterInjector(model, prior).coverage() == whole


def test_only_layers_that_are_pulled_start_along_delta(qwen):
    prior, model = prior_of(qwen), lora(qwen)
    before = {one.name: one.a.detach().clone() for one in adapted(model)}
    start_along(model, prior, modules=("attention", "mlp"), layers=(1,), seed=0)
    turned = {one.name for one in adapted(model) if not torch.equal(one.a, before[one.name])}
    injector = AdapterInjector(model, prior, layers=(1,))
    assert turned == {one.name for one in injector.targets}
    assert {one.layer for one in injector.targets} == {1}


REFUSED = {
    "no Δ": (dict(roles=("attention",)), {}, {}, "2 of 6 adapted modules have no Δ"),
    "no adapter": ({}, dict(targets=("q_proj",)), {}, "no module of mlp has an adapter"),
    "layers": ({}, {}, dict(layers=(7,)), "no module of attention, mlp has an adapter"),
    "no modules": ({}, {}, dict(modules=()), "modules is empty"),
    "one layer": ({}, {}, dict(layers=(1, 99)), r"no layers \[99\] to be pulled"),
    "layer without": (
        {},
        dict(targets=("0.*q_proj", "0.*up_proj")),
        dict(layers=(0, 1)),
        r"no layers \[1\] to be pulled",
    ),
    "dora": ({}, dict(use_dora=True), {}, "or one that is no plain LoRA"),
    "mica": ({}, dict(init_lora_weights="mica"), {}, "or one that is no plain LoRA"),
    "negative": ({}, {}, dict(alpha=-1.0), "use the prior `negated`"),
    "live": (dict(variant="random"), {}, dict(live=True), "there is none of random"),
    "mode": ({}, {}, dict(mode="best"), "adapters take absolute"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_pulled_is_refused(qwen, case):
    of_prior, of_model, more, sentence = REFUSED[case]
    with pytest.raises(UserError, match=sentence):
        AdapterInjector(lora(qwen, **of_model), prior_of(qwen, **of_prior), **more)


def test_a_step_without_gradients_is_refused(qwen):
    with pytest.raises(UserError, match="6 modules got no gradient"):
        AdapterInjector(lora(qwen), prior_of(qwen)).apply()
