"""`plateau dataset report` and `show`, against a real server and a real worker that prepares and reads."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Server, Worker, environment, wait_until
from prepared import sentences

from app.cli.data_report import printed

PLATEAU = [sys.executable, "-c", "from app.cli import main; main()"]


def plateau(server: Server, *arguments: str) -> tuple[int, str]:
    done = subprocess.run([*PLATEAU, *arguments], env=environment(home=server.home), cwd=ROOT, capture_output=True, text=True, timeout=60)  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_dataset_is_read_by_itself_and_again_when_asked(server: Server, worker: Worker, tmp_path: Path) -> None:
    texts = sentences(200, words=30)
    path = tmp_path / "tales.txt"
    path.write_text("\f".join([*texts, *texts[:50]]))
    code, said = plateau(server, "dataset", "add", str(path), "--tokenizer", "bytes", "--json")
    assert code == 0, said
    id = json.loads(said)["id"]

    def result() -> dict | None:
        report = json.loads(plateau(server, "dataset", "show", id, "--json")[1])["report"]
        return report if report and report["state"] == "ready" else None

    first = wait_until(result, 90, lambda: worker.output[-3000:])
    assert first["result"]["exact"]["documents"] == 50
    code, said = plateau(server, "dataset", "show", id)
    assert code == 0
    assert "! 20" in said
    assert "of tokens are exact repeats of another document (50 documents" in said
    code, said = plateau(server, "dataset", "report", id)
    assert (code, said) == (0, f"{id} tales: report queued, waiting for a worker.\n")
    again = wait_until(
        lambda: (found := result()) and found["made_at"] > first["made_at"] and found, 90, lambda: worker.output[-3000:]
    )
    assert again["result"]["exact"] == first["result"]["exact"]
    assert plateau(server, "dataset", "report", "d-9999")[0] == 3


@pytest.mark.parametrize(
    ("stands", "said"),
    [
        (None, "Not read yet; have it read: plateau dataset report ID\n"),
        (
            {"state": "reading", "detail": "being read by vm", "progress": {"phase": "text", "share": 0.5}, "result": None},
            "report reading: being read by vm, text 50%\n",
        ),
        (
            {"state": "ready", "detail": "", "progress": {}, "result": {"findings": [{"level": "note", "text": "So it is.", "advice": ""}]}},
            "· So it is.\n",
        ),
    ],
)  # fmt: skip
def test_what_is_known_so_far_is_printed(capsys: pytest.CaptureFixture[str], stands: dict | None, said: str) -> None:
    printed(stands)
    assert capsys.readouterr().out == said
