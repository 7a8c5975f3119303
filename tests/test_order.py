import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.order import Shuffled


def epoch(order: Shuffled, number: int) -> list[int]:
    return order.at(np.full(order.windows, number), np.arange(order.windows)).tolist()


@settings(deadline=None, max_examples=60)
@given(windows=st.integers(1, 700), seed=st.integers(0, 2**31), largest=st.sampled_from([0, 10**6]))
def test_every_epoch_has_every_window_once_sorted_or_computed(windows: int, seed: int, largest: int) -> None:
    order = Shuffled(windows, seed, largest_sorted=largest)
    assert sorted(epoch(order, 0)) == sorted(epoch(order, 5)) == list(range(windows))


def test_a_computed_order_looks_like_chance() -> None:
    n = 10_000
    first, second = (np.array(epoch(Shuffled(n, 1, largest_sorted=0), number)) for number in (0, 1))
    for one, other in ((first, np.arange(n)), (first, second), (first[:-1], first[1:])):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.05, "5 standard deviations of chance"
    assert (first == second).sum() < 12, "as often as two shuffles agree: once, on average"


def test_ten_billion_windows_cost_no_memory() -> None:
    order = Shuffled(10**10, 1)
    some = order.at(np.array([0, 0, 3]), np.array([0, 10**10 - 1, 7]))
    assert ((some >= 0) & (some < 10**10)).all()
    # Written down from the first version: changing these changes what every resumed run reads.
    assert some.tolist() == [758972254, 6600400874, 6095730511]


def test_neighbouring_epochs_are_asked_for_in_one_batch() -> None:
    order = Shuffled(10, 1)
    straddling = order.at(np.array([0, 0, 1, 1]), np.array([8, 9, 0, 1])).tolist()
    assert straddling == [*epoch(order, 0)[8:], *epoch(order, 1)[:2]]
