"""The filter language: every term finds what it says, and what is not understood is said."""

import pytest

from app import run_query
from app.errors import Invalid
from app.run_query import RunQuery
from tests.domain import World


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("query"))
    world.ready()
    world.launch(name="alpha 100%", tags=["Demo", "long tag"], config={"optim": {"weight_decay": 0.1}})
    world.launch(name="beta", config={"optim": {"weight_decay": 0.3}, "schedule": {"lr": 2e-3, "steps": 500}})
    world.launch(name="gamma", preset="shakespeare", config={"optim": {"weight_decay": 0.0}})
    claim = world.claim()
    columns = {"val/loss": {"step": [0, 10], "value": [5.0, 3.1]}, "train/loss": {"step": [10], "value": [3.0]}}
    world.post(claim, 1, columns=columns)
    yield world
    world.db.close()


def found(world: World, text: str, **query) -> list[str]:
    with world.db.read() as tx:
        return [
            run.name.split()[0] for run in run_query.find(tx, RunQuery(text=text, sort="created", **query)).rows[::-1]
        ][::-1]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "alpha beta gamma"),
        ("ALPHA", "alpha"),
        ("100%", "alpha"),
        ("%", "alpha"),
        ("r-0002", "beta"),
        ("dem", "alpha"),
        ("tag:demo", "alpha"),
        ('tag:"long tag"', "alpha"),
        ("tag!=demo", "beta gamma"),
        ("status=running", "alpha"),
        ("state!=running", "beta gamma"),
        ("wd=0.1", "alpha"),
        ("λ>0.05 λ<=.3", "alpha beta"),
        ("weight_decay=0", "gamma"),
        ("optim.weight_decay!=0.1", "beta gamma"),
        ("lr>1e-3", "beta"),
        ("steps>=1000", "alpha gamma"),
        ("val/loss<3.2", "alpha"),
        ("train/loss<3.2", "alpha"),
        ("val/loss<3", ""),
        ("step=10", "alpha"),
        ("dataset=python-stdlib", "alpha beta gamma"),
        ("dataset=d-0009", ""),
        ("preset=shakespeare", "gamma"),
        ("sampler=random", "gamma"),
        ("bias=false wd<0.2", "alpha gamma"),
        ("id=r-0003", "gamma"),
        ("λ = 0.1", ""),
        ("'; DROP TABLE runs; --", ""),
    ],
)
def test_a_term_finds_what_it_says(world, text, names):
    assert " ".join(found(world, text)) == names


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("weight_dacay=1", "did you mean weight_decay?"),
        ("every=5", "eval.every or checkpoint.every"),
        ("lr=fast", "compared with a number"),
        ("lr=nan", "NaN"),
        ("status=flying", "there are queued, starting"),
        ("tag>3", "= and != only"),
        ("bias=maybe", "true or false"),
        ("__import__('os')=1", "not a field"),
        ("x" * 1001, "1,000 characters"),
    ],
)
def test_what_is_not_understood_is_said(text, says):
    with pytest.raises(Invalid, match=says) as caught:
        run_query.parse(text)
    assert caught.value.errors[0].pointer == "/q"


def test_pages_counts_and_totals_belong_together(world):
    with world.db.read() as tx:
        page = run_query.find(tx, RunQuery(states=("queued",), limit=1, offset=1))
    assert (len(page.rows), page.total, page.counts) == (1, 2, {"queued": 2, "running": 1})


@pytest.mark.parametrize("key", run_query.SORTS)
def test_every_sort_key_sorts_both_ways_with_missing_values_last(world, key):
    with world.db.read() as tx:
        up, down = (run_query.find(tx, RunQuery(sort=sign + key)).rows for sign in ("", "-"))
    assert {run.id for run in up} == {run.id for run in down} == {1, 2, 3}
    if key == "best_val":
        assert up[0].id == down[0].id == 1


def test_an_unknown_sort_key_is_refused(world):
    with world.db.read() as tx, pytest.raises(Invalid, match="created, name"):
        run_query.find(tx, RunQuery(sort="-colour"))
