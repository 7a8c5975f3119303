"""Training longer than was planned: more steps for a run that has ended, from where it is."""

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app import events, runs
from app.contract import ids
from app.contract.config import RunConfig
from app.contract.states import RunState
from app.db import Tx
from app.errors import Conflict, FieldError, Invalid, from_pydantic
from app.tables import Run

EXTENDABLE = (RunState.finished, RunState.stopped, RunState.paused)


class Extension(BaseModel):
    """How long the run is to be."""

    model_config = ConfigDict(extra="forbid")
    steps: int = Field(ge=1, le=100_000_000, description="Steps of the whole run, those already made included.")


def extend(tx: Tx, run: Run, extension: Extension, *, now: float) -> None:
    """Queue the run again with its schedule stretched to the new last step; it goes on from its newest checkpoint.

    A decay that ended with the run ends with it again: from the next step on the learning rate is that of the longer
    run. One that was told to end earlier still ends there. Raises Conflict, Invalid.
    """
    shown = ids.show("run", run.id)
    if RunState(run.state) not in EXTENDABLE or run.deleted_at is not None or run.source != "worker":
        possible = ", ".join(runs.actions(run)) or "nothing"
        raise Conflict(
            f"{shown} is {run.state}: only a finished, stopped or paused run can be extended. Possible now: {possible}."
        )
    before = run.steps
    if extension.steps <= before:
        raise Invalid([FieldError("/steps", f"must be more than the {before:,} steps that {shown} has now")])
    schedule = run.config["schedule"] | {"steps": extension.steps}
    if schedule.get("decay_steps") == before:
        schedule["decay_steps"] = extension.steps
    try:
        config = RunConfig.model_validate(run.config | {"schedule": schedule})
    except ValidationError as error:
        raise from_pydantic(error, "/config", RunConfig) from None
    run.config = config.model_dump(mode="json")
    run.steps = extension.steps
    text = f"Extended from {before:,} to {extension.steps:,} steps at step {run.step:,}."
    events.record(tx, run.id, "extended", text, at=now, step=run.step, data={"from": before, "to": extension.steps})
    runs.queue_again(tx, run, f"extended to {extension.steps:,} steps", by="person", now=now)
