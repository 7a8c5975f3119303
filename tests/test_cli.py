"""The command line against a real server: what it prints, what its exit codes mean, what Ctrl-C leaves behind."""

import json
import subprocess
import sys
import threading
import time

import pytest
from conftest import ROOT, Server, environment, free_port
from fakes import ChaosProxy

from app.cli import show
from app.cli.rest import CliError, place
from app.cli.watch import Shown, changes, messages
from app.ready_made import READY_MADE

PLATEAU = [sys.executable, "-c", "from app.cli import main; main()"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for the whole file; no worker."""
    started = Server(tmp_path_factory.mktemp("cli") / "home")
    try:
        started.start()
        yield started
    finally:
        started.kill()


def run(*arguments, home=None, **env):
    """(exit code, stdout, stderr) of one command."""
    settings = environment(**({"home": home} if home else {})) | {key.upper(): str(value) for key, value in env.items()}
    done = subprocess.run([*PLATEAU, *arguments], env=settings, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def plateau(server):
    """A command for this file's server."""
    return lambda *arguments: run(*arguments, home=server.home)


class External:
    """A run without a worker, whose points the test posts itself."""

    def __init__(self, server, **fields):
        self.http = server.client()
        body = {
            "preset": "tiny",
            "source": "external",
            "config": {"schedule": {"steps": 100, "warmup_steps": 5}},
            **fields,
        }
        made = self.http.post("/api/v1/runs", json=body).raise_for_status().json()
        self.id, self.claim, self.seq = made["id"], made["claim"], 0

    def post(self, **columns):
        self.seq += 1
        batch = {
            "claim_id": self.claim["claim_id"], "attempt": self.claim["attempt"], "seq": self.seq,
            "columns": {key.replace("_", "/"): {"step": list(value), "value": list(value.values())} for key, value in columns.items()},
            "log": [], "events": [], "telemetry": {},
        }  # fmt: skip
        self.http.post(f"/api/v1/jobs/{self.claim['job']}/batches", json=batch).raise_for_status()

    def finish(self, outcome="finished", **fields):
        body = {
            "claim_id": self.claim["claim_id"],
            "attempt": self.claim["attempt"],
            "final_seq": self.seq,
            "outcome": outcome,
        }
        self.http.post(f"/api/v1/jobs/{self.claim['job']}/finish", json=body | fields).raise_for_status()
        self.http.close()


@pytest.fixture
def external(server):
    made = []

    def make(**fields):
        made.append(External(server, **fields))
        return made[-1]

    yield make
    for each in made:
        each.http.close()


def test_help_is_there_before_one_looks_away():
    times = []
    for _ in range(3):
        started = time.perf_counter()
        code, out, _ = run("--help")
        times.append(time.perf_counter() - started)
    assert code == 0
    assert "launch" in out
    assert min(times) < 1.5, f"{min(times):.2f} s"  # 0.15 s measured on an idle machine


def test_launch_sends_every_option_and_names_the_run(plateau):
    code, out, _ = plateau(
        "launch", "--preset", "tiny", "--steps", "500", "--lr", "3e-3", "--weight-decay", "0.3", "--seed", "5", "--name", "λ test",
        "--tag", "a", "--set", "schedule.min_lr=0", "--set", "model.bias=true", "--set", "system.dtype=float32", "--json",
    )  # fmt: skip
    assert code == 0
    made = json.loads(out)
    assert made["name"] == "λ test"
    assert made["tags"] == ["a"]
    assert made["state"] == "queued"
    config = made["config"]
    assert (config["schedule"]["steps"], config["schedule"]["lr"], config["schedule"]["min_lr"]) == (500, 3e-3, 0)
    assert (config["optim"]["weight_decay"], config["system"]["seed"]) == (0.3, 5)
    assert (config["model"]["bias"], config["system"]["dtype"]) == (True, "float32")


def test_runs_lists_what_matches(plateau):
    plateau("launch", "--preset", "tiny", "--name", "needle", "--tag", "haystack")
    code, out, _ = plateau("runs", "tag:haystack")
    assert code == 0
    (line,) = out.splitlines()
    assert line.split("\t")[1:3] == ["queued", "needle"]
    code, out, _ = plateau("runs", "--json", "tag:haystack")
    assert json.loads(out)["total"] == 1


def test_stop_of_a_queued_run_stops_it_and_a_second_one_is_refused(plateau):
    made = json.loads(plateau("launch", "--preset", "tiny", "--json")[1])
    code, out, _ = plateau("stop", made["id"])
    assert code == 0
    assert "stopped" in out
    code, _, err = plateau("stop", made["id"])
    assert code == 4
    assert err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["launch", "--preset", "tiny", "--lr", "-1"], 4, "config.schedule.lr"),
        (["launch", "--preset", "tin"], 4, "tiny"),
        (["launch", "--set", "steps=3"], 2, "section.field=value"),
        (["launch", "--preset", "tiny", "--set", "model.layers=3"], 4, "config.model.layers"),
        (["stop", "r-9999"], 3, "r-9999"),
        (["watch", "r-9999"], 3, "r-9999"),
        (["dataset", "show", "d-9999"], 3, "d-9999"),
        (["dataset", "add", "/no/such/file"], 2, "--on-worker"),
        (["frobnicate"], 2, "frobnicate"),
    ],
)
def test_each_refusal_is_a_sentence_and_an_exit_code(plateau, arguments, code, said):
    exit, _, err = plateau(*arguments)
    assert exit == code, err
    assert said in err


def test_preflight_says_what_would_decay_and_launches_nothing(plateau):
    before = json.loads(plateau("runs", "--json")[1])["total"]
    code, out, _ = plateau("preflight", "--preset", "tiny", "--pattern", "*.mlp.*", "--names")
    assert code == 0
    assert "Decayed (pattern): 8 of 27 tensors, 524,288 of " in out
    assert "transformer.h.*.mlp.c_fc.weight\tdecays\t4 × 512×128" in out
    assert "λ by Power Lines" in out
    found = json.loads(plateau("preflight", "--preset", "tiny", "--weight-decay", "3", "--json")[1])
    assert found["decay_verdict"] == "informative"
    assert json.loads(plateau("runs", "--json")[1])["total"] == before
    code, _, err = plateau("preflight", "--preset", "tiny", "--pattern", "*.nothing")
    assert code == 4
    assert "matches none of this network's 27 tensors" in err


def test_ready_made_experiments_are_listed_priced_and_started(plateau):
    assert plateau("sweep", "ready")[1].count("\n") == len(READY_MADE)
    code, out, _ = plateau("sweep", "ready", "all-parameters", "--cost")
    assert code == 0
    assert "6 runs, 6 to be trained" in out
    made = json.loads(plateau("sweep", "ready", "all-parameters", "--start", "--json")[1])
    assert len(made["members"]) == 6
    assert plateau("sweep", "ready", "nothing")[0] == 3


def test_an_error_is_json_too_when_json_is_asked_for(plateau):
    code, _, err = plateau("launch", "--preset", "tiny", "--lr", "-1", "--json")
    assert code == 4
    assert json.loads(err)["errors"][0]["pointer"] == "/config/schedule/lr"


def test_a_wrong_token_is_refused(server):
    code, _, err = run("runs", "--url", server.url, "--token", "wrong")
    assert code == 4
    assert "token" in err


def test_no_server_is_exit_code_5(tmp_path):
    code, _, err = run("runs", home=tmp_path)
    assert code == 5
    assert "plateau up" in err
    code, _, err = run("runs", "--url", f"http://127.0.0.1:{free_port()}", "--token", "x")
    assert code == 5
    assert "No server answers" in err


def test_options_win_over_the_environment_and_that_over_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("PLATEAU_HOME", str(tmp_path))
    for name in ("PLATEAU_URL", "PLATEAU_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CliError):
        place(None, None)
    (tmp_path / "client.json").write_text('{"url": "http://home:1", "token": "t-home"}')
    assert place(None, None) == ("http://home:1", "t-home")
    monkeypatch.setenv("PLATEAU_URL", "http://environment:2/")
    assert place(None, None) == ("http://environment:2", "t-home")
    assert place("http://option:3", "t-option") == ("http://option:3", "t-option")


def test_link_prints_a_sign_in_link(plateau, server):
    code, out, _ = plateau("link")
    assert code == 0
    assert out.startswith(f"{server.url}/login?code=")


def test_a_file_is_uploaded_once_and_becomes_a_dataset(plateau, tmp_path):
    path = tmp_path / "stories.txt"
    path.write_text("One.\n\nTwo.\n" * 1000)
    code, out, err = plateau("dataset", "add", str(path), "--tokenizer", "bytes", "--json")
    assert code == 0, err
    made = json.loads(out)
    assert (made["name"], made["spec"]["kind"]) == ("stories", "text")
    assert len(made["spec"]["files"][0]["sha256"]) == 64
    assert plateau("dataset", "add", str(path), "--tokenizer", "bytes")[0] == 4  # the name is taken
    assert "stories" in plateau("dataset", "list")[1]
    assert plateau("dataset", "show", made["id"])[1].startswith(made["id"])


def test_watch_prints_the_curve_and_ends_with_the_run(server, external):
    run_ = external()
    watching = subprocess.Popen(
        [*PLATEAU, "watch", run_.id, "--json"], env=environment(home=server.home), cwd=ROOT, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    assert json.loads(watching.stdout.readline())["run"] == run_.id
    run_.post(train_loss={1: 3.5, 2: 3.25})
    run_.post(val_loss={2: 3.0}, train_loss={3: "NaN"})
    run_.finish(exit=0)
    lines = [json.loads(line) for line in watching.stdout]
    watching.stdout.close()
    assert watching.wait(10) == 0
    assert lines[-1]["state"] == "finished"
    assert lines[-1]["val/loss"] == 3.0
    assert lines[-1]["train/loss"] == "nan"


def test_watch_of_a_failed_run_is_exit_code_1_and_says_why(plateau, external):
    run_ = external()
    run_.post(train_loss={1: 3.5})
    run_.finish("failed", exit=1, reason="error", log_tail=["ValueError: too cold"])
    code, out, _ = plateau("watch", run_.id)
    assert code == 1
    assert "too cold" in out


def test_watch_misses_nothing_when_its_connection_is_cut(server, external, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: threading.Event().wait(min(seconds, 0.05)))
    from app.cli.rest import Place, Rest

    run_ = external()
    proxy = ChaosProxy(server.port)
    with Rest(Place(f"http://127.0.0.1:{proxy.url.rpartition(':')[2]}", server.token)) as rest:
        shown = Shown(rest.get(f"runs/{run_.id}"))
        seen = changes(rest, shown)
        next(seen)
        for step in range(1, 6):
            proxy.set("pass")  # cuts what is open
            run_.post(train_loss={step: float(step)})
            while max(shown.curves["train/loss"], default=0) < step:
                next(seen)
        run_.finish(exit=0)
        for _ in seen:
            pass
    proxy.close()
    assert shown.curves["train/loss"] == {step: float(step) for step in range(1, 6)}
    assert shown.run["state"] == "finished"


def test_an_id_at_the_end_of_an_event_is_its_cursor():
    text = (
        'event: hello\ndata: {"cursor": 4}\nid: 4\n\n: still here\nid: 5\n\nevent: state\ndata: {"run": "r-0001"}\n\n'
    )
    assert list(messages(text.split("\n"), None)) == [
        ("hello", {"cursor": 4}, "4"),
        ("state", {"run": "r-0001"}, "5"),
    ]


def test_a_sparkline_falls_with_its_curve():
    assert show.sparkline([8, 7, 6, 5, 4, 3, 2, 1]) == "█▇▆▅▄▃▂▁"
    assert show.sparkline([1.0] * 3) == "▁▁▁"
    assert show.sparkline([]) == show.sparkline([float("nan")]) == ""
    assert len(show.sparkline(list(range(1000)), width=40)) == 40


def test_numbers_and_durations_are_short():
    assert [show.number(value) for value in (None, 0.002, 12345.6, 1e-5, 0)] == ["–", "0.002", "12,346", "1e-05", "0"]
    assert [show.duration(value) for value in (5, 65, 3700, 200_000)] == ["5 s", "1 min 05 s", "1 h 01 min", "2 days"]


def test_doctor_says_what_is_missing(plateau, tmp_path):
    code, out, _ = plateau("doctor", "--json")
    checks = {one["what"]: one["ok"] for one in json.loads(out)["checks"]}
    assert checks["server"]
    code, out, _ = run("doctor", home=tmp_path)
    assert code == 1
    assert "plateau up" in out
