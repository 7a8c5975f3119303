"""One POST to a webhook: to an address that was looked at, no redirects, no proxy, an end after seconds whatever comes back."""

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from app.alerts import addresses
from app.alerts.addresses import Resolve

CONNECT_S, WHOLE_S = 5.0, 15.0
MOST_ANSWER = 500


class Answer(NamedTuple):
    status: int
    text: str  #: the beginning of what it says
    retry_after: str


class _Pinned(http.client.HTTPConnection):
    """Connects to the address that was looked at, whatever the name means by now."""

    def __init__(self, address: str, host: str, port: int, context: ssl.SSLContext | None) -> None:
        super().__init__(host, port, timeout=CONNECT_S)
        self._address, self._context = address, context

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), CONNECT_S)
        if self._context:
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)


def post(
    url: str, body: bytes, headers: Mapping[str, str], *, allowed: frozenset[str], resolve: Resolve = addresses.resolve
) -> Answer:
    """Raises addresses.Forbidden, OSError or http.client.HTTPException; a redirect is an answer like any other."""
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    address = addresses.reachable(host, port, allowed, resolve)[0]
    connection = _Pinned(address, host, port, ssl.create_default_context() if secure else None)
    late = threading.Event()

    def cut() -> None:
        late.set()
        if connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(WHOLE_S, cut)  # a drop of answer every few seconds would hold up all others
    timer.daemon = True
    timer.start()
    try:
        connection.request(
            "POST", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, dict(headers)
        )
        answer = connection.getresponse()
        text = answer.read(MOST_ANSWER).decode("utf-8", "replace")
        return Answer(answer.status, text, answer.getheader("Retry-After") or "")
    except (OSError, ValueError, http.client.HTTPException) as error:
        if late.is_set():
            raise TimeoutError(f"no whole answer within {WHOLE_S:g} s") from error
        if isinstance(error, ValueError):  # what http.client says of headers that are none
            raise http.client.HTTPException(str(error)) from error
        raise
    finally:
        timer.cancel()
        connection.close()
