"""A quality report as a page shows it: verdicts in the reader's language, numbers as drawings and as text."""

import pytest
from made_report import REPORT
from pages_fixture import manifest

from app.contract.dataset import Manifest
from app.contract.quality import QualityReport
from app.i18n import Catalogues, Speech
from app.pages.dataset_report import LANGUAGES, ReportView, languages_chart, said, split_chart
from app.settings import assets

SPEECH = {code: Speech(code, catalogue) for code, catalogue in Catalogues(assets() / "templates").items()}
MANIFEST = Manifest.model_validate(manifest("x"))


def view(code: str = "en", **report: object) -> ReportView:
    return ReportView({"state": "ready", "result": REPORT, "made_at": 1.0} | report, MANIFEST, SPEECH[code])


def test_warnings_come_first_and_are_counted() -> None:
    shown = view()
    assert [one.tone for one in shown.findings] == ["warn"] * 3 + ["run"] + ["ok"] * 8
    assert shown.counts == {"warning": 3, "note": 1, "ok": 8}
    assert [one.key for one in shown.badges] == ["duplicates", "windows", "val_tokens"]


@pytest.mark.parametrize("code", ["de", "ar"])
def test_every_verdict_of_a_real_report_is_said_in_the_readers_language(code: str) -> None:
    assert [one.text for one in view(code).findings if one.english] == []


def test_a_sentence_keeps_its_numbers_and_an_unknown_one_stays_english() -> None:
    german = SPEECH["de"]
    assert said("Validation has 373,720 tokens.", german) == ("Die Validierung hat 373.720 Token.", True)
    windows = "less than 0.01% of train's 32-token windows occur earlier in train."
    assert said(windows, german)[0].startswith("< 0,01 % der 32-Token-Fenster")
    assert said("Something new: 3 of 4.", german) == ("Something new: 3 of 4.", False)


def test_every_drawing_has_its_numbers_as_text_too() -> None:
    charts = view().charts
    assert len(charts) == 6
    for chart in charts:
        assert 'role="img"' in chart.drawing
        assert all(row.label and row.value for row in chart.rows)


def test_a_report_of_tokens_alone_draws_what_it_has() -> None:
    bare = {
        key: value
        for key, value in REPORT.items()
        if key not in ("exact", "normalised", "near", "likeness", "extremes")
    }
    bare["train"] = {"tokens": 5}
    bare["leakage"] = REPORT["leakage"] | {"window_share": None, "documents": None}
    QualityReport.model_validate(bare)
    titles = [chart.title for chart in view(result=bare).charts]
    assert titles == ["What knowing little scores", "Vocabulary in train"]


def test_no_report_is_no_news() -> None:
    nothing = ReportView(None, MANIFEST, SPEECH["en"])
    assert (nothing.pending, nothing.findings, nothing.charts, nothing.repeated_share) == (False, [], [], 0.0)
    assert split_chart(MANIFEST, SPEECH["en"]).rows[0].value == "5.12 M tokens"


def test_languages_are_shares_of_the_source_and_the_rest_is_one_part() -> None:
    assert languages_chart(MANIFEST, SPEECH["en"]) is None, "no column says it"
    told = [{"language": code, "documents": 100 // (at + 1)} for at, code in enumerate(["en", "de", "", *"abcdefgh"])]
    some = MANIFEST.model_validate(MANIFEST.model_dump() | {"languages": told})
    chart = languages_chart(some, SPEECH["en"])
    assert chart is not None
    assert len(chart.rows) == LANGUAGES + 1
    assert [row.label for row in chart.rows][:3] == ["en", "de", "not said"]
    assert chart.rows[-1].label == "4 others"
    assert chart.rows[0].value == f"{100 / sum(one['documents'] for one in told):.1%}".replace("%", " %")


def test_the_most_frequent_tokens_are_drawn_with_their_blanks_to_be_seen() -> None:
    top = [{"id": 1, "text": " the", "count": 4, "share": 0.04}, {"id": 2, "text": "\n", "count": 2, "share": 0.02}]
    shown = view(result=REPORT | {"vocabulary": REPORT["vocabulary"] | {"top": top}})
    chart = shown.charts[-1]
    assert "␣the" in chart.drawing
    assert "⏎" in chart.drawing
    assert "6.0" in chart.sentence
