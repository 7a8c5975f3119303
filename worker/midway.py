"""Text that a run writes while it trains: every so many steps, and whenever somebody asks.

It takes the weights as they are between two steps, in eval mode and with random numbers of its own: the
losses are those of a run that never writes.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import unquote

from app.contract.config import EvalConfig
from app.contract.dataset import TokenizerInfo
from app.contract.sampling import SampleSettings
from worker import tokenizers
from worker.model import GPT
from worker.report import Sink
from worker.sampling import Teller, Unwritable, write_all

WRONG = (Unwritable, OSError)


class Midway:
    """One attempt's writer. A text that cannot be written costs an alarm, never the run."""

    def __init__(
        self,
        model: GPT,
        autocast: Callable[[], AbstractContextManager[object]],
        tokenizer: TokenizerInfo,
        folder: Path,
        config: EvalConfig,
        seed: int,
        journal: Sink,
        *,
        writes: bool = True,
    ) -> None:
        """`writes`: of several processes only the first, which alone has a journal; the others wait in the next step."""
        self.writes = writes
        self.model = model
        self.autocast = autocast
        self.tokenizer = tokenizer
        self.folder = folder
        self.every = config.sample_every
        self.settings = SampleSettings(prompt=config.sample_prompt, tokens=config.sample_tokens, seed=seed)
        self.journal = journal

    def due(self, step: int) -> bool:
        return bool(self.every) and step % self.every == 0

    def regular(self, step: int) -> None:
        """The run's own text, where one is due."""
        if not self.writes or not self.due(step):
            return
        try:
            text = "".join(piece for _, piece in self._write(self.settings))
        except WRONG as error:
            self.every = 0  # it would not be better the next time
            self.journal.event("alarm", step, text=f"This run writes no samples: {error}"[:2000])
        else:
            self.journal.event("sample", step, settings=self.settings.model_dump(), written=text)

    def asked(self, step: int, words: list[str]) -> None:
        """The command `sample <number> <settings>`, the settings as percent-encoded JSON; told while it is written."""
        if not self.writes:
            return
        try:
            number = int(words[0])
            settings = SampleSettings.model_validate_json(unquote(words[1]))
        except (IndexError, ValueError) as error:
            self.journal.log(f"a command to sample that cannot be read: {error}", "warn")
            return
        teller = Teller(self.journal, step, sample=number)
        try:
            for index, piece in self._write(settings):
                teller.add(index, piece)
        except WRONG as error:
            self.journal.event("sample", step, sample=number, error=str(error))
        else:
            teller.flush()
            self.journal.event("sample", step, sample=number, done=True)

    def _write(self, settings: SampleSettings) -> Iterator[tuple[int, str]]:
        was_training = self.model.training
        self.model.eval()
        try:
            tokenizer = tokenizers.load(self.tokenizer, self.folder)
            with self.autocast():
                yield from write_all(self.model, tokenizer, settings)
        finally:
            self.model.train(was_training)
