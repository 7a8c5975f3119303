"""Claims: each job to exactly one worker, the same answer for the same key, and a fence that cannot be passed."""

import threading

import pytest

from app import jobs, workers
from app.contract.states import JobKind
from app.errors import Fenced, NotFound, SeqGap
from tests.domain import World


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.db.close()


def test_eight_workers_claim_fifty_jobs_each_exactly_once(world):
    world.ready()
    world.write(lambda tx: [jobs.enqueue(tx, JobKind.send, now=1.0, payload={"n": n}) for n in range(50)])
    taken: list[int] = []

    def work(name: str) -> None:
        for attempt in range(100):
            request = world.request(name, f"{name}-key-{attempt:04d}")

            def claim(tx, request=request):
                worker = workers.seen(tx, request.worker, now=1.0)
                found = jobs.claim(tx, request, worker, now=1.0, lease_s=60)
                return found.job.id if found else None

            if (number := world.db.write(claim)) is None:
                return
            taken.append(number)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 50
    assert len(set(taken)) == 50


def test_a_repeated_key_returns_the_same_claim_and_another_key_the_next_job(world):
    world.ready()
    world.launch(name="a")
    world.launch(name="b")
    first, again, other = world.claim(key="same-key-1"), world.claim(key="same-key-1"), world.claim(key="other-key")
    assert first == again
    assert first.attempt == 1
    assert (first.name, other.name) == ("a", "b")


def test_the_oldest_job_goes_first_and_a_named_worker_gets_its_own(world):
    world.ready()
    world.claim("two")
    world.launch(name="for two", worker="w-01")
    world.launch(name="for anyone")
    assert world.claim("one").name == "for anyone"
    assert world.claim("two").name == "for two"


def test_a_drained_worker_gets_nothing_new_but_its_lost_answer_again(world):
    world.ready()
    world.launch(name="a")
    world.launch(name="b")
    held = world.claim(key="the-first")
    world.write(lambda tx: workers.set_enabled(tx, workers.get(tx, "w-01"), False))
    assert world.claim(key="the-second") is None
    assert world.claim(key="the-first") == held


def test_a_run_for_cuda_waits_for_a_worker_that_has_it(world):
    world.ready()
    world.launch(name="gpu", config={"system": {"device": "cuda"}})
    assert world.claim() is None
    assert world.claim("big", device="cuda").name == "gpu"


def test_a_stale_claim_is_told_who_holds_the_run_now(world):
    world.ready()
    world.launch()
    old = world.claim("one")
    world.silence(61 + 20)
    world.silence(300 + 40)
    new = world.claim("two")
    assert new.attempt == 2
    with pytest.raises(Fenced, match=r"held by worker w-0002 \(two\), attempt 2"):
        world.points(old, 1, 1)
    with pytest.raises(Fenced):
        world.finish(old, 0)
    world.points(new, 1, 1)


def test_finish_waits_for_every_batch_and_may_be_repeated(world):
    world.ready()
    run = world.launch()
    claim = world.claim()
    world.points(claim, 1, 1)
    with pytest.raises(SeqGap) as gap:
        world.finish(claim, 2)
    assert gap.value.acked_seq == 1
    world.finish(claim, 1)
    world.finish(claim, 1)
    assert world.run(run).state == "finished"
    assert len(world.events(run, "state")) == 4  # queued, starting, running, finished


def test_commands_stay_in_every_answer_until_the_job_ends(world):
    world.ready()
    run = world.launch()
    claim = world.claim()
    world.write(lambda tx: jobs.command(tx, jobs.current_job(tx, number(run)), "save"))
    world.write(lambda tx: jobs.command(tx, jobs.current_job(tx, number(run)), "delete_checkpoint", attempt=1, step=5))
    expected = [{"id": 1, "command": "save"}, {"id": 2, "command": "delete_checkpoint", "attempt": 1, "step": 5}]
    assert world.post(claim, 1).commands == expected
    assert world.post(claim, 1).commands == expected


def number(run: str) -> int:
    return int(run.partition("-")[2])


def test_an_unknown_job_is_not_found(world):
    with world.db.read() as tx, pytest.raises(NotFound, match="j-0099"):
        jobs.fence(tx.raw, 99, "x")


def test_no_lease_expires_within_one_lease_of_the_servers_start_or_after_a_jump_of_the_clock(world):
    def judged(now, started_at):
        return world.write(lambda tx: jobs.may_expire(tx, now=now, started_at=started_at, lease_s=60))

    assert not judged(1000, 950)
    assert judged(1015, 950)
    assert not judged(1015 + 86400, 950)  # asleep for a day
    assert judged(1030 + 86400, 950)
    assert not judged(90000 - 3600, 950)  # set back by an hour


def test_a_clock_set_forward_by_a_day_loses_no_run_and_set_back_makes_no_lease_eternal(world):
    world.ready()
    run = world.launch()
    claim = world.claim()
    world.points(claim, 1, 1)
    world.sweep()
    world.sweep(86400)
    assert world.run(run).state == "running"
    world.points(claim, 2, 2)
    world.sweep(-3600)
    world.silence(100)
    assert world.run(run).state == "lost"
