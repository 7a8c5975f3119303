"""`plateau watch FILE`: a log that grows, followed live: diagnosed here, or as an external run of a server whose page is live."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import typer

from app.cli.rest import AWAY, FAILED, NOT_FOUND, OK, REFUSED, USAGE, CliError, Rest
from app.foreign.log import Column, Curves, NotALog
from app.foreign.reader import Reader

PIECE = 1 << 20
LOOK_EVERY_S = 0.5
LONGEST_WAIT_S = 30.0


class Tail:
    """New bytes of a file by its path; notices when it is truncated, or replaced by another (rotated)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("rb")
        self._inode = os.fstat(self._file.fileno()).st_ino

    def close(self) -> None:
        self._file.close()

    def read(self) -> tuple[bytes, str]:
        """(new bytes, what happened before them): "", "truncated" or "rotated"."""
        if data := self._file.read(PIECE):
            return data, ""
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)
            return self._file.read(PIECE), "truncated"
        try:
            new = self._path.open("rb")
        except FileNotFoundError:  # between two files
            return b"", ""
        if os.fstat(new.fileno()).st_ino == self._inode:
            new.close()
            return b"", ""
        self._file.close()
        self._file, self._inode = new, os.fstat(new.fileno()).st_ino
        return self._file.read(PIECE), "rotated"


class Told:
    """What is known besides the log. Raises CliError."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        from pydantic import ValidationError

        from app.contract.elsewhere import RunFacts

        self.config, self.args = str(given.get("config", "")), str(given.get("args", ""))
        try:
            self.facts = RunFacts.model_validate(given.get("facts", {})).model_dump(exclude_none=True)
        except ValidationError as error:
            wrong = [f"--fact {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
            raise CliError("\n".join(wrong), USAGE) from None


class Here:
    """Prints each new evaluation with what the rules say of the run so far."""

    def __init__(self, name: str, told: Told, as_json: bool) -> None:
        self.curves = Curves()
        self._name, self._told, self._as_json = name, told, as_json
        self._said: tuple[int, float] | None = None

    def take(self, columns: Mapping[str, Column]) -> None:
        self.curves.take(columns)

    def restart(self, after_step: int) -> None:
        self.curves.restart(after_step)

    def look(self, reader: Reader, *, over: bool = False) -> None:
        """Say what is new: the last evaluation, or the last loss where there is none."""
        from app.cli import show
        from app.log_diagnosis import judge

        curves = self.curves.all()
        key = next((key for key in ("val/loss", "train/loss") if key in curves), None)
        if key is None:
            return
        steps, values = curves[key]
        newest = (int(steps[-1]), float(values[-1]))
        news, self._said = newest != self._said, newest
        if not news and not over:
            return
        found = judge(
            self._name, reader.log, self.curves, config=self._told.config, args=self._told.args,
            supplied=self._told.facts, growing=not over,
        )  # fmt: skip
        if self._as_json:
            show.as_json({**found, key: newest[1]})
        elif news:
            typer.echo(f"step {newest[0]:,}  {key} {newest[1]:.4f}  {found['verdict']}: {found['headline']}")
        if over and not self._as_json:
            for note in found["notes"]:
                typer.echo(f"  {note}")
            if found["asks"]:
                typer.echo(f"  Not known, and --fact or --config could say it: {', '.join(found['asks'])}.")

    def beat(self) -> None:
        return

    def end(self, reader: Reader) -> None:
        self.look(reader, over=True)


class There:
    """Posts what is new as batches of an external run, which is made with the first points."""

    def __init__(self, rest: Rest, name: str, told: Told, now: Callable[[], float] = time.monotonic) -> None:
        self.run: dict[str, Any] | None = None
        self.stopped = False
        self._rest, self._name, self._told, self._now = rest, name, told, now
        self._seq, self._posted_at = 0, 0.0
        self._first: list[Mapping[str, Column]] = []

    def take(self, columns: Mapping[str, Column]) -> None:
        if self.run is None:  # its facts stand in the log's first lines, and are known after them
            self._first.append(columns)
        else:
            self._points(columns)

    def restart(self, after_step: int) -> None:
        if self.run is None:
            curves = Curves()
            for columns in self._first:
                curves.take(columns)
            curves.restart(after_step)
            self._first = [curves.all()]
        else:
            step = max(0, after_step)
            self._post(
                events=[
                    {"kind": "resume", "step": step, "text": "resumed, as the log says", "data": {"first_step": step}}
                ]
            )

    def look(self, reader: Reader) -> None:
        if self.run is not None or not self._first:
            return
        log = reader.log.as_json()
        asked = {
            key: log[key]
            for key in ("format", "facts", "resumes", "config", "command", "last_step", "log_every", "finite")
        }
        body = {"live": True, "name": self._name, "log": asked, "config": self._told.config, "args": self._told.args}
        self.run = self._patiently(lambda: self._rest.post("import", {**body, "facts": self._told.facts}))
        typer.echo(f"{self.run['id']} {self.run['name']}: {self._rest.url}/runs/{self.run['id']}", err=True)
        for columns in self._first:
            self._points(columns)
        self._first = []

    def beat(self) -> None:
        if self.run is not None and self._now() - self._posted_at >= self.run["claim"]["lease_s"] / 4:
            self._post()

    def end(self, reader: Reader) -> None:
        self.look(reader)
        if self.run is None:
            return
        log, told = reader.log, self.run
        ending = (
            log.ending[0]
            if log.ending
            else "finished"
            if log.last_step + (log.log_every or 1) >= told["steps"]
            else "stopped"
        )
        failed = ending in ("oom", "error")
        body = {
            **self._claim(), "final_seq": self._seq, "outcome": "failed" if failed else ending, "reason": ending if failed else None,
            "log_tail": [log.ending[1]] if log.ending else [],
        }  # fmt: skip
        self._patiently(lambda: self._rest.post(f"jobs/{told['claim']['job']}/finish", body))

    def _claim(self) -> dict[str, Any]:
        assert self.run is not None, "a batch before its run"
        return {key: self.run["claim"][key] for key in ("claim_id", "attempt")}

    def _points(self, columns: Mapping[str, Column]) -> None:
        """In batches of at most as many points as the protocol takes."""
        from app.contract.protocol import BATCH_MAX_POINTS

        room, waiting = BATCH_MAX_POINTS, dict[str, Any]()
        for key, (steps, values) in columns.items():
            for start in range(0, len(steps), BATCH_MAX_POINTS):
                part = slice(start, start + BATCH_MAX_POINTS)
                if len(steps[part]) > room:
                    self._post(columns=waiting)
                    room, waiting = BATCH_MAX_POINTS, {}
                waiting[key] = {"step": steps[part].tolist(), "value": [_plain(one) for one in values[part].tolist()]}
                room -= len(steps[part])
        if waiting:
            self._post(columns=waiting)

    def _post(self, **parts: Any) -> None:
        assert self.run is not None, "a batch before its run"
        self._seq += 1
        body = {**self._claim(), "seq": self._seq, **parts}
        job = self.run["claim"]["job"]
        answer = self._patiently(lambda: self._rest.post(f"jobs/{job}/batches", body))
        self._posted_at = self._now()
        self.stopped |= any(one["command"] in ("stop", "terminate", "kill", "pause") for one in answer["commands"])

    def _patiently(self, ask: Callable[[], Any]) -> Any:
        """While the server is away, ask again; what it has taken already it takes once."""
        wait_s = 0.5
        while True:
            try:
                return ask()
            except CliError as error:
                if error.exit != AWAY:
                    raise
                time.sleep(wait_s)
                wait_s = min(LONGEST_WAIT_S, 2 * wait_s)


def _plain(value: float) -> float | str:
    if value == value and abs(value) != float("inf"):
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def follow(path: Path, sink: Here | There, *, idle_s: float | None = None) -> int:
    """Until Ctrl-C, a stop asked for on the page, or `idle_s` seconds without a new byte. The exit code."""
    try:
        tail = Tail(path)
    except OSError as error:
        raise CliError(f"{path} cannot be read: {error.strerror}.", NOT_FOUND) from error
    reader, grew_at = Reader(sink), time.monotonic()
    try:
        while True:
            data, happened = tail.read()
            if happened == "truncated":  # it begins anew, and so does the run
                sink.restart(-1)
                reader = Reader(sink)
            elif happened == "rotated":
                reader.broken_off()
            if data:
                reader.feed(data)
                grew_at = time.monotonic()
                continue
            reader.settle()
            sink.look(reader)
            sink.beat()
            if isinstance(sink, There) and sink.stopped:
                break
            if idle_s is not None and time.monotonic() - grew_at >= idle_s:
                break
            time.sleep(LOOK_EVERY_S if idle_s is None else min(LOOK_EVERY_S, max(0.01, idle_s / 4)))
    except KeyboardInterrupt:
        pass
    except NotALog as error:
        raise CliError(f"{path}: {error}", REFUSED) from None
    finally:
        tail.close()
    try:
        reader.end()
    except NotALog as error:
        raise CliError(f"{path}: {error}", FAILED if reader.bytes == 0 else REFUSED) from None
    sink.end(reader)
    return OK
