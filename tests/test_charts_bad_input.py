"""Odd questions about charts: deleted runs, wrong windows and keys, extreme values and steps, more curves than fit."""

from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from website import Feeder, Site

from app import appending
from app.contract import ids
from app.settings import Settings

METRICS = "/api/v1/metrics"
FAR = 2**53


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(Settings(home=tmp_path_factory.mktemp("odd") / "home")) as started:
        yield started


@pytest.fixture(scope="module")
def reader(site: Site) -> Iterator[httpx.Client]:
    with site.signed_in() as browser:
        yield browser


def asked(site: Site, **params: object) -> tuple[int, dict]:
    answer = site.api.get(METRICS, params=params)
    return answer.status_code, answer.json()


def test_a_run_in_the_trash_still_has_its_chart_and_page(site: Site, reader: httpx.Client) -> None:
    feeder = Feeder(site)
    feeder.losses(1, 3.0, 2.0)
    feeder.api.post(f"/api/v1/runs/{feeder.id}/stop")
    site.db.write(
        lambda tx: tx.raw.execute(
            "UPDATE runs SET deleted_at = 1, state = 'stopped' WHERE id = ?", (ids.parse("run", feeder.id),)
        )
    )
    status, body = asked(site, run=feeder.id, key="train/loss")
    assert status == 200
    assert body["runs"][feeder.id]["train/loss"]["y"] == [3.0, 2.0]
    assert reader.get(f"/runs/{feeder.id}").status_code == 200


def test_a_run_that_is_gone_is_named(site: Site, reader: httpx.Client) -> None:
    for path in (
        f"{METRICS}?run=r-4242&key=train/loss",
        "/api/v1/runs/r-4242/metrics.csv",
        "/api/v1/metrics.parquet?run=r-4242",
    ):
        answer = site.api.get(path)
        assert answer.status_code == 404, path
        assert "r-4242" in answer.json()["detail"]
    assert reader.get("/compare?run=r-4242").status_code == 404


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"width": 0}, "width"), ({"width": 10**9}, "width"), ({"lo": 9, "hi": 8}, "hi"), ({"x": "miles"}, "/x"),
     ({"key": "<img src=x onerror=alert(1)>"}, "key"), ({"mean": ["a/b"] * 51}, "mean")],
)  # fmt: skip
def test_a_wrong_question_is_answered_with_the_name_of_its_part(site: Site, wrong: dict, named: str) -> None:
    feeder = Feeder(site)
    status, body = asked(site, **({"run": feeder.id, "key": "train/loss"} | wrong))
    assert status == 422
    assert named in str(body["errors"])


def test_an_unknown_key_has_no_curve_and_no_column(site: Site) -> None:
    feeder = Feeder(site)
    feeder.losses(1, 3.0)
    assert asked(site, run=feeder.id, key="no/such")[1]["runs"][feeder.id] == {}
    assert site.api.get(f"/api/v1/runs/{feeder.id}/metrics.csv?key=no/such").text == "step\n"
    assert site.api.get(f"/api/v1/runs/{feeder.id}/metrics.csv?key=<b>").status_code == 422


def test_extreme_values_and_steps_come_back_as_they_were(site: Site, reader: httpx.Client) -> None:
    feeder = Feeder(site)
    values = [1e308, -0.0, 5e-324, -1e308, "NaN"]
    steps = [0, 1, 2, FAR - 1, FAR]
    assert (
        feeder.post(
            {
                "train/loss": {"step": steps, "value": values},
                "x/tokens": {"step": steps, "value": [0, 1, 2, 1e307, 1e308]},
            }
        ).status_code
        == 200
    )
    for axis in ("step", "tokens"):
        curve = asked(site, run=feeder.id, key="train/loss", x=axis, mean="train/loss")[1]["runs"][feeder.id][
            "train/loss"
        ]
        assert curve["step"] == steps
        assert curve["y"] == [1e308, -0.0, 5e-324, -1e308, None]
        assert str(curve["y"][1]) == "-0.0"
    window = asked(site, run=feeder.id, key="train/loss", lo=FAR - 1, hi=FAR)[1]["runs"][feeder.id]["train/loss"]
    assert window["step"] == [FAR - 1, FAR]
    text = site.api.get(f"/api/v1/runs/{feeder.id}/metrics.csv?key=train/loss").text
    assert text.splitlines()[1:] == ["0,1e+308", "1,-0.0", "2,5e-324", f"{FAR - 1},-1e+308", f"{FAR},NaN"]
    page = reader.get(f"/runs/{feeder.id}")
    assert page.status_code == 200, page.text


def test_a_hundred_thousand_keys_are_refused_at_the_door_and_cost_a_chart_nothing(
    site: Site, reader: httpx.Client
) -> None:
    feeder = Feeder(site)
    feeder.losses(1, 3.0)
    too_many = feeder.post({f"a/{i}": {"step": [1], "value": [1]} for i in range(2001)})
    assert too_many.status_code == 422
    assert "2,000" in too_many.text
    number = ids.parse("run", feeder.id)
    rows = ((number, f"zz/k{i:06d}", 1, 1, 0.5) for i in range(100_000))
    site.db.write(
        lambda tx: tx.raw.executemany(
            "INSERT INTO series (run_id, key, count, last_step, last_value) VALUES (?, ?, ?, ?, ?)", rows
        )
    )
    assert list(asked(site, run=feeder.id, key="train/loss")[1]["runs"][feeder.id]) == ["train/loss"]
    status, body = asked(site, run=feeder.id, key="zz/")
    assert status == 422
    assert "2,000 curves" in str(body["errors"])
    page = reader.get(f"/runs/{feeder.id}")
    assert page.status_code == 200
    assert len(page.content) < 1_000_000


def test_a_batch_of_a_million_points_is_told_the_limit(site: Site) -> None:
    feeder = Feeder(site)
    answer = feeder.losses(1, *[1.0] * 1_000_000)
    assert answer.status_code == 413
    assert "1,048,576 bytes" in answer.json()["detail"]
    feeder.seq = 0
    assert feeder.losses(1, 3.0).status_code == 200, "the refused batch has taken no number"


def test_several_runs_in_one_file_carry_their_names(site: Site) -> None:
    a, b = Feeder(site), Feeder(site)
    a.losses(1, 3.0, "NaN")
    b.post({"val/loss": {"step": [5], "value": [2.5]}})
    text = site.api.get("/api/v1/metrics.csv", params={"run": [a.id, b.id], "key": ["train/", "val/loss"]}).text
    assert text == f"run,step,train/loss,val/loss\n{a.id},1,3.0,\n{a.id},2,NaN,\n{b.id},5,,2.5\n"
    import io

    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(site.api.get("/api/v1/metrics.parquet", params={"run": [a.id, b.id]}).content))
    assert table.column_names == ["run", "step", "train/loss", "val/loss"]
    assert table["run"].to_pylist() == [a.id, a.id, b.id]
    assert table["val/loss"].to_pylist() == [None, None, 2.5]


def test_a_chart_of_many_runs_stays_within_its_size(site: Site) -> None:
    feeder = Feeder(site)
    steps = np.arange(1, 10_001)
    number = ids.parse("run", feeder.id)
    site.db.write(lambda tx: appending.append(tx.raw, number, {"train/loss": (steps, 3 + 1 / steps)}))
    answer = site.api.get(METRICS, params={"run": feeder.id, "key": "train/loss", "width": 400})
    assert 50 * len(answer.content) <= 700_000, "50 runs of 10,000 points"
