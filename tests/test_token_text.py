"""Documents as their tokens: escaped, each with its id, cut ones say so."""

from app.pages.token_text import coloured, documents, readable


def test_a_piece_is_shown_as_text_whatever_is_in_it() -> None:
    assert coloured('a<b onx="">\n', ["a", '<b onx="">\n'], [7]) == (
        '<i title="7">a</i><i>&lt;b onx=&#34;&#34;&gt;<u></u>\n</i>'
    )  # fmt: skip


def test_documents_of_one_kind_with_what_the_manifest_says_of_them() -> None:
    preview = [
        {"text": "one\n  two", "tokens": ["one", "\n  two"], "ids": [1, 2]},
        {"text": "x", "chosen": "random", "document": 9, "characters": 50, "split": "val"},
    ]
    (first,) = documents(preview, "first")
    assert (first.number, first.summary, first.tokens, first.cut) == (None, "one two", 2, False)
    (random,) = documents(preview, "random")
    assert (random.number, random.split, random.cut, random.characters) == (10, "val", True, 50)


def test_a_character_of_several_tokens_is_shown_at_its_first_one() -> None:
    text, pieces = "a ’s 😀", ["a", " \\xe2\\x80", "\\x99", "s", " \\xf0\\x9f", "\\x98", "\\x80"]
    assert list(readable(text, pieces)) == ["a", " ’", "", "s", " 😀", "", ""]
    assert "<i><s></s></i>" in coloured(text, pieces, [])


def test_text_that_looks_like_bytes_is_left_alone_and_so_is_what_fits_nothing() -> None:
    assert list(readable("say \\xe2", ["say", " \\xe2"])) == ["say", " \\xe2"]
    assert list(readable("abc", ["x", "\\xff"])) == ["x", "\\xff"]
