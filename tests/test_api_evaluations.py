"""Losses per window over REST and on the command line."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner
from website import Feeder, Site

from app.cli.commands import app
from app.cli.rest import CliError
from app.settings import Settings


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(Settings(home=tmp_path_factory.mktemp("evaluations") / "home")) as started:
        yield started


@pytest.fixture(scope="module")
def run(site: Site) -> str:
    feeder = Feeder(site)
    for step, losses in ((0, [4.0, 4.5, 5.0]), (10, [3.0, 2.0, 2.5]), (20, [3.0, 3.5, 2.5])):
        assert feeder.post(events=[{"kind": "evaluation", "step": step, "data": {"losses": losses}}]).is_success
    return feeder.id


def test_evaluations_are_listed_with_mean_and_standard_error(site: Site, run: str) -> None:
    found = site.api.get(f"/api/v1/runs/{run}/evaluations").json()["evaluations"]
    assert [(one["step"], one["windows"], one["loss"]) for one in found] == [(0, 3, 4.5), (10, 3, 2.5), (20, 3, 3.0)]
    assert found[0]["se"] == pytest.approx(0.5 / 3**0.5)


@pytest.mark.parametrize(("asked", "step"), [("10", 10), ("best", 10), ("last", 20)])
def test_ones_losses_come_in_window_order(site: Site, run: str, asked: str, step: int) -> None:
    found = site.api.get(f"/api/v1/runs/{run}/evaluations/{asked}").json()
    assert (found["run"], found["step"]) == (run, step)
    assert found["losses"] == {10: [3.0, 2.0, 2.5], 20: [3.0, 3.5, 2.5]}[step]


def test_all_of_them_as_csv(site: Site, run: str) -> None:
    answer = site.api.get(f"/api/v1/runs/{run}/evaluations.csv")
    assert answer.text.splitlines()[:3] == ["step,window,loss", "0,0,4", "0,1,4.5"]
    assert len(answer.text.splitlines()) == 1 + 9
    assert f"{run}-windows.csv" in answer.headers["content-disposition"]


@pytest.mark.parametrize("asked", ["11", "-1", "first", "1e3"])
def test_a_step_that_was_not_evaluated_is_answered_with_those_that_were(site: Site, run: str, asked: str) -> None:
    answer = site.api.get(f"/api/v1/runs/{run}/evaluations/{asked}")
    assert answer.status_code == 404
    assert "it has those of: 0, 10, 20." in answer.json()["detail"]
    assert site.api.get("/api/v1/runs/r-0099/evaluations").status_code == 404


def test_the_command_lists_shows_and_writes_them(site: Site, run: str, tmp_path: Path) -> None:
    def plateau(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["evaluations", run, "--url", site.url, "--token", site.token, *arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output

    assert plateau().splitlines()[1] == "10\t2.5000\t± 0.2887\t3"
    assert plateau("--at", "best").splitlines() == ["0\t3.0000", "1\t2.0000", "2\t2.5000"]
    assert json.loads(plateau("--at", "10", "--json"))["losses"] == [3.0, 2.0, 2.5]
    plateau("--out", str(tmp_path / "windows.csv"))
    assert (tmp_path / "windows.csv").read_text().startswith("step,window,loss\n0,0,4\n")
    with pytest.raises(CliError, match="it has those of: 0, 10, 20"):
        plateau("--at", "7")
