"""The states of runs, datasets and jobs, and what each means to a person."""

from enum import StrEnum


class RunState(StrEnum):
    """The only states a run can be in; app/runs.py is the only writer."""

    queued = "queued"  #: waiting for a worker to claim it
    starting = "starting"  #: claimed; the worker is loading data and building the model
    running = "running"  #: training; its steps arrive
    stopping = "stopping"  #: told to finish the step, save and end; the worker has not confirmed yet
    paused = "paused"  #: checkpointed, process ended, device freed; resume queues a new attempt
    lost = "lost"  #: no word from its worker for a whole lease; requeued after the grace period
    finished = "finished"  #: reached its last step
    failed = "failed"  #: ended by an error; the reason says which
    stopped = "stopped"  #: ended by a person, checkpoint kept


MEANING: dict[RunState, str] = {
    RunState.queued: "waiting for a worker",
    RunState.starting: "claimed; loading data and building the model",
    RunState.running: "training",
    RunState.stopping: "finishing the step and saving",
    RunState.paused: "checkpointed, device freed; resume continues it",
    RunState.lost: "no word from its worker",
    RunState.finished: "reached its last step",
    RunState.failed: "ended by an error",
    RunState.stopped: "ended by a person, checkpoint kept",
}

OF_A_LOG: dict[RunState, str] = MEANING | {
    RunState.starting: "its log is being read",
    RunState.finished: "as far as its log goes",
    RunState.stopped: "its log ends before the last step",
}
"""The same for runs of source imported."""

ENDED = frozenset({RunState.finished, RunState.failed, RunState.stopped})
"""No worker will touch these again unless a person resumes them."""

ACTIVE = frozenset({RunState.starting, RunState.running, RunState.stopping})
"""A worker holds a claim on these."""


class FailReason(StrEnum):
    """Why a run failed."""

    error = "error"  #: the training process ended with an error; its last log lines say which
    oom = "oom"  #: out of memory, on the device or on the host
    non_finite = "non_finite"  #: the loss or a weight became NaN or infinite
    poison = "poison"  #: it ended twice at the same step; trying again would waste the device
    lost = "lost"  #: its workers vanished too many times


class DatasetState(StrEnum):
    """A dataset's life."""

    queued = "queued"  #: waiting for a worker to prepare it
    preparing = "preparing"  #: being read, split and tokenised
    ready = "ready"  #: tokens on disk, manifest written
    failed = "failed"  #: preparation ended with an error


class JobKind(StrEnum):
    """One piece of work that a worker can claim."""

    train = "train"  #: train a run
    prepare = "prepare"  #: turn a dataset's sources into token shards
    send = "send"  #: move files that this worker holds to the server
    sample = "sample"  #: write text from a checkpoint
    adopt = "adopt"  #: turn another project's checkpoint file into a run with a checkpoint
    export = "export"  #: write a checkpoint as another project's files
    report = "report"  #: read a prepared dataset again and say what is in it
    free = "free"  #: delete the files of a dataset that was deleted on the server


class JobState(StrEnum):
    queued = "queued"
    claimed = "claimed"
    done = "done"
