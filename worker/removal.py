"""What a preparation leaves out when asked to: copies of documents it has had, and validation's that train has too.

Decided document by document in the source's order, before anything is encoded, by keys of eight bytes. Nothing of it is
kept on the disk: a preparation that goes on where it was reads the units before again, which takes a tenth of the
time that encoding them took.
"""

from collections.abc import Callable, Sequence
from contextlib import closing

from app.contract.dataset import DatasetSpec, Removed
from worker.duplicates import Seen, normalised_key
from worker.progress import Progress
from worker.shards import text_hash, val_below
from worker.source_files import Unit
from worker.sources import Source
from worker.vocabulary import is_empty


class Removal:
    """Feed every document that is not empty to `keep`, in order; `begin` first."""

    def __init__(self, spec: DatasetSpec) -> None:
        assert asked(spec), "nothing to remove"
        self.removed = Removed()
        self._how = spec.drop_duplicates
        self._below = val_below(spec.val_share)
        self._seen = Seen()
        # Once every normalised text is there only once, none of them can be on both sides.
        self._train = Seen() if spec.drop_leaked_val and spec.drop_duplicates != "normalised" else None

    def begin(self, source: Source, units: Sequence[Unit], first: int, progress: Progress) -> None:
        """Read what has to be known before units[first:] can be judged."""
        passes: list[tuple[Sequence[Unit], Callable[[str], object]]] = [(units[:first], self.keep)]
        if self._train is not None:
            passes.insert(0, (units, self.learn))
        total, done = sum(len(these) for these, _ in passes), 0
        for these, judge in passes:
            for unit in these:
                with closing(source.read(unit, on_fault=lambda _: None)) as read:
                    for text in read:
                        if not is_empty(text):
                            judge(text)
                        progress.at(done / total)
                done += 1

    def learn(self, text: str) -> None:
        """For `keep` to know train's texts whatever the order."""
        if self._train is not None and text_hash(text.encode()) >= self._below:
            self._train.add(normalised_key(text))

    def keep(self, text: str) -> bool:
        utf8 = text.encode()
        key = text_hash(utf8)
        in_val = key < self._below
        normalised = normalised_key(text) if self._how == "normalised" or (in_val and self._train is not None) else 0
        if self._how != "none" and not self._seen.add(normalised if self._how == "normalised" else key):
            if in_val:
                self.removed.val_duplicates += 1
            else:
                self.removed.train_duplicates += 1
        elif in_val and self._train is not None and normalised in self._train:
            self.removed.leaked_val += 1
        else:
            return True
        self.removed.text_bytes += len(utf8)
        return False


def asked(spec: DatasetSpec) -> bool:
    return spec.drop_duplicates != "none" or spec.drop_leaked_val
