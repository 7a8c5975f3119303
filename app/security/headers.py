"""The headers that every answer carries, whatever route made it."""

import secrets

CSP = (
    "default-src 'self'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "form-action 'self'; connect-src 'self'"
)
"""Plotly writes its own style element and exports PNG through blob: and data: images; nothing else is loose.

Referrer-Policy is same-origin, not no-referrer: with that a browser sends "Origin: null" with a form, which is refused.
"""


def make_nonce() -> str:
    return secrets.token_urlsafe(16)


def harden(headers: list[tuple[bytes, bytes]], *, nonce: str, request_id: str) -> list[tuple[bytes, bytes]]:
    """`headers` plus the security headers; a route's own Cache-Control stands, else nothing is stored."""
    present = {name.lower() for name, _ in headers}
    added = {
        b"content-security-policy": CSP.format(nonce=nonce).encode(),
        b"x-content-type-options": b"nosniff",
        b"referrer-policy": b"same-origin",
        b"cross-origin-opener-policy": b"same-origin",
        b"cross-origin-resource-policy": b"same-origin",
        b"cache-control": b"no-store",
        b"x-request-id": request_id.encode(),
    }
    return [*headers, *((name, value) for name, value in added.items() if name not in present)]
