"""Errors: plain sentences that name the field and the way out, and never echo what could hurt."""

import math
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from app import errors
from app.contract.config import RunConfig
from app.errors import FieldError, Invalid, PlateauError, SeqGap, from_pydantic


def told(config: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        RunConfig.model_validate(config)
    return {one.pointer: one.message for one in from_pydantic(caught.value, "/config", RunConfig).errors}


@pytest.mark.parametrize(
    ("config", "pointer", "message"),
    [
        ({"schedule": {"warmup": 5}}, "/config/schedule/warmup", "is not a field here; did you mean warmup_steps?"),
        ({"modle": {}}, "/config/modle", "is not a field here; did you mean model?"),
        ({"model": {"n_layer": 5000}}, "/config/model/n_layer", "must be at most 128 (got 5000)"),
        ({"model": {"n_layer": 0}}, "/config/model/n_layer", "must be at least 1 (got 0)"),
        ({"schedule": {"lr": 0}}, "/config/schedule/lr", "must be above 0.0 (got 0)"),
        ({"schedule": {"steps": 1.5}}, "/config/schedule/steps", "must be a whole number (got 1.5)"),
        ({"schedule": {"lr": "fast"}}, "/config/schedule/lr", "must be a number (got 'fast')"),
        ({"optim": {"clip": math.nan}}, "/config/optim/clip", "must be a finite number"),
        ({"optim": {"clip": math.inf}}, "/config/optim/clip", "must be a finite number"),
        ({"data": {"dataset": ""}}, "/config/data/dataset", "must not be empty"),
        (
            {"data": {"sampler": "best"}},
            "/config/data/sampler",
            "must be 'shuffled', 'sequential', 'random' or 'nanogpt' (got 'best')",
        ),
        ({"eval": 3}, "/config/eval", "must be an object (got 3)"),
        (
            {"batch": {"accumulation": 3}, "system": {"devices": 2}},
            "/config/system/devices",
            "The accumulation (batch.accumulation) of 3 micro-batches cannot be shared equally by 2 devices (system.devices); try 4.",
        ),
        ({"system": {"seed": None}}, "/config/system/seed", "must be a whole number (got nothing)"),
        ({"model": {"bias": "perhaps"}}, "/config/model/bias", "must be true or false (got 'perhaps')"),
    ],
)
def test_each_mistake_is_told_at_its_field(config: dict[str, Any], pointer: str, message: str) -> None:
    assert told(config)[pointer] == message


def test_a_validators_own_sentence_stays_as_it_is() -> None:
    assert told({"model": {"n_head": 3}}) == {
        "/config/model/n_embd": "The width 128 is not a multiple of the 3 heads; try 129."
    }


@pytest.mark.parametrize("value", ["x" * 10**6, 10**400, [1] * 1000, {"a": 1}, "line\nbreak", math.nan])
def test_huge_or_unprintable_input_is_never_echoed(value: object) -> None:
    assert errors.echo(value) == ""
    assert len(told({"schedule": {"steps": value}})["/config/schedule/steps"]) < 100


def test_pointers_escape_and_stay_short() -> None:
    assert errors.pointer_of(("a/b", "c~d", 3)) == "/a~1b/c~0d/3"
    assert len(errors.pointer_of(("x" * 10**6,))) < 100


def test_at_most_fifty_errors_are_listed() -> None:
    assert len(Invalid([FieldError(f"/{n}", "is wrong") for n in range(10_000)]).errors) == 50


def test_the_problem_says_what_class_it_is_and_what_happened() -> None:
    problem = SeqGap(6).problem("abc")
    assert problem["type"] == "/problems/seq-gap"
    assert problem["status"] == 409
    assert problem["acked_seq"] == 6
    assert problem["request_id"] == "abc"
    assert "6" in problem["detail"]


def test_any_text_can_be_sent_as_json() -> None:
    assert orjson.dumps(PlateauError("lone \ud800 surrogate").problem())


def every_error(base: type[PlateauError] = PlateauError) -> list[type[PlateauError]]:
    return [base, *(found for below in base.__subclasses__() for found in every_error(below))]


@pytest.mark.parametrize("kind", [one for one in every_error() if one.__module__ == "app.errors"])
def test_every_class_says_its_message(kind: type[PlateauError]) -> None:
    assert kind.__doc__
    assert kind.__doc__.strip().endswith(".")
    assert 400 <= kind.status < 600
