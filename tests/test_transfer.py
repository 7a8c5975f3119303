"""Uploads: a link where the disk is shared, else pieces that go on where they ended; nothing twice."""

import hashlib

import pytest
from fakes import FakeServer

from worker import client as http
from worker import transfer
from worker.client import Client

CONTENT = bytes(range(256)) * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    with FakeServer() as running:
        yield running


@pytest.fixture
def client(server):
    with Client(server.url, server.token) as made:
        yield made


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "shard.bin"
    path.write_bytes(CONTENT)
    return path


def never(seconds):
    return False


def test_a_file_is_sent_in_pieces(server, client, path, monkeypatch):
    monkeypatch.setattr(http, "CHUNK_BYTES", 10_000)
    assert transfer.send(path, "shard", client, None, never) == SHA256
    assert server.artifacts[SHA256] == CONTENT
    assert sum(request.startswith("PUT") for request in server.requests) == 3


def test_an_upload_goes_on_where_an_earlier_one_ended(server, client, path):
    server.partial[SHA256] = CONTENT[:20_000]
    sent = []
    upload = client.upload
    client.upload = lambda sha256, kind, path, offset: sent.append(offset) or upload(sha256, kind, path, offset)
    transfer.send(path, "shard", client, None, never)
    assert sent == [20_000]
    assert server.artifacts[SHA256] == CONTENT


def test_what_the_server_has_is_not_sent_again(server, client, path):
    server.artifacts[SHA256] = CONTENT
    transfer.send(path, "shard", client, None, never)
    assert not any(request.startswith("PUT") for request in server.requests)


def test_on_the_servers_disk_the_file_is_linked(server, client, path, tmp_path):
    store = tmp_path / "artifacts"
    server.incoming = store / "incoming"
    server.incoming.mkdir(parents=True)
    transfer.send(path, "shard", client, store, never)
    assert server.artifacts[SHA256] == CONTENT
    assert not any(request.startswith("PUT") for request in server.requests)
    assert list(server.incoming.iterdir()) == []


def test_a_store_that_is_another_machines_is_no_obstacle(server, client, path, tmp_path):
    transfer.send(path, "shard", client, tmp_path / "not" / "here", never)
    assert server.artifacts[SHA256] == CONTENT


def test_two_senders_of_one_file_agree(server, client, path, monkeypatch):
    monkeypatch.setattr(http, "CHUNK_BYTES", 10_000)
    first = client.upload(SHA256, "shard", path, 0)
    assert client.upload(SHA256, "shard", path, 0) == first == 10_000
    transfer.send(path, "shard", client, None, never)
    assert server.artifacts[SHA256] == CONTENT
