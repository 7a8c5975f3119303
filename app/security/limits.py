"""Bounds on what one client can make the server do: bytes of a body, failed sign-ins a minute."""

from collections import OrderedDict
from collections.abc import Callable

from starlette.types import Message, Receive

from app.errors import TooLarge, TooMany

BODY_MAX_BYTES = 1 << 20
UPLOAD_MAX_BYTES = 1 << 40
"""Uploads stream to disk; the disk is their real limit."""

IMPORT_MAX_BYTES = 32 << 20
"""A log that is sent as it is; a longer one is uploaded first."""
IMPORTS = ("/api/v1/import", "/runs/import/log")

_ADDRESSES = 10_000


def body_limit(method: str, path: str) -> int:
    """How many bytes the body of a request to `path` may have."""
    if method == "PUT" and path.startswith("/api/v1/artifacts/"):
        return UPLOAD_MAX_BYTES
    if method == "POST" and path == "/datasets/new":
        return UPLOAD_MAX_BYTES
    if method == "POST" and path in IMPORTS:
        return IMPORT_MAX_BYTES
    return BODY_MAX_BYTES


class BodyMeter:
    """Counts what a request really sends, whatever its Content-Length says, and stops it at the limit."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._seen = 0

    @property
    def exceeded(self) -> bool:
        return self._seen > self._limit

    def error(self) -> TooLarge:
        return TooLarge(f"At most {self._limit:,} bytes are taken here.")

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            if self.exceeded:
                raise self.error()
        return message


class FailureLimiter:
    """Lets `burst` failures through at once and one more every `refill_s`; success costs nothing."""

    def __init__(self, clock: Callable[[], float], burst: int = 5, refill_s: float = 12.0) -> None:
        self._clock = clock
        self._burst = burst
        self._refill_s = refill_s
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address -> (failures left over, at)

    def check(self, address: str) -> None:
        spent = self._now_spent(address)
        if spent > self._burst - 1:
            wait_s = max(1, round((spent - self._burst + 1) * self._refill_s))
            raise TooMany(f"Too many failed sign-ins; try again in {wait_s} s.", headers={"Retry-After": str(wait_s)})

    def failed(self, address: str) -> None:
        self._spent[address] = (self._now_spent(address) + 1, self._clock())
        self._spent.move_to_end(address)
        while len(self._spent) > _ADDRESSES:
            self._spent.popitem(last=False)

    def _now_spent(self, address: str) -> float:
        spent, at = self._spent.get(address, (0.0, 0.0))
        return max(0.0, spent - max(0.0, self._clock() - at) / self._refill_s)
