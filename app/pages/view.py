"""A run, dataset or worker as a page shows it: the numbers a template needs, none of them formatted yet."""

from typing import Any, NamedTuple

from app import forks, runs
from app.contract import ids
from app.contract.dataset import PrepareProgress
from app.contract.states import ACTIVE, ENDED, MEANING, OF_A_LOG, DatasetState, FailReason, RunState
from app.i18n import N_, Speech
from app.tables import Dataset, Run, Worker


class Look(NamedTuple):
    """Shape and word first, colour third."""

    tone: str  #: a colour class of the style sheet
    shape: str  #: a symbol of _icons.html
    word: str


LOOKS: dict[str, Look] = {
    RunState.queued: Look("t2", "queue", N_("Queued")),
    RunState.starting: Look("run", "start", N_("Starting")),
    RunState.running: Look("run", "run", N_("Running")),
    RunState.stopping: Look("t2", "save", N_("Stopping")),
    RunState.paused: Look("t2", "pause", N_("Paused")),
    RunState.lost: Look("warn", "lost", N_("Lost")),
    RunState.finished: Look("ok", "ok", N_("Finished")),
    RunState.failed: Look("bad", "bad", N_("Failed")),
    RunState.stopped: Look("t2", "stop", N_("Stopped")),
}
DATASET_LOOKS: dict[str, Look] = {
    DatasetState.queued: Look("t2", "queue", N_("Waiting")),
    DatasetState.preparing: Look("run", "run", N_("Preparing")),
    DatasetState.ready: Look("ok", "ok", N_("Ready")),
    DatasetState.failed: Look("bad", "bad", N_("Failed")),
}
REASONS: dict[str, str] = {
    FailReason.error: N_("error in training"),
    FailReason.oom: N_("out of memory"),
    FailReason.non_finite: N_("NaN or ∞"),
    FailReason.poison: N_("ended twice at the same step"),
    FailReason.lost: N_("worker lost too often"),
}
TONE_COLOUR = {"ok": "var(--ok)", "run": "var(--run)", "bad": "var(--bad)", "warn": "var(--warn)"}


class RunView:
    """One run for list rows, cards and the head of its page."""

    def __init__(self, run: Run, speech: Speech, now: float) -> None:
        self.row = run
        self.number = run.id
        self.sweep = ids.show("sweep", run.sweep_id) if run.sweep_id is not None else None
        self.id = ids.show("run", run.id)
        self.url = f"/runs/{self.id}"
        self.name, self.state, self.tags, self.notes = run.name, run.state, run.tags, run.notes
        self.tone, self.shape, word = LOOKS[run.state]
        meanings = OF_A_LOG if "imported" in run.telemetry else MEANING
        self.word, self.meaning = speech(word), speech(meanings[RunState(run.state)])
        imported = run.telemetry.get("imported")
        self.mfu_peak: float | None = (imported or {}).get("facts", {}).get("mfu_peak_flops")  # that its log divides by
        self._known: frozenset[str] | None = None if imported is None else frozenset(imported.get("known", ()))
        self.colour = TONE_COLOUR.get(self.tone, "var(--line-strong)")
        self.active, self.ended = run.state in ACTIVE, run.state in ENDED
        self.reason = speech(REASONS[run.reason]) if run.reason in REASONS else (run.reason or "")
        self.detail = run.detail
        self.config: dict[str, Any] = run.config
        self.step, self.steps = run.step, run.steps
        self.progress = min(1.0, run.step / run.steps) if run.steps else 0.0
        batch = run.config["batch"]
        self.tokens_per_step: int = batch["micro_batch"] * batch["accumulation"] * run.config["model"]["block_size"]
        self.tokens, self.total_tokens = forks.tokens_at(run, self.step), forks.tokens_at(run, self.steps)
        self.weight_decay: float = run.config["optim"]["weight_decay"]
        self.lr: float = run.config["schedule"]["lr"]
        self.clip: float = run.config["optim"]["clip"]
        self.best_val, self.best_val_se, self.best_step = run.best_val, run.best_val_se, run.best_step
        self.tok_per_s = run.tok_per_s
        left = (self.steps - self.step) * self.tokens_per_step
        self.eta_s = left / run.tok_per_s if run.tok_per_s and self.active and run.state != "stopping" else None
        self.created_at, self.started_at, self.ended_at, self.updated_at = (
            run.created_at, run.started_at, run.ended_at, run.updated_at,
        )  # fmt: skip
        self.telemetry: dict[str, Any] = run.telemetry
        self.actions: frozenset[str] = frozenset(runs.actions(run))
        self.note = self._note(speech, now)

    def knows(self, *fields: str) -> bool:
        """Whether these fields of the configuration are the run's own: of one from elsewhere only some are."""
        return self._known is None or self._known.issuperset(fields)

    def tokens_at(self, step: int) -> int:
        return forks.tokens_at(self.row, step)

    def _note(self, speech: Speech, now: float) -> str:
        """The few words above a list row's progress bar."""
        match self.state:
            case "running" if self.eta_s is not None:
                return speech("%(time)s left", time=speech.duration(self.eta_s))
            case "lost":
                return speech("no word for %(time)s", time=speech.age(now - self.updated_at))
            case "finished" if self.started_at and self.ended_at:
                return speech.duration(self.ended_at - self.started_at)
            case "failed":
                return speech(
                    "%(reason)s, step %(step)s", reason=self.reason or self.word, step=speech.number(self.step)
                )
            case "stopped" if not self.step:
                return speech("before it started")
            case "stopped" | "paused":
                return speech("at step %(step)s", step=speech.number(self.step))
        return self.meaning


class DatasetView:
    """A dataset for list rows, choices and the head of its page; `runs`: how many use it."""

    def __init__(self, dataset: Dataset, speech: Speech, runs: int = 0) -> None:
        self.id = ids.show("dataset", dataset.id)
        self.url = f"/datasets/{self.id}"
        self.name, self.state, self.detail = dataset.name, dataset.state, dataset.detail
        self.deleted_at = dataset.deleted_at
        if self.deleted_at is not None:
            self.name = str(dataset.spec.get("name") or dataset.name)
        self.tone, self.shape, word = DATASET_LOOKS[dataset.state]
        self.word = self.meaning = speech(word)
        self.spec: dict[str, Any] = dataset.spec
        self.manifest: dict[str, Any] | None = dataset.manifest
        self.manifest_sha256 = dataset.manifest_sha256
        self.progress = PrepareProgress.model_validate(dataset.progress)
        self.created_at, self.ready_at = dataset.created_at, dataset.ready_at
        self.train_tokens: int | None = self.manifest["train"]["tokens"] if self.manifest else None
        self.documents: int | None = (
            sum(self.manifest[s]["documents"] for s in ("train", "val")) if self.manifest else None
        )
        self.runs = runs

    @property
    def pending(self) -> bool:
        return self.deleted_at is None and self.state in ("queued", "preparing")


class WorkerView:
    """A machine; silent for longer than `quiet_s` counts as away."""

    def __init__(self, worker: Worker, now: float, quiet_s: float) -> None:
        self.id = ids.show("worker", worker.id)
        self.name, self.devices, self.versions = worker.name, worker.devices, worker.versions
        self.speeds: dict[str, Any] = worker.speeds
        self.enabled, self.last_seen = worker.enabled, worker.last_seen
        self.away = now - worker.last_seen > quiet_s
