import csv
import io
import json

import pytest

from common.errors import UserError
from reports.plots import style, training


def write(folder, lines):
    folder.mkdir()
    (folder / training.LOG).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def step(number, **roles):
    modules = {role: {"cos": cos, "ratio": 1.0, "rho": 0.1} for role, cos in roles.items()}
    return {"step": number, "loss": 2.0, "rho": number / 10, "grad_norm": 3.0, **modules}


def test_a_log_is_read(tmp_path):
    log = training.read(write(tmp_path / "drift", [step(1, mlp=-0.5), step(2, mlp=0.25)]))
    assert log.checkpoint == "drift" and [s.rho for s in log.steps] == [0.1, 0.2]
    assert training.cosines(log, "mlp") == ([1, 2], [-0.5, 0.25])
    sft = training.read(write(tmp_path / "sft", [{"step": 1, "loss": 1.0}]))
    assert training.pulled([log, sft]) == [log]
    assert training.read(tmp_path) is None
    rows = list(csv.DictReader(io.StringIO(training.long_form([("b", [log, sft])]))))
    assert [(r["checkpoint"], r["step"], r["module"], r["cos"], r["rho"]) for r in rows] == [
        ("drift", "1", "all", "", "0.1"),
        ("drift", "1", "mlp", "-0.5", "0.1"),
        ("drift", "2", "all", "", "0.2"),
        ("drift", "2", "mlp", "0.25", "0.1"),
        ("sft", "1", "all", "", ""),
    ]


@pytest.mark.parametrize("line", ["{", "[]", '{"loss": 1}', '{"step": 1, "rho": "x"}'])
def test_a_broken_log_is_one_sentence(tmp_path, line):
    (tmp_path / training.LOG).write_text(line + "\n")
    with pytest.raises(UserError, match="line 1 is (no step of a training|not JSON)"):
        training.read(tmp_path)


def test_running_mean_and_thinning_by_hand():
    assert training.smooth([0.0, 3.0, 6.0, 3.0]) == [0.0, 3.0, 4.0, 3.0]
    assert training.smooth([5.0]) == [5.0]
    points = [(float(i), float(i % 2)) for i in range(2 * training.POINTS)]
    x, y = training.thinned(points)
    assert len(x) == training.POINTS and x[:2] == [0.5, 2.5] and set(y) == {0.5}


def test_lines_are_at_their_steps(tmp_path):
    log = training.read(
        write(tmp_path / "drift", [step(n, attention=0.1 * n, mlp=-0.1 * n) for n in range(1, 5)])
    )
    with style._settings():
        figure = training.plot("b", "B", [log], training.limits([log])).draw()
    assert [axis.get_ylabel() for axis in figure.axes] == [
        "cos(g, Δ)\nattention",
        "cos(g, Δ)\nmlp",
        "ρ",
    ]
    assert list(figure.axes[1].lines[0].get_ydata()) == pytest.approx([-0.1, -0.2, -0.3, -0.4])
    assert list(figure.axes[2].lines[0].get_xydata()[:, 1]) == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_losses_of_families_are_on_one_scale():
    def log(name, *losses):
        steps = [training._step({"step": i + 1, "loss": loss}) for i, loss in enumerate(losses)]
        return training.Log(name, tuple(steps))

    logs = [log("sft", 2.0, 1.0), log("drift", 4.0, 0.5)]
    scales = training.limits(logs)
    assert scales == {"loss": (-0.2, 4.2)}, "from 0, a twentieth beyond"
    [plot] = training.plots_of("b", "B", logs[:1], scales)
    assert plot.name == "loss_b", "nothing pulled"
    [axis] = style.figure(plot).axes
    assert axis.get_ylim() == (-0.2, 4.2)
    assert list(axis.lines[1].get_ydata()) == [2.0, 1.0]


def test_of_grpo_the_reward_is_drawn_in_the_place_of_its_loss(tmp_path):
    rewards = (0.25, 0.5, 0.75)
    rows = [{"step": i, "loss": 0.01, "reward": r} for i, r in enumerate(rewards, start=1)]
    grpo = training.read(write(tmp_path / "grpo", rows))
    sft = training.read(write(tmp_path / "sft", [{"step": 1, "loss": 2.0}]))
    made = training.plots_of("b", "B", [sft, grpo])
    assert [plot.name for plot in made] == ["loss_b", "reward_b"]
    [axis] = style.figure(made[1]).axes
    assert list(axis.lines[0].get_ydata()) == [25.0, 50.0, 75.0]
    assert axis.get_ylabel() == "reward (%)"
    lines = csv.DictReader(io.StringIO(training.long_form([("b", [sft, grpo])])))
    assert [line["reward"] for line in lines] == ["", "0.25", "0.5", "0.75"]


def test_no_two_lines_of_a_plot_look_alike():
    row = {"step": 1, "modules": {"mlp": {"cosine": 0.1}}}
    logs = [training.Log(f"run{i}", (training._step(row),)) for i in range(8)]
    made = training.plots_of("b", "B", logs)
    assert [plot.name for plot in made] == ["training_b", "training_b_2"]
    shown = [[log.checkpoint for log in plot.draw.args[0]] for plot in made]
    assert shown == [[f"run{i}" for i in range(6)], ["run6", "run7"]]
