"""The rivals that hold weights to an anchor, against plain loops and numbers worked out by hand."""

import copy

import pytest
import torch
from test_injector import prior_of, vlm, with_gradients

from common.errors import UserError
from drift.anchor import LearntStrength, projection, selective_share
from drift.equations import biased
from drift.injector import Injector


def flat(seed, size=50):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def anchor_of(injector, prior, toward):
    """Name → A, as it is when the injector has just been made."""
    goals = {target.name: target.param.detach().clone() for target in injector.targets}
    if toward == "reasoner":
        goals = {name: start + prior.read(name) for name, start in goals.items()}
    return goals


# DiGraP


def test_a_projection_takes_away_what_leads_away_and_nothing_else():
    delta = torch.tensor([0.0, 2.0])
    half = biased(torch.tensor([3.0, 4.0]), delta, 0.5, "project")
    torch.testing.assert_close(half, torch.tensor([3.0, 2.0]))
    for untouched in ([3.0, 0.0], [3.0, -4.0]):  # orthogonal; toward the reasoner already
        assert biased(torch.tensor(untouched), delta, 1.0, "project").tolist() == untouched


def test_a_whole_projection_leaves_the_gradient_orthogonal():
    delta = flat(1).float()
    grad = flat(2).float() + 0.3 * delta
    left = biased(grad, delta, 1.0, "project")
    assert abs(float(left @ delta)) < 1e-6 * float(grad.norm() * delta.norm())
    assert float(grad @ delta) > 1


@pytest.mark.parametrize("leads_away", [True, False])
def test_the_hypergradient_is_that_of_the_loss_after_two_steps(leads_away):
    """On ½ (w − c)ᵀ H (w − c), with the step of a plain descent in between."""
    lr, alpha = 0.05, 0.7
    root, center, w0, delta = flat(0, 2500).view(50, 50) / 7, flat(1), flat(2), flat(3)
    hessian = root @ root.T
    g0 = hessian @ (w0 - center)
    if (float(g0 @ delta) > 0) != leads_away:
        delta = -delta
    k = projection(float(g0 @ delta), float(delta @ delta))

    def after(omega):
        return w0 - lr * (g0 - alpha * omega * k * delta)

    def loss(omega):
        off = after(omega) - center
        return float(off @ hessian @ off) / 2

    omega, epsilon = 0.4, 1e-4
    expected = (loss(omega + epsilon) - loss(omega - epsilon)) / (2 * epsilon)
    learnt = LearntStrength(value=omega, per_unit=lr * alpha * k)
    learnt.learn(float(hessian @ (after(omega) - center) @ delta))
    assert learnt.mean / (1 - 0.9) == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert (expected != 0) == leads_away
    # Adam's first step is of size 0.01, however small the hypergradient.
    moved = 0.01 if leads_away else 0.0
    assert abs(learnt.value - omega) == pytest.approx(moved)
    assert (learnt.value - omega) * expected <= 0


@pytest.mark.parametrize(
    ("live", "toward"), [(False, "reasoner"), (True, "reasoner"), (True, "start")]
)
def test_learnt_strengths_are_those_of_a_plain_loop(qwen, live, toward):
    model, prior = vlm(qwen), prior_of(qwen)
    injector = Injector(model, prior, mode="project_learnt", live=live, toward=toward)
    optimizer = torch.optim.SGD(model.parameters(), lr=1)
    anchors = anchor_of(injector, prior, toward)
    omegas = {name: torch.zeros(1, dtype=torch.float64, requires_grad=True) for name in anchors}
    adams = {name: torch.optim.Adam([omegas[name]], lr=0.01, eps=1e-300) for name in anchors}
    before: dict[str, tuple[float, torch.Tensor]] = {}
    for step in range(6):
        lr = 0.1 / (step + 1)
        # The same gradient twice, then its opposite: strengths rise and fall.
        with_gradients(model, seed=step // 2, scale=(-1) ** step)
        expected = {}
        for target in injector.targets:
            name, grad = target.name, target.param.grad.double()
            w = target.param.detach().double()
            delta = anchors[name].double() - w if live else prior.read(name).double()
            moved, old = before.get(name, (0.0, delta))
            omegas[name].grad = (moved * (grad * old).sum()).reshape(1)
            adams[name].step()
            with torch.no_grad():
                omegas[name].clamp_(0, 1)
            dd = float((delta * delta).sum())
            k = max(0.0, float((grad * delta).sum())) / dd if dd else 0.0
            before[name] = lr * k, delta
            expected[name] = grad - float(omegas[name].detach()) * k * delta
        log = injector.apply(lr=lr)
        mean = sum(float(one.detach()) for one in omegas.values()) / len(omegas)
        assert log["omega"] == pytest.approx(mean, rel=1e-3, abs=1e-6)
        for target in injector.targets:
            found = target.param.grad.double()
            torch.testing.assert_close(found, expected[target.name], rtol=1e-4, atol=1e-5)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
    assert mean > 0.001


# L2-SP


@pytest.mark.parametrize("toward", ["reasoner", "start"])
def test_l2_sp_is_the_absolute_mode_along_a_live_delta(qwen, toward):
    """g + λ (w − A), also after the weights have moved."""
    model, prior = vlm(qwen), prior_of(qwen)
    injector = Injector(model, prior, alpha=0.3, mode="absolute", live=True, toward=toward)
    anchors = anchor_of(injector, prior, toward)
    with torch.no_grad():
        for seed, target in enumerate(injector.targets):
            target.param += 0.05 * flat(seed, target.param.numel()).view_as(target.param).float()
    with_gradients(model)
    expected = {
        one.name: one.param.grad + 0.3 * (one.param.detach() - anchors[one.name])
        for one in injector.targets
    }
    moved = {one.name: one.param.detach().clone() for one in injector.targets}
    log = injector.apply()
    for one in injector.targets:
        torch.testing.assert_close(one.param.grad, expected[one.name], rtol=1e-5, atol=1e-6)
    # Displacement stays what it is: along reasoner − VLM.
    start = anchor_of(Injector(vlm(qwen), prior), prior, "start")
    along = sum(float(((moved[n] - start[n]) * prior.read(n)).sum()) for n in moved)
    squares = sum(float(prior.read(n).norm() ** 2) for n in moved)
    assert log["rho"] == pytest.approx(along / squares, rel=1e-3)


@pytest.mark.parametrize("toward", ["reasoner", "start"])
def test_decoupled_l2_sp_is_the_closed_form(qwen, toward):
    """Without a gradient, n steps leave (1 − lr λ)ⁿ of what lay between weights and anchor."""
    model, prior = vlm(qwen), prior_of(qwen)
    more = {"toward": toward, "anchor": "l2_sp", "anchor_strength": 0.5}
    injector = Injector(model, prior, alpha=0, **more)
    anchors = anchor_of(injector, prior, toward)
    others = {id(target.param) for target in injector.targets}
    rest = [(p, p.detach().clone()) for p in model.parameters() if id(p) not in others]
    with torch.no_grad():
        for target in injector.targets:
            target.param += 0.1
    first = {one.name: one.param.detach() - anchors[one.name] for one in injector.targets}
    for _ in range(5):
        with_gradients(model, scale=0)
        injector.apply()
        assert injector.settle(lr=0.2) == {"decayed": pytest.approx(0.1)}
    for one in injector.targets:
        left = one.param.detach() - anchors[one.name]
        torch.testing.assert_close(left, 0.9**5 * first[one.name], rtol=1e-4, atol=1e-6)
    assert all(torch.equal(p, before) for p, before in rest)


# SPD


def test_selective_shares_by_hand():
    # From a distance of 3 to one of 5: two fifths, times λ; nothing if the step did not go back,
    # or came nearer.
    assert selective_share(0.5, gc=1.0, before=9.0, after=25.0) == pytest.approx(0.2)
    assert selective_share(2.0, gc=1.0, before=9.0, after=25.0) == pytest.approx(0.8)
    assert selective_share(0.5, gc=-1.0, before=9.0, after=25.0) == 0
    assert selective_share(0.5, gc=1.0, before=25.0, after=9.0) == 0
    assert selective_share(0.5, gc=1.0, before=0.0, after=0.0) == 0


@pytest.mark.parametrize("toward", ["reasoner", "start"])
def test_selective_projection_decay_is_a_plain_loop(qwen, toward):
    model, prior = vlm(qwen), prior_of(qwen)
    plain = copy.deepcopy(model)
    more = {"toward": toward, "anchor": "spd", "anchor_strength": 1.5}
    injector = Injector(model, prior, alpha=0, **more)
    anchors = anchor_of(injector, prior, toward)
    ours = dict(model.named_parameters())
    named = {
        name: one.name for name, p in ours.items() for one in injector.targets if one.param is p
    }
    optimizers = [torch.optim.Adam(one.parameters(), lr=0.01) for one in (model, plain)]
    shares = []
    for step in range(5):
        for one in (model, plain):
            with_gradients(one, seed=step)
        injector.apply()
        optimizers[0].step()
        decayed = injector.settle(lr=0.01)["decayed"]

        before = {name: p.detach().clone() for name, p in plain.named_parameters()}
        optimizers[1].step()
        step_shares = []
        with torch.no_grad():
            for name, p in plain.named_parameters():
                if name in named:
                    anchor = anchors[named[name]]
                    old, away = before[name] - anchor, p - anchor
                    share = 0.0
                    if (p.grad * old).sum() > 0:
                        ratio = (away.norm() - old.norm()) / away.norm()
                        share = 1.5 * float(ratio.clamp(0, 1))
                    p -= share * away
                    step_shares.append(share)
        shares += step_shares
        mean = sum(step_shares) / len(step_shares)
        assert decayed == pytest.approx(mean, rel=1e-3, abs=1e-6)
    for name, p in plain.named_parameters():
        torch.testing.assert_close(ours[name], p, rtol=1e-4, atol=1e-5)
    assert 0 < sum(share > 0 for share in shares) < len(shares)


# What is kept, and what is refused


@pytest.mark.parametrize(
    ("fields", "copies"),
    [
        ({"mode": "project_learnt"}, 1),
        ({"live": True, "mode": "project_learnt"}, 3),
        ({"anchor": "spd", "anchor_strength": 1.0, "toward": "start"}, 2),
        ({"anchor": "spd", "anchor_strength": 1.0, "live": True}, 2),
    ],
)
def test_memory_counts_anchors_and_the_last_delta(qwen, fields, copies):
    model = with_gradients(vlm(qwen))
    injector = Injector(model, prior_of(qwen), **fields)
    injector.apply()
    parameters = injector.coverage().parameters
    assert injector.memory() == {"delta_bytes": copies * 4 * parameters, "delta_host_bytes": 0}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"mode": "project", "alpha": 1.5}, "alpha is 1.5 with mode project.*give 0 to 1"),
        ({"toward": "start"}, "is for live and anchor, and neither is set"),
        ({"toward": "base", "live": True}, "toward 'base'.*choose from reasoner, start"),
        ({"anchor": "ewc"}, "anchor 'ewc': choose from .*l2_sp, spd, null"),
        ({"anchor": "spd"}, "anchor is spd and anchor_strength 0.0; give a strength above 0"),
        ({"anchor_strength": 1.0}, "anchor is null and anchor_strength 1.0.*0 without one"),
        ({"anchor": "spd", "anchor_strength": -1.0}, "anchor_strength -1.0"),
        (
            {"anchor": "spd", "anchor_strength": 1.0, "when": "backward"},
            "`when: backward` is the published form.*anchor",
        ),
        ({"mode": "project_learnt", "when": "backward"}, "`when: backward`.*project_learnt"),
    ],
)
def test_what_would_do_something_else_is_refused(qwen, fields, sentence):
    with pytest.raises(UserError, match=sentence):
        Injector(vlm(qwen), prior_of(qwen), **fields)


@pytest.mark.parametrize("fields", [{"live": True}, {"anchor": "spd", "anchor_strength": 1.0}])
def test_a_control_has_no_reasoner_to_be_held_to_but_has_a_start(qwen, fields):
    control = prior_of(qwen, "random")
    with pytest.raises(UserError, match="a live prior is reasoner − weights, there is none"):
        Injector(vlm(qwen), control, **fields)
    Injector(vlm(qwen), control, toward="start", **fields)
