"""The command line: everything it does goes through the same REST API as anybody's script."""

from app.cli.commands import main

__all__ = ["main"]
