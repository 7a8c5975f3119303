"""What is encoded at once: from the source alone, and the same from any unit on."""

import re
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_source import BAD, MadeSource

from worker import groups
from worker.groups import Group, Tail, documents, stretches
from worker.tokenizers import GPT2_WORDS

UNITS = st.lists(
    st.lists(st.sampled_from(["one", " ", "two words", "", "é\n\nü", BAD, "x" * 40]), max_size=9), max_size=6
)
PROSE = st.lists(st.lists(st.text("ab .\n字", max_size=30), max_size=4), max_size=6)


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "GROUP_DOCUMENTS", 3)
        patch.setattr(groups, "GROUP_CHARACTERS", 30)
        patch.setattr(groups, "HEAD_CHARACTERS", 12)
        yield


def of_units(made: Sequence[Group]) -> list[list[Group]]:
    """The groups of each unit; the last of a unit says so."""
    found: list[list[Group]] = [[]]
    for group in made:
        found[-1].append(group)
        if group.last:
            found.append([])
    assert found.pop() == []
    return found


@given(UNITS)
def test_groups_hold_every_document_once_in_order_and_count_what_they_leave_out(units: list[list[str]]) -> None:
    source = MadeSource(units)
    made = list(documents(source, source.units(), 0))
    by_unit = of_units(made)
    assert len(by_unit) == len(units)
    for number, (parts, texts) in enumerate(zip(by_unit, units, strict=True)):
        assert [text for group in parts for text in group.texts] == [t for t in texts if t.strip() and t != BAD]
        assert sum(group.empty for group in parts) == sum(not t.strip() for t in texts)
        assert sum(len(group.faults) for group in parts) == texts.count(BAD)
        assert {group.unit for group in parts} == {number}
        assert all(len(group.texts) <= 3 for group in parts)
    shares = [group.share for group in made]
    assert shares == sorted(shares)
    assert not shares or shares[-1] == 1


@given(UNITS, st.data())
def test_groups_from_a_unit_on_are_the_same_as_those_of_the_whole(units: list[list[str]], data: st.DataObject) -> None:
    source = MadeSource(units)
    first = data.draw(st.integers(0, len(units)))
    whole = list(documents(source, source.units(), 0))
    assert list(documents(source, source.units(), first)) == [group for group in whole if group.unit >= first]


@pytest.mark.parametrize("seam", [None, GPT2_WORDS.seam], ids=["anywhere", "words"])
@given(units=PROSE, share=st.floats(0, 1), data=st.data())
def test_stretches_are_the_text_in_order_cut_once_at_the_boundary_from_any_unit_on(
    seam: re.Pattern[str] | None, units: list[list[str]], share: float, data: st.DataObject
) -> None:
    source = MadeSource(units)
    text = "".join(part for unit in units for part in unit)
    tail = Tail(int(share * len(text)), seam)
    made = list(stretches(source, source.units(), 0, 0, tail))
    sides = ["", ""]
    for group in made:
        for number, part in enumerate(group.texts):
            assert group.val_from is not None
            sides[number >= group.val_from] += part
    assert sides == [text[: tail.boundary], text[tail.boundary :]]
    assert len(of_units(made)) == len(units)
    first = data.draw(st.integers(0, len(units)))
    position = sum(len(part) for group in made if group.unit < first for part in group.texts)
    assert list(stretches(source, source.units(), first, position, tail)) == [g for g in made if g.unit >= first]


def test_stretches_end_where_no_word_goes_across() -> None:
    source = MadeSource([["a rose is a", " rose is a r"], ["ose\n\nis a rose is a rose is a rose"]])
    tail = Tail(1000, GPT2_WORDS.seam)
    assert [group.texts for group in stretches(source, source.units(), 0, 0, tail)] == [
        ["a rose is a rose is a rose"],
        ["\n\nis a rose is a rose is a rose"],
    ]
