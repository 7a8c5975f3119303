"""The compare page's groups, and settings against results, over HTTP."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from website import SMALL, Feeder, Site

from app.settings import Settings

GROUPS, TABLE = "/api/v1/compare/groups", "/api/v1/compare/table"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(Settings(home=tmp_path_factory.mktemp("comparing") / "home")) as started:
        yield started


@pytest.fixture(scope="module")
def chosen(site: Site) -> list[str]:
    """λ 0.1 and 3, two seeds each, and one run that reported nothing."""
    found = []
    for decay, seed, last in ((0.1, 1, 3.0), (0.1, 2, 3.2), (3.0, 1, 4.0), (3.0, 2, 4.4)):
        config = {**SMALL, "optim": {"weight_decay": decay}, "system": {"seed": seed}}
        feeder = Feeder(site, name=f"λ {decay} </script><b>", config=config)
        steps = [0, 100]
        feeder.post(
            {"val/loss": {"step": steps, "value": [5.0, last]}, "x/tokens": {"step": steps, "value": [0, 1600]}}
        )
        found.append(feeder.id)
    return [*found, Feeder(site, config=SMALL).id]


def ask(site: Site, path: str, chosen: list[str], status: int = 200, **params: Any) -> dict[str, Any]:
    answer = site.api.get(path, params={"run": chosen, **params})
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def test_groups_come_with_their_band_and_numbers(site: Site, chosen: list[str]) -> None:
    found = ask(site, GROUPS, chosen, by="optim.weight_decay", band="range")
    assert [(one["value"], one["n"], one["last"]["mean"]) for one in found["groups"]] == [
        (0.1, 2, pytest.approx(3.1)), (3.0, 2, pytest.approx(4.2)),
    ]  # fmt: skip
    assert found["groups"][0]["low"] == [5.0, 3.0]
    assert found["groups"][0]["x"] == [0.0, 1600.0]
    assert found["left_out"] == chosen[-1:]
    less = ask(site, GROUPS, chosen[:4], by="system.seed", minus=chosen[0], x="step")
    assert less["groups"][0]["last"]["mean"] == pytest.approx(0.5)
    assert less["minus"] == chosen[0]


@pytest.mark.parametrize(
    ("params", "pointer"),
    [({"by": "model"}, "by"), ({"band": "wide"}, "band"), ({"x": "moons"}, "x"), ({"key": "no key"}, "key"), ({"key": "rms/"}, "key")],
)  # fmt: skip
def test_what_cannot_be_grouped_is_refused_by_name(
    site: Site, chosen: list[str], params: dict[str, str], pointer: str
) -> None:
    wrong = ask(site, GROUPS, chosen, 422, **params)
    assert wrong["errors"][0]["pointer"].endswith(pointer)
    ask(site, GROUPS, chosen, 404, minus="r-0999")
    ask(site, TABLE, ["r-0999"], 404)


def test_settings_stand_against_results(site: Site, chosen: list[str]) -> None:
    found = ask(site, TABLE, chosen)
    assert {"optim.weight_decay", "system.seed"} <= set(found["fields"])
    assert "model.n_layer" not in found["fields"]
    assert "val/loss" in found["metrics"]
    assert not any(key.startswith("x/") for key in found["metrics"])
    assert [row["results"].get("val/loss") for row in found["rows"]] == [3.0, 3.2, 4.0, 4.4, None]
    assert found["rows"][2]["settings"]["optim.weight_decay"] == 3.0


def test_the_page_groups_by_what_differs_but_the_seed_and_keeps_names_inert(site: Site, chosen: list[str]) -> None:
    with site.signed_in() as reader:
        page = reader.get("/compare", params={"run": chosen}).text
        data = re.search(r'id="group-data">(.*?)</script>', page, re.S)
        assert data
        assert json.loads(data[1])["by"] == "optim.weight_decay"
        assert "</script><b>" not in page
        again = reader.get("/compare/fragments/groups", params={"run": chosen, "by": "", "band": "x", "less": "1"}).text
        assert "one run: no band" in again
        assert reader.get("/compare/fragments/groups", params={"run": chosen, "by": "model.nope"}).status_code == 200
