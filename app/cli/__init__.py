"""The command line: everything it does goes through the same REST API as anybody's script."""

from app.cli import data_report, dataset_commands, exchange, forking, sampling  # noqa: F401 - their commands
from app.cli.commands import main

__all__ = ["main"]
