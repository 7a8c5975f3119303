"""Curves over HTTP: nothing lost, cached by ETag, bounded; CSV that holds every point."""

import csv
import io
import math
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from website import Feeder, Site

from app.settings import Settings

METRICS = "/api/v1/metrics"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(Settings(home=tmp_path_factory.mktemp("metrics") / "home")) as started:
        yield started


@pytest.fixture(scope="module")
def long(site: Site) -> Feeder:
    """20,000 steps with one spike, one NaN, and tokens as a second axis."""
    feeder = Feeder(site)
    for first in range(1, 20_001, 4000):
        steps = list(range(first, first + 4000))
        values: list[float | str] = [3.0] * 4000
        if first == 8001:
            values[1234], values[2345] = 77.0, "NaN"
        answer = feeder.post(
            {
                "train/loss": {"step": steps, "value": values},
                "x/tokens": {"step": steps, "value": [16 * step for step in steps]},
            }
        )
        assert answer.status_code == 200
    return feeder


def test_a_spike_and_a_nan_survive_down_sampling(site: Site, long: Feeder) -> None:
    answer = site.api.get(METRICS, params={"run": long.id, "key": "train/loss", "x": "tokens", "width": 400})
    body = answer.json()
    curve = body["runs"][long.id]["train/loss"]
    assert body["x"] == "tokens"
    assert body["cursor"] > 0
    assert curve["total"] == 20_000
    assert curve["merged"]
    assert len(curve["step"]) == len(curve["x"]) == len(curve["y"]) <= 1200
    assert 77.0 in curve["y"]
    assert {"step": 10_346, "value": "NaN"} in curve["non_finite"]
    assert curve["x"][curve["y"].index(77.0)] == 16 * 9235
    assert (curve["step"][0], curve["step"][-1]) == (1, 20_000)
    assert len(answer.content) < 60_000


def test_a_window_shows_its_points(site: Site, long: Feeder) -> None:
    body = site.api.get(METRICS, params={"run": long.id, "key": "train/loss", "lo": 9230, "hi": 9240}).json()
    curve = body["runs"][long.id]["train/loss"]
    assert curve["step"] == list(range(9230, 9241))
    assert not curve["merged"]


def test_a_window_beyond_the_last_step_is_empty(site: Site, long: Feeder) -> None:
    for lo in (1e6, 1e25):
        body = site.api.get(METRICS, params={"run": long.id, "key": "train/loss", "lo": lo}).json()
        assert body["runs"][long.id]["train/loss"]["y"] == []


def test_an_unchanged_curve_is_304_and_a_changed_one_is_not(site: Site) -> None:
    feeder = Feeder(site)
    feeder.losses(1, 1.0)
    params = {"run": feeder.id, "key": "train/loss"}
    first = site.api.get(METRICS, params=params)
    tag = {"If-None-Match": first.headers["etag"]}
    again = site.api.get(METRICS, params=params, headers=tag)
    assert (again.status_code, again.content) == (304, b"")
    assert site.api.get(METRICS, params={**params, "x": "tokens"}, headers=tag).status_code == 200
    feeder.losses(2, 0.5)
    assert site.api.get(METRICS, params=params, headers=tag).status_code == 200


def test_many_runs_come_in_one_answer(site: Site) -> None:
    feeders = [Feeder(site) for _ in range(5)]
    for feeder in feeders:
        feeder.losses(1, 1.0, 2.0)
    runs = site.api.get(
        METRICS, params={"run": [feeder.id for feeder in feeders], "key": ["train/loss", "val/loss"]}
    ).json()["runs"]
    assert sorted(runs) == sorted(feeder.id for feeder in feeders)
    assert all(list(curves) == ["train/loss"] for curves in runs.values()), "a metric a run lacks is left out"


@pytest.mark.parametrize(
    "query",
    ["key=train/loss", "run=RUN", "run=RUN&key=train/loss&width=49", "run=RUN&key=train/loss&width=4001",
     "run=RUN&key=train/loss&x=cm", "run=RUN&key=train/loss&lo=nan", "run=RUN&key=train/loss&hi=inf",
     "run=RUN&key=train/loss&lo=-1", "run=RUN&key=../x", "run=RUN&key=", "run=RUN&key=train/loss&lo=9&hi=8",
     "run=RUN&" + "&".join(["key=a/b"] * 51), "&".join(["run=RUN"] * 101) + "&key=a/b"],
)  # fmt: skip
def test_odd_questions_are_refused(site: Site, long: Feeder, query: str) -> None:
    answer = site.api.get(f"{METRICS}?{query.replace('RUN', long.id)}")
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"]


def test_an_unknown_run_is_404(site: Site, long: Feeder) -> None:
    answer = site.api.get(METRICS, params={"run": [long.id, "r-9999"], "key": "train/loss"})
    assert answer.status_code == 404
    assert "r-9999" in answer.json()["detail"]


def test_csv_holds_every_point(site: Site, long: Feeder) -> None:
    answer = site.api.get(f"/api/v1/runs/{long.id}/metrics.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 20_000
    assert [row["step"] for row in rows[:2]] == ["1", "2"]
    assert rows[9234]["train/loss"] == "77.0"
    assert rows[10345]["train/loss"] == "NaN"
    assert rows[-1]["x/tokens"] == "320000.0"


def test_csv_of_sparse_steps_comes_at_once(site: Site) -> None:
    feeder = Feeder(site)
    feeder.post(
        {"train/loss": {"step": [0, 2**40, 2**53], "value": [1, 2, 3]}, "val/loss": {"step": [2**40], "value": [4]}}
    )
    text = site.api.get(f"/api/v1/runs/{feeder.id}/metrics.csv").text
    assert text == f"step,train/loss,val/loss\n0,1.0,\n{2**40},2.0,4.0\n{2**53},3.0,\n"
    only = site.api.get(f"/api/v1/runs/{feeder.id}/metrics.csv", params={"key": "val/loss"}).text
    assert only == f"step,val/loss\n{2**40},4.0\n"


def test_csv_of_a_run_without_points_is_a_header(site: Site) -> None:
    assert site.api.get(f"/api/v1/runs/{Feeder(site).id}/metrics.csv").text == "step\n"


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_typed_files_hold_every_point_with_null_for_none_and_nan_for_nan(site: Site, form: str) -> None:
    feeder = Feeder(site)
    steps = list(range(1, 9001))
    values: list[float | str] = [step / 3 for step in steps]
    values[8195] = "NaN"
    feeder.post({"train/loss": {"step": steps, "value": values}})
    feeder.post({"val/loss": {"step": [0, 9000], "value": [4, 3]}})
    answer = site.api.get(f"/api/v1/runs/{feeder.id}/metrics.{form}")
    assert answer.headers["content-disposition"] == f'attachment; filename="{feeder.id}.{form}"'
    content = io.BytesIO(answer.content)
    table = pq.read_table(content) if form == "parquet" else pa.ipc.open_stream(content).read_all()
    assert table.column_names == ["step", "train/loss", "val/loss"]
    assert table["step"].to_pylist() == [0, *steps]
    train, val = table["train/loss"].to_pylist(), table["val/loss"].to_pylist()
    assert (train[0], train[1], train[9000]) == (None, 1 / 3, 3000.0)
    assert math.isnan(train[8196])
    assert (val[0], val[1], val[9000]) == (4.0, None, 3.0)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_typed_files_of_a_run_without_points_are_empty_tables(site: Site, form: str) -> None:
    content = io.BytesIO(site.api.get(f"/api/v1/runs/{Feeder(site).id}/metrics.{form}").content)
    table = pq.read_table(content) if form == "parquet" else pa.ipc.open_stream(content).read_all()
    assert (table.num_rows, table.column_names) == (0, ["step"])


def test_the_interactive_file_holds_every_spike_and_no_markup_of_a_name(site: Site, long: Feeder) -> None:
    site.api.patch(f"/api/v1/runs/{long.id}", json={"name": "</script><img src=x onerror=alert(1)>"})
    answer = site.api.get("/api/v1/metrics.html", params={"run": long.id, "key": "train/loss"})
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == f'attachment; filename="{long.id}.html"'
    assert "<img" not in answer.text.rpartition("Plotly.newPlot")[2]
    drawn = site.api.get("/api/v1/metrics", params={"run": long.id, "key": "train/loss", "width": 4000}).json()
    peak = max(y for y in drawn["runs"][long.id]["train/loss"]["y"] if y is not None)
    assert str(peak) in answer.text
    assert site.api.get("/api/v1/metrics.html", params={"run": long.id, "key": "no key"}).status_code == 422


def test_compare_says_what_differs(site: Site) -> None:
    a, b = Feeder(site), Feeder(site, name="other")
    body = site.api.get("/api/v1/compare", params={"run": [a.id, b.id]}).json()
    assert len(body["rows"]) == 2
    assert site.api.get("/api/v1/compare").status_code == 422
