"""Is this request really meant for this server? The Host allow-list and the check of where a form came from."""

import re
from collections.abc import Mapping

from app.errors import Forbidden, WrongHost
from app.settings import Settings

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?")


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """Host names without ports: loopback's three, and what the settings add."""
    named = (name.strip().lower() for name in settings.allowed_hosts.split(","))
    return LOOPBACK | {name for name in named if name}


def check_host(headers: list[tuple[bytes, bytes]], allowed: frozenset[str]) -> None:
    """Refuses every Host header but one exact, allowed name with or without a port (DNS rebinding)."""
    given = [value.decode("latin-1").lower() for name, value in headers if name == b"host"]
    match = _HOST.fullmatch(given[0]) if len(given) == 1 else None
    if match is None or match[1] not in allowed:
        raise WrongHost("Use localhost or 127.0.0.1, or start the server with PLATEAU_ALLOWED_HOSTS=<this name>.")


def check_origin(method: str, headers: Mapping[str, str], *, by_cookie: bool) -> None:
    """An unsafe request must come from this server's own pages, or from a program that sends a token.

    Browsers say where a request comes from in Sec-Fetch-Site and Origin; one that says neither is no
    browser, and gets through with a token only: a cookie alone proves nothing about who asked.
    """
    if method in SAFE_METHODS:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site not in ("same-origin", "none"):
        raise Forbidden("The request comes from another site's page.")
    host = headers.get("host", "").lower()
    if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
        raise Forbidden("The request comes from another origin.")
    if by_cookie and site is None and origin is None:
        raise Forbidden("Send an Origin header of this server, or use a token instead of the cookie.")
