"""Single values far above the ones before them: a robust z, and whether a healthy run of this length would show the like.

    e = y − median of the 128 points before,   z = e / max(1.4826·MAD, floor)

The floor is half of the log's last digit, at least 1e-3: with a MAD of 0 any change is infinitely far (science.md B.7).
Where the curve wanders from one window to the next (smoothed logs), that counts as noise as well.
Losses of batches have heavy tails (kurtosis about 4.8 above the normal's), so a long healthy run does pass 6 now and then:
the run is judged against that tail, not against the normal's.

Nothing is left out of long curves. A first pass compares each point with the block of 128 it lies in and the block before;
only what that finds near the limit gets its own window, so a million points take some 20 ms.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.diagnosis.observations import Curve, Floats

WINDOW, FEWEST = 128, 32
"""Points before that are looked at, and the least of them."""
LIMIT, BACK = 6.0, 3.0
"""z of a spike, and z at which the curve counts as back."""
LAST_POINTS, LAST_STEPS = 5, 200
"""Beyond 6 for so many points, or not back after so many steps: more than a spike."""
FLOOR = 1e-3
_NEAR = 4.0
_MOST_EXACT, _MOST_EVENTS = 50_000, 2_000


class Tail(NamedTuple):
    """How often healthy runs pass a limit upwards: `share` of the points pass `at`, falling by a power beyond."""

    share: float
    at: float
    power: float

    def beyond(self, value: float) -> float:
        return float(self.share * (max(value, self.at) / self.at) ** -self.power)


class Event(NamedTuple):
    """One departure, up to its return."""

    step: int
    z: float  #: the farthest point's
    rise: float  #: of that point above the median before
    points: int  #: beyond 6 without a break
    out: int  #: points until it was back
    last_step: int  #: the last that was not back
    back: bool  #: has returned within 3

    @property
    def lasting(self) -> bool:
        return self.points >= LAST_POINTS or (self.out >= 3 and self.last_step - self.step >= LAST_STEPS)


class Outliers(NamedTuple):
    looked: int  #: points that had a window before them; all points of a curve of which a part was chosen for its peaks
    events: list[Event]  #: in order; of those of a single point the 500 farthest, of others the last 2,000
    total: int  #: all of them

    def unusual(self, tail: Tail, sizes: list[float]) -> bool:
        """More of them, or one farther out, than a healthy run of this length shows (1 % and 5 % of such would).

        `sizes`: of the events, in the tail's unit.
        """
        from scipy.special import gammainc

        over = [size for size in sizes if size >= tail.at]
        if not over:
            return False
        number = len(over) + self.total - len(self.events)
        many = float(gammainc(number, self.looked * tail.share)) < 0.01  # Poisson: as many, or more
        return many or self.looked * tail.beyond(max(over)) < 0.05


def resolution(values: Floats) -> float:
    """The last digit a log has printed; 0 where the values have more than seven."""
    sample = values[:: max(1, len(values) // 500)][:500]
    for digits in range(8):
        if len(sample) and np.all(np.abs(np.round(sample, digits) - sample) < 1e-9 * np.maximum(1, np.abs(sample))):
            return float(10.0**-digits)
    return 0.0


def outliers(curve: Curve, floor: float, points: int = 0) -> Outliers | None:
    """Of a curve of finite values, `points` being all it has; None where it has too few."""
    y = curve.value
    n = len(y)
    if n < 2 * FEWEST:
        return None
    wander = _wander(y)
    near = _near(y, floor)
    z, median, scale = _scores(y, near, floor, wander)
    far = np.flatnonzero(z > LIMIT)
    at, z, median, scale = near[far], z[far], median[far], scale[far]
    # most are back at the next point; only the others have to be followed one by one
    alone = (at + 1 < n) & (y[np.minimum(at + 1, n - 1)] <= median + BACK * scale)
    followed, inside = [], np.zeros(len(at), bool)
    after = -1
    for place in np.flatnonzero(~alone)[-_MOST_EVENTS:].tolist():
        if at[place] < after:
            continue
        event, after = _follow(curve, int(at[place]), float(median[place]), float(scale[place]))
        inside |= (at > at[place]) & (at < after)
        followed.append(event)
    single = np.flatnonzero(alone & ~inside)
    kept = np.sort(single[np.argsort(-z[single], kind="stable")[: _MOST_EVENTS // 4]])
    steps, rises = curve.step[at[kept]].tolist(), (y[at[kept]] - median[kept]).tolist()
    singles = [
        Event(step, height, rise, 1, 1, step, True) for step, height, rise in zip(steps, z[kept].tolist(), rises, strict=True)
    ]  # fmt: skip
    events = sorted([*followed, *singles], key=lambda event: event.step)
    return Outliers(max(n, points) - FEWEST, events, len(followed) + len(single))


def _near(y: Floats, floor: float) -> NDArray[np.int64]:
    """Where y may be beyond the limit: all of the first window, and what is far above its own or the last block's median."""
    n = len(y)
    first = np.arange(FEWEST, min(n, WINDOW))
    blocks = n // WINDOW
    if blocks < 1:
        return first
    median, scale = _robust(y[: blocks * WINDOW].reshape(blocks, WINDOW))
    scale = np.maximum(scale, floor)
    line = np.minimum(median[1:], median[:-1]) + _NEAR * np.minimum(scale[1:], scale[:-1])
    lines = np.append(line, median[-1] + _NEAR * scale[-1])  # the last for the points after the last whole block
    limits = np.repeat(lines, WINDOW)[: n - WINDOW]
    return np.concatenate((first, WINDOW + np.flatnonzero(y[WINDOW:] > limits)))


def _robust(windows: Floats) -> tuple[Floats, Floats]:
    """Median and 1.4826·MAD of each row; sorting is faster than np.median."""
    half = windows.shape[1] // 2

    def middle(rows: Floats) -> Floats:
        rows = np.sort(rows, axis=1)
        return (rows[:, half] + rows[:, half - 1]) / 2

    median = middle(windows)
    return median, 1.4826 * middle(np.abs(windows - median[:, None]))


def _wander(y: Floats) -> float:
    """How far the median of one window lies from the next one's beyond the trend, by second differences; of white noise 0.16 of its scale."""
    size = WINDOW if len(y) >= 8 * WINDOW else FEWEST
    blocks = min(len(y) // size, 4096)
    if blocks < 8:
        return 0.0
    bends = np.diff(_robust(y[-blocks * size :].reshape(blocks, size))[0], 2)
    return float(1.4826 * np.median(np.abs(bends)) / math.sqrt(3))


def _scores(y: Floats, places: NDArray[np.int64], floor: float, wander: float) -> tuple[Floats, Floats, Floats]:
    """z, median and scale by each place's own window before it; beyond 50,000 places, by that of every so manyth."""
    every = -(-len(places) // _MOST_EXACT) if len(places) else 1
    chosen = places[::every]
    median, scale = np.empty(len(chosen)), np.empty(len(chosen))
    early = int(np.searchsorted(chosen, WINDOW))
    for k, i in enumerate(chosen[:early].tolist()):
        median[k], scale[k] = (float(one[0]) for one in _robust(y[i - (i & ~1) : i][None, :]))
    reach = np.arange(-WINDOW, 0)
    for start in range(early, len(chosen), 4096):
        part = slice(start, start + 4096)
        median[part], scale[part] = _robust(y[chosen[part][:, None] + reach])
    scale = np.maximum(scale, max(floor, wander))
    median, scale = (np.repeat(one, every)[: len(places)] for one in (median, scale))
    return (y[places] - median) / scale, median, scale


def _follow(curve: Curve, i: int, median: float, scale: float) -> tuple[Event, int]:
    """The event that begins at point i, and the first point after it."""
    y, n = curve.value, len(curve.value)
    end, reach = n, 64
    while i + 1 < n:
        inside = np.flatnonzero(y[i + 1 : i + 1 + reach] <= median + BACK * scale)
        if len(inside):
            end = i + 1 + int(inside[0])
            break
        if i + 1 + reach >= n:
            break
        reach *= 8
    part = y[i:end]
    below = np.flatnonzero(part <= median + LIMIT * scale)
    peak = float(part.max())
    return (
        Event(
            int(curve.step[i]), (peak - median) / scale, peak - median, int(below[0]) if len(below) else len(part),
            end - i, int(curve.step[end - 1]), end < n,
        ),
        end,
    )  # fmt: skip
