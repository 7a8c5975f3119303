"""The client: each answer of the server is a named error, each call one attempt, delays are capped and jittered."""

import hashlib

import pytest
from fakes import ChaosProxy, FakeServer, claim

from app.contract.protocol import PROTOCOL, ClaimRequest, Finish, WorkerInfo
from worker import client as http
from worker.client import Backoff, Client, ServerAway, patiently

INFO = WorkerInfo(name="here", instance="0123456789abcdef", devices=[{"kind": "cpu", "name": "a CPU"}])
REQUEST = ClaimRequest(worker=INFO, protocol=PROTOCOL, idempotency_key="key-00001")


@pytest.fixture
def server():
    with FakeServer() as running:
        yield running


@pytest.fixture
def client(server):
    with Client(server.url, server.token) as made:
        yield made


def test_nothing_to_do_is_none(client):
    assert client.claim(REQUEST) is None


def test_the_same_key_gets_the_same_claim(server, client):
    server.offer(claim())
    first = client.claim(REQUEST)
    assert first is not None
    assert first.run == "r-0001"
    assert client.claim(REQUEST) == first


@pytest.mark.parametrize(
    ("status", "problem", "error"),
    [
        (401, {"title": "Unknown token."}, http.Unauthorized),
        (403, {"title": "Not with this scope."}, http.Unauthorized),
        (409, {"type": "/problems/fenced", "title": "Stale."}, http.Fenced),
        (409, {"acked_seq": 4}, http.SeqGap),
        (426, {"title": "Another version.", "detail": "Install 1.2."}, http.WrongProtocol),
        (422, {"title": "Invalid.", "errors": [{"pointer": "/seq", "message": "must be a number"}]}, http.Refused),
        (404, {}, http.Fenced),
        (500, {}, http.ServerAway),
        (503, {}, http.ServerAway),
        (507, {}, http.ServerAway),
        (429, {}, http.ServerAway),
    ],
)
def test_each_answer_is_a_named_error(server, client, status, problem, error):
    server.problem = (status, problem)
    with pytest.raises(error) as caught:
        client.post_batch("j-0001", b"{}")
    for text in (problem.get("title"), problem.get("detail")):
        assert (text or "") in str(caught.value)


def test_a_gap_says_what_the_server_has(server, client):
    server.problem = (409, {"acked_seq": 4})
    with pytest.raises(http.SeqGap) as caught:
        client.post_batch("j-0001", b"{}")
    assert caught.value.acked_seq == 4


def test_another_web_site_is_not_taken_for_a_server(server, client):
    server.problem = (404, {})
    with pytest.raises(http.Refused, match="not as a Plateau server"):
        client.claim(REQUEST)


def test_a_closed_port_is_the_server_away():
    server = FakeServer().start()
    server.stop()
    with Client(server.url, "secret") as client, pytest.raises(ServerAway, match="No answer from http"):
        client.claim(REQUEST)


def test_an_answer_lost_on_the_way_is_the_server_away_and_a_repeat_is_harmless(server):
    server.offer(claim())
    proxy = ChaosProxy(server.port)
    proxy.set("swallow")
    with Client(proxy.url, server.token) as client:
        with pytest.raises(ServerAway):
            client.claim(REQUEST)
        proxy.set("pass")
        again = client.claim(REQUEST)
    proxy.close()
    assert again is not None
    assert again.job == "j-0001"


def test_delays_double_to_a_cap_and_are_jittered_downwards():
    slow = Backoff(first_s=0.1, cap_s=1.0, draw=lambda: 1.0)
    assert [round(slow.next_s(ServerAway()), 2) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert Backoff(first_s=0.1, draw=lambda: 0.0).next_s(ServerAway()) == pytest.approx(0.05)


def test_a_server_that_names_a_time_is_given_it():
    assert Backoff().next_s(ServerAway(retry_after_s=7)) == 7
    assert Backoff().next_s(ServerAway(retry_after_s=86400)) == 60


def test_patience_ends_when_the_caller_gives_up():
    calls = []

    def away():
        calls.append(1)
        raise ServerAway

    with pytest.raises(ServerAway):
        patiently(away, lambda seconds: len(calls) == 3)
    assert len(calls) == 3


def test_an_interrupted_download_goes_on_where_it_ended(server, client, tmp_path):
    content = bytes(range(256)) * 40
    sha256 = hashlib.sha256(content).hexdigest()
    server.artifacts[sha256] = content
    server.cut_bytes = 5000
    part = tmp_path / "file.part"
    with pytest.raises(ServerAway):
        client.fetch(sha256, part)
    assert 0 < part.stat().st_size <= 5000
    client.fetch(sha256, part)
    assert part.read_bytes() == content


def test_a_finish_is_sent_as_the_contract_says(server, client):
    job = server.offer(claim())
    client.finish("j-0001", Finish(claim_id="claim-j-0001-1", attempt=1, final_seq=0, outcome="finished", exit=0))
    assert job.finish is not None
    assert job.finish["outcome"] == "finished"
