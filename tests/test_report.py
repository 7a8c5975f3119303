import math

import pytest

from worker.report import NonFinite, StepReport


class Reading:
    """A step's scalars that arrive when told to."""

    def __init__(self, loss: float, arrived: bool = False, grad_norm: float = 1.0) -> None:
        self.loss, self.arrived, self.grad_norm = loss, arrived, grad_norm

    def ready(self) -> bool:
        return self.arrived

    def read(self) -> tuple[float, float, float]:
        return self.loss, self.grad_norm, 50.0


class Written:
    full = False

    def __init__(self) -> None:
        self.steps: list[tuple[int, dict[str, float]]] = []

    def points(self, step, values) -> None:
        self.steps.append((step, dict(values)))


def report(journal: Written, **more: float) -> StepReport:
    return StepReport(journal, tokens_per_step=1000, flops_per_token=60, **more)


def test_every_step_is_written_once_in_order_with_one_under_way() -> None:
    journal = Written()
    told = report(journal)
    late = Reading(3.0)
    told.add(1, 1e-3, late)
    assert journal.steps == [], "step 1 is still on the device; nobody waits for it"
    told.poll()
    assert journal.steps == []
    late.arrived = True
    told.poll()
    assert [step for step, _ in journal.steps] == [1], "written between micro-batches"
    told.add(2, 1e-3, Reading(2.9))
    told.add(3, 1e-3, Reading(2.8))
    assert [step for step, _ in journal.steps] == [1, 2], "at most one waits"
    told.settle()
    assert [values["train/loss"] for _, values in journal.steps] == [3.0, 2.9, 2.8]


def test_a_steps_points_are_these() -> None:
    journal = Written()
    told = report(journal, peak_flops=2.4e6, wall_s=100.0)
    told.add(7, 2e-3, Reading(3.0, arrived=True), 2e-4)
    ((step, values),) = journal.steps
    assert step == 7
    assert 100 <= values.pop("x/wall_s") < 101
    assert values == {
        "train/loss": 3.0,
        "train/lr": 2e-3,
        "train/grad_norm": 1.0,
        "train/tok_per_s": pytest.approx(20_000),  # 1,000 tokens in 50 ms
        "train/step_ms": 50.0,
        "train/mfu": pytest.approx(0.5),  # 20,000 tokens/s · 60 FLOP of 2.4e6
        "decay/effective": pytest.approx(2e-4),
        "x/tokens": 7000,
        "x/flops": 420_000.0,
    }


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_step_that_diverged_is_written_and_then_refused(bad: float) -> None:
    for loss, norm in ((bad, 1.0), (1.0, bad)):
        journal = Written()
        with pytest.raises(NonFinite, match="at step 9"):
            report(journal).add(9, 1e-3, Reading(loss, arrived=True, grad_norm=norm))
        assert len(journal.steps) == 1


def test_wall_time_leaves_pauses_out() -> None:
    told = report(Written(), wall_s=50.0)
    told.paused(30.0)
    assert 19.9 < told.wall_s < 21


def test_a_step_that_float16_skipped_is_shown_as_no_update_and_only_at_a_scale_of_last_resort_ends_the_run() -> None:
    journal = Written()
    told = report(journal)
    skipped = Reading(3.0, arrived=True, grad_norm=math.inf)
    skipped.scaling = (65536.0, True)  # type: ignore[attr-defined]
    told.add(1, 1e-3, skipped, decay=1e-4)
    values = journal.steps[0][1]
    assert (values["train/loss_scale"], values["train/skipped"], values["decay/effective"]) == (65536.0, 1.0, 0.0)
    skipped.scaling = (0.5, True)  # type: ignore[attr-defined]
    with pytest.raises(NonFinite, match="gradient norm became inf at step 2"):
        told.add(2, 1e-3, skipped)
