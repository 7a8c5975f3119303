"""The languages of the pages: gettext catalogues read at their first page, and numbers and times in the reader's way.

English is the language of the source. Every other language is one templates/locale/<code>/LC_MESSAGES/plateau.po,
compiled in memory: a translator's change needs a restart and nothing else.
"""

import gettext
import io
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from babel import negotiate_locale
from markupsafe import Markup, escape

LANGUAGES = {"en": "English", "de": "Deutsch", "ar": "العربية"}
# What differs from English. Babel knows it too, but reads 4.5 MiB for it at the first page; tests compare.
RIGHT_TO_LEFT = frozenset({"ar"})
MARKS = {"de": {",": ".", ".": ","}}
COOKIE = "plateau_lang"
MINUS = "−"


class Catalogues(Mapping[str, gettext.NullTranslations]):
    """The languages there are; a catalogue is read when it is first asked for (40 ms, 1.5 MiB). English needs none."""

    def __init__(self, templates: Path) -> None:
        paths = {code: templates / "locale" / code / "LC_MESSAGES" / "plateau.po" for code in LANGUAGES}
        self._files = {code: path for code, path in paths.items() if path.is_file()}
        self._read: dict[str, gettext.NullTranslations] = {"en": gettext.NullTranslations()}

    def __getitem__(self, code: str) -> gettext.NullTranslations:
        if code not in self._read:
            self._read[code] = _compiled(self._files[code], code)
        return self._read[code]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(["en", *self._files]))

    def __len__(self) -> int:
        return len({"en", *self._files})


def _compiled(path: Path, code: str) -> gettext.GNUTranslations:
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    compiled = io.BytesIO()
    with path.open("rb") as file:
        write_mo(compiled, read_po(file, locale=code))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def choose(cookies: Mapping[str, str], accept_language: str) -> str:
    """The language a reader asked for: the cookie of the switch, else the browser's list, else English."""
    if (asked := cookies.get(COOKIE)) in LANGUAGES:
        return asked
    ranked: list[tuple[float, str]] = []
    for entry in accept_language[:500].split(","):
        tag, _, quality = entry.strip().partition(";q=")
        try:
            ranked.append((-float(quality or 1), tag))
        except ValueError:
            continue
    wanted = [tag for _, tag in sorted(ranked, key=lambda pair: pair[0])]
    return negotiate_locale([t.replace("-", "_") for t in wanted], list(LANGUAGES)) or "en"


class Speech:
    """One reader's language: calling it translates, its methods write numbers and times."""

    def __init__(self, code: str, translations: gettext.NullTranslations) -> None:
        self.code = code
        self.direction = "rtl" if code in RIGHT_TO_LEFT else "ltr"
        self._translations = translations
        # written here rather than by babel's format_decimal, which takes a tenth of a millisecond a number
        self._marks = str.maketrans(MARKS.get(code, {}))

    def __call__(self, message: str, **values: object) -> str:
        """Translates and fills in. Messages are plain text; a value may be Markup, every other one is escaped."""
        return self._fill(self._translations.gettext(message) if message else "", values)

    def plural(self, one: str, many: str, n: int, **values: object) -> str:
        return self._fill(self._translations.ngettext(one, many, n), {"n": self.number(n), **values})

    def _fill(self, text: str, values: Mapping[str, object]) -> str:
        if not values:
            return text
        if any(isinstance(value, Markup) for value in values.values()):
            return Markup(escape(text)) % values  # noqa: S704 - the catalogue's text is escaped first
        return text % values

    def number(self, value: float, digits: int | None = 0) -> str:
        """1,234 with so many decimals; digits=None keeps what the number has, up to six. From 1e16 on in powers of ten."""
        if not math.isfinite(value):
            return {math.inf: "∞", -math.inf: MINUS + "∞"}.get(value, "NaN")
        if abs(value) >= 1e16:  # more digits than a float64 has, and in the end more than can be formatted
            return (MINUS if value < 0 else "") + f"{abs(value):.3g}".replace("e+", "e")
        text = f"{Decimal(str(abs(value))):,.{6 if digits is None else digits}f}"
        if digits is None:
            text = text.rstrip("0").rstrip(".")
        text = text.translate(self._marks)
        return (MINUS if value < 0 and text.strip("0.,") else "") + text

    def _apart(self, text: str) -> str:
        """A number with its unit or sign keeps its own order inside right-to-left text (Unicode isolates)."""
        return f"\u2066{text}\u2069" if self.direction == "rtl" else text

    def signed(self, value: float, digits: int = 4) -> str:
        text = self.number(value, digits)
        return self._apart(text if text.startswith(MINUS) else "+" + text)

    def short(self, value: float) -> str:
        """Three digits and a scale: 96.4 k, 124 M, 6.24 B."""
        for scale, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
            if abs(value) >= scale * 0.9995:
                scaled = value / (1e3 if letter == "k" else scale)
                digits = 0 if abs(scaled) >= 99.95 else 1 if abs(scaled) >= 9.995 else 2
                return self._apart(f"{self.number(scaled, digits)} {letter}")
        return self.number(value, 0 if abs(value) >= 100 or value == int(value) else 1)

    def setting(self, value: object) -> str:
        """A value as one would type it into the form: 6e-4, 0.1, 1,024 stays 1024. The same in every language."""
        if value is None:
            return self("none")
        if isinstance(value, bool):
            return self("on") if value else self("off")
        if not isinstance(value, float):
            return str(value)
        if value == 0 or 1e-3 <= abs(value) < 1e6:
            return f"{value:.6g}"
        mantissa, _, exponent = f"{value:.3e}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}"

    def rate(self, value: float) -> str:
        """A measured rate or ratio to three digits: 3.84e-4, 0.0512."""
        return self.setting(float(f"{value:.3g}"))

    def percent(self, share: float, digits: int = 0) -> str:
        return self._apart(f"{self.number(100 * share, digits)} %")

    def duration(self, seconds: float) -> str:
        """The two largest units that matter: 3 d 4 h, 10 h 50 min, 2 min 5 s."""
        s = max(0, round(seconds))
        units: tuple[tuple[int, Callable[[int], str]], ...] = (
            (86400, lambda n: self("%(n)s d", n=self.number(n))),
            (3600, lambda n: self("%(n)s h", n=n)),
            (60, lambda n: self("%(n)s min", n=n)),
            (1, lambda n: self("%(n)s s", n=n)),
        )
        for place, (size, word) in enumerate(units):
            if s >= size or size == 1:
                first, rest = divmod(s, size)
                if size == 1 or (size == 60 and first >= 10) or not (second := rest // units[place + 1][0]):
                    return word(first)
                return f"{word(first)} {units[place + 1][1](second)}"
        raise AssertionError(f"{s} s fits no unit")

    def age(self, seconds: float) -> str:
        """One unit, rounded down, as ages are read."""
        s = max(0, int(seconds))
        for size, word in ((86400, "%(n)s d"), (3600, "%(n)s h"), (60, "%(n)s min")):
            if s >= size:
                return self(word, n=self.number(s // size))
        return self("%(n)s s", n=s)

    def size(self, count: float) -> str:
        """Bytes in binary units."""
        for scale, unit in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
            if count >= scale:
                scaled = count / scale
                return self._apart(f"{self.number(scaled, 0 if scaled >= 100 else 1 if scaled >= 10 else 2)} {unit}")
        return f"{self.number(count)} B"

    def when(self, at: float) -> Markup:
        """A point in time, in UTC until the browser writes it in its own zone."""
        moment = datetime.fromtimestamp(at, UTC)
        return Markup('<time datetime="{}" data-when>{} UTC</time>').format(
            moment.isoformat(timespec="seconds"), moment.strftime("%Y-%m-%d %H:%M")
        )

    def ago(self, at: float, now: float) -> Markup:
        """An age that the page keeps up to date."""
        moment = datetime.fromtimestamp(at, UTC)
        return Markup('<time datetime="{}" data-ago>{}</time>').format(
            moment.isoformat(timespec="seconds"), self.age(now - at)
        )


def N_(message: str) -> str:
    """Marks a message for the catalogues where it is written; it is translated where it is shown."""
    return message
