"""The hub: wakes streams, reads once for all of them, and tells those who fell behind."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from app import feed, live
from app.db import Database, Tx
from app.errors import Overloaded
from app.feed import FeedRow
from app.live import ALL, Hub, Place
from app.migrate import open_database
from app.settings import Settings


@pytest.fixture
def db(home: Path) -> Iterator[Database]:
    opened = open_database(Settings(home=home, db_sync="NORMAL"))
    yield opened
    opened.close()


class Composer:
    """Says which rows a topic was told of, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, tx: Tx, rows: object, topic: int) -> bytes:
        self.asked += 1
        assert isinstance(rows, list)
        mine = [row for row in rows if topic in (ALL, row.noun_id)]
        return "".join(f"{row.noun_id}:{row.kind}:{row.ref} " for row in mine if isinstance(row, FeedRow)).encode()


def post(db: Database, run_id: int, ref: int = 0, kind: str = "points") -> None:
    db.write(lambda tx: feed.post(tx, "run", run_id, kind, ref))  # type: ignore[arg-type]


def with_hub(db: Database, body: Callable[[Hub, Composer], Awaitable[None]]) -> None:
    async def play() -> None:
        composer = Composer()
        hub = Hub(db, composer)
        await hub.start()
        try:
            await asyncio.wait_for(body(hub, composer), 20)
        finally:
            await hub.stop()

    asyncio.run(play())


async def told(hub: Hub, place: Place, topics: tuple[int, ...], enough: Callable[[bytes], bool]) -> tuple[bytes, Place]:
    """What a stream hears until it is enough."""
    heard = b""
    while not enough(heard):
        answer = hub.after(place, topics)
        assert answer is not None
        more, place = answer
        heard += more
        if not more:
            await hub.news(5)
    return heard, place


def test_a_commit_reaches_a_watcher(db: Database) -> None:
    async def body(hub: Hub, _: Composer) -> None:
        hub.watch((7,))
        place = (await hub.replay(None, (7,))).place
        await asyncio.to_thread(post, db, 7, 41)
        await asyncio.to_thread(post, db, 8, 1)
        heard, _place = await told(hub, place, (7,), lambda heard: b"41" in heard)
        assert heard == b"7:points:41 "
        hub.unwatch((7,))

    with_hub(db, body)


def test_fifty_streams_of_one_run_cost_one_reading(db: Database) -> None:
    async def body(hub: Hub, composer: Composer) -> None:
        for _ in range(50):
            hub.watch((7,))
        places = [(await hub.replay(None, (7,))).place for _ in range(50)]
        composer.asked = 0
        await asyncio.to_thread(post, db, 7, 1)
        for place in places:
            assert (await told(hub, place, (7,), bool))[0] == b"7:points:1 "
        assert composer.asked == 1

    with_hub(db, body)


def test_who_comes_back_is_told_what_it_missed_and_then_what_is_new(db: Database) -> None:
    async def body(hub: Hub, _: Composer) -> None:
        await asyncio.to_thread(post, db, 7, 1)
        with db.read() as tx:
            cursor = feed.head(tx.raw)
        await asyncio.to_thread(post, db, 7, 2)
        hub.watch((7,))
        replay = await hub.replay(cursor, (7,))
        assert (replay.messages, replay.lost) == (b"7:points:2 ", False)
        await asyncio.to_thread(post, db, 7, 3)
        assert (await told(hub, replay.place, (7,), bool))[0] == b"7:points:3 "

    with_hub(db, body)


def test_who_fell_far_behind_replays(db: Database) -> None:
    async def body(hub: Hub, _: Composer) -> None:
        hub.watch((7,))
        old = (await hub.replay(None, (7,))).place
        for number in range(live.HISTORY + 5):
            await asyncio.to_thread(post, db, 7, number)
            await hub.replay(None, (7,))  # publishes at once
        assert hub.after(old, (7,)) is None
        replay = await hub.replay(old.cursor, (7,))
        assert replay.messages.count(b"points") == live.HISTORY + 5

    with_hub(db, body)


@pytest.mark.parametrize("cursor", [10**9, -5])
def test_a_cursor_that_cannot_be_replayed_is_lost(db: Database, cursor: int) -> None:
    async def body(hub: Hub, _: Composer) -> None:
        for number in range(5):
            await asyncio.to_thread(post, db, 7, number)
        await asyncio.to_thread(lambda: db.write(lambda tx: feed.prune(tx, keep=2)))
        assert (await hub.replay(cursor, (7,))).lost

    with_hub(db, body)


def test_list_pages_hear_of_new_points_once_a_second_and_of_states_at_once(db: Database) -> None:
    async def body(hub: Hub, _: Composer) -> None:
        hub.watch((ALL,))
        place = (await hub.replay(None, (ALL,))).place
        await asyncio.to_thread(post, db, 7, 1)
        heard, place = await told(hub, place, (ALL,), bool)
        assert heard == b"7:state:0 "
        for number in range(20):
            await asyncio.to_thread(post, db, 7, number)
        await asyncio.to_thread(post, db, 8, 0, "state")
        loop = asyncio.get_running_loop()
        began = loop.time()
        heard, place = await told(hub, place, (ALL,), lambda heard: b"8:state" in heard)
        assert b"7:state" not in heard
        heard, place = await told(hub, place, (ALL,), lambda heard: b"7:state" in heard)
        assert heard.count(b"7:state") == 1
        assert loop.time() - began > live.CALM_S / 2

    with_hub(db, body)


def test_the_limit_of_streams_is_a_clear_answer(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_STREAMS", 2)

    async def body(hub: Hub, _: Composer) -> None:
        hub.watch((1,))
        hub.watch((2,))
        with pytest.raises(Overloaded):
            hub.watch((3,))
        hub.unwatch((1,))
        hub.watch((3,))

    with_hub(db, body)


def test_one_bad_reading_does_not_end_the_hub(db: Database) -> None:
    async def body(hub: Hub, composer: Composer) -> None:
        hub.watch((7,))
        place = (await hub.replay(None, (7,))).place
        good = hub._compose

        def broken(tx: Tx, rows: object, topic: int) -> bytes:
            raise ValueError("one bad row")

        hub._compose = broken
        await asyncio.to_thread(post, db, 7, 1)
        await asyncio.sleep(0.2)
        hub._compose = good
        await asyncio.to_thread(post, db, 7, 2)
        heard, _place = await told(hub, place, (7,), lambda heard: b":2" in heard)
        assert heard == b"7:points:1 7:points:2 "

    with_hub(db, body)
