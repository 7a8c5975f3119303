"""The guide: every language says the same about the same claims, with the same numbers."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from website import Site

from app.guide import languages
from app.guide.claims import CLAIMS
from app.guide.models import MODELS
from app.pages.guide import isolated
from app.pages.guide_figures import against_decay
from app.ready_made import READY_MADE
from app.settings import Settings

ENGLISH = languages.words("en")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?:e-?\d+)?")
OTHERS = [code for code in languages.MODULES if code != "en"]
SPELLED = {"P1", "P2", "P3", "P5", "P10", "P11"}
"""Claims in which a language counts in its own large numbers: millions as 千萬 or करोड़. Their arithmetic is compared apart."""


def test_the_claims_are_w1_to_w14_and_p1_to_p24_each_with_a_verdict_that_has_a_word() -> None:
    wanted = [f"W{n}" for n in range(1, 15)] + [f"P{n}" for n in range(1, 25)]
    assert [claim.key for claim in CLAIMS] == wanted
    assert {claim.verdict for claim in CLAIMS} == set(ENGLISH.verdicts)
    assert all(source.url.startswith("https://") for claim in CLAIMS for source in claim.sources)


@pytest.mark.parametrize("code", OTHERS)
def test_a_language_is_complete(code: str) -> None:
    words = languages.words(code)
    assert words.code == code
    assert list(words.claims) == list(ENGLISH.claims)
    assert set(words.verdicts) == set(ENGLISH.verdicts)
    for field in ENGLISH._fields:
        mine, theirs = getattr(words, field), getattr(ENGLISH, field)
        assert mine, field
        assert len(mine) == len(theirs) or isinstance(mine, str), field
        assert field in ("code", "direction", "name") or mine != theirs, f"{field} is still English"
    texts = [text for pair in words.claims.values() for text in pair]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("code", OTHERS)
def test_every_language_names_the_same_numbers(code: str) -> None:
    words = languages.words(code)
    for key, pair in ENGLISH.claims.items():
        if key in SPELLED:
            continue
        theirs, mine = ({*NUMBER.findall(" ".join(texts))} for texts in (pair, words.claims[key]))
        assert {one for one in theirs if "." in one or "e" in one or "," in one} <= mine, key


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(Settings(home=tmp_path_factory.mktemp("guide") / "home")) as started:
        yield started


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name == "href" and tag == "a"]


@pytest.mark.parametrize("code", list(languages.MODULES))
def test_the_page_comes_in_this_language_with_a_button_for_every_claim_that_can_be_tried(site: Site, code: str) -> None:
    with site.signed_in() as reader:
        page = reader.get("/guide", params={"lang": code})
        assert page.status_code == 200
        words = languages.words(code)
        assert f'lang="{code}" dir="{words.direction}"' in page.text
        assert all(f'id="{claim.key}"' in page.text for claim in CLAIMS)
        assert all(model.name in page.text for model in MODELS)
        links = Links()
        links.feed(page.text)
        tried = {link.partition("ready=")[2] for link in links.found if link.startswith("/sweeps/new?ready=")}
        assert tried == {one.key for one in READY_MADE.values() if one.claims}
        for key in tried:
            assert reader.get("/sweeps/new", params={"ready": key}).status_code == 200
        assert reader.get("/guide", params={"lang": "tlh"}).status_code == 200


def test_losses_stand_over_decay_with_zero_apart() -> None:
    drawn = str(against_decay([(0.0, 3.0), (0.1, 2.9), (0.1, 2.95), (1.0, 3.1)], "x <b>"))
    circles = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', drawn)]
    assert circles[0] < circles[1] == circles[2] < circles[3]
    assert "x &lt;b&gt;" in drawn


def test_formulas_stand_apart_in_sentences_from_right_to_left() -> None:
    text = "ما يعمل هو a = lr·λ، أي <b> الحصة."
    assert str(isolated(text, "rtl")) == (
        'ما يعمل هو <bdi dir="ltr">a = lr·λ</bdi>، أي <bdi dir="ltr">&lt;b&gt;</bdi> الحصة.'
    )
    assert str(isolated("a = lr·λ < 1", "ltr")) == "a = lr·λ &lt; 1"
