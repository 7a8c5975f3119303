"""A run's weight decay as it stands: numbers, groups and curves, by REST and on the page."""

import math
import re
from collections.abc import Iterator

import httpx
import pages_fixture
import pytest
from website import Site

from app import appending, decay
from app.contract.config import RunConfig
from app.contract.presets import PRESETS
from app.db import Tx
from app.settings import Settings
from app.tables import Run

RUNNING, STRONG, NONE = "r-0007", "r-0002", "r-0001"  # λ 0.1 at step 620 of 1,000; λ 3, finished; λ 0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("decay") / "home"
    with Site(Settings(home=home, host="127.0.0.1", port=8000, allowed_hosts="")) as started:
        pages_fixture.fill(started.db)
        yield started


@pytest.fixture(scope="module")
def reader(site: Site) -> Iterator[httpx.Client]:
    with site.signed_in() as client:
        yield client


def standing(site: Site, run: str) -> dict:
    return site.api.get(f"/api/v1/runs/{run}/decay").raise_for_status().json()


def test_what_has_been_taken_off_so_far_is_the_sum_of_the_schedule(site: Site) -> None:
    found, config = standing(site, RUNNING), PRESETS["tiny"].config
    shares = [decay.per_step(config.schedule, config.optim)(update) for update in range(1000)]
    assert found["total_so_far"] == pytest.approx(math.fsum(shares[:620]))
    assert found["total"] == pytest.approx(math.fsum(shares))
    assert found["left_so_far"] == pytest.approx(math.exp(-math.fsum(shares[:620])))
    assert found["per_step"] == pytest.approx(shares[619])
    assert found["timescale_steps"] == pytest.approx(1 / shares[619])
    assert found["timescale_tokens"] == pytest.approx(12 * 128 / shares[619])
    assert found["timescale_epochs"] == pytest.approx(12 * 128 / shares[619] / 5_120_000)
    assert found["half_life_steps"] == pytest.approx(math.log(2) / shares[619], rel=1e-3)


def test_each_group_has_its_measurements_beside_its_equilibrium(site: Site) -> None:
    groups = {one["group"]: one for one in standing(site, STRONG)["groups"]}
    fc, norm = groups["mlp.fc"], groups["norm"]
    assert (fc["tensors"], fc["parameters"], fc["weight_decay"]) == (4, 4 * 4 * 128 * 128, 3.0)
    assert fc["rms"] == pytest.approx(0.022 * (1 + 1000 / 900 * (1.2 - 0.9)))
    assert fc["rms_equilibrium"] == pytest.approx(math.sqrt(fc["lr"] / 6), rel=1e-9)
    assert fc["update_ratio"] == pytest.approx((2e-3 + 2 * 5e-4) * math.exp(-1000 / 700))
    assert (norm["decays"], norm["per_step"], norm["rms_equilibrium"]) == (False, 0.0, None)
    assert groups["embedding"]["parameters"] == 4096 * 128 + 128 * 128


def test_a_run_without_decay_says_so(site: Site) -> None:
    found = standing(site, NONE)
    assert (found["total"], found["left"], found["per_step"], found["timescale_steps"]) == (0, 1, 0, None)
    assert found["verdict"] == "none"


def test_steps_that_float16_skipped_took_nothing_off(site: Site) -> None:
    before = standing(site, RUNNING)["total_so_far"]

    def skip(tx: Tx) -> None:
        import numpy as np

        appending.append(tx.raw, 7, {"train/skipped": (np.array([100, 101]), np.array([1.0, 0.0]))})

    site.db.write(skip)
    found = standing(site, RUNNING)
    config = RunConfig.model_validate(found_config(site))
    assert found["skipped_steps"] == 1
    assert before - found["total_so_far"] == pytest.approx(decay.per_step(config.schedule, config.optim)(99))


def found_config(site: Site) -> dict:
    with site.db.read() as tx:
        run = tx.session.get_one(Run, 7)
        return dict(run.config)


def test_an_unknown_run_is_not_found(site: Site) -> None:
    assert site.api.get("/api/v1/runs/r-0999/decay").status_code == 404


@pytest.mark.parametrize("language", ["en", "de", "ar"])
def test_the_card_is_on_the_page_and_comes_alone_for_live_updates(reader: httpx.Client, language: str) -> None:
    whole = reader.get(f"/runs/{STRONG}", headers={"Accept-Language": language}).text
    part = reader.get(f"/runs/{STRONG}/fragments/decay", headers={"Accept-Language": language}).text
    assert 'id="decay"' in whole
    assert f"/runs/{STRONG}/fragments/decay" in whole
    for text in (whole, part):
        assert 'class="outlook"' in text, "lr·λ and what is left, drawn by the server"
        assert re.search(r'<bdi dir="ltr">mlp\.fc</bdi>.*?<b><bdi dir="ltr">3</bdi></b>', text, re.S)
        assert "transformer.h.*.mlp.c_fc.weight" in text


def test_the_page_of_a_run_without_decay_has_no_curve_to_show(reader: httpx.Client) -> None:
    page = reader.get(f"/runs/{NONE}/fragments/decay").text
    assert "the reference to compare with" in page
    assert 'class="outlook"' not in page


def test_the_panels_equilibrium_is_the_formulas_whatever_the_coupling(site: Site, reader: httpx.Client) -> None:
    made = site.launch(preset="tiny", config={"optim": {"decay_coupling": "independent", "weight_decay": 1e-4}})
    page = reader.get(f"/runs/{made['id']}").text
    rms = re.search(r'"rms":\[([^\]]*)\]', page)
    assert rms
    peak = max(float(value) for value in rms[1].split(","))
    assert peak == pytest.approx(1e-3 / math.sqrt(2e-4), rel=1e-2)
