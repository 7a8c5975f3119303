"""D05: size against tokens."""

import pytest
from loss_curves import golden

from app.diagnosis import capacity, scaling
from app.diagnosis.findings import Level
from app.diagnosis.observations import Relative


def test_the_golden_run_is_small_for_its_tokens_and_a_larger_model_is_offered_at_the_same_cost() -> None:
    run = golden()
    found = capacity.judge(run)
    assert (found.verdict, found.level, found.confidence) == ("small for its tokens", Level.info, "high")
    assert found.evidence[0].value == pytest.approx(258.5, abs=0.1)
    changes = found.experiment.changes
    assert found.experiment.kind == "larger_model"
    assert changes["model.n_embd"] % changes["model.n_head"] == 0
    larger = 12 * 12 * changes["model.n_embd"] ** 2 + 50_304 * changes["model.n_embd"]
    assert larger / run.parameters == pytest.approx(2, abs=0.2)
    assert larger * changes["schedule.steps"] == pytest.approx(run.parameters * run.steps, rel=0.1)


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(5, "under-trained"), (20, "balanced"), (99, "balanced"), (101, "small for its tokens")]
)
def test_tokens_a_parameter_decide(ratio: float, verdict: str) -> None:
    assert capacity.judge(golden(parameters=round(20_000 * 524_288 / ratio))).verdict == verdict


def test_a_loss_far_above_finished_relatives_is_a_warning_and_the_level_alone_is_none() -> None:
    tokens = 20_000 * 524_288
    offset = 0.2  # another text: the laws' level is off, and means nothing
    relatives = tuple(Relative(n, tokens, scaling.loss(n, tokens) + offset) for n in (30_000_000, 60_000_000))
    alone = golden(ended=True, step=20_000)
    assert capacity.judge(alone).level == Level.info
    due = scaling.loss(alone.parameters, tokens) + offset
    off = float(alone.curve("val/loss").value[-3:].mean()) - due
    found = capacity.judge(golden(ended=True, step=20_000, relatives=relatives))
    assert off < capacity.OFF
    assert found.level == Level.info
    worse = tuple(Relative(one.parameters, one.tokens, one.loss - 0.2) for one in relatives)
    found = capacity.judge(golden(ended=True, step=20_000, relatives=worse))
    assert (found.verdict, found.level) == ("above its relatives", Level.warn)
    assert capacity.judge(golden(relatives=worse)).level == Level.info  # on its way, its loss says nothing yet


def test_an_unknown_size_is_asked_for() -> None:
    assert capacity.judge(golden(parameters=None)).missing == ("parameters",)
