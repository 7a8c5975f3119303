"""Batches: parsed strictly, accepted once, in order, by the claim that holds the run, however they are delivered."""

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from app import ingest, runs, series
from app.errors import Fenced, Invalid, SeqGap, TooLarge
from tests.domain import World


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.ready()
    yield world
    world.db.close()


def stored(world: World, run: int = 1, key: str = "train/loss") -> dict[int, float]:
    with world.db.read() as tx:
        points = series.read(tx.raw, run, key)
        return dict(zip(points.step.tolist(), points.value.tolist(), strict=True))


def pointers(body: bytes) -> list[str]:
    with pytest.raises(Invalid) as caught:
        ingest.parse_batch(body)
    return [error.pointer for error in caught.value.errors]


START = b'{"claim_id": "c", "attempt": 1, "seq": 1'


@pytest.mark.parametrize(
    ("rest", "pointer"),
    [
        (b"", ""),
        (b', "columns": {"train/loss": {"step": [1], "value": [NaN]}}}', ""),
        (b', "columns": []}', "/columns"),
        (b', "columns": {"loss": {"step": [1], "value": [1]}}}', "/columns/loss"),
        (b', "columns": {"a/b": {"step": [1, 2], "value": [1]}}}', "/columns/a~1b"),
        (b', "columns": {"a/b": {"step": [1.5], "value": [1]}}}', "/columns/a~1b/step"),
        (b', "columns": {"a/b": {"step": [true], "value": [1]}}}', "/columns/a~1b/step"),
        (b', "columns": {"a/b": {"step": [-1], "value": [1]}}}', "/columns/a~1b/step"),
        (b', "columns": {"a/b": {"step": [9007199254740993], "value": [1]}}}', "/columns/a~1b/step"),
        (b', "columns": {"a/b": {"step": [1], "value": ["nan"]}}}', "/columns/a~1b/value"),
        (b', "columns": {"a/b": {"step": [1], "value": [null]}}}', "/columns/a~1b/value"),
        (b', "columns": {"a/b": {"step": [1], "value": [[1]]}}}', "/columns/a~1b/value"),
        (b', "log": [{"at": 1, "text": 5}]}', "/log/0/text"),
        (b', "events": [{"kind": "No Good"}]}', "/events/0/kind"),
        (b', "points": 1}', "/points"),
    ],
)
def test_a_bad_batch_is_refused_at_the_field(rest, pointer):
    assert pointers(START + rest) == [pointer]


def test_too_many_bytes_or_points_are_refused():
    with pytest.raises(TooLarge, match="1,048,576"):
        ingest.parse_batch(b" " * (1 << 20) + b"{}")
    many = b"[" + b",".join([b"1"] * 10_001) + b"]"
    assert pointers(START + b', "columns": {"a/b": {"step": ' + many + b', "value": ' + many + b"}}}") == ["/columns"]
    assert pointers(b"[" * 5000 + b"]" * 5000) == [""]


def test_the_three_strings_become_what_they_say():
    columns = b', "columns": {"train/loss": {"step": [1, 2, 3, 4], "value": [1, "NaN", "Infinity", "-Infinity"]}}}'
    value = ingest.parse_batch(START + columns).columns["train/loss"][1]
    assert np.array_equal(value, [1.0, np.nan, np.inf, -np.inf], equal_nan=True)


def test_the_first_points_make_a_run_run_and_carry_its_numbers(world):
    run = world.launch()
    claim = world.claim()
    world.post(claim, 1, telemetry={"device": "cpu"})
    assert world.run(run).state == "starting"
    columns = {
        "train/loss": {"step": [1, 2], "value": [4.0, "NaN"]},
        "train/tok_per_s": {"step": [1, 2], "value": [100, 300]},
        "val/loss": {"step": [0, 2], "value": [9.0, 3.5]},
        "val/loss_se": {"step": [0, 2], "value": [0.2, 0.1]},
    }
    world.post(claim, 2, columns=columns, telemetry={"threads": 2}, log=[{"at": 5, "text": "hello"}])
    row = world.run(run)
    assert (row.state, row.step, row.tok_per_s) == ("running", 2, 200.0)
    assert (row.best_val, row.best_val_se, row.best_step) == (3.5, 0.1, 2)
    assert row.telemetry == {"device": "cpu", "threads": 2}
    assert world.count("SELECT count(*) FROM log WHERE text = 'hello'") == 1


def test_a_duplicate_has_the_same_answer_and_no_effect_and_a_gap_says_where_to_go_on(world):
    world.launch()
    claim = world.claim()
    first = world.points(claim, 1, 1, log=[{"at": 1, "text": "once"}])
    assert world.points(claim, 1, 1, 2, log=[{"at": 1, "text": "once"}]) == first
    assert world.count("SELECT count(*) FROM log") == 1
    assert stored(world) == {1: 9.0}
    with pytest.raises(SeqGap) as gap:
        world.points(claim, 3, 3)
    assert gap.value.acked_seq == 1


def test_a_refused_batch_leaves_nothing_behind(world):
    world.launch()
    claim = world.claim()
    with pytest.raises(Invalid) as caught:
        world.points(claim, 1, 1, events=[{"kind": "checkpoint", "data": {"attempt": 1, "step": "x"}}])
    assert caught.value.errors[0].pointer == "/events/0/data/step"
    assert stored(world) == {}
    assert world.points(claim, 1, 1).acked_seq == 1


def test_a_resume_takes_back_what_was_written_after_its_step(world):
    run = world.launch()
    claim = world.claim()
    world.points(claim, 1, *range(1, 11), key="val/loss")
    world.checkpoint(claim, 2, 6)
    world.finish(claim, 2, "requeue", exit=75)
    second = world.claim()
    assert second.resume["step"] == 6
    world.post(second, 1, events=[{"kind": "resume", "step": 6, "data": {"first_step": 6}}])
    row = world.run(run)
    assert (row.step, row.best_val, row.best_step) == (6, 4.0, 6)
    assert world.events(run, "resume") == [("", {"first_step": 6, "dropped": 4})]
    assert world.count("SELECT first_step FROM attempts WHERE number = 2") == 6


def test_without_a_checkpoint_a_new_attempt_starts_the_curve_again(world):
    run = world.launch()
    claim = world.claim()
    world.points(claim, 1, *range(1, 11), key="val/loss")
    world.finish(claim, 1, "requeue", exit=75)
    assert world.claim().resume is None
    row = world.run(run)
    assert (row.step, row.best_val, row.best_step) == (0, None, None)
    assert stored(world, key="val/loss") == {}


def test_after_a_stop_or_in_the_trash_nothing_is_accepted(world):
    run = world.launch()
    claim = world.claim()
    world.points(claim, 1, 1)
    world.finish(claim, 1, "stopped")
    with pytest.raises(Fenced, match="the run is stopped"):
        world.points(claim, 2, 2)
    assert world.run(run).step == 1


def test_a_run_may_not_have_endless_metrics(world):
    world.launch()
    claim = world.claim()
    with pytest.raises(Invalid, match="2,000 metrics"):
        world.post(claim, 1, columns={f"a/{n}": {"step": [1], "value": [1]} for n in range(2001)})


def test_ten_thousand_points_take_little_time(world):
    world.launch()
    claim = world.claim()
    columns = {f"a/{n}": {"step": list(range(1000)), "value": [0.5] * 1000} for n in range(10)}
    began = time.perf_counter()
    world.post(claim, 1, columns=columns)
    assert time.perf_counter() - began < 1.0


class Delivery(RuleBasedStateMachine):
    """Workers produce batches, which arrive any number of times in any order, while others take the run over.

    The model is a plain dict; the server may only ever hold exactly it.
    """

    @initialize()
    def start(self):
        self.folder = Path(tempfile.mkdtemp())
        self.world = World(self.folder)
        self.world.ready()
        self.world.launch()
        self.claim = self.world.claim()
        self.acked = 0
        self.produced: list[tuple] = []  #: (claim, seq, steps)
        self.made = 0
        self.model: dict[int, float] = {}

    @rule(first=st.integers(1, 20), count=st.integers(0, 5))
    def produce(self, first, count):
        self.made += 1
        self.produced.append((self.claim, self.made, tuple(range(first, first + count))))

    @precondition(lambda self: self.produced)
    @rule(data=st.data())
    def deliver(self, data):
        claim, seq, steps = data.draw(st.sampled_from(self.produced))
        value = float(seq * 100)
        columns = {"train/loss": {"step": steps, "value": [value + step for step in steps]}}
        try:
            acked = self.world.post(claim, seq, columns=columns).acked_seq
        except Fenced:
            assert claim is not self.claim
        except SeqGap as gap:
            assert claim is self.claim
            assert gap.acked_seq == self.acked < seq - 1  # noqa: PT017  # other outcomes are right too
        else:
            assert claim is self.claim
            if seq == self.acked + 1:
                self.model |= {step: value + step for step in steps}
                self.acked = seq
            assert acked == self.acked

    @rule()
    def take_over(self):
        self.world.silence(90)
        self.world.silence(360)
        claim = self.world.claim("two" if self.claim.attempt % 2 else "one")
        if claim is None:  # too many in vain: the run has failed and a person resumes it
            run = self.world.run("r-0001")
            assert run.state == "failed"
            self.world.write(lambda tx: runs.resume(tx, runs.get(tx, "r-0001"), now=self.world.now))
            claim = self.world.claim()
        self.claim, self.acked, self.made = claim, 0, 0
        self.model = {}  # no checkpoint: it starts again from step 0

    def teardown(self):
        if hasattr(self, "world"):
            assert stored(self.world) == self.model
            self.world.db.close()
            shutil.rmtree(self.folder)


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(
    max_examples=10, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
