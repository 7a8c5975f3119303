"""A source that a test makes up: lists of documents, one list a unit, no files."""

from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from worker.source_files import Fault, SourceFile, Unit
from worker.sources import Source

BAD = "\x00bad"
"""A document that the source reports as a fault and leaves out."""


class MadeSource(Source):
    """Reads as a source of form-fed texts would."""

    def __init__(self, units: Sequence[Sequence[str]]) -> None:
        super().__init__("text", [SourceFile("made", Path("made"), len(units), "0" * 64, form_feed=True)])
        self._made = units

    def units(self) -> list[Unit]:
        return [Unit(0, number, number + 1, 1) for number in range(len(self._made))]

    def read(
        self,
        unit: Unit,
        *,
        on_fault: Callable[[Fault], None] | None = None,
        on_share: Callable[[float], None] = lambda _: None,
    ) -> Generator[str, None, None]:
        on_fault = on_fault or self.faults.add
        made = self._made[unit.start]
        for number, text in enumerate(made):
            if text == BAD:
                on_fault(Fault(0, 1000 * unit.start + number, f"unit {unit.start}, document {number} was left out."))
            else:
                yield text
            on_share((number + 1) / len(made))
