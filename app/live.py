"""Wakes the streams when something was committed, and reads what it was once for all of them.

After a commit the writer thread gives a hint; one reader thread then reads the feed from where it stopped
and composes the messages of every watched topic in that same snapshot. Streams pull: each has a cursor, and
takes from the last few publications what lies after it when its socket is ready. One that has fallen behind,
or has just come, is caught up from the database by the same thread, so that its cursor lies again exactly
between two publications. Nothing is ever queued for a client.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

import structlog

from app import feed
from app.db import Database, Tx
from app.errors import Overloaded
from app.feed import FeedRow

MAX_STREAMS = 1_000
INTERVAL_S = 0.05
"""Between two publications, while different topics change."""
HOT_INTERVAL_S = 0.1
"""The same while one topic changes again and again: ten messages a second are more than anyone reads."""
CALM_S = 1.0
"""How often list pages hear of a run that only got new points."""
HISTORY = 64
LONGEST_REPLAY = 20_000
"""Feed rows; a stream that is further behind is told to reload."""

Topic = int
"""A run's number, or ALL."""
ALL: Topic = 0
Compose = Callable[[Tx, Sequence[FeedRow], Topic], bytes]
log = structlog.get_logger("plateau.live")


class Place(NamedTuple):
    """How far a stream has come."""

    number: int  #: of the last publication it has taken
    cursor: int  #: the last feed row that it covers


class Publication(NamedTuple):
    """What happened since the one before it, as encoded messages a topic."""

    place: Place
    messages: dict[Topic, bytes]


class Replay(NamedTuple):
    messages: bytes
    place: Place
    lost: bool  #: the rows are gone, or too many: reload


class Hub:
    """Made with the app, started and closed with its event loop."""

    def __init__(self, db: Database, compose: Compose) -> None:
        self._db = db
        self._compose = compose
        self._watched: Counter[Topic] = Counter()
        self._streams = 0
        self._recent: deque[Publication] = deque(maxlen=HISTORY)
        self._news = asyncio.Event()
        self._hint = asyncio.Event()
        self._hinted = False
        self._reader = ThreadPoolExecutor(1, "plateau-feed")
        self._latest = 0  # number of the newest publication
        # touched by the reader thread only: where it stopped, runs that list pages have yet to hear of
        self._at = Place(0, 0)
        self._calm: set[int] = set()
        self._calmed_at = float("-inf")
        self._last: dict[Topic, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self.closing = False

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        with self._db.read() as tx:
            self._at = Place(0, feed.head(tx.raw))
        self._task = asyncio.create_task(self._publish_forever())
        self._db.on_commit.append(self._committed)

    async def stop(self) -> None:
        self.close()
        if self._committed in self._db.on_commit:
            self._db.on_commit.remove(self._committed)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._reader.shutdown(wait=True)

    def close(self) -> None:
        """Ends all streams; their browsers come back by themselves."""
        self.closing = True
        self._wake()

    @property
    def streams(self) -> int:
        return self._streams

    def watch(self, topics: Iterable[Topic]) -> None:
        """Raises Overloaded at the limit. Every watch is followed by one unwatch."""
        if self._streams >= MAX_STREAMS:
            raise Overloaded(f"{MAX_STREAMS:,} pages are open already.", retry_after_s=10)
        self._streams += 1
        self._watched.update(topics)

    def unwatch(self, topics: Iterable[Topic]) -> None:
        self._streams -= 1
        self._watched.subtract(topics)
        self._watched += Counter()  # drops the topics that nobody watches any more

    def after(self, place: Place, topics: Sequence[Topic]) -> tuple[bytes, Place] | None:
        """Messages since `place` and the new place; None when they are no longer at hand and need `replay`."""
        missing = self._latest - place.number
        if missing == 0:
            return b"", place
        if missing > len(self._recent):
            return None
        newer = list(self._recent)[-missing:]
        if any(topic not in one.messages for one in newer for topic in topics):
            return None
        return b"".join(one.messages[topic] for one in newer for topic in topics), newer[-1].place

    async def replay(self, cursor: int | None, topics: Sequence[Topic]) -> Replay:
        """Catch up from the database; None means from now on."""
        assert self._loop is not None, "the hub is not started"
        watched = frozenset(self._watched)
        return await self._loop.run_in_executor(self._reader, self._read_replay, cursor, topics, watched)

    async def news(self, timeout_s: float) -> None:
        """Returns at the next publication, when the hub closes, or after `timeout_s`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), timeout_s)

    def _committed(self) -> None:
        """On the writer thread: cheap, at most one hint under way."""
        if not self._hinted and self._loop is not None and not self._loop.is_closed():
            self._hinted = True
            self._loop.call_soon_threadsafe(self._hint.set)

    async def _publish_forever(self) -> None:
        loop = asyncio.get_running_loop()
        pause_s: float | None = None
        while not self.closing:
            with suppress(TimeoutError):  # a pause is set while list pages have something yet to hear
                await asyncio.wait_for(self._hint.wait(), pause_s)
            self._hint.clear()
            self._hinted = False
            try:
                changed, calm_waits = await loop.run_in_executor(
                    self._reader, self._read_news, frozenset(self._watched), loop.time()
                )
            except Exception:  # one bad row must not end everybody's live view; the next commit tries again
                log.exception("reading the feed failed")
                await asyncio.sleep(1.0)
                continue
            now = loop.time()
            hot = any(now - self._last.get(topic, -1.0) < HOT_INTERVAL_S for topic in changed if topic != ALL)
            self._last = {topic: at for topic, at in self._last.items() if now - at < HOT_INTERVAL_S}
            self._last.update(dict.fromkeys(changed, now))
            pause_s = CALM_S if calm_waits else None
            # Also while nobody looks: a commit every few milliseconds is no reason to look at the feed as often.
            await asyncio.sleep(HOT_INTERVAL_S if hot else INTERVAL_S)

    def _read_news(self, watched: frozenset[Topic], now: float) -> tuple[list[Topic], bool]:
        """On the reader thread: publish what is new; returns the topics that had messages."""
        with self._db.read() as tx:
            return self._publish(tx, watched, now), bool(self._calm)

    def _publish(self, tx: Tx, watched: frozenset[Topic], now: float) -> list[Topic]:
        rows = _rows(tx, self._at.cursor) if watched else None
        if rows is None:  # nobody looks, or a burst that no browser should swallow: streams replay or reload
            head = feed.head(tx.raw)
            if head != self._at.cursor:
                self._calm.clear()
                self._deliver(Publication(Place(self._at.number + 1, head), {}))
            return []
        shown = self._calmed(rows, now) if ALL in watched else rows
        if not rows and not shown:
            return []
        messages = {topic: self._compose(tx, shown if topic == ALL else rows, topic) for topic in watched}
        self._deliver(Publication(Place(self._at.number + 1, rows[-1].id if rows else self._at.cursor), messages))
        return [topic for topic, message in messages.items() if message]

    def _calmed(self, rows: Sequence[FeedRow], now: float) -> list[FeedRow]:
        """`rows` for list pages: a run's new points wait until CALM_S after the last time they were shown."""
        shown = [row for row in rows if row.kind != "points"]
        self._calm.update(row.noun_id for row in rows if row.kind == "points")
        if self._calm and now - self._calmed_at >= CALM_S:
            shown += [FeedRow(0, "run", number, "state", 0) for number in self._calm]
            self._calm.clear()
            self._calmed_at = now
        return shown

    def _read_replay(self, cursor: int | None, topics: Sequence[Topic], watched: frozenset[Topic]) -> Replay:
        """On the reader thread: publish first, so that the replay ends where the next publication begins."""
        with self._db.read() as tx:
            self._publish(tx, watched, float("-inf"))
            here = self._at
            if cursor is None or cursor == here.cursor:
                return Replay(b"", here, lost=False)
            if cursor > here.cursor or cursor < feed.oldest(tx.raw) - 1:
                return Replay(b"", here, lost=True)
            rows = _rows(tx, cursor)
            if rows is None:
                return Replay(b"", here, lost=True)
            return Replay(b"".join(self._compose(tx, rows, topic) for topic in topics), here, lost=False)

    def _deliver(self, publication: Publication) -> None:
        assert self._loop is not None
        self._at = publication.place
        self._loop.call_soon_threadsafe(self._published, publication)

    def _published(self, publication: Publication) -> None:
        self._recent.append(publication)
        self._latest = publication.place.number
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _rows(tx: Tx, cursor: int) -> list[FeedRow] | None:
    """Everything after `cursor` in this snapshot; None when that is too much to tell."""
    rows: list[FeedRow] = []
    while len(rows) <= LONGEST_REPLAY:
        more = feed.after(tx.raw, rows[-1].id if rows else cursor)
        rows += more
        if len(more) < 5000:
            return rows
    return None
