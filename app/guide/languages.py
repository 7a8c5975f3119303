"""The languages the guide is written in: more than the rest of the interface has."""

from importlib import import_module

from app.guide.words import Words

MODULES = {"en": "en", "de": "de", "ar": "ar", "hi": "hi", "zh-Hant": "zh_hant"}
"""BCP 47 → module of this package."""


def words(code: str) -> Words:
    """English where there is no such language."""
    found: Words = import_module(f"app.guide.{MODULES.get(code, 'en')}").WORDS
    return found


def chosen(asked: str, usual: str) -> str:
    """`asked` in the address, else the interface's own."""
    by_lower = {code.lower(): code for code in MODULES} | {"zh": "zh-Hant", "zh-tw": "zh-Hant", "zh-hk": "zh-Hant"}
    return by_lower.get(asked.lower(), by_lower.get(usual.lower(), "en"))
