"""A dataset's folder on a worker: linked or downloaded, checked by hash, checked again only when it changed."""

import hashlib
import os

import pytest
from fakes import MANIFEST_FILES, FakeServer, manifest

from worker import datasets
from worker.client import Client
from worker.datasets import DatasetUnavailable, ensure, folder_of


@pytest.fixture
def server():
    with FakeServer() as running:
        for split, content in MANIFEST_FILES.items():
            running.artifacts[manifest()[split]["shards"][0]["sha256"]] = content
        yield running


@pytest.fixture
def client(server):
    with Client(server.url, server.token) as made:
        yield made


def never(seconds):
    return False


def test_a_dataset_is_downloaded_once(server, client, tmp_path):
    folder = ensure(manifest(), tmp_path, client, None, never)
    assert {split: (folder / f"{split}-000.bin").read_bytes() for split in MANIFEST_FILES} == MANIFEST_FILES
    asked = len(server.requests)
    assert ensure(manifest(), tmp_path, client, None, never) == folder
    assert len(server.requests) == asked == 2


def test_on_the_servers_disk_files_are_linked_not_copied(server, client, tmp_path):
    store = tmp_path / "artifacts"
    for split, content in MANIFEST_FILES.items():
        sha256 = manifest()[split]["shards"][0]["sha256"]
        (store / sha256[:2]).mkdir(parents=True)
        (store / sha256[:2] / sha256).write_bytes(content)
    folder = ensure(manifest(), tmp_path / "worker", client, store, never)
    assert server.requests == []
    assert (folder / "train-000.bin").stat().st_nlink == 2


def test_a_damaged_link_source_is_not_believed_and_not_touched(server, client, tmp_path):
    store = tmp_path / "artifacts"
    sha256 = manifest()["train"]["shards"][0]["sha256"]
    (store / sha256[:2]).mkdir(parents=True)
    source = store / sha256[:2] / sha256
    source.write_bytes(b"wrong")
    folder = ensure(manifest(), tmp_path / "worker", client, store, never)
    assert (folder / "train-000.bin").read_bytes() == MANIFEST_FILES["train"]
    assert source.read_bytes() == b"wrong"


def test_a_changed_file_is_noticed_and_brought_again(client, tmp_path):
    folder = ensure(manifest(), tmp_path, client, None, never)
    path = folder / "train-000.bin"
    path.write_bytes(b"\x09\x00\x02\x00")
    os.utime(path, ns=(1, 1))
    ensure(manifest(), tmp_path, client, None, never)
    assert path.read_bytes() == MANIFEST_FILES["train"]


def test_an_unchanged_file_is_not_read_again(client, tmp_path, monkeypatch):
    ensure(manifest(), tmp_path, client, None, never)
    monkeypatch.setattr(datasets, "sha256_of", lambda path: pytest.fail(f"{path} was read again"))
    ensure(manifest(), tmp_path, client, None, never)


def test_a_file_the_server_lost_is_said_by_name(server, client, tmp_path):
    server.artifacts.clear()
    with pytest.raises(DatasetUnavailable, match=r"train-000\.bin.*prepare the dataset again"):
        ensure(manifest(), tmp_path, client, None, never)


def test_a_download_that_arrives_damaged_is_tried_again_and_then_given_up(server, client, tmp_path):
    server.artifacts = {sha256: b"\x00" * len(content) for sha256, content in server.artifacts.items()}
    with pytest.raises(DatasetUnavailable, match="damaged 3 times"):
        ensure(manifest(), tmp_path, client, None, never)
    assert not list(folder_of(tmp_path, manifest()).glob("*.part"))


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "", ".x", "x\n"])
def test_a_manifest_cannot_name_a_path(client, tmp_path, name):
    wrong = manifest()
    wrong["train"]["shards"][0]["file"] = name
    with pytest.raises(DatasetUnavailable, match="no worker may write"):
        ensure(wrong, tmp_path, client, None, never)


def test_equal_manifests_share_a_folder_whatever_their_order_of_keys(tmp_path):
    turned = dict(reversed(manifest().items()))
    assert folder_of(tmp_path, turned) == folder_of(tmp_path, manifest())


def test_an_adopted_folder_must_hold_what_its_manifest_names(tmp_path):
    prepared = tmp_path / "out"
    prepared.mkdir()
    with pytest.raises(DatasetUnavailable, match="without writing a manifest"):
        datasets.adopt(prepared, tmp_path)
    (prepared / "manifest.json").write_bytes(datasets.canonical(manifest()))
    with pytest.raises(DatasetUnavailable, match=r"train-000\.bin missing"):
        datasets.adopt(prepared, tmp_path)


def test_deleting_gives_back_what_no_other_name_holds(server, client, tmp_path):
    folder = ensure(manifest(), tmp_path, client, None, never)
    os.link(folder / "val-000.bin", tmp_path / "in-another-dataset")
    own = sum(path.stat().st_size for path in folder.iterdir() if path.name != "val-000.bin")
    sha256 = hashlib.sha256(datasets.canonical(manifest())).hexdigest()
    assert datasets.delete(sha256, tmp_path) == own
    assert not folder.exists()
    assert (tmp_path / "in-another-dataset").read_bytes() == MANIFEST_FILES["val"]
    assert datasets.delete(sha256, tmp_path) == 0
