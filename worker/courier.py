"""The courier: brings one attempt's journal to the server, in order, each batch exactly once in effect.

The journal is fsynced before a batch is posted, so what the server has, this disk has too. If the server's
acked_seq goes back (a restored backup), the courier goes back and sends again.

`turn(now)` does one thing and returns how long to wait; nothing in here blocks the training process.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from app.contract.protocol import BATCH_MAX_AGE_S, Ack, Claim, Finish, Outcome
from worker import journal, ledger
from worker.client import Backoff, Client, Fenced, Refused, SeqGap, ServerAway, Unauthorized, WorkerError, WrongProtocol

log = logging.getLogger(__name__)

POST_EVERY_S = BATCH_MAX_AGE_S - 0.05
LOOK_EVERY_S = 0.05
UNAUTHORIZED_RETRY_S = 15.0
DISK_RETRY_S = 2.0


class Ending(NamedTuple):
    """How an attempt ended; becomes a Finish once everything is delivered."""

    outcome: Outcome
    exit: int | None = None
    reason: str | None = None
    summary: dict[str, Any] = {}  # noqa: RUF012 - never changed
    log_tail: list[str] = []  # noqa: RUF012 - never changed


class Courier:
    """`state` is open, closed (the server accepted the finish) or fenced (somebody else owns the job)."""

    def __init__(
        self,
        client: Client,
        claim: Claim,
        journal_path: Path,
        log_path: Path,
        log_start: int = 0,
        *,
        on_command: Callable[[dict[str, Any]], None] = lambda command: None,
        on_fenced: Callable[[], None] = lambda: None,
    ) -> None:
        self.claim = claim
        self.journal_path = journal_path
        self.log_path = log_path
        self.log_start = log_start
        self.state = "open"
        self.ending: Ending | None = None
        self._client = client
        self._on_command = on_command
        self._on_fenced = on_fenced
        self._ledger = ledger.Ledger(journal_path.with_name(journal_path.name + ".sent"), log_start)
        self._waiting = self._ledger.since(1)  # cut, and not acknowledged as far as we know
        self._seen_commands: set[Any] = set()
        self._lease_s = claim.lease_s
        self._posted_at = float("-inf")
        self._not_before = float("-inf")
        self._backoff = Backoff()
        self._complained = ""

    @property
    def delivered(self) -> bool:
        """Whether the server has all that is in the files now."""
        return not self._waiting and self._cut(everything=True) is None

    def end(self, ending: Ending) -> None:
        """The process has ended and writes no more: deliver the rest, then report it."""
        self.ending = ending

    def turn(self, now: float) -> float:
        """Do what is due at `now` (monotonic seconds); returns the seconds until there may be more to do."""
        if self.state != "open":
            return 0.0
        if now < self._not_before:
            return min(self._not_before - now, 1.0)
        try:
            posted = self._post_one(now)
        except SeqGap as gap:
            self._rewind(gap.acked_seq)
            return 0.0
        except Fenced as fenced:
            self._drop(fenced)
            return 0.0
        except (Unauthorized, WrongProtocol) as error:
            self._complain(f"{error} Trying again every {UNAUTHORIZED_RETRY_S:.0f} s.")
            self._not_before = now + UNAUTHORIZED_RETRY_S
        except OSError as error:
            self._complain(f"The worker's disk: {error}. Nothing can be noted, so nothing new is sent.")
            self._not_before = now + DISK_RETRY_S
            self._beat_without_disk(now)
        except ServerAway as error:
            self._complain(f"{error} Training goes on; points are kept in {self.journal_path.name}.")
            self._not_before = now + self._backoff.next_s(error)
        else:
            self._backoff.reset()
            if self._complained:
                log.info("%s: the server is back", self.claim.job)
                self._complained = ""
            return 0.0 if posted and (self._waiting or self.ending is not None or self._behind()) else LOOK_EVERY_S
        return min(max(self._not_before - now, 0.0), 1.0)

    def run(self, wait: Callable[[float], bool]) -> None:
        """Turn until the job is closed or fenced, or `wait(seconds)` says to give up."""
        while self.state == "open" and not wait(self.turn(time.monotonic())):
            pass
        self.close()

    def close(self) -> None:
        self._ledger.close()

    def _post_one(self, now: float) -> bool:
        """Post the oldest batch that is not acknowledged, or report the end when there is none; True if something was sent."""
        if not self._waiting:
            due = self.ending is not None or self._behind() or now - self._posted_at >= POST_EVERY_S
            record = self._cut(everything=self.ending is not None) if due else None
            if record is None and self.ending is not None:
                self._finish(self.ending)
                return True
            if record is None and now - self._posted_at >= self._lease_s / 4:
                record = self._empty()
            if record is None:
                return False
            self._note(record)
        record = self._waiting[0]
        self._posted_at = now
        try:
            ack = self._client.post_batch(
                self.claim.job, ledger.body(record, self.claim, self.journal_path, self.log_path)
            )
        except Refused as error:
            if record.refused:
                raise ServerAway(f"The server refuses even the note about a refused batch: {error}") from error
            log.error(
                "%s: the server refused batch %d and will not see its points: %s", self.claim.job, record.seq, error
            )
            self._waiting[0] = record._replace(refused=str(error)[:1500])
            self._ledger.append(self._waiting[0])
            return True
        self._acknowledged(ack)
        return True

    def _behind(self) -> bool:
        """Whether a whole batch's worth is waiting, as after an outage: then there is no pause between batches."""
        size = self.journal_path.stat().st_size if self.journal_path.exists() else 0
        return size - self._ledger.last.end >= ledger.READ_BYTES // 4

    def _beat_without_disk(self, now: float) -> None:
        """Keep the lease although no new number can be noted: a batch the server has already counts as a beat."""
        if self._ledger.last.seq and now - self._posted_at >= self._lease_s / 4:
            self._posted_at = now
            with contextlib.suppress(WorkerError):
                body = ledger.body(self._ledger.last, self.claim, self.journal_path, self.log_path)
                self._acknowledged(self._client.post_batch(self.claim.job, body))

    def _note(self, record: ledger.Record) -> None:
        """Make the batch durable here before its number is used."""
        with contextlib.suppress(FileNotFoundError):  # no frame was ever written
            descriptor = os.open(self.journal_path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self._ledger.append(record)
        self._waiting.append(record)

    def _acknowledged(self, ack: Ack) -> None:
        self._lease_s = ack.lease_s
        if self._waiting and ack.acked_seq < self._waiting[0].seq:
            self._rewind(ack.acked_seq)
        elif self._waiting:
            done = self._waiting[0]
            self._waiting = [record for record in self._waiting if record.seq > ack.acked_seq]
            if done.end > done.start:
                journal.write_acked(self.journal_path, done.end)
        for command in ack.commands:
            if command.get("id") not in self._seen_commands:
                self._seen_commands.add(command.get("id"))
                self._on_command(command)

    def _rewind(self, acked_seq: int) -> None:
        """Start again after `acked_seq`, the last batch that the server has."""
        if acked_seq > self._ledger.last.seq:
            # This home is older than the server's memory of it (a restored disk): numbers go on from the server's.
            self._ledger.append(self._ledger.last._replace(seq=acked_seq))
        self._waiting = self._ledger.since(acked_seq + 1)
        log.info("%s: the server has batches up to %d; sending %d again", self.claim.job, acked_seq, len(self._waiting))

    def _drop(self, fenced: Fenced) -> None:
        log.warning("%s: %s The journal is kept as %s.fenced", self.claim.job, fenced, self.journal_path.name)
        self._on_fenced()
        if self.journal_path.exists():
            self.journal_path.replace(self.journal_path.with_name(self.journal_path.name + ".fenced"))
        self.state = "fenced"

    def _complain(self, text: str) -> None:
        if text != self._complained:  # once per outage, not once per try
            log.warning("%s: %s", self.claim.job, text)
            self._complained = text

    def _finish(self, ending: Ending) -> None:
        try:
            self._client.finish(
                self.claim.job,
                Finish(
                    claim_id=self.claim.claim_id,
                    attempt=self.claim.attempt,
                    final_seq=self._ledger.last.seq,
                    outcome=ending.outcome,
                    exit=ending.exit,
                    reason=ending.reason,
                    summary=ending.summary,
                    log_tail=ending.log_tail,
                ),
            )
        except Refused as error:
            # Only a manifest or summary the server cannot take comes here: say so rather than hold the job for ever.
            if ending.outcome == "failed":
                raise ServerAway(f"The server refused the report of the end: {error}") from error
            self.ending = Ending(
                "failed", ending.exit, "error", {}, [*ending.log_tail, f"The server refused the result: {error}"][-200:]
            )
            return
        self.state = "closed"

    def _empty(self) -> ledger.Record:
        last = self._ledger.last
        return ledger.Record(last.seq + 1, time.time(), last.end, last.end, last.log_end, last.log_end)

    def _cut(self, everything: bool) -> ledger.Record | None:
        return ledger.cut(self._ledger.last, self.journal_path, self.log_path, time.time(), everything)
