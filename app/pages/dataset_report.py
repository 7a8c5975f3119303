"""A dataset's quality report for a page: verdicts with their sentences, and its numbers as drawings with the same in words."""

import math
import re
from typing import Any, NamedTuple

from markupsafe import Markup

from app.contract.dataset import Manifest
from app.contract.quality import DatasetReport, QualityReport
from app.i18n import N_, Speech
from app.pages.dataset_drawings import Part, against_noise, ladder, lengths, ranked, shares

LEVELS = {
    "warning": ("warn", "lost", N_("warning")),
    "note": ("run", "note", N_("note")),
    "ok": ("ok", "ok", N_("ok")),
}
"""Level -> (tone, shape, word); the most pressing first."""
TITLES = {
    "leakage": N_("Validation in train"),
    "duplicates": N_("Copies"),
    "near": N_("Near copies"),
    "windows": N_("Repeated passages"),
    "val_tokens": N_("Size of validation"),
    "likeness": N_("Validation against train"),
    "vocabulary": N_("Vocabulary"),
    "lengths": N_("Lengths"),
    "compression": N_("Compression"),
    "empty": N_("Empty documents"),
}
CONTEXTS = (1024, 4096)
"""Of the context lengths in a report, those that a page names."""
LANGUAGES = 7
"""Drawn one by one; the rest is one part."""
TOKEN_CHARACTERS = 14
QUANTILES = ("min", "p10", "p25", "median", "p75", "p90", "p99", "max")
_NUMBER = re.compile(r"(?:less than )?\d[\d,]*(?:\.\d+)?%?")


class FindingView(NamedTuple):
    key: str
    tone: str
    shape: str
    word: str
    title: str
    text: str
    advice: str
    english: bool  #: no translation of the worker's sentence is known


class Row(NamedTuple):
    """One line of a drawing's key: what a colour stands for, and its number."""

    colour: str
    hatched: bool
    label: str
    value: str
    note: str = ""


class Chart(NamedTuple):
    title: str
    note: str
    drawing: Markup
    rows: list[Row]
    sentence: str = ""


class ReportView:
    def __init__(self, stored: dict[str, Any] | None, manifest: Manifest | None, speech: Speech) -> None:
        report = DatasetReport.model_validate(stored) if stored else None
        self.state = report.state if report else ""
        self.detail = report.detail if report else ""
        self.progress = report.progress if report else None
        self.result = report.result if report else None
        self.made_at = report.made_at if report else None
        self.pending = self.state in ("queued", "reading")
        self.findings = _findings(self.result, speech) if self.result else []
        self.counts = {level: sum(one.word == speech(LEVELS[level][2]) for one in self.findings) for level in LEVELS}
        self.charts = _charts(self.result, manifest, speech) if self.result and manifest else []
        self.repeated_share = _repeated(self.result)

    @property
    def badges(self) -> list[FindingView]:
        """What a list has room for."""
        return [one for one in self.findings if one.tone == "warn"]


def _repeated(result: QualityReport | None) -> float:
    """The share of train's tokens that stand in documents that stand there already."""
    if result is None or not result.train.distinct_tokens or not result.train.tokens:
        return 0.0
    return min(0.999, max(0.0, 1 - result.train.distinct_tokens / result.train.tokens))


def _findings(result: QualityReport, speech: Speech) -> list[FindingView]:
    order = list(LEVELS)
    found = []
    for one in sorted(result.findings, key=lambda finding: order.index(finding.level)):
        tone, shape, word = LEVELS[one.level]
        (text, known), (advice, advice_known) = said(one.text, speech), said(one.advice, speech)
        title = speech(TITLES.get(one.key, one.key))
        found.append(FindingView(one.key, tone, shape, speech(word), title, text, advice, not (known and advice_known)))
    return found


def said(sentence: str, speech: Speech) -> tuple[str, bool]:
    """A worker's English sentence in the reader's language, and whether the catalogue knows it.

    It stands there with its numbers as {1}, {2}, …, which are put back in the reader's way.
    """
    numbers: list[str] = []

    def place(match: re.Match[str]) -> str:
        numbers.append(match[0])
        return f"{{{len(numbers)}}}"

    shape = _NUMBER.sub(place, sentence)
    translated = speech(shape)
    text = re.sub(r"\{(\d+)\}", lambda match: _written(numbers[int(match[1]) - 1], speech), translated)
    return text, speech.code == "en" or not sentence or translated != shape


def _written(number: str, speech: Speech) -> str:
    less, digits = number.startswith("less"), len(number.rstrip("%").partition(".")[2])
    value = float(number.removeprefix("less than ").rstrip("%").replace(",", ""))
    text = speech.percent(value / 100, digits) if number.endswith("%") else speech.number(value, digits)
    return f"< {text}" if less else text


def _charts(result: QualityReport, manifest: Manifest, speech: Speech) -> list[Chart]:
    made = (_lengths(result, speech), _copies(result, speech), _leak(result, speech), _likeness(result, speech),
            _entropies(result, manifest, speech), _vocabulary(result, speech), _top(result, speech))  # fmt: skip
    return [one for one in made if one is not None]


def split_chart(manifest: Manifest, speech: Speech) -> Chart:
    """Train and validation; needs no report."""
    train, val = manifest.train, manifest.val
    tokens = train.tokens + val.tokens
    rows = [
        Row(colour, hatched, speech(word), speech("%(n)s tokens", n=speech.short(split.tokens)),
            speech.percent(split.tokens / tokens, 1) + " · " + speech.plural("%(n)s document", "%(n)s documents", split.documents))
        for colour, hatched, word, split in (("var(--c1)", False, N_("train"), train), ("var(--c2)", True, N_("validation"), val))
    ]  # fmt: skip
    label = speech("Train %(train)s, validation %(val)s of all tokens", train=rows[0].note, val=rows[1].note)
    parts = [Part(train.tokens / tokens, "var(--c1)"), Part(val.tokens / tokens, "var(--c2)", True)]
    asked = speech("asked for: %(share)s", share=speech.percent(manifest.spec.val_share, 1))
    return Chart(speech("Split"), asked, shares(parts, label, "split"), rows)


def languages_chart(manifest: Manifest, speech: Speech) -> Chart | None:
    """Where a column of the source says each document's language; needs no report."""
    told = manifest.languages
    total = sum(one.documents for one in told)
    if not total:
        return None
    shown = [(one.language or speech("not said"), one.documents) for one in told[:LANGUAGES]]
    if len(told) > LANGUAGES:
        others = sum(one.documents for one in told[LANGUAGES:])
        shown.append((speech("%(n)s others", n=speech.number(len(told) - LANGUAGES)), others))
    rows = [
        Row(f"var(--c{1 + at % 8})", at % 2 == 1, label, speech.percent(documents / total, 1),
            speech.plural("%(n)s document", "%(n)s documents", documents))
        for at, (label, documents) in enumerate(shown)
    ]  # fmt: skip
    label = "; ".join(f"{row.label} {row.value}" for row in rows)
    parts = [Part(documents / total, row.colour, row.hatched) for (_, documents), row in zip(shown, rows, strict=True)]
    note = speech("share of the source's documents, as its own column says")
    return Chart(speech("Languages"), note, shares(parts, label, "languages"), rows)


def _lengths(result: QualityReport, speech: Speech) -> Chart | None:
    found = result.train.lengths
    if found is None:
        return None
    other = result.val.lengths
    val = other.documents if other and other.edges == found.edges else []
    median = found.quantiles.get("median", 0)
    rows = [
        Row(colour, False, speech(word), speech("median %(n)s", n=speech.number(one.quantiles.get("median", 0))),
            speech("mean %(mean)s · 99 of 100 below %(p99)s · longest %(max)s", mean=speech.number(one.mean),
                   p99=speech.number(one.quantiles.get("p99", 0)), max=speech.number(one.quantiles.get("max", 0))))
        for colour, word, one in (("var(--c1)", N_("train"), found), ("var(--c2)", N_("validation"), other))
        if one is not None
    ]  # fmt: skip
    quantiles = ", ".join(
        f"{name} {speech.number(found.quantiles[name])}" for name in QUANTILES if name in found.quantiles
    )
    ends = result.extremes
    rows += [
        Row("", False, speech("longer than %(n)s", n=speech.number(one.context)), speech.percent(one.documents, 1),
            speech("holding %(share)s of the tokens", share=speech.percent(one.tokens, 1)))
        for one in (ends.beyond if ends else ())
        if one.context in CONTEXTS
    ]  # fmt: skip
    label = speech("Documents by length in tokens; train: %(quantiles)s", quantiles=quantiles)
    drawing = lengths(found.edges, found.documents, val, median, label)
    return Chart(speech("Lengths of documents"), speech("tokens, log scale; share of documents"), drawing, rows)


def _copies(result: QualityReport, speech: Speech) -> Chart | None:
    exact = result.exact
    if exact is None:
        return None
    normalised = max(
        0.0, (result.normalised.token_share if result.normalised else exact.token_share) - exact.token_share
    )
    near = result.near.token_share * (1 - exact.token_share - normalised) if result.near else 0.0
    once = max(0.0, 1 - exact.token_share - normalised - near)
    rows = [
        Row("var(--c3)", False, speech("new text"), speech.percent(once, 1)),
        Row("var(--c2)", True, speech("exact copies"), speech.percent(exact.token_share, 1),
            speech.plural("%(n)s document", "%(n)s documents", exact.documents)),
    ]  # fmt: skip
    if result.normalised is not None:
        more = result.normalised.documents - exact.documents
        rows.append(
            Row("var(--c5)", True, speech("equal but for case and blanks"), speech.percent(normalised, 1), speech.plural("%(n)s document", "%(n)s documents", more))
        )  # fmt: skip
    if result.near is not None:
        of = speech("of a sample of %(n)s", n=speech.number(result.near.compared)) if result.near.sampled else ""
        counted = speech.plural("%(n)s document", "%(n)s documents", result.near.documents)
        rows.append(Row("var(--c8)", True, speech("near copies"), speech.percent(near, 1), f"{counted} {of}".strip()))
    label = "; ".join(f"{row.label} {row.value}" for row in rows)
    parts = [
        Part(share, row.colour, row.hatched)
        for share, row in zip((once, exact.token_share, normalised, near), rows, strict=False)
    ]
    most = (
        speech("The most repeated text stands there %(n)s times.", n=speech.number(exact.most))
        if exact.most > 1
        else ""
    )
    return Chart(speech("Copies"), speech("share of tokens"), shares(parts, label, "copies"), rows, most)


def _leak(result: QualityReport, speech: Speech) -> Chart | None:
    leak = result.leakage
    if leak.window_share is None:
        return None
    rows = [
        Row("var(--c3)", False, speech("not in train"), speech.percent(1 - leak.window_share, 2)),
        Row("var(--c2)", True, speech("in train too"), speech.percent(leak.window_share, 2),
            speech.plural("%(n)s identical document", "%(n)s identical documents", leak.documents) if leak.documents is not None else ""),
    ]  # fmt: skip
    label = "; ".join(f"{row.label} {row.value}" for row in rows)
    parts = [Part(1 - leak.window_share, "var(--c3)"), Part(leak.window_share, "var(--c2)", True)]
    seen = speech("%(n)s windows looked up", n=speech.number(leak.windows))
    if leak.drawn_one_in > 1:
        seen = speech(
            "%(n)s windows looked up, one in %(of)s", n=speech.number(leak.windows), of=speech.number(leak.drawn_one_in)
        )
    return Chart(
        speech("Validation in train"),
        speech("share of validation's 32-token windows"),
        shares(parts, label, "leak"),
        rows,
        seen,
    )


def _likeness(result: QualityReport, speech: Speech) -> Chart | None:
    like = result.likeness
    if like is None:
        return None
    rows = [
        Row("var(--ok)" if like.distance <= like.noise_99 else "var(--warn)", False, speech("distance"), speech("%(n)s nats", n=_small(like.distance, speech))),
        Row("var(--line-strong)", False, speech("chance alone"), f"{_small(like.noise, speech)} ± {_small(like.noise_sd, speech)}",
            speech("1 random split in 100 beyond %(n)s", n=_small(like.noise_99, speech))),
    ]  # fmt: skip
    sentence = (
        speech("Validation looks like train: no farther away than a random split.")
        if like.distance <= like.noise_99
        else speech("Validation differs from train by more than chance.")
    )
    label = f"{sentence} " + "; ".join(f"{row.label} {row.value}" for row in rows)
    drawing = against_noise(like.distance, like.noise, like.noise_sd, like.noise_99, label)
    return Chart(
        speech("Validation against train"), speech("token frequencies, Jensen-Shannon"), drawing, rows, sentence
    )


def _small(value: float, speech: Speech) -> str:
    return speech.number(value, 4 if value >= 0.001 else 6)


def _entropies(result: QualityReport, manifest: Manifest, speech: Speech) -> Chart:
    steps = [
        (math.log(manifest.tokenizer.vocab_size), "var(--c8)", speech("ln V: nothing")),
        (result.entropy.unigram, "var(--c1)", speech("how frequent each token is")),
    ]
    if result.entropy.bigram is not None:
        steps.append((result.entropy.bigram, "var(--c3)", speech("the token before as well")))
    rows = [
        Row(colour, False, label, speech("%(n)s nats", n=speech.number(value, 3))) for value, colour, label in steps
    ]
    label = "; ".join(f"{row.label} {row.value}" for row in rows)
    return Chart(
        speech("What knowing little scores"), speech("loss, nats per token"), ladder([step[:2] for step in steps], label), rows,
        speech("A run whose loss stays near the second has learnt only frequencies."),
    )  # fmt: skip


def _vocabulary(result: QualityReport, speech: Speech) -> Chart:
    vocabulary = result.vocabulary
    rare, never = vocabulary.rare / vocabulary.entries, vocabulary.never_seen / vocabulary.entries
    rows = [
        Row("var(--c3)", False, speech("10 times and more"), speech.number(vocabulary.seen - vocabulary.rare), speech.percent(max(0.0, 1 - rare - never), 1)),
        Row("var(--c5)", True, speech("fewer than 10 times"), speech.number(vocabulary.rare), speech.percent(rare, 1)),
        Row("var(--c8)", True, speech("never"), speech.number(vocabulary.never_seen), speech.percent(never, 1)),
    ]  # fmt: skip
    label = "; ".join(f"{row.label} {row.value}" for row in rows)
    parts = [
        Part(share, row.colour, row.hatched) for share, row in zip((1 - rare - never, rare, never), rows, strict=True)
    ]
    return Chart(
        speech("Vocabulary in train"), speech("ids by how often they occur"), shares(parts, label, "vocabulary"), rows
    )


def _top(result: QualityReport, speech: Speech) -> Chart | None:
    top = result.vocabulary.top
    if not top:
        return None
    bars = [(_visible(one.text) or f"#{one.id}", one.share, speech.percent(one.share, 2)) for one in top]
    together = speech.percent(sum(one.share for one in top), 1)
    label = "; ".join(f"{text} {share}" for text, _, share in bars)
    sentence = speech("Together %(share)s of all tokens of train.", share=together)
    return Chart(speech("Most frequent tokens"), speech("share of train's tokens"), ranked(bars, label), [], sentence)


def _visible(token: str) -> str:
    """A token with its blanks to be seen."""
    return token.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥").replace("\r", "␍")[:TOKEN_CHARACTERS]
