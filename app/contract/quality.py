"""What a second pass over a prepared dataset finds: its quality report, every number with title, unit and meaning.

A number that could not be had is None, and `missing` says why under the number's name.
"""

from typing import Any, Literal

from pydantic import Field

from app.contract.dataset import PrepareProgress, Record


def measured(title: str, meaning: str, unit: str = "", **given: Any) -> Any:
    """A field of the report: title, unit and meaning stand beside it, for pages and the API's documentation."""
    return Field(title=title, description=meaning, json_schema_extra={"unit": unit}, **given)


class Lengths(Record):
    """How long the documents of one split are."""

    edges: list[int] = measured("Bin edges", "Bin i holds lengths from edges[i] up to, not including, edges[i + 1]; two bins an octave.", "tokens")  # fmt: skip
    documents: list[int] = measured("Documents", "In each bin.")
    mean: float = measured("Mean length", "Tokens a document, end-of-text not counted.", "tokens")
    quantiles: dict[str, int] = measured("Quantiles", "min, p10, p25, median, p75, p90, p99 and max.", "tokens")


class SplitNumbers(Record):
    """One split, counted."""

    tokens: int = measured("Tokens", "Ids in the token files, end-of-text included.", "tokens")
    documents: int | None = measured("Documents", "As end-of-text separates them.", default=None)
    characters: int | None = measured("Characters", "Unicode code points of its text.", default=None)
    bytes: int | None = measured("Bytes", "Of its text as UTF-8.", "B", default=None)
    bytes_per_token: float | None = measured("Bytes a token", "Text bytes over tokens, end-of-text included.", "B", default=None)  # fmt: skip
    distinct_tokens: int | None = measured("Distinct tokens", "Tokens of its documents, each text once: what an epoch has of new text.", "tokens", default=None)  # fmt: skip
    lengths: Lengths | None = measured("Lengths", "Tokens a document.", default=None)


class Copies(Record):
    """Documents beyond the first of each group of equal ones, over both splits."""

    documents: int = measured("Copies", "Documents that a removal would drop.")
    share: float = measured("Share of documents", "Copies over all documents.")
    tokens: int = measured("Tokens in copies", "What the copies hold.", "tokens")
    token_share: float = measured("Share of tokens", "Tokens in copies over all tokens of documents.")
    most: int = measured("Most copies of one text", "How often the most repeated text occurs; 1 where none repeats.")
    example: str = measured("Most repeated", "The beginning of that text.", default="")


class NearCopies(Record):
    """Documents that share most of their five-word sequences with an earlier one (MinHash)."""

    compared: int = measured("Documents compared", "Distinct after normalising; a sample where there are too many.")
    sampled: bool = measured("A sample", "Only documents drawn by a hash of their text were compared; pairs with one side outside are not seen, so the true share is higher.")  # fmt: skip
    documents: int = measured("Near copies", "Of those compared, beyond the first of each group.")
    share: float = measured("Share of documents", "Near copies over documents compared.")
    tokens: int = measured("Tokens in near copies", "What they hold.", "tokens")
    token_share: float = measured("Share of tokens", "Over the tokens of those compared.")
    threshold: float = measured(
        "Threshold", "Least estimated Jaccard similarity of two documents' five-word sequences."
    )
    permutations: int = measured(
        "Permutations", "Length of a signature; an estimate's standard error is at most 0.5/√n."
    )
    bands: int = measured("Bands", "Documents that agree in one band whole become a candidate pair.")
    val_documents: int = measured("Validation documents compared", "Of both splits' documents compared.")
    val_in_train: int = measured("Near copies of train in validation", "Validation documents whose group has a train document.")  # fmt: skip
    examples: list[tuple[str, str]] = measured("Examples", "Beginnings of some pairs.", default=[])


class Leakage(Record):
    """What of validation a model has already read in train."""

    documents: int | None = measured("Identical documents", "Validation documents that are in train token for token.", default=None)  # fmt: skip
    share: float | None = measured("Share of documents", "Over validation's documents.", default=None)
    normalised_documents: int | None = measured("Identical after normalising", "In lower case with white space collapsed.", default=None)  # fmt: skip
    normalised_share: float | None = measured("Share after normalising", "Over validation's documents.", default=None)
    windows: int = measured("Windows compared", "Runs of 32 tokens of validation, drawn by their hash.")
    window_share: float | None = measured("Share of windows", "Of those, how many occur in train.")
    drawn_one_in: int = measured("Drawn one in", "1: every window of validation was looked up.")


class WindowRepeats(Record):
    """How much of train a model reads again within one epoch, seen from the tokens alone."""

    windows: int = measured("Windows compared", "Runs of 32 tokens of train, drawn by their hash.")
    share: float | None = measured("Share repeated", "Windows that occurred before, over all.")
    drawn_one_in: int = measured("Drawn one in", "1: every window was compared.")


class Entropy(Record):
    """What models that know only frequencies would score on train: reference lines under a loss."""

    unigram: float = measured("Unigram entropy", "Knowing how frequent each token is.", "nats")
    bigram: float | None = measured("Bigram entropy", "Knowing also the token before; counted on a part of train, so a little low where the vocabulary is large.", "nats", default=None)  # fmt: skip
    bigram_tokens: int = measured("Tokens counted", "For the bigram entropy.", "tokens", default=0)


class Compression(Record):
    ratio: float = measured("Compression ratio", "Text bytes over what zlib (level 6) makes of them; English is near 2.6. Its window of 32 kB does not see repeated documents.")  # fmt: skip
    bytes: int = measured("Text compressed", "Documents spread evenly over the dataset.", "B")


class TopToken(Record):
    """One of the most frequent tokens of train."""

    id: int
    text: str  #: the piece of text it stands for; end-of-text as <|endoftext|>
    count: int
    share: float  #: of train's tokens


class Vocabulary(Record):
    """How much of the vocabulary the text uses."""

    entries: int = measured("Entries", "Ids the tokenizer has, end-of-text included.")
    seen: int = measured("Ids in train", "Distinct.")
    never_seen: int = measured("Ids never in train", "Their embeddings learn nothing but to be unlikely.")
    rare: int = measured("Rare ids", "In train fewer than 10 times, and at least once.")
    val_only_tokens: int = measured("Validation tokens of unknown ids", "Tokens of validation whose id never occurs in train.", "tokens")  # fmt: skip
    beyond: int = measured("Ids beyond the vocabulary", "Tokens whose id the tokenizer does not have; no model of this vocabulary can read them.", "tokens")  # fmt: skip
    top: list[TopToken] = measured("Most frequent tokens", "Of train, with the text they stand for where the vocabulary is known.", default=[])  # fmt: skip


class Likeness(Record):
    """Whether validation looks like train, by the frequencies of tokens."""

    distance: float = measured("Distance", "Jensen-Shannon divergence of the two splits' token frequencies.", "nats")
    noise: float = measured("Noise level", "The same distance for random splits of this size: mean.", "nats")
    noise_sd: float = measured("Noise spread", "Standard deviation over the random splits.", "nats")
    noise_99: float = measured("Noise, 99th percentile", "One random split in a hundred is farther away.", "nats")
    draws: int = measured("Random splits", "Made by drawing whole units from both splits together.")
    unit: Literal["documents", "passages"] = measured("Drawn in", "passages (of 2,048 tokens) where there are too few documents; the noise is then understated.")  # fmt: skip


class Beyond(Record):
    """What a context of this length cannot hold whole."""

    context: int = measured("Context", "A block size people use.", "tokens")
    documents: float = measured("Documents", "Share of documents longer than it.")
    tokens: float = measured("Tokens", "Share of tokens in those documents.")


class Extremes(Record):
    """Documents with nothing in them, and those with too much."""

    empty_documents: int = measured("Empty documents", "Dropped by the preparation, or two end-of-texts in a row.")
    beyond: list[Beyond] = measured("Longer than a context", "Over both splits.")
    longest: int = measured("Longest document", "", "tokens")
    longest_share: float = measured("Longest document's share", "Of all tokens of documents.")
    longest_percent_share: float = measured("Longest percent's share", "Of all tokens, in the longest 1 % of documents.")  # fmt: skip


class Finding(Record):
    """One verdict: a sentence with its numbers."""

    key: str  #: leakage | duplicates | near | windows | val_tokens | likeness | vocabulary | lengths | compression | empty
    level: Literal["ok", "note", "warning"]
    text: str
    advice: str = ""
    numbers: dict[str, float] = Field(default_factory=dict)


class QualityReport(Record):
    """What a prepared dataset holds. Numbers over tokens are of every token unless they say they are of a sample."""

    version: Literal[1] = 1
    manifest_sha256: str = measured("Manifest", "SHA-256 of the manifest that was read.", default="")
    train: SplitNumbers
    val: SplitNumbers
    exact: Copies | None = measured("Exact copies", "Equal token for token.", default=None)
    normalised: Copies | None = measured("Copies after normalising", "Equal in lower case with white space collapsed; exact copies included.", default=None)  # fmt: skip
    near: NearCopies | None = measured("Near copies", "Besides the copies after normalising.", default=None)
    leakage: Leakage
    repeats: WindowRepeats
    entropy: Entropy
    compression: Compression | None = measured("Compression", "", default=None)
    extremes: Extremes | None = measured("Lengths at the ends", "", default=None)
    vocabulary: Vocabulary
    likeness: Likeness | None = measured("Validation against train", "", default=None)
    missing: dict[str, str] = measured("Not known", "Why a number is None, under its name.", default={})
    findings: list[Finding] = Field(default_factory=list)
    cpu_s: float = measured("Processor time", "Of the pass.", "s", default=0.0)
    wall_s: float = measured("Duration", "Of the pass.", "s", default=0.0)
    peak_mb: float = measured("Peak memory", "Of the process that made it.", "MB", default=0.0)


class ReportProgress(PrepareProgress):
    """A reporting worker's telemetry; phases are fetching | tokens | text | near."""

    phase: str = "tokens"


class DatasetReport(Record):
    """Where a dataset's report stands. While a new one is made, the last result stays."""

    state: Literal["queued", "reading", "ready", "failed"]
    detail: str = ""
    progress: ReportProgress = ReportProgress()
    result: QualityReport | None = None
    made_at: float | None = None  #: Unix seconds of the result
