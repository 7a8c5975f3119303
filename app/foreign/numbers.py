"""Numbers as logs and tables of any country write them: 3.14, 3,14, 1.234,5, 1,234.5, 1 234, ٣٫١٤, nan, inf."""

import math
import re

NUMBER = r"[-+−]?(?:\d+(?:[.,٫]\d+)*(?:[eE][-+−]?\d+)?|[.,]\d+|nan\b|inf(?:inity)?\b)"
"""What `number` and `whole` take, as a part of a regular expression (to be compiled with IGNORECASE)."""

_FOREIGN = str.maketrans({"٫": ".", "٬": ",", "−": "-", "\u00a0": " ", "\u202f": " ", "'": " ", "’": " "})
_GROUPED = re.compile(r"[-+]?\d{1,3}([.,])\d{3}(?:\1\d{3})*")


def number(text: str, *, comma: bool = True) -> float | None:
    """The value; None where the text is none. A lone comma is a decimal point if `comma`, else it groups digits."""
    try:
        return float(text)  # nearly always
    except ValueError:
        pass
    text = text.strip().translate(_FOREIGN).replace(" ", "").rstrip("%")
    if "," in text:
        last_comma, last_point = text.rfind(","), text.rfind(".")
        decimal = last_comma > last_point if last_point >= 0 else comma and text.count(",") == 1
        text = text.replace(".", "").replace(",", ".") if decimal else text.replace(",", "")
    elif text.count(".") > 1:
        text = text.replace(".", "")
    try:
        return float(text)
    except ValueError:
        return None


def whole(text: str) -> int | None:
    """A count: 1000, 1,000, 1.000, 1 000, 1e3; None where it is none or below 0."""
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    text = text.strip().translate(_FOREIGN).replace(" ", "")
    if _GROUPED.fullmatch(text):
        text = text.replace(".", "").replace(",", "")
    value = number(text)
    if value is None or not math.isfinite(value) or value != int(value) or not 0 <= value <= 2**53:
        return None
    return int(value)
