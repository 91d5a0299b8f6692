"""Stand-ins of published models: of the same classes, and paired as those are."""

import json

import pytest

from common.errors import UserError
from drift.families import family_of
from drift.pairing import pair
from drift.pocket import standins


@pytest.mark.parametrize("study", sorted(standins.STUDIES))
def test_every_family_is_of_its_class_and_pairs(study, tmp_path):
    standins.write(study, tmp_path / "made", 0)
    for family, model_type in standins.STUDIES[study].items():
        vlm, llm = (tmp_path / "made" / family / side for side in ("vlm", "reasoner"))
        assert family_of(vlm).model_type == model_type
        roles = {weight.role for weight in pair(vlm, llm).weights}
        assert {"attention", "mlp", "norm"} <= roles
        bases = [_theta(path) for path in (vlm, llm)]
        assert bases == [1e6, 1e4]


def _theta(folder):
    config = json.loads((folder / "config.json").read_text())
    return config.get("text_config", config)["rope_parameters"]["rope_theta"]


def test_an_unknown_study_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="no stand-ins of 'papr'; there are those of paper, small"):
        standins.write("papr", tmp_path / "made", 0)
