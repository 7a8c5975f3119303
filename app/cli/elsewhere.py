"""`plateau import log`, `plateau facts`: logs of runs from elsewhere, and what somebody knows about such a run."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.commands import AsJson, RunId, Token, Url, _assignment, _print, app
from app.cli.exchange import ASK_EVERY_S, imports
from app.cli.rest import FAILED, NOT_FOUND, USAGE, CliError, Rest, place

FACT = "What neither log nor config says: train_tokens=7e8, device='RTX 4070'. Repeatable."
ConfigFile = Annotated[Path | None, typer.Option("--config", help="nanoGPT's config file; read, never executed.")]
Args = Annotated[str, typer.Option("--args", help="The command line it was started with; overrules the file.")]
Facts = Annotated[list[str] | None, typer.Option("--fact", help=FACT)]


def told(config: Path | None, args: str, given: list[str] | None) -> dict[str, Any]:
    """The part of a request that says how the run was trained. Raises CliError."""
    facts = dict(_assignment(text, "--fact takes name=value, as train_tokens=7e8") for text in given or ())
    try:
        text = config.read_text(encoding="utf-8", errors="replace") if config else ""
    except OSError as error:
        raise CliError(f"{config} cannot be read: {error.strerror}.", NOT_FOUND) from error
    return {key: value for key, value in (("config", text), ("args", args), ("facts", facts)) if value}


@imports.command("log")
def import_log(
    file: Annotated[
        Path, typer.Argument(help="nanoGPT's or llm.c's output, CSV, TensorBoard's event file, W&B's CSV.")
    ],
    config: ConfigFile = None,
    args: Args = "",
    fact: Facts = None,
    name: Annotated[str | None, typer.Option(help="Of the run; else the file's.")] = None,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Make a run with curves and a diagnosis of a log from elsewhere; what was skipped is said."""
    from app.cli.upload import Here, uploads

    if not file.is_file():
        raise CliError(f"There is no file {file} here.", NOT_FOUND)
    asked = told(config, args, fact) | {"name": name or file.name}
    with Rest(place(url, token)) as rest:
        asked["sha256"] = uploads(rest, [Here(file.name, file)])[0]["sha256"]
        run = rest.post("import", asked)
        while run["state"] == "starting":
            time.sleep(ASK_EVERY_S)
            run = rest.get(f"runs/{run['id']}")
            if sys.stderr.isatty():
                typer.echo(f"\r{run['detail'] if run['state'] == 'starting' else '':<70}\r", err=True, nl=False)
        if as_json:
            _print(run)
        else:
            _say(run, rest.url)
    refused = run["state"] == "failed" and "imported" not in run["telemetry"]
    raise typer.Exit(FAILED if refused else 0)


def _say(run: dict[str, Any], url: str) -> None:
    typer.echo(f"{run['id']} {run['name']}: {run['detail']}. {url}/runs/{run['id']}")
    imported = run["telemetry"].get("imported", {})
    for note in imported.get("notes", ()):
        typer.echo(f"  {note['text']}")
    if asks := imported.get("asks"):
        typer.echo(f"  Not known: {', '.join(asks)}. Supply it with: plateau facts {run['id']} NAME=VALUE")


@app.command("facts")
def facts(
    run: RunId,
    given: Annotated[list[str] | None, typer.Argument(metavar="NAME=VALUE", help="train_tokens=7e8 device='RTX 4070'; NAME=null takes it back.")] = None,
    config: ConfigFile = None,
    args: Args = "",
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Supply facts about a run from elsewhere; without any, show what is known and what is missing."""
    change = told(config, args, given)
    with Rest(place(url, token)) as rest:
        found = rest.patch(f"runs/{run}/facts", change) if change else rest.get(f"runs/{run}")
    imported = found["telemetry"].get("imported")
    if imported is None:
        raise CliError(f"{run} is not from elsewhere: its facts are known, not supplied.", USAGE)
    if as_json:
        _print({key: imported.get(key, []) for key in ("facts", "known", "asks", "notes")})
        return
    for key, value in imported.get("facts", {}).items():
        typer.echo(f"{key} = {value}")
    typer.echo(f"not known: {', '.join(imported.get('asks', ())) or 'nothing'}")
