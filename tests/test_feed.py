"""The feed: numbers that only rise, in the order of commits, pruned from the old end."""

import pytest

from app import feed
from tests.domain import World


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.db.close()


def test_rows_come_after_a_cursor_in_order_and_in_pages(world):
    world.write(lambda tx: [feed.post(tx, "run", n, "points", n * 10) for n in range(5)])
    with world.db.read() as tx:
        rows = feed.after(tx.raw, 2, limit=2)
        assert rows == [(3, "run", 2, "points", 20), (4, "run", 3, "points", 30)]
        assert (feed.head(tx.raw), feed.oldest(tx.raw)) == (5, 1)


def test_pruning_keeps_the_newest_and_never_reuses_a_number(world):
    world.write(lambda tx: [feed.post(tx, "run", 1, "state") for _ in range(10)])
    assert world.write(lambda tx: feed.prune(tx, keep=4)) == 6
    world.write(lambda tx: feed.prune(tx, keep=0))
    with world.db.read() as tx:
        assert (feed.head(tx.raw), feed.oldest(tx.raw)) == (10, 11)
    world.write(lambda tx: feed.post(tx, "run", 1, "state"))
    with world.db.read() as tx:
        assert feed.head(tx.raw) == 11


def test_an_empty_feed_starts_at_zero(world):
    with world.db.read() as tx:
        assert (feed.head(tx.raw), feed.oldest(tx.raw), feed.after(tx.raw, 0)) == (0, 1, [])
