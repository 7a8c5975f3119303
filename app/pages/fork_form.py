"""The launch form when it starts from a checkpoint: prefilled from its run, the network locked, a cool-down worked out."""

from typing import Any

from app import checkpoints, cooldown, forks, runs
from app.contract import ids
from app.contract.config import RunConfig
from app.db import Tx
from app.forks import Fork
from app.i18n import Speech
from app.pages.launch_form import LaunchForm, Origin
from app.tables import Run


def start(tx: Tx, text_id: str, length: str, speech: Speech) -> LaunchForm:
    """The form for a fork of this checkpoint; `length` is a cool-down's share (0.1) or steps (200), or empty."""
    checkpoint = checkpoints.get(tx, text_id)
    parent = tx.session.get_one(Run, checkpoint.run_id)
    config = RunConfig.model_validate(parent.config)
    form = LaunchForm(config, speech, preset=parent.preset or "")
    fields: dict[str, dict[str, Any]] = {}
    if length and (steps := _steps(length, checkpoint.step)):
        fields = cooldown.changes(config, checkpoint.step, steps)
        if fields["schedule"]["lr"] <= 0:
            fields = {}
            form.ignored.append(("cooldown", speech("the learning rate is 0 there already")))
    elif length:
        form.ignored.append(("cooldown", speech("not a share or a number of steps that can be cooled down from there")))
    form.origin = Origin(
        ids.show("checkpoint", checkpoint.id), ids.show("run", parent.id), parent.name, checkpoint.step,
        checkpoint.kept, checkpoint.val_loss, bool(fields),
    )  # fmt: skip
    form.fill({f"{section}.{key}": value for section, part in fields.items() for key, value in part.items()})
    form.name = forks.default_name(parent, checkpoint, falling=bool(fields))
    form.tags = " ".join(parent.tags)
    return form


def _steps(length: str, step: int) -> int:
    """Steps of the cool-down; 0 where the text is no length, or where nothing was learnt yet."""
    try:
        number = float(length)
    except ValueError:
        return 0
    if step == 0 or not 0 < number <= 1e8:
        return 0
    return cooldown.steps_of(number, step) if number < 1 else int(number)


def launch(tx: Tx, form: LaunchForm, labels: dict[str, Any], *, key: str | None, digest: str, now: float) -> str:
    """Queue what the form holds; the new run's id. Raises Invalid, Conflict, NotFound, pydantic's ValidationError."""
    assert form.origin is not None, "the form starts from no checkpoint"
    asked = Fork.model_validate({**labels, "checkpoint": form.origin.checkpoint, "config": form.changes()})
    made, _ = forks.create(tx, runs.get(tx, form.origin.run), asked, key=key, body_sha256=digest, now=now)
    return ids.show("run", made.id)
