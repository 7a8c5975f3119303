"""D12: float16's scaler."""

import numpy as np
import pytest

from app.diagnosis import loss_scale
from app.diagnosis.findings import Level
from app.diagnosis.observations import Curve, Observations

STEPS = np.arange(1, 4001)


def run(skipped: list[int], scale: np.ndarray | None = None) -> Observations:
    flags = np.zeros(4000)
    flags[np.array(skipped, int) - 1] = 1.0
    curves = {"train/skipped": Curve(STEPS, flags)}
    if scale is not None:
        curves["train/loss_scale"] = Curve(STEPS, scale)
    return Observations(curves, step=4000, dtype="float16")


@pytest.mark.parametrize(
    ("skipped", "verdict", "level"),
    [
        ([1, 2, 2000, 4000], "usual", Level.ok),  # one in 2,000, and the first few
        ([100, 200, 300, 400, 500], "usual", Level.ok),  # 5 of 500: 1 %
        ([100, 200, 300, 400, 500, 599], "many skips", Level.warn),
        (list(range(3000, 3009)), "many skips", Level.warn),
        (list(range(3000, 3010)), "lost", Level.critical),  # ten in a row
    ],
)
def test_skips_are_judged_by_how_many_and_how_close(skipped: list[int], verdict: str, level: Level) -> None:
    found = loss_scale.judge(run(skipped))
    assert (found.verdict, found.level) == (verdict, level)


def test_updates_are_counted_without_the_skipped_steps() -> None:
    found = loss_scale.judge(run([1, 2, 2000, 4000]))
    assert {one.name: one.value for one in found.evidence}["updates made"] == 3996


def test_a_scale_below_one_is_lost() -> None:
    scale = np.full(4000, 65536.0)
    scale[3900:] = 0.5
    assert loss_scale.judge(run([], scale)).verdict == "lost"


def test_without_flags_a_fall_of_the_scale_is_a_skip() -> None:
    scale = 65536.0 * 0.5 ** np.repeat(np.arange(8), 500)
    found = loss_scale.judge(Observations({"train/loss_scale": Curve(STEPS, scale)}, step=4000))
    assert found.evidence[0].value == 7


def test_bfloat16_has_no_scaler_and_a_float16_log_without_one_is_told() -> None:
    assert loss_scale.judge(Observations({}, step=10, dtype="bfloat16")) is None
    assert loss_scale.judge(Observations({}, step=10, dtype="float16")).level == Level.unknown
