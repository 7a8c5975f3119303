"""A thread that looks what there is to tell after each commit, and sends what is due; it sleeps when nothing is.

What waits stands in the database with the time of its next try, so a restart loses nothing and repeats nothing that was
answered. A receiver that was cut off in the middle may hear a message twice: its id is the same.
"""

import email.utils
import http.client
import logging
import threading
from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import select

from app import feed
from app.alerts import addresses, conditions, shapes
from app.alerts.addresses import Forbidden, Resolve
from app.alerts.post import post
from app.contract import ids
from app.contract.states import RunState
from app.db import Database, Tx
from app.errors import PlateauError
from app.tables import Alert, AlertDelivery, Run

WAITS_S = (10.0, 60.0, 300.0, 1800.0, 7200.0, 21600.0)
"""Before the second try, the third, …; after the last it is given up."""
LONGEST_WAIT_S = 24 * 3600.0
LOOK_EVERY_S = 1.0
"""At most so often, however many commits there are."""
MOST_ROWS = 5000
STOP_S = 3.0
"""A server that stops does not wait longer for a receiver; the message is sent again, under its id."""
_log = logging.getLogger(__name__)


class _Due(NamedTuple):
    id: int
    url: str
    shape: str
    secret: str
    message: dict[str, object]
    tries: int


class Sender:
    """Started and stopped with the app."""

    def __init__(
        self,
        db: Database,
        clock: Callable[[], float],
        *,
        base_url: str,
        allowed: frozenset[str],
        resolve: Resolve = addresses.resolve,
    ) -> None:
        self._db, self._clock, self._base_url = db, clock, base_url
        self._allowed, self._resolve = allowed, resolve
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._cursor: int | None = None  #: of the feed; None before the first look
        self._thread = threading.Thread(target=self._loop, name="plateau-alerts", daemon=True)

    def start(self) -> None:
        self._db.on_commit.append(self._wake.set)
        self._wake.set()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S)
        if self._wake.set in self._db.on_commit:
            self._db.on_commit.remove(self._wake.set)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            wait_s: float | None = LOOK_EVERY_S
            try:
                self._wake.clear()
                more = self.look()
                due_at = self.send_due()
                now = self._clock()
                wait_s = 0.0 if more else None if due_at is None else max(LOOK_EVERY_S, due_at - now)
            except PlateauError as error:  # a full disk or a busy database: the next round tries again
                _log.warning("alerts were not possible: %s", error)
            except Exception:  # one bad row must not silence all others
                _log.exception("alerts failed")
            self._wake.wait(wait_s)
            self._stopping.wait(LOOK_EVERY_S)

    def look(self) -> bool:
        """What has happened since the last look becomes messages. True where more is left."""
        with self._db.read() as tx:
            head = feed.head(tx.raw)
            if head == self._cursor:
                return False
            if tx.session.scalar(select(Alert.id).where(Alert.enabled).limit(1)) is None:
                self._cursor = head
                return False
            changed = _changed(tx, self._cursor)
        now = self._clock()
        more = self._db.write(lambda tx: conditions.look(tx, changed, base_url=self._base_url, now=now))
        self._cursor = head
        return more

    def send_due(self) -> float | None:
        """Send what is due; returns when the next message is, None where none waits."""
        while not self._stopping.is_set():
            with self._db.read() as tx:
                due = _next(tx, self._clock())
                if due is None:
                    return tx.session.scalar(
                        select(AlertDelivery.due_at)
                        .where(AlertDelivery.state == "waiting")
                        .order_by(AlertDelivery.due_at)
                        .limit(1)
                    )
            state, answer, wait_s = self._try(due)
            now = self._clock()
            self._db.write(lambda tx, due=due, state=state, answer=answer, wait_s=wait_s, now=now: _tried(tx, due.id, state, answer, now + wait_s, now))  # type: ignore[misc]  # fmt: skip
        return None

    def _try(self, due: _Due) -> tuple[str, str, float]:
        """(state, what it came to, seconds until the next try)."""
        body = shapes.body(due.shape, due.message)
        headers = shapes.headers(due.shape, due.secret, body, delivery=ids.show("delivery", due.id), now=self._clock())
        again = WAITS_S[due.tries] if due.tries < len(WAITS_S) else None
        try:
            answer = post(due.url, body, headers, allowed=self._allowed, resolve=self._resolve)
        except Forbidden as error:
            return "failed", error.detail[:300], 0.0
        except (OSError, http.client.HTTPException) as error:
            return ("waiting" if again else "failed"), f"{type(error).__name__}: {error}"[:300], again or 0.0
        words = (
            "" if answer.text.lstrip().startswith("<") else " ".join(answer.text.split())
        )  # a page tells nobody anything
        said = f"{answer.status} {words}"[:300].strip()
        if 200 <= answer.status < 300:
            return "sent", said, 0.0
        if 300 <= answer.status < 400:
            return "failed", f"{answer.status}: redirects are not followed", 0.0
        if again is not None and (answer.status >= 500 or answer.status in (408, 425, 429)):
            return "waiting", said, max(again, self._asked_to_wait(answer.retry_after))
        return "failed", said, 0.0

    def _asked_to_wait(self, header: str) -> float:
        """Seconds of a Retry-After header, a number or a date."""
        if header.strip().isdecimal():
            return min(LONGEST_WAIT_S, float(header.strip()[:10]))
        try:
            at = email.utils.parsedate_to_datetime(header).timestamp()
        except (TypeError, ValueError, OverflowError):
            return 0.0
        return min(LONGEST_WAIT_S, max(0.0, at - self._clock()))


def _changed(tx: Tx, cursor: int | None) -> set[int]:
    """Runs with new points; at the start, and where too much was written to be told one by one, all that train."""
    rows = feed.after(tx.raw, cursor, MOST_ROWS) if cursor is not None else []
    if cursor is None or len(rows) == MOST_ROWS:
        return set(tx.session.scalars(select(Run.id).where(Run.state == RunState.running.value)))
    return {row.noun_id for row in rows if row.noun == "run" and row.kind in ("points", "truncate")}


def _next(tx: Tx, now: float) -> _Due | None:
    query = (
        select(AlertDelivery, Alert)
        .join(Alert, Alert.id == AlertDelivery.alert_id)
        .where(AlertDelivery.state == "waiting", AlertDelivery.due_at <= now)
        .order_by(AlertDelivery.due_at, AlertDelivery.id)
        .limit(1)
    )
    row = tx.session.execute(query).first()
    if row is None:
        return None
    one, alert = row
    return _Due(one.id, alert.url, alert.shape, alert.secret, one.message, one.tries)


def _tried(tx: Tx, number: int, state: str, answer: str, due_at: float, now: float) -> None:
    one = tx.session.get(AlertDelivery, number)
    if one is None:  # its alert was deleted meanwhile
        return
    one.tries, one.state, one.answer, one.due_at = one.tries + 1, state, answer, due_at
    one.ended_at = None if state == "waiting" else now
