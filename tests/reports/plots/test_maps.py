import json
import math

import pytest

from common.errors import UserError
from drift.heat_map import grid
from reports.plots import maps, style


def content(**changes):
    tensors = [
        {"layer": None, "module": "embed_tokens.weight", "relative_l2": 0.5},
        {"layer": 1, "module": "self_attn.q_proj.weight", "relative_l2": 0.2},
        {"layer": 0, "module": "self_attn.q_proj.weight", "relative_l2": 0.1},
        {"layer": 0, "module": "mlp.up_proj.weight", "relative_l2": 0.3},
    ]
    whole = {"relative_l2": 0.25, "cosine": 0.97}
    return {"llm": "f/reasoner", "tensors": tensors, "total": whole, "warnings": ["far"], **changes}


def displaced(name, **changes):
    row = {"checkpoint": f"f/{name}", "rho": 0.4, "cosine": 0.9, "moved": 0.5}
    return {**row, "by_role": {"mlp": 0.3, "attention": 0.5}, **changes}


def read(folder, value):
    (folder / "distance.json").write_text(json.dumps(value))
    [found] = maps.read(folder)
    return found


def test_squares_are_where_layer_and_module_say(tmp_path):
    found = read(tmp_path, content())
    assert (found.reasoner, found.relative_l2, found.warnings) == ("reasoner", 0.25, ("far",))
    modules, layers, values = grid(found.cells)
    assert modules == ["embed_tokens", "q_proj", "up_proj"] and layers == [0, 1, None]
    assert [[v if v == v else None for v in row] for row in values] == [
        [None, None, 0.5],
        [0.1, 0.2, None],
        [0.3, None, None],
    ]
    with style._settings():
        axis = maps.distance_plot("b", "B", found).draw().axes[0]
    drawn = axis.collections[0].get_array().filled(math.nan).tolist()
    assert drawn[1][:2] == [0.1, 0.2] and math.isnan(drawn[2][1])
    written = [text.get_text() for text in axis.texts]
    assert written == ["0.50", "0.10", "0.20", "0.30"]


def test_displacements_by_tensor_or_else_by_role(tmp_path):
    assert maps.displacement_plot("b", "B", read(tmp_path, content())) is None
    tensors = [{"layer": 0, "module": "mlp.up_proj.weight", "rho": -0.2}]
    for shares, expected in ([], ["0.30", "0.50"]), (tensors, ["−0.20"]):
        found = read(tmp_path, content(displacements=[displaced("drift", tensors=shares)]))
        with style._settings():
            axis = maps.displacement_plot("b", "B", found).draw().axes[0]
        assert [text.get_text() for text in axis.texts] == expected
        assert axis.collections[0].norm.vmin == -axis.collections[0].norm.vmax  # 0 is the middle


def test_the_main_file_is_first(tmp_path):
    for name in ("far_distance", "distance", "a_distance"):
        (tmp_path / f"{name}.json").write_text(json.dumps(content()))
    assert [one.name for one in maps.read(tmp_path)] == ["distance", "a_distance", "far_distance"]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"llm": 1, "total": {}, "tensors": []}'])
def test_a_broken_file_is_one_sentence(tmp_path, text):
    (tmp_path / "distance.json").write_text(text)
    with pytest.raises(UserError, match="is not (what `driftbench|JSON|a JSON)"):
        maps.read(tmp_path)
