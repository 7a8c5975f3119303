"""Names from elsewhere and what they may become in a worker's home."""

import pytest
from fakes import claim

from app.contract.protocol import Claim
from worker.folders import CannotStart, folder_of, last_words, left_behind
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
