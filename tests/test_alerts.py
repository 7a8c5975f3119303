"""app/alerts: what is told to whom, once; retries that survive a restart; signatures; no redirects, no second look-up."""

import hashlib
import hmac
import json

import pytest
from conftest import wait_until
from pydantic import ValidationError

from app import diagnoses, runs
from app.alerts import book, shapes
from app.alerts.post import post
from app.alerts.sender import WAITS_S, Sender
from app.contract import ids
from app.contract.alerts import AlertSpec
from app.diagnosis.findings import Level
from app.errors import Invalid
from app.tables import AlertDelivery
from tests.domain import World
from tests.receiver import Receiver


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.ready()
    yield world
    world.db.close()


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


def sender(world, allowed=frozenset({"hooks.test"}), addresses=("127.0.0.1",)):
    return Sender(
        world.db,
        lambda: world.now,
        base_url="http://plateau.test",
        allowed=allowed,
        resolve=lambda host, port: list(addresses),
    )


def add(world, url="https://hooks.test/x", **spec):
    body = AlertSpec.model_validate({"name": "mine", "url": url} | spec)
    return world.write(lambda tx: book.create(tx, body, allowed=frozenset(), now=world.now))


def told(world):
    """(kind, text, state) of every message, oldest first."""
    with world.db.read() as tx:
        return [(one.kind, one.message["text"], one.state) for one in reversed(book.deliveries(tx))]


def test_states_are_told_once_and_only_those_asked_for(world):
    add(world, on=["finished", "lost"])
    watch = sender(world)
    watch.look()
    run = world.launch(name="a run")
    claim = world.claim()
    world.points(claim, 1, 1, 2)
    watch.look()
    world.silence(100)
    watch.look()
    world.points(claim, 2, 3)
    world.finish(claim, 2)
    watch.look()
    watch.look()
    assert [kind for kind, *_ in told(world)] == ["lost", "finished"]
    with world.db.read() as tx:
        message = book.deliveries(tx)[0].message
    assert message["run"]["name"] == "a run"
    assert message["run"]["url"] == f"http://plateau.test/runs/{run}"


def test_what_happened_before_an_alert_or_while_it_was_off_is_not_told(world):
    world.launch()
    claim = world.claim()
    world.finish(claim, 0)
    alert = add(world, on=["finished"])
    watch = sender(world)
    watch.look()

    def switch(enabled):
        spec = AlertSpec.model_validate(book.spec_of(alert) | {"enabled": enabled})
        world.write(lambda tx: book.change(tx, book.get(tx, "a-0001"), spec, allowed=frozenset(), now=world.now))

    switch(False)
    world.launch()
    world.finish(world.claim(), 0)
    watch.look()
    switch(True)
    watch.look()
    assert told(world) == []


def test_what_happened_while_the_server_was_down_is_told_when_it_is_back(world):
    add(world, on=["finished"])
    sender(world).look()
    world.launch()
    world.finish(world.claim(), 0)
    sender(world).look()  # another process
    assert [kind for kind, *_ in told(world)] == ["finished"]


def test_a_threshold_is_told_when_it_holds_so_often_and_again_after_it_did_not(world):
    add(world, on=["metric"], metric="val/loss", direction="over", value=3.0, times=2)
    watch = sender(world)
    watch.look()
    world.launch()
    claim = world.claim()
    for seq, value in enumerate([3.5, 2.9, 3.1, 3.2, 3.3, 2.0, 3.1, 3.1], 1):
        world.post(claim, seq, columns={"val/loss": {"step": [seq], "value": [value]}})
        watch.look()
    texts = [text for _, text, _ in told(world)]
    assert texts == ["val/loss is over 3: 3.2 at step 4, 2 in a row", "val/loss is over 3: 3.1 at step 8, 2 in a row"]


def test_nan_is_told_once_whether_by_its_points_or_by_the_runs_failure(world):
    add(world, on=["failed", "nan"])
    watch = sender(world)
    watch.look()
    world.launch()
    claim = world.claim()
    world.post(claim, 1, columns={"train/loss": {"step": [1, 2], "value": [3.0, "NaN"]}})
    watch.look()
    world.finish(claim, 1, "failed", reason="non_finite", exit=1)
    watch.look()
    world.launch()
    world.finish(world.claim(), 0, "failed", reason="non_finite", exit=1)
    watch.look()
    assert [kind for kind, *_ in told(world)] == ["nan", "failed", "nan"]


def test_verdicts_are_told_when_they_change_and_are_wanted(world):
    add(world, on=["verdict"], verdicts=["plateau"], name="stuck")
    watch = sender(world)
    watch.look()
    run = ids.parse("run", world.launch())

    def judged(verdict):
        made = diagnoses.Diagnosed("1", 10, "D01", verdict, Level.info.value, f"It is {verdict}.", [], None)
        world.write(lambda tx: diagnoses.keep(tx, run, made, now=world.now))
        watch.look()

    for verdict in ("improving", "plateau", "plateau", "improving"):
        judged(verdict)
    assert [text for _, text, _ in told(world)] == ["improving → plateau. It is plateau."]


def test_a_tag_narrows_it_and_an_imported_log_is_no_news(world):
    add(world, on=["finished"], tag="night")
    watch = sender(world)
    watch.look()
    for tags in ([], ["night"]):
        world.launch(tags=tags)
        world.finish(world.claim(), 0)
    past = world.launch(tags=["night"])
    claim = world.claim()
    world.write(lambda tx: setattr(runs.get(tx, past), "source", "imported"))
    world.finish(claim, 0)
    watch.look()
    assert len(told(world)) == 1


def test_a_message_arrives_signed(world, receiver):
    alert = add(world, url=receiver.url, on=["finished"])
    world.write(lambda tx: book.test(tx, book.get(tx, "a-0001"), now=world.now))
    assert sender(world).send_due() is None
    ((path, headers, body),) = receiver.came
    assert path == "/services/SECRET?x=1"
    assert headers["host"] == f"hooks.test:{receiver.port}"
    expected = hmac.new(
        alert.secret.encode(), f"{headers['x-plateau-timestamp']}.".encode() + body, hashlib.sha256
    ).hexdigest()
    assert headers["x-plateau-signature"] == f"v1={expected}"
    assert json.loads(body)["kind"] == "test"
    assert headers["x-plateau-delivery"] == json.loads(body)["id"] == "y-0001"
    assert told(world)[0][2] == "sent"


def test_a_failing_receiver_is_tried_again_later_and_later_by_whichever_process_is_there(world):
    add(world, url="http://hooks.test:9/x")
    with Receiver((500, {}, b"no"), (429, {"Retry-After": "1000"}, b""), (200, {}, b"")) as receiver:
        world.write(lambda tx: setattr(book.get(tx, "a-0001"), "url", receiver.url))
        world.write(lambda tx: book.test(tx, book.get(tx, "a-0001"), now=world.now))
        began = world.now
        assert sender(world).send_due() == began + WAITS_S[0]
        world.now += WAITS_S[0] - 1
        assert sender(world).send_due() == began + WAITS_S[0]
        world.now += 1
        assert sender(world).send_due() == world.now + 1000
        world.now += 1000
        assert sender(world).send_due() is None
        assert len(receiver.came) == 3
    assert told(world)[0][2] == "sent"


def test_after_the_last_try_it_is_given_up(world):
    add(world, url="http://hooks.test:9/x")
    world.write(lambda tx: book.test(tx, book.get(tx, "a-0001"), now=world.now))
    for _ in range(len(WAITS_S) + 1):
        sender(world).send_due()
        world.now += WAITS_S[-1]
    with world.db.read() as tx:
        (one,) = book.deliveries(tx)
        assert (one.state, one.tries, "refused" in one.answer) == ("failed", len(WAITS_S) + 1, True)


@pytest.mark.parametrize(
    ("answer", "said"),
    [((302, {"Location": "http://127.0.0.1/"}, b""), "redirects are not followed"), ((404, {}, b"gone"), "404 gone")],
)
def test_a_redirect_or_a_refusal_is_not_tried_again(world, answer, said):
    with Receiver(answer) as receiver:
        add(world, url=receiver.url)
        world.write(lambda tx: book.test(tx, book.get(tx, "a-0001"), now=world.now))
        assert sender(world).send_due() is None
        assert len(receiver.came) == 1
    with world.db.read() as tx:
        assert (book.deliveries(tx)[0].state, said in book.deliveries(tx)[0].answer) == ("failed", True)


def test_an_inner_address_gets_nothing_even_where_a_name_leads_to_it(world, receiver):
    add(world, url=receiver.url)
    world.write(lambda tx: book.test(tx, book.get(tx, "a-0001"), now=world.now))
    sender(world, allowed=frozenset()).send_due()
    assert receiver.came == []
    with world.db.read() as tx:
        assert "an inner address" in book.deliveries(tx)[0].answer


def test_the_address_that_was_looked_at_is_the_one_that_is_reached(receiver):
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    post(receiver.url, b"{}", {}, allowed=frozenset({"hooks.test"}), resolve=lambda host, port: next(answers))
    assert len(receiver.came) == 1
    assert next(answers) == ["127.0.0.2"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"url": "ftp://x/y"}, "url"), ({"url": "http://user:pw@example.org/"}, "url"), ({"url": "http://"}, "url"), ({"url": "http://x:0/"}, "url"),
        ({"url": "https://exämple.org"}, "url"), ({"on": []}, "on"), ({"on": ["metric"], "value": 1}, "metric"), ({"on": ["metric"], "metric": "val/loss"}, "value"),
        ({"times": 0}, "times"), ({"secret": "short"}, "secret"), ({"name": ""}, "name"),
    ],
)  # fmt: skip
def test_what_an_alert_cannot_be_is_refused_at_its_field(spec, field):
    with pytest.raises(ValidationError) as wrong:
        AlertSpec.model_validate({"name": "x", "url": "https://example.org/"} | spec)
    assert wrong.value.errors()[0]["loc"][0] == field


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://[::ffff:10.0.0.1]/", "http://169.254.169.254/latest", "http://localhost:8000/"]
)
def test_an_inner_address_is_refused_when_an_alert_is_added(world, url):
    with pytest.raises(Invalid, match="is an inner address"):
        add(world, url=url)


def test_slack_and_discord_get_text_without_anybodys_markup():
    message = {
        "alert": "<!channel> & co",
        "text": "a|b <x>",
        "run": {"name": "@everyone [x](y)", "url": "http://p/runs/r-0001"},
    }
    slack = json.loads(shapes.body("slack", message))
    assert slack["text"].startswith("*&lt;!channel&gt; &amp; co* <http://p/runs/r-0001|")
    discord = json.loads(shapes.body("discord", message))
    assert discord["allowed_mentions"] == {"parse": []}
    assert "\\[x\\]\\(y\\)" in discord["content"]
    assert len(json.loads(shapes.body("discord", message | {"text": "x" * 5000}))["content"]) <= 2000


def test_the_thread_sleeps_until_a_commit_or_the_next_try(world, receiver):
    looks = []

    class Counted(Sender):
        def look(self):
            looks.append(1)
            return super().look()

    thread = Counted(
        world.db,
        lambda: world.now,
        base_url="http://p",
        allowed=frozenset({"hooks.test"}),
        resolve=lambda host, port: ["127.0.0.1"],
    )
    thread.start()
    try:
        wait_until(lambda: looks)
        add(world, url=receiver.url, on=["finished"])
        world.launch()
        world.finish(world.claim(), 0)
        wait_until(lambda: receiver.came)
        wait_until(lambda: told(world)[0][2] == "sent")
        assert thread._thread.is_alive()
    finally:
        thread.stop()
    assert len(looks) < 10


def test_deleting_an_alert_forgets_its_messages(world):
    add(world)
    world.write(lambda tx: book.test(tx, book.get(tx, "a-0001"), now=world.now))
    world.write(lambda tx: book.delete(tx, book.get(tx, "a-0001")))
    assert sender(world).send_due() is None
    assert world.write(lambda tx: tx.session.query(AlertDelivery).count()) == 0
