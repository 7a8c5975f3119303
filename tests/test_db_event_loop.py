"""Writes that the event loop waits for: answered, refused, given up, and left behind by a loop that is gone."""

import asyncio

import pytest
from writes import add, empty_database, held_writer, values

from app.db import Tx
from app.errors import Conflict


@pytest.fixture
def db(tmp_path):
    with empty_database(tmp_path / "plateau.db") as database:
        yield database


def test_the_event_loop_hears_of_its_writes_and_a_cancelled_one_is_dropped(db):
    def fail(tx: Tx) -> None:
        raise Conflict("not like this")

    async def several() -> list[object]:
        release = held_writer(db)
        waiting = [asyncio.create_task(db.written(work)) for work in (add(1), fail, add(2), add(3))]
        await asyncio.sleep(0)  # all of them have asked
        waiting[2].cancel()
        await asyncio.sleep(0)
        release.set()
        return await asyncio.gather(*waiting, return_exceptions=True)

    first, failed, cancelled, last = asyncio.run(several())
    assert first is not None
    assert last is not None
    assert isinstance(failed, Conflict)
    assert isinstance(cancelled, asyncio.CancelledError)
    assert values(db) == [1, 3]


def test_a_loop_that_is_gone_before_its_write_is_done_stops_nobody(db):
    release = held_writer(db)

    async def leave() -> None:
        asyncio.get_running_loop().create_task(db.written(add(1)))
        await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    after = db.submit(add(2))
    release.set()
    after.result(10)
    assert values(db) == [1, 2], "who wrote is gone, what was written is not"
