"""A message as a receiver wants it: signed JSON, Slack's or Discord's text."""

import hashlib
import hmac
import json
from typing import Any

LONGEST_SLACK, LONGEST_DISCORD = 3000, 1900
_SLACK = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_DISCORD = str.maketrans({char: f"\\{char}" for char in "\\*_~`|>#[]()<"})


def body(shape: str, message: dict[str, Any]) -> bytes:
    """What is posted; `message` has alert, text and, unless it is a test, a run with name and url."""
    if shape == "json":
        return json.dumps(message, ensure_ascii=False, allow_nan=False).encode()
    run = message.get("run")
    if shape == "slack":
        where = f" <{run['url']}|{run['name'].translate(_SLACK).replace('|', '¦')}>" if run else ""
        text = f"*{message['alert'].translate(_SLACK)}*{where}\n{message['text'].translate(_SLACK)}"
        return json.dumps({"text": text[:LONGEST_SLACK], "unfurl_links": False}, ensure_ascii=False).encode()
    where = f" {run['name'].translate(_DISCORD)} {run['url']}" if run else ""
    text = f"**{message['alert'].translate(_DISCORD)}**{where}\n{message['text'].translate(_DISCORD)}"
    # a run named @everyone must not ring everybody's bell
    return json.dumps(
        {"content": text[:LONGEST_DISCORD], "allowed_mentions": {"parse": []}}, ensure_ascii=False
    ).encode()


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """v1=HMAC-SHA256(secret, "<timestamp>.<body>") in hex; a receiver refuses timestamps that are minutes old."""
    signed = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1={signed.hexdigest()}"


def headers(shape: str, secret: str, body: bytes, *, delivery: str, now: float) -> dict[str, str]:
    found = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "Plateau", "X-Plateau-Delivery": delivery}
    if shape == "json":
        timestamp = int(now)
        found |= {"X-Plateau-Timestamp": str(timestamp), "X-Plateau-Signature": signature(secret, timestamp, body)}
    return found
