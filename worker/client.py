"""The one worker module that speaks HTTP: claims, batches, finishes and artifacts, over kept-alive connections.

Each call is one attempt. What the server's answer means to a worker is a class; when to try again is a
Backoff, which the caller holds, so that a loop turned by hand in a test never sleeps in here.
"""

import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

from app.contract.protocol import Ack, Claim, ClaimRequest, Finish

T = TypeVar("T")

TIMEOUT = httpx.Timeout(10.0, connect=3.0)
TRANSFER_TIMEOUT = httpx.Timeout(60.0, connect=3.0)
CHUNK_BYTES = 8 << 20
DOWNLOAD_S = 60.0


class WorkerError(Exception):
    """Something went wrong between worker and server."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or (type(self).__doc__ or "").strip())


class ServerAway(WorkerError):
    """The server cannot be reached, or asks for patience."""

    def __init__(self, detail: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Fenced(WorkerError):
    """This claim is no longer valid: another attempt owns the run, or the job has ended."""


class SeqGap(WorkerError):
    """The server does not have the batches before this one."""

    def __init__(self, acked_seq: int) -> None:
        super().__init__(f"The server has everything up to batch {acked_seq} and needs what follows it.")
        self.acked_seq = acked_seq


class Unauthorized(WorkerError):
    """The server does not accept this worker's token."""


class WrongProtocol(WorkerError):
    """The server speaks another version of the worker protocol."""


class Refused(WorkerError):
    """The server understood the request and will never accept it."""


class WrongOffset(WorkerError):
    """The server wants the upload to go on somewhere else."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"The server has the first {offset} bytes.")
        self.offset = offset


class NoSuchFile(WorkerError):
    """The server does not have this file."""


class Backoff:
    """Delays that double up to a cap, each drawn from its upper half, so that workers do not come back in step."""

    def __init__(self, first_s: float = 0.1, cap_s: float = 10.0, draw: Callable[[], float] = random.random) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._draw = draw
        self._failures = 0

    def next_s(self, error: WorkerError) -> float:
        """How long to wait after one more failure; a server that names a time is given it, within reason."""
        delay = min(self._cap_s, self._first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        delay *= 0.5 + 0.5 * self._draw()
        asked = error.retry_after_s if isinstance(error, ServerAway) else None
        return max(delay, min(asked or 0.0, 60.0))

    def reset(self) -> None:
        self._failures = 0


def patiently(call: Callable[[], T], wait: Callable[[float], bool], backoff: Backoff | None = None) -> T:
    """`call` until the server answers. `wait(seconds)` is True when the caller should give up: then ServerAway is raised."""
    backoff = backoff or Backoff()
    while True:
        try:
            return call()
        except (ServerAway, Unauthorized) as error:
            if wait(backoff.next_s(error)):
                raise


class Client:
    """Safe to share between threads, as httpx.Client is."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}", "User-Agent": "plateau-worker"}
        # trust_env stays on for proxies between machines, but a loopback server is never behind one.
        local = httpx.URL(self.url).host in ("localhost", "127.0.0.1", "::1")
        self._http = httpx.Client(
            base_url=f"{self.url}/api/v1/",
            headers=headers,
            timeout=TIMEOUT,
            trust_env=not local,
            follow_redirects=False,
        )

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def claim(self, request: ClaimRequest) -> Claim | None:
        """A job, or None when there is nothing to do."""
        answer = self._send("POST", "jobs/claim", content=request.model_dump_json())
        return None if answer.status_code == 204 else Claim.model_validate(answer.json())

    def post_batch(self, job: str, body: bytes) -> Ack:
        return Ack.model_validate(self._send("POST", f"jobs/{job}/batches", content=body).json())

    def finish(self, job: str, finish: Finish) -> None:
        self._send("POST", f"jobs/{job}/finish", content=finish.model_dump_json())

    def fetch(self, sha256: str, part: Path) -> None:
        """Append to `part` what it lacks of the artifact. An interrupted fetch goes on where it ended."""
        have = part.stat().st_size if part.exists() else 0
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        try:
            with self._http.stream("GET", f"artifacts/{sha256}", headers=headers, timeout=TRANSFER_TIMEOUT) as answer:
                if answer.status_code == 416:  # the part already holds everything, or too much: its hash will tell
                    return
                if answer.status_code == 404:
                    raise NoSuchFile(f"The server does not have the file {sha256}.")
                if answer.is_error:
                    answer.read()
                    raise error_of(answer)
                with part.open("ab" if answer.status_code == 206 else "wb") as file:
                    for piece in answer.iter_raw():  # as it arrives: what came before a break is kept
                        file.write(piece)
        except httpx.TransportError as error:
            raise _away(error, self.url) from error

    def uploaded(self, sha256: str, kind: str, total: int) -> int:
        """How many of the artifact's bytes the server has; also makes it look into its incoming/ folder."""
        try:
            answer = self._send("HEAD", f"artifacts/{sha256}", params={"kind": kind, "bytes": total})
        except NoSuchFile:
            return 0
        return int(answer.headers.get("Upload-Offset", total))

    def upload(self, sha256: str, kind: str, path: Path, offset: int) -> int:
        """Send one chunk from `offset`; returns the offset to go on from."""
        total = path.stat().st_size
        with path.open("rb") as file:
            file.seek(offset)
            chunk = file.read(CHUNK_BYTES)
        headers = {"Content-Type": "application/octet-stream"}
        if chunk:
            headers["Content-Range"] = f"bytes {offset}-{offset + len(chunk) - 1}/{total}"
        try:
            answer = self._send(
                "PUT",
                f"artifacts/{sha256}",
                content=chunk,
                headers=headers,
                params={"kind": kind, "bytes": total},
                timeout=TRANSFER_TIMEOUT,
            )
        except WrongOffset as error:
            return error.offset
        return int(answer.headers.get("Upload-Offset", offset + len(chunk)))

    def _send(self, method: str, path: str, **parts: Any) -> httpx.Response:
        parts.setdefault("headers", {"Content-Type": "application/json"})
        try:
            answer = self._http.request(method, path, **parts)
        except httpx.TransportError as error:
            raise _away(error, self.url) from error
        if answer.is_success:
            return answer
        raise error_of(answer)


def download(url: str, on_wait: Callable[[], None], within_s: float = DOWNLOAD_S) -> bytes:
    """A public file, small enough for memory. Raises WorkerError, with the end of a sentence, within `within_s`.

    In a thread of its own, which is left behind if need be: a silent name server has no time limit of its own.
    """
    answers: queue.SimpleQueue[bytes | str] = queue.SimpleQueue()

    def get() -> None:
        try:
            answer = httpx.get(url, timeout=TIMEOUT, follow_redirects=True)
            answers.put(answer.content if answer.is_success else f"its server answered {answer.status_code}")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # the last: a proxy setting that is none
            answers.put(str(error) or type(error).__name__)

    threading.Thread(target=get, daemon=True).start()
    deadline = time.monotonic() + within_s
    while True:
        try:
            answer = answers.get(timeout=0.1)
        except queue.Empty:
            on_wait()
            if time.monotonic() > deadline:
                raise WorkerError(f"there was no whole answer within {within_s:.0f} s") from None
        else:
            if isinstance(answer, str):
                raise WorkerError(answer)
            return answer


def error_of(answer: httpx.Response) -> WorkerError:
    """The named error that an answer other than 2xx stands for."""
    problem = dict(_problem(answer))
    detail = " ".join(str(problem.get(part) or "") for part in ("title", "detail")).strip()
    detail = detail or f"The server answered {answer.status_code}."
    for field in problem.get("errors") or []:
        detail += f" {field.get('pointer', '')}: {field.get('message', '')}"
    status = answer.status_code
    if status in (401, 403):
        return Unauthorized(detail)
    if status == 404:
        path = answer.request.url.path
        if "/artifacts/" in path:
            return NoSuchFile(detail)
        if path.endswith("/jobs/claim"):
            return Refused("The address answers, but not as a Plateau server of this version.")
        return Fenced("The server does not know this job.")  # a database restored from before the claim
    if status == 409 and "offset" in problem:
        return WrongOffset(problem["offset"])
    if status == 409:
        return SeqGap(problem["acked_seq"]) if "acked_seq" in problem else Fenced(detail)
    if status == 426:
        return WrongProtocol(detail)
    if status >= 500 or status in (408, 429):
        return ServerAway(detail, _seconds(answer.headers.get("Retry-After")))
    return Refused(detail)


def _problem(answer: httpx.Response) -> Iterator[tuple[str, Any]]:
    try:
        body = answer.json()
    except ValueError:  # a proxy's own error page
        return
    if isinstance(body, dict):
        yield from body.items()


def _seconds(header: str | None) -> float | None:
    return float(header) if header and header.replace(".", "", 1).isdigit() else None


def _away(error: httpx.TransportError, url: str) -> ServerAway:
    return ServerAway(f"No answer from {url}: {error or type(error).__name__}.")
