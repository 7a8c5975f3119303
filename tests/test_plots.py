"""Colours of runs: a run's own by its number, told apart by dash, and unmoved by runs that are added."""

from app.pages import plots


def test_a_run_has_the_same_colour_whatever_it_is_compared_with() -> None:
    assert plots.places([1])[1] == plots.places([1, 5, 7])[1] == (1, 0)
    assert plots.places([10])[10] == (2, 0)


def test_a_run_that_is_added_never_changes_the_others() -> None:
    numbers = [9, 1, 17, 3, 2]
    for count in range(1, len(numbers)):
        fewer, more = plots.places(numbers[:count]), plots.places(numbers[: count + 1])
        assert {number: more[number] for number in fewer} == fewer


def test_24_runs_differ_in_colour_or_dash() -> None:
    assert len(set(plots.places(list(range(1, 25))).values())) == 24
