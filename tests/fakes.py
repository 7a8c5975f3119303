"""A server in a thread that speaks the worker protocol, and a TCP proxy that breaks connections: for tests only."""

import contextlib
import hashlib
import json
import re
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.contract.states import JobKind

HERE = Path(__file__).resolve().parent
COMMANDS = {
    JobKind.train: [sys.executable, str(HERE / "fake_trainer.py")],
    JobKind.prepare: [sys.executable, str(HERE / "fake_prepare.py")],
}
MANIFEST_FILES = {"train": b"\x01\x00\x02\x00", "val": b"\x03\x00"}


def manifest() -> dict[str, Any]:
    """A small dataset whose files are MANIFEST_FILES."""
    made: dict[str, Any] = {"tokenizer": {"kind": "bytes", "file": None, "sha256": ""}}
    for split, content in MANIFEST_FILES.items():
        shard = {"file": f"{split}-000.bin", "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        made[split] = {"tokens": len(content) // 2, "shards": [shard]}
    return made


def claim(job: str = "j-0001", kind: str = "train", attempt: int = 1, **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "job": job,
        "kind": kind,
        "claim_id": f"claim-{job}-{attempt}",
        "attempt": attempt,
        "lease_s": 60.0,
    }
    if kind == "train":
        made |= {"run": "r-0001", "config": {"steps": 20, "seed": 1}, "dataset": "d-0001", "manifest": manifest()}
    return made | fields


class Job:
    """What the fake server knows of one job."""

    def __init__(self, claim: dict[str, Any]) -> None:
        self.claim = claim
        self.acked_seq = 0
        self.bodies: dict[int, bytes] = {}  # every batch as first accepted
        self.posts = 0
        self.points: dict[str, dict[int, Any]] = {}
        self.log: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.telemetry: dict[str, Any] = {}
        self.commands: list[dict[str, Any]] = []
        self.finish: dict[str, Any] | None = None
        self.fenced = False

    def batch(self, body: bytes) -> tuple[int, Any]:
        batch = json.loads(body)
        self.posts += 1
        if self.fenced or batch["claim_id"] != self.claim["claim_id"] or self.finish:
            return 409, {"type": "/problems/fenced", "title": "This claim is stale.", "detail": ""}
        if batch["seq"] > self.acked_seq + 1:
            return 409, {"type": "/problems/seq-gap", "acked_seq": self.acked_seq}
        if batch["seq"] == self.acked_seq + 1:
            if any(event["kind"] == "resume" for event in batch["events"]):
                first = batch["events"][0]["data"]["first_step"]
                self.points = {
                    key: {s: v for s, v in column.items() if s <= first} for key, column in self.points.items()
                }
            for key, column in batch["columns"].items():
                self.points.setdefault(key, {}).update(zip(column["step"], column["value"], strict=True))
            self.log += [line["text"] for line in batch["log"]]
            self.events += batch["events"]
            self.telemetry |= batch["telemetry"]
            self.bodies[batch["seq"]] = body
            self.acked_seq += 1
        elif batch["seq"] in self.bodies:
            assert self.bodies[batch["seq"]] == body, f"batch {batch['seq']} was sent again with other content"
        return 200, {"acked_seq": self.acked_seq, "lease_s": self.claim["lease_s"], "commands": self.commands}

    def finished(self, body: bytes) -> tuple[int, Any]:
        finish = json.loads(body)
        if self.fenced or finish["claim_id"] != self.claim["claim_id"]:
            return 409, {"type": "/problems/fenced", "title": "This claim is stale.", "detail": ""}
        if finish["final_seq"] != self.acked_seq:
            return 409, {"type": "/problems/seq-gap", "acked_seq": self.acked_seq}
        self.finish = finish
        return 200, {}


class FakeServer:
    """`offer(claim)` queues a job; `jobs` shows what arrived. `problem` answers everything with that status."""

    def __init__(self, port: int = 0) -> None:
        self.jobs: dict[str, Job] = {}
        self.queue: list[Job] = []
        self.claims: list[dict[str, Any]] = []
        self.artifacts: dict[str, bytes] = {}
        self.partial: dict[str, bytes] = {}
        self.incoming: Path | None = None
        self.problem: tuple[int, dict[str, Any]] | None = None
        self.cut_bytes: int | None = None  # close the connection after so many bytes of the next artifact
        self.token = "secret"
        self.requests: list[str] = []
        self.port = port
        self.lock = threading.Lock()
        self._given: dict[str, Job] = {}
        self._http: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def offer(self, claim: dict[str, Any]) -> Job:
        job = Job(claim)
        self.jobs[claim["job"]] = job
        self.queue.append(job)
        return job

    def start(self) -> "FakeServer":
        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self._http.daemon_threads = True
        self.port = self._http.server_port  # a restart takes the same one
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self) -> None:
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    def __enter__(self) -> "FakeServer":
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        if method == "POST" and path == "/api/v1/jobs/claim":
            request = json.loads(body)
            self.claims.append(request)
            if given := self._given.get(request["idempotency_key"]):
                return 200, given.claim
            for job in self.queue:
                if job.claim["kind"] in request["kinds"]:
                    self.queue.remove(job)
                    self._given[request["idempotency_key"]] = job
                    return 200, job.claim
            return 204, None
        if match := re.fullmatch(r"/api/v1/jobs/([^/]+)/(batches|finish)", path):
            found = self.jobs.get(match[1])
            if found is None:
                return 404, {"title": "Not found."}
            return found.batch(body) if match[2] == "batches" else found.finished(body)
        return 404, {"title": "Not found."}


def _handler(server: FakeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_one_request(self) -> None:
            with contextlib.suppress(ConnectionError):
                super().handle_one_request()

        def log_message(self, *_: Any) -> None: ...

        def reply(self, status: int, content: bytes = b"", headers: dict[str, Any] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, str(value))
            if "Content-Length" not in (headers or {}):
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def work(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = urlsplit(self.path).path
            with server.lock:
                server.requests.append(f"{self.command} {path}")
                if server.problem is not None:
                    status, problem = server.problem
                    return self.reply(status, json.dumps(problem).encode())
                if self.headers.get("Authorization") != f"Bearer {server.token}":
                    return self.reply(401, b'{"title": "Unknown token."}')
                if match := re.fullmatch(r"/api/v1/artifacts/([0-9a-f]{64})", path):
                    return self.artifact(match[1], body)
                status, answer = server.answer(self.command, path, body)
            return self.reply(status, b"" if answer is None else json.dumps(answer).encode())

        def artifact(self, sha256: str, body: bytes) -> None:
            if self.command == "GET":
                if sha256 not in server.artifacts:
                    return self.reply(404, b"{}")
                start = int(re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])  # type: ignore[index]
                content = server.artifacts[sha256]
                if start >= len(content) > 0:
                    return self.reply(416, b"{}")
                rest = content[start:]
                if server.cut_bytes is not None:
                    cut, server.cut_bytes = rest[: server.cut_bytes], None
                    self.reply(206 if start else 200, cut, {"Content-Length": len(rest)})
                    self.wfile.flush()
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return None
                return self.reply(206 if start else 200, rest)
            linked = server.incoming / sha256 if server.incoming else None
            if linked is not None and linked.exists():
                server.artifacts[sha256] = linked.read_bytes()
            if self.command == "PUT" and sha256 not in server.artifacts:
                match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", self.headers["Content-Range"])
                assert match is not None
                have = server.partial.get(sha256, b"")
                if int(match[1]) != len(have):
                    return self.reply(409, json.dumps({"offset": len(have)}).encode())
                server.partial[sha256] = have + body
                if len(have + body) == int(match[2]):
                    server.artifacts[sha256] = server.partial.pop(sha256)
            complete = sha256 in server.artifacts
            offset = len(server.artifacts[sha256] if complete else server.partial.get(sha256, b""))
            return self.reply(200 if complete else 202, b"", {"Upload-Offset": offset})

        do_GET = do_HEAD = do_POST = do_PUT = work

    return Handler


class ChaosProxy:
    """A TCP proxy in front of a server. `mode`: pass, refuse (reset at once), swallow (deliver, then lose the answer)."""

    def __init__(self, target: int) -> None:
        self.mode = "pass"
        self._target = target
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def set(self, mode: str) -> None:
        """Change the mode; connections that are open are cut, so that it holds for all."""
        self.mode = mode
        for side in list(self._open):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.set("refuse")

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self.mode == "refuse":
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._target))
            self._open |= {near, far}
            threading.Thread(target=self._pump, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(far, near, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if answer and self.mode == "swallow":
                    break
                sink.sendall(data)
        for side in (source, sink):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()
            self._open.discard(side)
