"""The runs' routes: launching, finding, changing, and every kind of bad input."""

import json
import threading
from collections.abc import Iterator
from typing import Any, get_type_hints

import httpx
import pytest
from website import SMALL, Feeder, Site

from app.settings import Settings
from app.shapes import RunJson

RUNS = "/api/v1/runs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(Settings(home=tmp_path_factory.mktemp("runs") / "home")) as started:
        yield started


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text
    return body


def errors(answer: httpx.Response, status: int = 422) -> dict[str, str]:
    return {one["pointer"]: one["message"] for one in problem(answer, status).get("errors", [])}


def test_a_launch_answers_the_whole_run(site: Site) -> None:
    answer = site.api.post(
        RUNS,
        json={
            "preset": "tiny",
            "name": "λ = 0.1",
            "tags": ["a"],
            "notes": "why",
            "config": {"optim": {"weight_decay": 0.1}},
        },
    )
    assert answer.status_code == 201
    run = answer.json()
    assert answer.headers["location"] == f"{RUNS}/{run['id']}"
    assert set(run) == set(get_type_hints(RunJson)), "the documented shape"
    assert (run["name"], run["state"], run["preset"], run["tags"], run["notes"]) == (
        "λ = 0.1",
        "queued",
        "tiny",
        ["a"],
        "why",
    )
    assert run["config"]["optim"]["weight_decay"] == 0.1
    assert run["config"]["model"]["n_layer"] == 4
    assert run["actions"] == ["stop", "trash"]
    assert run["dataset"]["name"] == "python-stdlib"
    assert site.api.get(answer.headers["location"]).json() == run


def test_the_same_key_gives_the_same_run(site: Site) -> None:
    headers = {"Idempotency-Key": "press-once"}
    first = site.api.post(RUNS, json={"config": SMALL}, headers=headers)
    second = site.api.post(RUNS, json={"config": SMALL}, headers=headers)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    assert "/Idempotency-Key" in errors(site.api.post(RUNS, json={"config": SMALL, "name": "other"}, headers=headers))


def test_a_double_click_makes_one_run(site: Site) -> None:
    answers: list[int] = []
    seen: set[str] = set()

    def press() -> None:
        answer = site.api.post(RUNS, json={"config": SMALL}, headers={"Idempotency-Key": "double"})
        answers.append(answer.status_code)
        seen.add(answer.json()["id"])

    presses = [threading.Thread(target=press) for _ in range(8)]
    for one in presses:
        one.start()
    for one in presses:
        one.join()
    assert sorted(answers) == [200] * 7 + [201]
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("body", "pointer", "says"),
    [
        ({"config": {"schedule": {"lr": -1}}}, "/config/schedule/lr", "above 0"),
        ({"config": {"schedule": {"warmup": 5}}}, "/config/schedule/warmup", "did you mean warmup_steps"),
        ({"config": {"model": {"n_head": 3}}}, "/config/model/n_embd", "not a multiple"),
        ({"config": {"model": []}}, "/config/model", "object"),
        ({"config": []}, "/config", "object"),
        ({"config": {"data": {"dataset": "nowhere"}}}, "/config/data/dataset", "nowhere"),
        ({"preset": "tyni"}, "/preset", "tiny"),
        ({"presett": "tiny"}, "/presett", "did you mean preset"),
        ({"name": ""}, "/name", "must not be empty"),
        ({"name": "x" * 201}, "/name", "at most 200"),
        ({"name": "\u0000\n"}, "/name", "visible"),
        ({"tags": ["x" * 10**5]}, "/tags", "longer"),
        ({"tags": "x"}, "/tags", "list"),
        ({"tags": [str(n) for n in range(10_000)]}, "/tags", "at most 50"),
        ({"notes": 5}, "/notes", "text"),
        ({"worker": "w-99"}, "/worker", "no worker"),
        ({"worker": "../../etc"}, "/worker", "form"),
        ({"cloned_from": "r-9999"}, "/cloned_from", "no run"),
        ({"cloned_from": "r-999999999999999999"}, "/cloned_from", "no run"),
        ({"source": "elsewhere"}, "/source", "'worker' or 'external'"),
        ({"config": {"schedule": {"steps": 10**18}}}, "/config/schedule/steps", "at most"),
        ({"config": {"schedule": {"steps": 2**63}}}, "/config/schedule/steps", "at most"),
        ({"config": {"x" * 10**5: 1}}, f"/config/{'x' * 80}", "is not a field"),
        ({"config": {f"k{n}": n for n in range(10_000)}}, "/config/k0", "is not a field"),
    ],
)  # fmt: skip
def test_bad_launches_name_the_field_and_the_way_out(site: Site, body: dict[str, Any], pointer: str, says: str) -> None:
    answer = site.api.post(RUNS, json=body)
    told = errors(answer)
    assert says in told[pointer]
    assert len(answer.content) < 20_000


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (b"", 400, "empty"),
        (b"{", 400, "line 1"),
        (b'{"name": "a",}', 400, "column"),
        (b"\xff\xfe", 400, "JSON"),
        (b'"\\ud800"', 400, "JSON"),
        (b"[]", 422, "object"),
        (b"null", 422, "object"),
        (b"3", 422, "object"),
        (b'{"config": {"schedule": {"lr": NaN}}}', 422, "NaN"),
        (b'{"config": {"schedule": {"lr": Infinity}}}', 422, "Infinity"),
        (b'{"config": {"schedule": {"lr": -Infinity}}}', 422, "Infinity"),
        (b'{"config": {"schedule": {"lr": 1e999}}}', 400, "infinity"),
        (b'{"config": {"schedule": {"lr": "NaN"}}}', 422, "finite"),
        (b'{"config": {"schedule": {"steps": 123456789012345678901234567890}}}', 422, "whole number"),
        (b'{"config":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "depth"),
        (b'{"config":' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}", 422, "levels deep"),
    ],
)
def test_bodies_that_are_not_json_are_told_so(site: Site, content: bytes, status: int, says: str) -> None:
    answer = site.api.post(RUNS, content=content, headers={"Content-Type": "application/json"})
    assert problem(answer, status)
    assert says in answer.text


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "application/jsonx"],
)
def test_another_content_type_is_refused(site: Site, kind: str) -> None:
    answer = site.api.post(RUNS, content=b"{}", headers={"Content-Type": kind})
    assert "application/json" in problem(answer, 415)["detail"]


def test_nan_is_named_with_its_field(site: Site) -> None:
    answer = site.api.post(
        RUNS, content=b'{"config": {"schedule": {"lr": NaN}}}', headers={"Content-Type": "application/json"}
    )
    assert errors(answer) == {"/lr": "NaN is not a JSON number; give a finite one"}


def test_the_list_is_paged_sorted_and_counted(site: Site) -> None:
    made = [site.launch(name=f"paged {n}", tags=["paged"])["id"] for n in range(5)]
    first = site.api.get(RUNS, params={"q": "tag:paged", "limit": 2}).json()
    second = site.api.get(RUNS, params={"q": "tag:paged", "limit": 2, "offset": 2}).json()
    assert [run["id"] for run in first["runs"] + second["runs"]] == made[:0:-1]
    assert first["total"] == 5
    assert first["counts"] == {"queued": 5} or first["counts"]["queued"] == 5
    by_name = site.api.get(RUNS, params={"q": "tag:paged", "sort": "name"}).json()["runs"]
    assert [run["id"] for run in by_name] == made


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=501", "limit=x", "offset=-1", "offset=99999999999999999999", "state=happy", "place=perhaps",
     "sort=nonsense", "q=" + "x" * 501, "q=lr<<3", "q=val/loss<abc"],
)  # fmt: skip
def test_odd_questions_are_refused_with_a_reason(site: Site, query: str) -> None:
    assert errors(site.api.get(f"{RUNS}?{query}"))


@pytest.mark.parametrize(
    "odd", ["r-9999", "r-0", "nonsense", "r-999999999999999999", "%00", "..%2f..%2fetc", "r-1;drop", "💥", "x" * 39]
)
def test_an_unknown_run_is_404_on_every_route(site: Site, odd: str) -> None:
    for method, rest in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/stop"), ("POST", "/baseline"), ("GET", "/log"),
                         ("GET", "/events"), ("GET", "/checkpoints"), ("GET", "/metrics.csv")):  # fmt: skip
        answer = site.api.request(method, f"{RUNS}/{odd}{rest}", **({"json": {}} if method == "PATCH" else {}))
        assert answer.status_code == 404, f"{method} {rest}: {answer.text}"


def test_labels_change_alone(site: Site) -> None:
    run = site.launch(name="before", notes="stay")
    changed = site.api.patch(f"{RUNS}/{run['id']}", json={"name": "after", "tags": ["x", "x"]}).json()
    assert (changed["name"], changed["tags"], changed["notes"]) == ("after", ["x"], "stay")
    assert "/state" in errors(site.api.patch(f"{RUNS}/{run['id']}", json={"state": "finished"}))


def test_a_queued_run_stops_at_once_resumes_and_goes_to_the_trash(site: Site) -> None:
    url = f"{RUNS}/{site.launch()['id']}"
    assert site.api.post(f"{url}/stop").json()["state"] == "stopped"
    detail = problem(site.api.post(f"{url}/pause"), 409)["detail"]
    assert "resume" in detail, "it says what is possible"
    assert site.api.post(f"{url}/resume").json()["state"] == "queued"
    assert site.api.post(f"{url}/stop").json()["state"] == "stopped"
    assert site.api.delete(url).json()["actions"] == ["restore"]
    assert url.split("/")[-1] in [run["id"] for run in site.api.get(RUNS, params={"place": "trash"}).json()["runs"]]
    assert site.api.post(f"{url}/restore").json()["deleted_at"] is None


def test_one_run_is_the_baseline(site: Site) -> None:
    a, b = (site.launch()["id"] for _ in range(2))
    assert site.api.post(f"{RUNS}/{a}/baseline").json()["baseline"]
    assert site.api.post(f"{RUNS}/{b}/baseline").json()["baseline"]
    assert not site.api.get(f"{RUNS}/{a}").json()["baseline"]
    assert not site.api.delete(f"{RUNS}/{b}/baseline").json()["baseline"]


def test_notes_stand_among_the_events(site: Site) -> None:
    url = f"{RUNS}/{site.launch()['id']}/events"
    note = site.api.post(url, json={"text": "<script>alert(1)</script>", "step": 3})
    assert note.status_code == 201
    listed = site.api.get(url).json()["events"]
    assert [event["kind"] for event in listed] == ["state", "note"]
    assert listed[-1]["text"] == "<script>alert(1)</script>", "stored as it is; pages escape"
    after = int(listed[0]["id"].removeprefix("e-"))
    assert site.api.get(url, params={"after": after}).json()["events"] == listed[1:]
    assert "/text" in errors(site.api.post(url, json={"text": ""}))
    assert "/step" in errors(site.api.post(url, json={"text": "x", "step": 2**54}))


def test_the_log_shows_the_newest_lines_and_pages_onward(site: Site) -> None:
    feeder = Feeder(site)
    feeder.post(log=[{"at": 1.0, "text": f"line {n}"} for n in range(10)])
    url = f"{RUNS}/{feeder.id}/log"
    newest = site.api.get(url, params={"limit": 3}).json()["lines"]
    assert [line["text"] for line in newest] == ["line 7", "line 8", "line 9"]
    onward = site.api.get(url, params={"limit": 2, "after": newest[0]["id"]}).json()["lines"]
    assert [line["text"] for line in onward] == ["line 8", "line 9"]


def test_answers_are_plain_json_even_when_numbers_are_not_finite(site: Site) -> None:
    feeder = Feeder(site)
    feeder.losses(1, "NaN", "Infinity", 1e308)
    for path in (f"{RUNS}/{feeder.id}", RUNS, f"/api/v1/metrics?run={feeder.id}&key=train/loss"):
        json.loads(site.api.get(path).content, parse_constant=pytest.fail)


def test_a_running_run_is_evaluated_and_killed_and_a_finished_one_extended(site: Site) -> None:
    feeder = Feeder(site)
    url = f"{RUNS}/{feeder.id}"
    feeder.losses(1, 4.0)
    assert "evaluate" in site.api.post(f"{url}/evaluate").json()["actions"]
    assert site.api.post(f"{url}/stop").json()["actions"] == ["terminate", "kill"]
    assert site.api.post(f"{url}/kill").json()["state"] == "stopping"
    assert [one["command"] for one in feeder.post().json()["commands"]] == ["evaluate", "stop", "kill"]

    url = f"{RUNS}/{site.launch()['id']}"
    assert "only a finished" in problem(site.api.post(f"{url}/extend", json={"steps": 9999}), 409)["detail"]
    steps = site.api.post(f"{url}/stop").json()["steps"]
    assert "more than" in errors(site.api.post(f"{url}/extend", json={"steps": steps}))["/steps"]
    assert "/steps" in errors(site.api.post(f"{url}/extend", json={"steps": "many"}))
    longer = site.api.post(f"{url}/extend", json={"steps": steps + 10}).json()
    assert (longer["state"], longer["steps"], longer["config"]["schedule"]["steps"]) == (
        "queued",
        steps + 10,
        steps + 10,
    )


def test_preflight_says_what_a_step_takes_on_each_device(site: Site) -> None:
    shown = site.api.post("/api/v1/preflight", json={"preset": "gpt2-124m"}).json()
    assert shown["memory_bytes"] == sum(shown["memory"].values())
    assert set(shown["memory"]) >= {"weights", "gradients", "moments", "activations", "logits", "overhead"}
    for fit in shown["memory_fits"]:
        assert fit["verdict"] in ("fits", "tight", "too_large")
        assert sum(fit["parts_gib"].values()) == pytest.approx(fit["total_gib"])
