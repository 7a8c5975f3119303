"""Names from elsewhere and what they may become in a worker's home."""

import pytest
from fakes import claim

from app.contract.protocol import Claim
from worker.folders import CannotStart, folder_of, last_words, left_behind, under_roots
from worker.journal import Journal


@pytest.mark.parametrize("name", ["../r-0001", "/etc", "r-0001/..", "", "R-1", "r-0001\n"])
def test_only_ids_become_folders(tmp_path, name):
    with pytest.raises(CannotStart, match="is not an id"):
        folder_of(Claim.model_validate(claim(run=name)), tmp_path)


def test_a_torn_claim_is_left_to_its_lease(tmp_path):
    folder = tmp_path / "runs" / "r-0001" / "journal"
    folder.mkdir(parents=True)
    (folder / "a1.claim.json").write_text('{"claim": {"jo')
    assert list(left_behind(tmp_path)) == []


def test_the_last_words_are_the_newest_telemetry_step_and_complaints(tmp_path):
    notes = Journal(tmp_path / "a1.journal")
    for step in range(5000):  # more than is read back
        notes.points(step, {"train/loss": 1.0})
    notes.telemetry(outcome="failed", reason="oom")
    notes.log("no room", "error")
    words = last_words(tmp_path / "a1.journal")
    assert (words.telemetry, words.step, words.errors) == ({"outcome": "failed", "reason": "oom"}, 4999, ["no room"])


def test_a_path_is_read_only_under_a_data_root(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "secret.txt").write_text("x")
    (root / "good.txt").write_text("x")
    (root / "link.txt").symlink_to(outside / "secret.txt")
    assert under_roots(str(root / "good.txt"), [root]) == (root / "good.txt").resolve()
    for bad in (outside / "secret.txt", root / "link.txt", root / ".." / "outside" / "secret.txt", root, root / "none"):
        with pytest.raises(CannotStart, match=str(root)):
            under_roots(str(bad), [root])
    with pytest.raises(CannotStart, match="--data-root"):
        under_roots(str(root / "good.txt"), [])
