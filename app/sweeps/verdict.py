"""The sentence a sweep comes to, with its uncertainty, and what it would take to tell two arms apart. Pure."""

from collections.abc import Sequence
from typing import Any

from app import inference
from app.sweeps.arms_table import Row
from app.sweeps.told import half, say

MOST_PAIRS = 10_000


def judge(rows: Sequence[Row], comparable: bool, delta: float, minimum: inference.Minimum | None, symbol: str) -> dict[str, Any]:  # fmt: skip
    """{"kind", "sentences", "text", "tests", "best", "rival", "needed"}.

    kind: refused (arms differ in more than they should), waiting (fewer than two arms have a value), single (one seed: no
    interval), separated, irrelevant (told apart, but closer than δ), open (cannot be told apart).
    """
    sound = sorted((row for row in rows if row["n"]), key=lambda row: row["mean"])
    if not comparable:
        return _made("refused", [say("No verdict: the arms differ in more than what the sweep varies.")], None, None, {}, [])  # fmt: skip
    if len(sound) < 2:
        return _made("waiting", [say("No verdict yet: fewer than two arms have a final loss.")], None, None, {}, [])
    best = sound[0]
    against = _against(sound[1:], best)
    needed: dict[str, int | None] = {
        row["key"]: more for row, found, p in against if (more := _more(found, p, delta)) is not None
    }
    excluded = _excluded(rows)
    if all(found is None or found.p is None for _, found, _ in against):
        names: dict[str, Any] = {"best": ("text", best["label"]), "loss": ("loss", best["mean"])}
        if all(row["n"] == 1 for row in sound):
            first = say("With one seed for each arm there is no interval: %(best)s has the lowest loss, %(loss)s, and another seed may say otherwise.", **names)  # fmt: skip
        else:
            first = say(
                "Fewer than two pairs: no interval yet. %(best)s has the lowest loss so far, %(loss)s.", **names
            )
        told = [first, *_of_minimum(minimum, symbol), *excluded]
        return _made("single", told, best, sound[1], {}, [])
    rival, found, p = against[0]
    kind, told, tests = _nearest(best, rival, found, p, delta, needed)
    if kind == "open":
        told += _farther(best, against[1:], delta)
    told += _of_minimum(minimum, symbol) + excluded
    if any(row["waiting"] for row in rows):
        told.append(say("Not all runs have ended: this is not the last word."))
    return _made(kind, told, best, rival, needed, tests)


def _made(kind: str, told: list[dict[str, Any]], best: Row | None, rival: Row | None, needed: dict[str, int | None], tests: list[dict[str, Any]]) -> dict[str, Any]:  # fmt: skip
    return {
        "kind": kind, "sentences": told, "text": " ".join(one["text"] for one in told), "tests": tests,
        "best": best["key"] if best else None, "rival": rival["key"] if rival else None, "needed": needed,
    }  # fmt: skip


Against = tuple[Row, inference.Difference | None, float | None]


def _against(others: Sequence[Row], best: Row) -> list[Against]:
    """Every other arm minus the best, nearest mean first, with Holm's p over all of them."""
    found = [(row, inference.paired(row["finals"], best["finals"])) for row in others]
    tested = [difference.p for _, difference in found if difference is not None and difference.p is not None]
    adjusted = iter(inference.holm(tested))
    return [(row, one, next(adjusted) if one is not None and one.p is not None else None) for row, one in found]


def _more(found: inference.Difference | None, p: float | None, delta: float) -> int | None:
    """Pairs that are still needed to find a difference of δ (or the one seen, if larger) with 80 % power; None where told apart."""
    if found is None or found.sd is None or p is None or p < 0.05 or _equal(found, delta):
        return None
    needed = inference.pairs_needed(found.sd, max(delta, abs(found.mean)), most=MOST_PAIRS)
    if needed is None:
        return MOST_PAIRS
    return max(1, needed - found.n)


def _equal(found: inference.Difference, delta: float) -> bool:
    """The interval excludes a difference of δ: as good in practice, and more pairs would not change that."""
    return found.low is not None and found.high is not None and -delta < found.low and found.high < delta


def _nearest(best: Row, rival: Row, found: inference.Difference | None, p: float | None, delta: float, needed: dict[str, int | None]) -> tuple[str, list[dict[str, Any]], list[dict[str, Any]]]:  # fmt: skip
    """The best against the one next to it."""
    if found is None or p is None:
        told = say("%(best)s has the lowest loss, but shares no seeds with %(rival)s: add seeds to pair them.", best=("text", best["label"]), rival=("text", rival["label"]))  # fmt: skip
        return "open", [told], []
    names: dict[str, Any] = {"best": ("text", best["label"]), "rival": ("text", rival["label"])}
    size: dict[str, Any] = {"difference": ("loss", found.mean), "half": ("loss", half(found.low, found.high) or 0.0), "n": ("count", found.n)}  # fmt: skip
    pills = [{"ok": p < 0.05, **say("statistically: p = %(p)s, paired, Holm", p=("p", p))}]
    relevant = found.mean > delta
    pills.append({"ok": relevant, **(say("practically: Δ > δ = %(delta)s", delta=("setting", delta)) if relevant else say("practically: Δ ≤ δ = %(delta)s", delta=("setting", delta)))})  # fmt: skip
    if p < 0.05:
        told = say("%(best)s beats %(rival)s by %(difference)s ± %(half)s nats (%(n)s pairs).", **names, **size)
        if relevant:
            return "separated", [told], pills
        return "irrelevant", [told, say("That is told apart, but smaller than δ = %(delta)s: no difference in practice.", delta=("setting", delta))], pills  # fmt: skip
    told = say(
        "%(best)s and %(rival)s cannot be told apart: %(difference)s ± %(half)s nats (%(n)s pairs).", **names, **size
    )
    if _equal(found, delta):
        return "open", [told, say("They are as good as each other in practice: a difference of δ = %(delta)s is excluded.", delta=("setting", delta))], pills  # fmt: skip
    more = needed.get(rival["key"]) or 1
    if more >= MOST_PAIRS:
        further = say("No number of pairs worth running would separate them.")
    else:
        further = say("About %(more)s more pairs would separate them if they differ by %(size)s.", more=("count", more), size=("loss", max(delta, abs(found.mean))))  # fmt: skip
    pills.append({"ok": False, **say("%(best)s vs %(rival)s needs %(more)s more pairs", **names, more=("count", more))})
    return "open", [told, further], pills


def _farther(best: Row, against: Sequence[Against], delta: float) -> list[dict[str, Any]]:
    """The nearest arm that is told apart, where the one next to the best is not."""
    for row, found, p in against:
        if found is not None and p is not None and p < 0.05 and found.mean > delta:
            return [
                say("%(best)s beats %(rival)s by %(difference)s ± %(half)s nats (%(n)s pairs).", best=("text", best["label"]), rival=("text", row["label"]),
                    difference=("loss", found.mean), half=("loss", half(found.low, found.high) or 0.0), n=("count", found.n))
            ]  # fmt: skip
    return []


def _of_minimum(minimum: inference.Minimum | None, symbol: str) -> list[dict[str, Any]]:
    if minimum is None:
        return []
    if minimum.at is None or minimum.flat is None or minimum.low is None or minimum.high is None:
        return [say("The minimum over %(symbol)s is not bracketed.", symbol=("text", symbol))] if "not bracketed" in minimum.refused else []  # fmt: skip
    return [
        say("The fitted minimum lies at %(symbol)s = %(at)s (%(low)s to %(high)s); anything from %(first)s to %(last)s is as good in practice.",
            symbol=("text", symbol), at=("rough", minimum.at), low=("rough", minimum.low), high=("rough", minimum.high),
            first=("rough", minimum.flat[0]), last=("rough", minimum.flat[1]))
    ]  # fmt: skip


def _excluded(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Diverged runs are shown and counted, never averaged."""
    count = sum(row["diverged"] for row in rows)
    gone = [row["label"] for row in rows if row["diverged"]]
    names = ", ".join(gone[:6]) + (", …" if len(gone) > 6 else "")
    if not count:
        return []
    return [say("%(count)s diverged runs are left out of all means (%(names)s).", count=("count", count), names=("text", names))]  # fmt: skip
