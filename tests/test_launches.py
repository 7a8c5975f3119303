"""Launch bodies: tidied labels, presets with changes over them, clear refusals."""

import pytest
from domain import manifest
from pydantic import ValidationError

from app import launches
from app.contract.config import RunConfig
from app.contract.presets import PRESETS
from app.errors import Invalid
from app.launches import Launch
from app.tables import Dataset


def test_a_preset_is_the_base_and_the_config_goes_over_it():
    config = launches.resolve_config(Launch(preset="fineweb-40m", config={"schedule": {"lr": 5e-4}}))
    assert config.schedule.lr == 5e-4
    assert config.model == PRESETS["fineweb-40m"].config.model


def test_without_a_preset_the_defaults_are_the_base():
    assert launches.resolve_config(Launch()).batch.micro_batch == 16


@pytest.mark.parametrize("name", ["", "x" * 201, "\n\t ", "\u200b"])
def test_a_name_has_something_to_see(name):
    with pytest.raises(ValidationError):
        Launch(name=name)


def test_names_and_tags_are_tidied():
    launch = Launch(name=" λ\x00 = 0\n ", tags=["a  b", "a b", "c", ""])
    assert (launch.name, launch.tags) == ("λ = 0", ["a b", "c"])


def test_a_near_preset_is_suggested():
    with pytest.raises(Invalid, match="did you mean tiny"):
        launches.resolve_config(Launch(preset="tinny"))


def test_a_config_that_is_no_section_is_refused_at_its_place():
    with pytest.raises(Invalid) as caught:
        launches.resolve_config(Launch(config={"model": [], "nonsense": {}}))
    assert {error.pointer for error in caught.value.errors} == {"/config/model", "/config/nonsense"}


@pytest.mark.parametrize("unmarked", [{"tokenizer": {"kind": "characters", "vocab_size": 65, "eot": None, "sha256": "0" * 64}}, {"split_rule": "tail"}])  # fmt: skip
def test_boundaries_that_nothing_marks_are_refused_at_the_launch(unmarked):
    config = RunConfig.model_validate({"data": {"boundaries": "respect"}})
    launches.check_data(config, Dataset(name="words", manifest=manifest()))
    with pytest.raises(Invalid, match="no end-of-text stands between its documents") as caught:
        launches.check_data(config, Dataset(name="words", manifest=manifest(**unmarked)))
    assert caught.value.errors[0].pointer == "/config/data/boundaries"
    launches.check_data(RunConfig(), Dataset(name="words", manifest=manifest(**unmarked)))


def test_nanogpts_own_windows_know_no_documents():
    with pytest.raises(Invalid, match="document boundaries have to be ignored"):
        launches.resolve_config(Launch(config={"data": {"sampler": "nanogpt", "boundaries": "respect"}}))
