"""Notes in Markdown: what becomes of them, and what never does."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.pages.markdown import render

HARMLESS = {
    "p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "em", "strong", "s", "code", "pre", "blockquote", "a", "hr", "br",
    "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(render(text))
    return parser.found


def test_a_note_has_headings_lists_tables_and_links() -> None:
    text = "# λ\n\n- **a**\n- [paper](https://arxiv.org/abs/1711.05101)\n\n| x | y |\n|---|---|\n| 1 | `2` |\n"
    found = dict(tags(text))
    assert {"h1", "ul", "li", "strong", "a", "table", "td", "code"} <= set(found)
    assert found["a"]["href"] == "https://arxiv.org/abs/1711.05101"
    assert "noreferrer" in (found["a"]["rel"] or "")


@pytest.mark.parametrize(
    "text",
    [
        "</script><img src=x onerror=alert(1)>",
        "<script>alert(1)</script>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt&colon;alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "[x](vbscript:x) <javascript:alert(1)>",
        "![x](https://evil.example/pixel.png)",
        '[a](https://e.example/"onmouseover="alert(1))',
        "[x][1]\n\n[1]: javascript:alert(1)",
    ],
)
def test_a_note_runs_nothing_and_fetches_nothing(text: str) -> None:
    harmless(text)


@given(st.text(alphabet=st.sampled_from("<>[]()!\"'`*_#|:-/\\ \njavscriptonerx=&;%0"), max_size=60))
def test_whatever_is_typed_makes_harmless_elements_only(text: str) -> None:
    harmless(text)


def harmless(text: str) -> None:
    for tag, attributes in tags(text):
        assert tag in HARMLESS, tag
        assert set(attributes) <= {"href", "rel", "title", "style", "start", "class"}, attributes
        assert attributes.get("style") in (None, "text-align:left", "text-align:center", "text-align:right")
        if href := attributes.get("href"):
            assert href.lower().startswith(("http://", "https://", "mailto:", "/", "#"))
