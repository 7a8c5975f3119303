"""Notes in Markdown, made safe: no HTML of their own, no pictures from elsewhere, links that say nothing about where one came from."""

from functools import cache
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from markdown_it import MarkdownIt


def render(text: str) -> Markup:
    """CommonMark with tables and struck-through text, as HTML. What looks like HTML is shown as it was typed; a link goes to
    http, https or mailto, else it is text."""
    return Markup(_parser().render(text))  # noqa: S704 - markdown-it escapes what it does not make itself


@cache
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt  # 30 ms, at the first note

    parser = MarkdownIt("js-default", {"html": False, "linkify": False}).disable("image")
    allowed = parser.validateLink
    schemes = ("http://", "https://", "mailto:", "/", "#")
    parser.validateLink = lambda url: bool(allowed(url)) and url.lower().startswith(schemes)  # type: ignore[method-assign]

    def link_open(renderer, tokens, index, options, env):  # type: ignore[no-untyped-def]
        tokens[index].attrSet("rel", "noopener noreferrer nofollow")
        return renderer.renderToken(tokens, index, options, env)

    parser.add_render_rule("link_open", link_open)
    return parser
