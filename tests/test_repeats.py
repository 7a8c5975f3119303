"""D04: passes over the data."""

import pytest
from loss_curves import golden

from app.diagnosis import repeats
from app.diagnosis.findings import Level


def test_the_golden_run_repeats_its_data_eleven_times_at_the_published_cost() -> None:
    found = repeats.judge(golden())
    by_name = {one.name: one.value for one in found.evidence}
    assert (found.verdict, found.level) == ("repeats", Level.info)
    assert by_name["passes over the data so far"] == pytest.approx(10.9, abs=0.05)
    assert by_name["worth so far"] == pytest.approx(5.80e9, rel=0.005)
    assert by_name["loss above that on fresh tokens"] == pytest.approx(0.053, abs=0.001)


@pytest.mark.parametrize(
    ("tokens", "verdict", "level"),
    [
        (10_485_760_000 // 4, "fresh enough", Level.ok),  # 4 passes by the end
        (10_485_760_000 // 5, "repeats", Level.info),
        (10_485_760_000 // 17, "too often", Level.warn),
    ],
)
def test_the_plan_decides(tokens: int, verdict: str, level: Level) -> None:
    found = repeats.judge(golden(train_tokens=tokens + 1))
    assert (found.verdict, found.level) == (verdict, level)


def test_a_run_that_has_ended_is_judged_by_what_it_has_read() -> None:
    assert repeats.judge(golden(train_tokens=600_000_000)).verdict == "too often"
    assert repeats.judge(golden(train_tokens=600_000_000, ended=True)).verdict == "repeats"


def test_duplicates_make_it_more_passes_over_less() -> None:
    found = repeats.judge(golden(duplicate_share=0.5))
    assert found.verdict == "too often"
    assert found.evidence[0].value == pytest.approx(21.7, abs=0.1)


def test_beyond_forty_a_repeat_is_worth_nothing() -> None:
    assert "worth about nothing" in repeats.judge(golden(train_tokens=200_000_000)).sentence


def test_an_unknown_dataset_is_asked_for() -> None:
    found = repeats.judge(golden(train_tokens=None))
    assert (found.level, found.missing) == (Level.unknown, ("train_tokens",))
