"""How long documents are: histogram, quantiles, and what the contexts people use would cut."""

import numpy as np

from app.contract.quality import Beyond, Extremes, Lengths
from worker.documents import Counts

CONTEXTS = (256, 512, 1024, 2048, 4096, 8192, 32768)
QUANTILES = {"min": 0.0, "p10": 0.1, "p25": 0.25, "median": 0.5, "p75": 0.75, "p90": 0.9, "p99": 0.99, "max": 1.0}


def bin_edges(longest: int) -> list[int]:
    """1, 2, 3, 4, 5, 6, 8, 11, 16, …: two bins an octave, past the longest; 0 in front for documents of nothing."""
    edges = [0, 1]
    while edges[-1] <= longest:
        edges.append(max(edges[-1] + 1, round(2 ** ((len(edges) - 1) / 2))))
    return edges


def lengths_of(lengths: Counts, edges: list[int]) -> Lengths | None:
    if not len(lengths):
        return None
    counts, _ = np.histogram(lengths, [*edges[:-1], edges[-1] - 0.5])  # numpy's last bin includes its right edge
    at = np.quantile(lengths, list(QUANTILES.values()), method="nearest")
    return Lengths(
        edges=edges,
        documents=[int(n) for n in counts],
        mean=float(lengths.mean()),
        quantiles={name: int(value) for name, value in zip(QUANTILES, at, strict=True)},
    )


def extremes(lengths: Counts, dropped_empty: int) -> Extremes:
    """Over both splits together. `dropped_empty`: documents that the preparation left out."""
    tokens = max(1, int(lengths.sum()))
    longest = int(lengths.max(initial=0))
    percent = max(1, len(lengths) // 100)
    top = int(np.partition(lengths, len(lengths) - percent)[-percent:].sum()) if len(lengths) else 0
    return Extremes(
        empty_documents=dropped_empty + int((lengths == 0).sum()),
        beyond=[
            Beyond(context=context, documents=float(over.mean()), tokens=int(lengths[over].sum()) / tokens)
            for context in CONTEXTS
            if (over := lengths > context).any()
        ],
        longest=longest,
        longest_share=longest / tokens,
        longest_percent_share=top / tokens,
    )
