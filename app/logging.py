"""Structured logs: readable lines on a terminal, one JSON object a line elsewhere, and never a secret."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_SECRET_NAME = re.compile(r"token|secret|password|cookie|authorization|^code$", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    r"plateau_(api|worker|link)_[\w-]+|(?<=code=)[\w-]+|(?<=Bearer )\S+|(?<=plateau_session=)[\w-]+"
)
HIDDEN = "[hidden]"


def redact(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: fields named like secrets, and secrets inside any text, become [hidden]."""
    for name, value in entry.items():
        if _SECRET_NAME.search(name):
            entry[name] = HIDDEN
        elif isinstance(value, str):
            entry[name] = _SECRET_VALUE.sub(HIDDEN, value)
    return entry


def configure(level: int = logging.INFO) -> None:
    """Sets up structlog and the standard library's logging (uvicorn, alembic) to write the same lines to stderr."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    tty = sys.stderr.isatty()
    last: list[structlog.typing.Processor] = (
        [redact, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]  # no locals
        if tty
        else [structlog.processors.format_exc_info, redact, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),  # every request ends with a debug line
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("alembic", "uvicorn", "uvicorn.error"):
        logging.getLogger(noisy).handlers.clear()
        logging.getLogger(noisy).setLevel(logging.WARNING)
        logging.getLogger(noisy).propagate = True
