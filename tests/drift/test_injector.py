import copy
import dataclasses

import pytest
import tiny_models as tiny
import torch
import transformers as tf

from common.errors import UserError
from drift import delta as priors
from drift.equations import MODES, biased, dot, strength
from drift.families import decoder
from drift.injector import Injector
from drift.rounding import refuse_lost_steps

FIXED = [mode for mode in MODES if mode != "project_learnt"]
"""Modes that act in the first step: a learnt strength begins at 0."""


def vlm(folder):
    return tf.AutoModelForImageTextToText.from_pretrained(folder / "vlm", dtype=torch.float32)


def prior_of(folder, variant="reasoner-vlm", roles=("attention", "mlp", "norm")):
    return priors.build(folder / "vlm", folder / "llm", variant, roles=roles, dtype="float32")


def with_gradients(model, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    for param in model.parameters():
        param.grad = scale * torch.randn(param.shape, generator=generator)
    return model


# The equations


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        # g = (3, 4), Δ = (0, 2), α = 0.5: ‖g‖ = 5, ‖Δ‖ = 2, cos = 8/10.
        ("absolute", (3.0, 4.0 - 0.5 * 2)),
        ("grad_norm", (3.0, 4.0 - 0.5 * 5)),
        ("adaptive", (3.0, 4.0 - 0.5 * 5 * 0.9)),
        ("adaptive_opposite", (3.0, 4.0 - 0.5 * 5 * 0.1)),
        ("project", (3.0, 4.0 - 0.5 * 4)),
    ],
)
def test_the_equations_by_hand(mode, expected):
    grad, delta = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0])
    torch.testing.assert_close(biased(grad, delta, 0.5, mode), torch.tensor(expected))
    assert grad.tolist() == [3.0, 4.0]


def test_the_adaptive_rule_cancels_a_step_away_and_leaves_a_step_toward():
    """As published with α = 1: the task gradient along +Δ (a step away) is frozen exactly."""
    delta = torch.tensor([1.0, 2.0, -2.0])
    torch.testing.assert_close(biased(3 * delta, delta, 1.0, "adaptive"), torch.zeros(3))
    torch.testing.assert_close(biased(-3 * delta, delta, 1.0, "adaptive"), -3 * delta)
    torch.testing.assert_close(biased(-3 * delta, delta, 1.0, "adaptive_opposite"), -6 * delta)


@pytest.mark.parametrize("mode", MODES)
def test_alpha_0_and_zero_norms(mode):
    grad, zero = torch.tensor([1.0, -2.0]), torch.zeros(2)
    assert torch.equal(biased(grad, torch.ones(2), 0.0, mode), grad)
    assert torch.equal(biased(grad, zero, 1.0, mode), grad)
    pull = biased(zero, torch.ones(2), 1.0, mode)
    assert torch.equal(pull, -torch.ones(2) if mode == "absolute" else zero)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_measured_in_float32(mode, dtype):
    """Among 20,000 entries the cosine is near 0.007, which bfloat16 could not tell from 0."""
    generator = torch.Generator().manual_seed(0)
    grad = (0.01 * torch.randn(20_000, generator=generator)).to(dtype)
    delta = (0.001 * torch.randn(20_000, generator=generator)).to(dtype)
    g, d = grad.double(), delta.double()
    cosine = float(g @ d / (g.norm() * d.norm()))
    factor = {
        "absolute": 1 / (g.norm() / d.norm()),
        "grad_norm": 1.0,
        "adaptive": (1 + cosine) / 2,
        "adaptive_opposite": (1 - cosine) / 2,
        "project": max(0.0, cosine),
        "project_learnt": max(0.0, cosine),
    }[mode]
    expected = g - factor * g.norm() / d.norm() * d
    found = biased(grad, delta, 1.0, mode)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=2**-7, atol=1e-5)
    exact = strength(1.0, mode, float(g @ g), float(g @ d), float(d @ d))
    assert exact == pytest.approx(float(factor * g.norm() / d.norm()), rel=1e-6)


@pytest.mark.parametrize("size", [1, 7, 1024, 1025, 4096, 10_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_cover_every_entry(size, dtype, monkeypatch):
    """Blocks of four rows here, and tensors that end at, before and after their edges."""
    monkeypatch.setattr("drift.equations.BLOCK", 4096)
    generator = torch.Generator().manual_seed(size)
    grad = torch.randn(size, generator=generator)
    delta = torch.randn(size, generator=generator).to(dtype)
    g, d = grad.double(), delta.double()
    assert dot(grad, delta) == pytest.approx(float(g @ d), rel=1e-6, abs=1e-5)
    found = biased(grad, delta, 0.3, "grad_norm")
    torch.testing.assert_close(found.double(), g - 0.3 * g.norm() / d.norm() * d)


# Who gets which Δ


@pytest.mark.parametrize("mode", FIXED)
def test_every_wanted_gradient_is_edited_as_the_equations_say(models, family, mode):
    folder = models / family
    model, prior = with_gradients(vlm(folder)), prior_of(folder)
    before = {name: param.grad.clone() for name, param in model.named_parameters()}
    injector = Injector(model, prior, 0.7, mode)
    injector.apply()
    edited = {id(target.param): target for target in injector.targets}
    for name, param in model.named_parameters():
        if id(param) in edited:
            target = edited[id(param)]
            assert name.endswith(target.name), name
            expected = biased(before[name], prior.read(target.name), 0.7, mode)
            torch.testing.assert_close(param.grad, expected, rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(param.grad, before[name]), name
    assert {target.role for target in edited.values()} == {"attention", "mlp"}


def test_a_text_only_model_can_be_pulled_too(qwen):
    model = tf.AutoModelForCausalLM.from_pretrained(qwen / "base", dtype=torch.float32)
    assert Injector(model, prior_of(qwen)).coverage().tensors == 20


def test_coverage_counts_tensors_parameters_and_share(qwen):
    coverage = Injector(vlm(qwen), prior_of(qwen)).coverage()
    attention = 2 * (2 * (64 * 64) + 2 * (32 * 64) + 64 + 2 * 32)
    mlp, norms = 2 * 3 * 64 * 128, 5 * 64
    assert coverage.tensors == 2 * (7 + 3)
    assert coverage.parameters == attention + mlp
    assert coverage.decoder_share == pytest.approx((attention + mlp) / (attention + mlp + norms))
    assert coverage.by_role == {"attention": 14, "mlp": 6}
    assert coverage.line().startswith("20 tensors (14 attention, 6 mlp), 73,984 parameters, 99.6%")


def test_what_is_pulled_beside_the_decoder_adds_nothing_to_its_share(qwen):
    roles = ("attention", "mlp", "norm", "embedding", "head")
    model, prior = vlm(qwen), prior_of(qwen, roles=roles)
    coverage = Injector(model, prior, modules=roles).coverage()
    assert coverage.decoder_share == 1 and coverage.by_role["head"] == 1
    assert coverage.parameters == sum(param.numel() for param in decoder(model)[1].values())
    head = Injector(model, prior, modules=("head",)).coverage()
    assert (head.decoder_share, head.by_role) == (0, {"head": 1})


def test_layers_and_modules_choose(qwen):
    injector = Injector(vlm(qwen), prior_of(qwen), modules=("mlp", "norm"), layers=(1,))
    assert [target.name for target in injector.targets] == [
        "layers.1.mlp.gate_proj.weight",
        "layers.1.mlp.up_proj.weight",
        "layers.1.mlp.down_proj.weight",
        "layers.1.input_layernorm.weight",
        "layers.1.post_attention_layernorm.weight",
    ]


def hide(prior, *names):
    shapes = {name: shape for name, shape in prior.shapes.items() if name not in names}
    return priors.Prior(**{**vars(prior), "shapes": shapes})


def test_a_prior_that_lacks_tensors_stops_with_their_names(qwen):
    prior = prior_of(qwen)
    with pytest.raises(UserError, match="covers 19 of 20 wanted tensors, not layers.1.mlp.up_proj"):
        Injector(vlm(qwen), hide(prior, "layers.1.mlp.up_proj.weight"))
    with pytest.raises(UserError, match="the prior covers 0 of 20 wanted tensors"):
        Injector(vlm(qwen), hide(prior, *prior.shapes))
    with pytest.raises(UserError, match="covers 14 of 20 wanted tensors"):
        Injector(vlm(qwen), prior_of(qwen, roles=("attention",)))


def test_what_cannot_be_pulled_stops_with_its_name(qwen, tmp_path):
    prior = prior_of(qwen)
    model = vlm(qwen)
    model.model.language_model.layers[1].mlp.up_proj.weight.requires_grad_(False)
    with pytest.raises(UserError, match="1 wanted tensors are frozen.*layers.1.mlp.up_proj.weight"):
        Injector(model, prior)
    model = vlm(qwen)
    projection = model.model.language_model.layers[0].self_attn
    projection.q_proj = torch.nn.ModuleDict({"base_layer": projection.q_proj})  # as LoRA wraps it
    with pytest.raises(UserError, match="q_proj.base_layer.weight, which is no plain weight.*LoRA"):
        Injector(model, prior)
    tiny.make_llm("qwen2_5_vl", tmp_path, intermediate_size=40)
    other = tf.AutoModelForCausalLM.from_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"another shape.*\(\[128, 64\] against \[40, 64\]\)"):
        Injector(other, prior)
    with pytest.raises(UserError, match=r"the model has no layers \[5\]"):
        Injector(vlm(qwen), prior, layers=(0, 5))
    with pytest.raises(UserError, match="modules is empty, so that nothing would be pulled"):
        Injector(vlm(qwen), prior, modules=())
    with pytest.raises(UserError, match=r"no tensors of role 'norm' in layers \[\]"):
        Injector(vlm(qwen), prior, modules=("norm",), layers=())
    with pytest.raises(UserError, match="alpha is -1; to push away use the prior `negated`"):
        Injector(vlm(qwen), prior, alpha=-1)
    with pytest.raises(UserError, match="mode 'gradnorm'.*choose from absolute, grad_norm"):
        Injector(vlm(qwen), prior, mode="gradnorm")  # type: ignore[arg-type]
    model = with_gradients(vlm(qwen))
    injector = Injector(model, prior)
    model.model.language_model.layers[0].mlp.up_proj.weight.grad = None
    with pytest.raises(UserError, match="1 tensors got no gradient.*layers.0.mlp.up_proj.weight"):
        injector.apply()


def test_flattened_parameters_are_refused(qwen):
    from torch.distributed.fsdp import FullyShardedDataParallel

    flat = object.__new__(FullyShardedDataParallel)  # to wrap for real takes a process group
    torch.nn.Module.__init__(flat)
    model = vlm(qwen)
    model.model.flat = flat
    with pytest.raises(UserError, match="FSDP1 flattens parameters.*set fsdp_version: 2"):
        Injector(model, prior_of(qwen))


# The direction


def distance_to(model, folder):
    reasoner = tf.AutoModelForCausalLM.from_pretrained(folder / "llm", dtype=torch.float32)
    theirs = dict(reasoner.model.named_parameters())
    ours = dict(model.model.language_model.named_parameters())
    return sum(
        float((ours[name] - theirs[name]).detach().norm() ** 2)
        for name in ours
        if ".mlp." in name or ".self_attn." in name
    )


@pytest.mark.parametrize(("variant", "nearer"), [("reasoner-vlm", True), ("negated", False)])
def test_a_step_on_a_zero_gradient_moves_toward_the_reasoner(qwen, variant, nearer):
    model = vlm(qwen)
    for param in model.parameters():
        param.grad = torch.zeros_like(param)
    before = distance_to(model, qwen)
    log = Injector(model, prior_of(qwen, variant), mode="absolute")
    log.apply()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    # w + 0.1·Δ: a tenth of the way is gone (or added).
    expected = before * (0.9**2 if nearer else 1.1**2)
    assert distance_to(model, qwen) == pytest.approx(expected, rel=1e-5)
    assert log.apply()["rho"] == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize("mode", FIXED)
def test_any_mode_and_adam_move_toward_the_reasoner(qwen, mode):
    model = with_gradients(vlm(qwen), scale=1e-3)
    plain = copy.deepcopy(model)
    with_gradients(plain, scale=1e-3)
    Injector(model, prior_of(qwen), mode=mode).apply()
    for one in (model, plain):
        torch.optim.AdamW(one.parameters(), lr=1e-3, weight_decay=0).step()
    assert distance_to(model, qwen) < distance_to(plain, qwen)


def test_a_loop_of_ones_own(qwen):
    """As the module says; each step goes toward the reasoner."""
    model = vlm(qwen)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    ids = torch.randint(7, 30, (4, 12), generator=torch.Generator().manual_seed(0))
    batches = [{"input_ids": ids, "labels": ids}] * 3
    distances = [distance_to(model, qwen)]

    injector = Injector(model, priors.build(qwen / "vlm", qwen / "llm"))
    for batch in batches:
        model(**batch).loss.backward()
        injector.apply()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        distances.append(distance_to(model, qwen))

    assert distances == sorted(distances, reverse=True)
    assert len(set(distances)) == 4


def test_gradients_that_do_not_lie_in_a_row_are_edited_too(qwen):
    found = []
    for turned in (False, True):
        model = with_gradients(vlm(qwen))
        if turned:
            for param in model.parameters():
                if param.ndim == 2:
                    param.grad = param.grad.t().contiguous().t()
        Injector(model, prior_of(qwen)).apply()
        found.append([param.grad for param in model.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


# What is logged


def test_the_log_tells_cosine_ratio_and_displacement(qwen):
    prior, model = prior_of(qwen), vlm(qwen)
    injector = Injector(model, prior, alpha=0.5)
    start = {target.name: target.param.detach().clone() for target in injector.targets}
    with_gradients(model)
    true = {target.name: target.param.grad.clone() for target in injector.targets}
    log = injector.apply()
    assert log["alpha"] == 0.5
    assert log["rho"] == pytest.approx(0, abs=1e-6)
    mlp = [name for name in start if ".mlp." in name]
    cosines = [
        float(torch.cosine_similarity(true[n].flatten(), prior.read(n).flatten(), dim=0))
        for n in mlp
    ]
    assert log["mlp"]["cos"] == pytest.approx(sum(cosines) / len(cosines), abs=1e-6)
    assert log["mlp"]["ratio"] == pytest.approx(0.5, rel=1e-5)
    torch.optim.SGD(model.parameters(), lr=0.01).step()
    moved = {target.name: target.param.detach() - start[target.name] for target in injector.targets}
    log = injector.apply()

    def rho(names):
        along = sum(float((moved[n] * prior.read(n)).sum()) for n in names)
        return along / sum(float(prior.read(n).norm() ** 2) for n in names)

    assert log["rho"] == pytest.approx(rho(moved), rel=1e-3)
    assert log["mlp"]["rho"] == pytest.approx(rho(mlp), rel=1e-3)


@pytest.mark.parametrize("likeness", [0.0, 1.0])
def test_the_displacement_of_one_tiny_step(qwen, likeness):
    """A step of 1e-6 on six million weights of 0.02, with a Δ that points along them or not."""
    torch.manual_seed(0)
    model = tf.LlamaForCausalLM(
        tf.LlamaConfig(hidden_size=256, intermediate_size=8192, num_hidden_layers=1, vocab_size=9)
    )
    weights = {name: param for name, param in model.model.named_parameters() if ".mlp." in name}
    deltas = {
        name: (0.005 * torch.randn(param.shape) - likeness * param.detach()).bfloat16()
        for name, param in weights.items()
    }
    shapes = {name: tuple(delta.shape) for name, delta in deltas.items()}
    prior = dataclasses.replace(prior_of(qwen), shapes=shapes, read=deltas.__getitem__)
    injector = Injector(model, prior, modules=("mlp",))
    moved = total = 0.0
    for name, param in weights.items():
        before, delta = param.detach().double(), deltas[name].double()
        with torch.no_grad():
            param.add_(1e-6 * delta.sign().float())
        param.grad = torch.ones_like(param)
        moved += float(((param.detach().double() - before) * delta).sum())
        total += float((delta**2).sum())
    assert injector.apply()["rho"] == pytest.approx(moved / total, rel=1e-3)


def test_alpha_0_measures_and_changes_nothing(qwen):
    model = with_gradients(vlm(qwen))
    before = [param.grad.clone() for param in model.parameters()]
    log = Injector(model, prior_of(qwen), alpha=0.0).apply()
    assert all(torch.equal(p.grad, old) for p, old in zip(model.parameters(), before, strict=True))
    assert log["mlp"]["ratio"] == 0
    assert log["mlp"]["cos"] != 0


def test_schedules(qwen):
    def pulled(progress, moved=0.0, **options):
        model = vlm(qwen)
        prior = prior_of(qwen)
        injector = Injector(model, prior, alpha=0.8, **options)
        with torch.no_grad():
            for target in injector.targets:
                target.param.add_(target.delta, alpha=moved)
        with_gradients(model)
        log = injector.apply(progress)
        assert log["mlp"]["ratio"] == pytest.approx(log["alpha"], rel=1e-5)
        return log["alpha"]

    assert pulled(0.75) == 0.8
    assert pulled(0.75, schedule="decay") == pytest.approx(0.2)
    assert pulled(1.0, schedule="decay") == 0
    assert pulled(0.5, moved=0.19, stop_rho=0.2) == 0.8
    assert pulled(0.5, moved=0.21, stop_rho=0.2) == 0


def test_a_live_prior_points_from_where_the_weights_are(qwen):
    model, prior = vlm(qwen), prior_of(qwen)
    injector = Injector(model, prior, mode="absolute", live=True)
    with torch.no_grad():
        for target in injector.targets:
            target.param.add_(target.delta, alpha=0.75)
    for param in model.parameters():
        param.grad = torch.zeros_like(param)
    log = injector.apply()
    assert log["rho"] == pytest.approx(0.75, rel=1e-4)
    for target in injector.targets:
        torch.testing.assert_close(target.param.grad, -0.25 * target.delta, rtol=1e-3, atol=1e-5)
    with pytest.raises(UserError, match="a live prior is reasoner − weights, there is none of ran"):
        Injector(vlm(qwen), prior_of(qwen, "random"), live=True)


# Where Δ lies


def test_memory_tells_where_delta_lies(qwen):
    injector = Injector(vlm(qwen), prior_of(qwen), live=True)
    parameters = injector.coverage().parameters
    assert injector.memory() == {"delta_bytes": 2 * 4 * parameters, "delta_host_bytes": 0}


def test_offloading_on_a_processor_changes_nothing(qwen):
    found = []
    for offload in (False, True):
        model = with_gradients(vlm(qwen))
        log = Injector(model, prior_of(qwen), mode="adaptive", offload=offload).apply()
        found.append((log, [param.grad for param in model.parameters()]))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(a, b) for a, b in zip(found[0][1], found[1][1], strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("live", [False, True])
def test_offloading_on_a_device_gives_the_same_bits(qwen, live):
    found = []
    for offload in (False, True):
        model = with_gradients(vlm(qwen))
        grads = [param.grad for param in model.parameters()]
        model = model.cuda()
        for param, grad in zip(model.parameters(), grads, strict=True):
            param.grad = grad.cuda()
        injector = Injector(model, prior_of(qwen), mode="adaptive", live=live, offload=offload)
        assert (injector.memory()["delta_bytes"] == 0) == offload
        log = injector.apply()
        found.append((log, [param.grad for param in model.parameters()]))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(a, b) for a, b in zip(found[0][1], found[1][1], strict=True))


# Per micro-batch, as published


def test_backward_pulls_once_per_micro_batch(qwen):
    """Published form: Σ (gᵢ − α‖gᵢ‖ Δ/‖Δ‖); per step: Σ gᵢ − α‖Σ gᵢ‖ Δ/‖Δ‖."""
    prior = prior_of(qwen)
    name = "layers.0.mlp.up_proj.weight"
    delta = prior.read(name)
    generator = torch.Generator().manual_seed(0)
    micro = [torch.randn(delta.shape, generator=generator) for _ in range(16)]
    found = {}
    for when in ("step", "backward"):
        model = with_gradients(vlm(qwen))
        injector = Injector(model, prior, modules=("mlp",), layers=(0,), when=when)
        target = next(one for one in injector.targets if one.name == name)
        target.param.grad = None
        for grad in micro:
            (target.param * grad).sum().backward()
        log = injector.apply()
        found[when] = target.param.grad.clone(), log["mlp"]["ratio"]
        injector.detach()
    unit, total = delta / delta.norm(), sum(micro)
    expected = {
        "step": total - total.norm() * unit,
        "backward": sum(grad - grad.norm() * unit for grad in micro),
    }
    for when, (grad, _) in found.items():
        torch.testing.assert_close(grad, expected[when], rtol=1e-4, atol=1e-4)
    pushes = [(total - found[when][0]).norm() for when in ("backward", "step")]
    # √16 for incoherent micro-batches: the number of micro-batches changes the published method.
    assert float(pushes[0] / pushes[1]) == pytest.approx(4.0, rel=0.02)


@pytest.mark.parametrize(
    "more", [{"live": True}, {"schedule": "decay"}, {"stop_rho": 0.5}, {"offload": True}]
)
def test_backward_is_the_published_form_only(qwen, more):
    with pytest.raises(UserError, match="is the published form: a fixed prior and a constant"):
        Injector(vlm(qwen), prior_of(qwen), when="backward", **more)


def test_backward_logs_the_tasks_own_gradient(qwen):
    model = vlm(qwen)
    injector = Injector(model, prior_of(qwen), modules=("mlp",), when="backward")
    true = {}
    for target in injector.targets:
        grad = torch.randn(target.param.shape, generator=torch.Generator().manual_seed(1))
        true[target.name] = grad
        for half in (0.25, 0.75):
            (target.param * grad * half).sum().backward()
    log = injector.apply()
    assert log["mlp"]["ratio"] == pytest.approx(1.0, rel=1e-4)
    cosines = [
        float(torch.cosine_similarity(true[t.name].flatten(), t.delta.flatten(), dim=0))
        for t in injector.targets
    ]
    assert log["mlp"]["cos"] == pytest.approx(sum(cosines) / len(cosines), abs=1e-5)


# What would be lost


def test_bfloat16_weights_below_their_resolution_are_refused():
    weights = [torch.nn.Parameter(torch.full((64,), 0.02, dtype=torch.bfloat16))]
    with pytest.raises(UserError, match="a step of 1e-06 is lost on bfloat16 weights of 0.02"):
        refuse_lost_steps(weights, 1e-6)
    # The claim itself, on torch's own arithmetic.
    assert torch.equal(weights[0] - 1e-6, weights[0])
    assert not torch.equal(weights[0] - 1e-4, weights[0])
    refuse_lost_steps(weights, 1e-4)
    refuse_lost_steps([torch.nn.Parameter(torch.full((64,), 0.02))], 1e-6)
