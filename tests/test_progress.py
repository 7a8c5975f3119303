"""Progress is told twice a second, and a wish to stop is heard at once."""

import pytest

from app.contract.dataset import PrepareProgress
from worker.progress import Progress, Stopped


class Kept:
    def __init__(self) -> None:
        self.told: list[PrepareProgress] = []

    def telemetry(self, **values: object) -> None:
        self.told.append(PrepareProgress.model_validate(values))


def test_it_is_told_twice_a_second_however_often_it_changes() -> None:
    kept, now = Kept(), 100.0
    progress = Progress(kept, lambda: now)
    progress.phase("tokens")
    for i in range(1, 1001):  # ten seconds
        now = 100 + i / 100
        progress.at(i / 1000, documents=i, text_bytes=i * 20_000, tokens=i * 5_000)
    assert 20 <= len(kept.told) <= 22
    last = kept.told[-1]
    assert (last.phase, last.documents, last.text_mb) == ("tokens", 1000, 20.0)
    half = min(kept.told, key=lambda told: abs((told.share or 0) - 0.5))
    assert half.mb_per_s == pytest.approx(2.0)
    assert half.eta_s == pytest.approx(5.0, abs=0.5)


def test_a_new_phase_is_told_at_once_and_starts_from_nothing() -> None:
    kept = Kept()
    progress = Progress(kept, lambda: 0.0)
    progress.phase("vocabulary")
    assert (kept.told[-1].phase, kept.told[-1].share, kept.told[-1].tokens) == ("vocabulary", None, 0)


def test_a_wish_to_stop_ends_the_work_at_its_next_sign() -> None:
    progress = Progress(Kept())
    progress.at(0.1)
    progress.stop = "requeue"
    with pytest.raises(Stopped) as stopped:
        progress.at(0.2)
    assert stopped.value.outcome == "requeue"


def test_speed_and_time_left_are_those_of_this_process_where_an_earlier_one_began() -> None:
    kept, now = Kept(), 100.0
    progress = Progress(kept, lambda: now)
    progress.resumed()
    progress.phase("tokens", share=0.5, text_bytes=900_000_000)
    now = 110.0
    progress.at(0.6, text_bytes=920_000_000)
    last = kept.told[-1]
    assert (last.came_by, last.text_mb, last.mb_per_s) == ("resumed", 920.0, 2.0)
    assert last.eta_s == pytest.approx(40.0)
