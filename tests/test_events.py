"""Events and log lines: rows of their own, with a feed row that points at them."""

import pytest

from app import events, feed
from app.contract.protocol import LogLine
from tests.domain import World


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.db.close()


def test_events_and_log_lines_point_at_their_rows(world):
    world.ready()
    world.launch()
    with world.db.read() as tx:
        before = feed.head(tx.raw)
    number = world.write(lambda tx: events.record(tx, 1, "note", "hello", at=1.0, data={"a": 1}))
    lines = [LogLine(at=1, text="a"), LogLine(at=2, text="b")]
    world.write(lambda tx: events.log(tx, lines, attempt=1, run_id=1))
    world.write(lambda tx: events.log(tx, lines, attempt=1, dataset_id=1))
    world.write(lambda tx: events.log(tx, [], attempt=1, run_id=1))
    with world.db.read() as tx:
        rows = [row[1:] for row in feed.after(tx.raw, before)]
    assert rows == [("run", 1, "event", number), ("run", 1, "log", 1), ("dataset", 1, "log", 3)]
