"""A log file diagnosed by itself, without a server: read, put together with what is told about it, judged by the same rules."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app import facts
from app.diagnosis import rules
from app.diagnosis.findings import called, headline
from app.diagnosis.observations import Curve
from app.foreign.account import account
from app.foreign.log import MOST_KEPT, Curves, Log
from app.foreign.reader import read


def diagnose(
    path: Path, *, config: str = "", args: str = "", supplied: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The same shape as REST's diagnosis, without what only a server has. Raises NotALog, OSError."""
    curves = Curves()
    with path.open("rb") as stream:
        log = read(stream, curves)
    return judge(path.name, log, curves, config=config, args=args, supplied=supplied)


def judge(
    name: str,
    log: Log,
    curves: Curves,
    *,
    config: str = "",
    args: str = "",
    supplied: Mapping[str, Any] | None = None,
    growing: bool = False,
) -> dict[str, Any]:
    """Of what has been read so far; `growing`: more is to come."""
    found = account(log.as_json(), config=config, args=args, supplied=supplied)
    o = facts.from_elsewhere(
        found.config, found.known, found.facts, {key: Curve(*column) for key, column in curves.all().items()},
        step=log.last_step, state="running" if growing else found.state, reason=found.reason,
    )  # fmt: skip
    findings = rules.diagnose(o)
    head = headline(findings)
    return {
        "log": name,
        "format": log.format,
        "step": log.last_step,
        "verdict": called(head),
        "level": head.level.value if head else "unknown",
        "rule": head.rule if head else None,
        "headline": head.sentence if head else "",
        "findings": [one.as_json() for one in findings],
        "asks": list(found.asks),
        "notes": [
            *(one.text for one in found.notes),
            *(
                f"{key} has more than {MOST_KEPT:,} points: every {n}th was looked at."
                for key, n in curves.stride.items()
            ),
        ],
    }
