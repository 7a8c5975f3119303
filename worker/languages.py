"""How many documents there are of each language, where a column or field of the source says so, as FineWeb's does."""

from collections import Counter

from app.contract.dataset import LanguageCount
from worker import jsonl, parquet_source
from worker.progress import Progress
from worker.sources import Source

COLUMNS = ("language", "lang")
MOST = 100
"""Languages told one by one, the most frequent first."""
LABEL_CHARACTERS = 40


def counted(source: Source, progress: Progress) -> list[LanguageCount]:
    """Empty where no file says it. Records that were left out as empty or as copies count, too: it is the source's share."""
    found: Counter[str] = Counter()
    for number, file in enumerate(source.files):
        progress.at(number / len(source.files))
        for column in COLUMNS:
            if source.kind == "parquet":
                counts = parquet_source.counts(file, column)
            elif source.kind == "jsonl":
                counts = jsonl.counts(file, column, lambda: progress.at(number / len(source.files)))  # noqa: B023
            else:
                return []
            if counts:
                found += counts
                break
    return [LanguageCount(language=label[:LABEL_CHARACTERS], documents=many) for label, many in found.most_common(MOST)]
