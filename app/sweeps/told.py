"""A sentence with its numbers kept apart, so that a page can say it in the reader's language and a program can read it. Pure."""

import math
from typing import Any

from app.sweeps.arms import spell

Part = tuple[str, Any]


def say(message: str, **values: Part) -> dict[str, Any]:
    """`message` has %(name)s for each value; a value is (kind, number or text): see `plain`."""
    shown = message % {name: plain(kind, value) for name, (kind, value) in values.items()}
    return {"message": message, "values": {name: list(part) for name, part in values.items()}, "text": shown}


def plain(kind: str, value: Any) -> str:
    """The value in English: loss 0.0505, signed +0.0505, p 0.003, setting 0.1, count 1,234, percent 57.8 %, text."""
    match kind:
        case "loss":
            return f"{value:.4f}"
        case "signed":
            return f"{value:+.4f}".replace("-", "−")
        case "p":
            return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
        case "setting":
            return spell(value)
        case "rough":
            return spell(float(f"{value:.2g}"))
        case "count":
            return f"{value:,}"
        case "percent":
            return f"{100 * value:.3g} %"
        case _:
            return str(value)


def half(low: float | None, high: float | None) -> float | None:
    """Half the width of an interval."""
    return (high - low) / 2 if low is not None and high is not None and math.isfinite(high - low) else None
