from pathlib import Path
from typing import Any

import pytest
from domain import World

from app import siblings
from app.contract import ids
from app.siblings import Sibling

TOLD = {"device": "cpu", "dtype": "float32", "products": "onednn+torch+torch", "loss_rows": 0, "threads": 2, "parameters": 5,
        "micro_batch": 8, "accumulation": 2}  # fmt: skip


@pytest.fixture
def world(tmp_path: Path):
    world = World(tmp_path)
    world.ready()
    yield world
    world.db.close()


def begun(world: World, **told: Any) -> str:
    """A run whose worker has said what it computes with."""
    run = world.launch()
    claim = world.claim()
    assert claim is not None
    assert claim.numeric_path is None
    world.post(claim, 1, telemetry={**TOLD, **told})
    return run


def put(world: World, run: str, **columns: Any) -> None:
    sets = ", ".join(f"{name} = ?" for name in columns)
    values = (*columns.values(), ids.parse("run", run))
    world.write(lambda tx: tx.raw.execute(f"UPDATE runs SET {sets} WHERE id = ?", values))


def test_the_nearest_on_such_a_device_is_told_without_what_is_its_own() -> None:
    system, same, other = {"dtype": "auto", "seed": 3}, True, False
    found = [
        Sibling("r-0001", {}, system, same),
        Sibling("r-0002", {"device": "cuda", "dtype": "bfloat16"}, system, same),
        Sibling("r-0003", TOLD, system, other),
        Sibling("r-0004", TOLD, system, same),
    ]
    path = siblings.nearest(found, {"cpu"})
    assert path == {
        "run": "r-0003", "asked": {"dtype": "auto"}, "device": "cpu", "dtype": "float32", "products": "onednn+torch+torch",
        "loss_rows": 0, "threads": 2,
    }  # fmt: skip
    alike = siblings.nearest(found[3:], {"cpu", "mps"})
    assert alike is not None
    assert (alike["micro_batch"], alike["accumulation"]) == (8, 2), "of an equal batch"
    assert siblings.nearest(found, {"mps"}) is None


def test_a_clone_is_told_its_sources_or_its_sources_source(world: World) -> None:
    source = begun(world)
    clone = world.launch(cloned_from=source)
    world.launch(cloned_from=clone)
    paths = [world.claim(worker).numeric_path for worker in ("two", "three")]
    assert [(path["run"], path["products"], path["micro_batch"]) for path in paths] == 2 * [
        (source, "onednn+torch+torch", 8)
    ]


def test_every_arm_of_a_sweep_is_told_its_first_runs(world: World) -> None:
    first = begun(world)
    arms = [world.launch(config={"optim": {"weight_decay": decay}}) for decay in (0.1, 0.3)]
    for run in (first, *arms):
        put(world, run, sweep_id=7)
    second = world.claim("two")
    world.post(second, 1, telemetry={**TOLD, "products": "medium+medium+medium"})
    third = world.claim("three")
    assert [claim.numeric_path["run"] for claim in (second, third)] == [first, first]
    assert third.numeric_path["products"] == "onednn+torch+torch"


def test_another_kind_of_device_is_told_nothing_and_an_own_attempt_first(world: World) -> None:
    source = begun(world)
    clone = world.launch(cloned_from=source)
    claim = world.claim("gpu", device="cuda")
    assert (claim.run, claim.numeric_path) == (clone, None)
    world.post(claim, 1, telemetry={**TOLD, "device": "cuda", "dtype": "bfloat16"})
    world.finish(claim, 1, "requeue")
    again = world.claim("gpu", device="cuda")
    assert (again.run, again.numeric_path["run"], again.numeric_path["dtype"]) == (clone, clone, "bfloat16")
