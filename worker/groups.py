"""What is encoded at once: some documents, or a stretch of one long text, always of one unit of the source.

Groups follow from the source alone, unit by unit, so that a preparation can begin again at any unit and give the
same tokens. A text that is split by its tail has no documents: it is cut into stretches at seams, where no word of
the vocabulary goes across, and each unit's text reaches from its own first seam to the next unit's.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

from worker.source_files import Fault, Unit
from worker.sources import Source
from worker.vocabulary import is_empty

GROUP_DOCUMENTS = 250
GROUP_CHARACTERS = 1_000_000
HEAD_CHARACTERS = 100_000
"""A unit's first seam is looked for this far; a text without any (no blank, no line end) is cut at the unit's border."""


class Group(NamedTuple):
    """Texts for one task of the encoder."""

    texts: list[str]
    unit: int  #: its number among the source's units
    last: bool  #: of its unit
    share: float  #: 0..1 of the source, read with this group
    empty: int = 0  #: documents left out before and among these, because there is nothing in them
    faults: tuple[Fault, ...] = ()  #: records left out or mended, likewise
    val_from: int | None = None  #: texts from this one on are for validation; None: a hash of each one decides


class Tail(NamedTuple):
    """Where a text is split: characters before `boundary` are for training, the others for validation."""

    boundary: int
    seam: re.Pattern[str] | None  #: None: a cut anywhere changes no ids


def documents(
    source: Source, units: Sequence[Unit], first: int, keep: Callable[[str], bool] = lambda text: True
) -> Iterator[Group]:
    """The documents of units[first:] that `keep` wants; every unit ends with a group, if an empty one."""
    share = _Share(units)
    for number in range(first, len(units)):
        texts: list[str] = []
        faults: list[Fault] = []
        characters = empty = 0
        with closing(source.read(units[number], on_fault=faults.append, on_share=share.hear(number))) as read:
            for text in read:
                if is_empty(text):
                    empty += 1
                    continue
                if not keep(text):
                    continue
                texts.append(text)
                characters += len(text)
                if len(texts) == GROUP_DOCUMENTS or characters >= GROUP_CHARACTERS:
                    yield Group(texts, number, False, share.now, empty, tuple(faults))
                    texts, characters, empty = [], 0, 0
                    faults.clear()
        yield Group(texts, number, True, share.after(number), empty, tuple(faults))


def stretches(source: Source, units: Sequence[Unit], first: int, position: int, tail: Tail) -> Iterator[Group]:
    """The text of units[first:], of which the first character has the number `position`."""
    share = _Share(units)
    for number in range(first, len(units)):
        faults: list[Fault] = []
        skip = len(_head(source, units[number], tail.seam)) if number else 0
        held = ""
        with closing(source.read(units[number], on_fault=faults.append, on_share=share.hear(number))) as read:
            for text in read:
                held += text[skip:]
                skip = max(0, skip - len(text))
                while len(held) >= 2 * GROUP_CHARACTERS:
                    cut = _last_seam(held, GROUP_CHARACTERS, tail.seam)
                    yield _stretch(held[:cut], position, tail, number, False, share.now, faults)
                    held, position = held[cut:], position + cut
                    faults.clear()
        if number + 1 < len(units):
            held += _head(source, units[number + 1], tail.seam)
        yield _stretch(held, position, tail, number, True, share.after(number), faults)
        position += len(held)


def _stretch(
    text: str, position: int, tail: Tail, unit: int, last: bool, share: float, faults: Sequence[Fault]
) -> Group:
    train = min(max(0, tail.boundary - position), len(text))
    texts = [part for part in (text[:train], text[train:]) if part]
    return Group(texts, unit, last, share, 0, tuple(faults), 1 if train else 0)


def _head(source: Source, unit: Unit, seam: re.Pattern[str] | None) -> str:
    """What belongs to the unit before: the text up to the first seam."""
    if seam is None:
        return ""
    held = ""
    with closing(source.read(unit, on_fault=lambda _: None)) as read:
        for text in read:
            held += text
            if len(held) >= HEAD_CHARACTERS:
                break
    found = seam.search(held, 0, HEAD_CHARACTERS)
    return held[: found.start()] if found else ""


def _last_seam(text: str, before: int, seam: re.Pattern[str] | None) -> int:
    """The last seam in the HEAD_CHARACTERS up to `before`, else `before`."""
    found = [match.start() for match in seam.finditer(text, before - HEAD_CHARACTERS, before)] if seam else []
    return found[-1] if found else before


class _Share:
    """How much of the source has been read, by the bytes of its units."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self.now = 0.0
        self._units = units
        self._before = [0]
        for unit in units:
            self._before.append(self._before[-1] + unit.bytes)

    def after(self, number: int) -> float:
        return self._before[number + 1] / max(self._before[-1], 1)

    def hear(self, number: int) -> Callable[[float], None]:
        """For Source.read: takes a unit's share of itself as a share of the whole."""
        total = max(self._before[-1], 1)
        start, end = self._before[number] / total, self._before[number + 1] / total
        self.now = start

        def heard(share: float) -> None:
            self.now = start + share * (end - start)

        return heard
