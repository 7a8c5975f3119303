"""The command line: everything it does goes through the same REST API as anybody's script."""

from app.cli import (  # noqa: F401 - their commands
    alerting,
    console,
    data_report,
    dataset_commands,
    diagnosing,
    elsewhere,
    evaluations,
    exchange,
    forking,
    preflight,
    ready_made,
    sampling,
    sweeping,
)
from app.cli.commands import main

__all__ = ["main"]
