"""Verdicts: each threshold, and sentences that carry their numbers."""

import pytest

from app.contract.quality import Copies, QualityReport
from tests.small_report import small_report
from worker.verdicts import findings


def levels(report: QualityReport) -> dict[str, str]:
    """The worst level of each key."""
    made: dict[str, str] = {}
    for one in findings(report):
        made.setdefault(one.key, one.level)
    return made


def changed(part: str, **values: object) -> QualityReport:
    report = small_report()
    return report.model_copy(update={part: getattr(report, part).model_copy(update=values)})


def copies(share: float) -> Copies:
    return Copies(documents=round(1000 * share), share=share, tokens=0, token_share=share, most=5)


def test_a_sound_dataset_is_told_so_in_whole_sentences():
    found = findings(small_report())
    assert {one.level for one in found} == {"ok"}
    assert {one.key for one in found} == {
        "leakage", "duplicates", "near", "windows", "val_tokens", "likeness", "vocabulary", "lengths", "compression",
    }  # fmt: skip
    assert all(one.text[0].isupper() or one.text[0].isdigit() for one in found)
    assert all(one.text.endswith(".") and not one.advice for one in found)


@pytest.mark.parametrize(
    ("part", "values", "key", "level"),
    [
        ("leakage", {"window_share": 0.0009}, "leakage", "ok"),
        ("leakage", {"window_share": 0.0022}, "leakage", "note"),  # data.md: distinct FineWeb documents, 90/10
        ("leakage", {"window_share": 0.0101}, "leakage", "warning"),
        ("leakage", {"share": 0.0001, "documents": 1}, "leakage", "note"),
        ("leakage", {"normalised_share": 0.02}, "leakage", "warning"),
        ("near", {"share": 0.06}, "near", "note"),
        ("near", {"share": 0.2}, "near", "warning"),
        ("repeats", {"share": 0.0015}, "windows", "ok"),
        ("repeats", {"share": 0.5747}, "windows", "warning"),
        ("val", {"tokens": 36_059}, "val_tokens", "warning"),  # tinyshakespeare's
        ("val", {"tokens": 1_000_000}, "val_tokens", "note"),
        ("likeness", {"distance": 0.0135}, "likeness", "ok"),  # z = 3.5
        ("likeness", {"distance": 0.015}, "likeness", "note"),
        ("likeness", {"distance": 0.021}, "likeness", "warning"),
        ("vocabulary", {"seen": 700, "never_seen": 300}, "vocabulary", "note"),
        ("vocabulary", {"beyond": 1}, "vocabulary", "warning"),
        ("vocabulary", {"val_only_tokens": 20_000}, "vocabulary", "note"),
        ("extremes", {"longest_share": 0.03}, "lengths", "note"),
        ("extremes", {"longest_share": 0.3}, "lengths", "warning"),
        ("extremes", {"empty_documents": 1}, "empty", "note"),
        ("compression", {"ratio": 1.1}, "compression", "note"),
        ("compression", {"ratio": 6.3}, "compression", "note"),
    ],
)  # fmt: skip
def test_each_number_has_its_threshold(part, values, key, level):
    assert levels(changed(part, **values))[key] == level


def test_duplicates_are_told_with_what_they_do_to_an_epoch():
    train = small_report().train.model_copy(update={"distinct_tokens": 38_340_000})
    found = findings(small_report(exact=copies(0.574), normalised=copies(0.574), train=train))
    assert found[0].level == "warning"
    assert found[0].text == (
        "57.4% of tokens are exact repeats of another document (574 documents; the most repeated occurs 5 times);"
        " one epoch reads train's distinct text 2.35 times."
    )
    assert "Drop exact duplicates" in found[0].advice


def test_what_differs_in_layout_only_counts_by_itself():
    assert levels(small_report(exact=copies(0.0), normalised=copies(0.02)))["duplicates"] == "note"


def test_warnings_come_first():
    report = changed("val", tokens=5).model_copy(update={"exact": copies(0.02), "normalised": copies(0.02)})
    order = [one.level for one in findings(report)]
    assert order == sorted(order, key=["warning", "note", "ok"].index)


def test_what_is_not_known_has_no_verdict():
    bare = small_report(exact=None, normalised=None, near=None, compression=None, extremes=None, likeness=None)
    assert set(levels(bare)) == {"leakage", "windows", "val_tokens", "vocabulary"}


def test_the_advice_on_leaked_windows_names_the_switch_only_where_it_helps():
    def advice(**values: object) -> str:
        return next(
            one.advice for one in findings(changed("leakage", window_share=0.02, **values)) if one.key == "leakage"
        )

    assert "does not take them out" in advice()
    assert "takes the whole documents out" in advice(documents=3, share=0.01)
    assert "takes the whole documents out" in advice(normalised_documents=3, normalised_share=0.01)
