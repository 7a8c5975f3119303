"""`plateau import checkpoint` and `plateau export`: checkpoints from and to nanoGPT's and GPT-2's files."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.commands import AsJson, RunId, Token, Url, app
from app.cli.rest import FAILED, USAGE, CliError, Rest, place

GPT2_FILES = ("model.safetensors", "config.json")
ASK_EVERY_S = 0.3
imports = typer.Typer(help="Things from elsewhere: checkpoints.", no_args_is_help=True)
app.add_typer(imports, name="import")


@imports.command("checkpoint")
def import_checkpoint(
    file: Annotated[str, typer.Argument(help="nanoGPT's ckpt.pt, or a folder with model.safetensors and config.json.")],
    dataset: Annotated[str | None, typer.Option(help="Whose tokens it was trained on: an id or a name.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the run; else the file's.")] = None,
    on: Annotated[str | None, typer.Option("--on", help="Only this worker may take it, w-02.")] = None,
    on_worker: Annotated[
        bool,
        typer.Option(
            "--on-worker", help="The path is on the worker, under a data root; a file ending in .pt, or a folder."
        ),
    ] = False,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Make a run of a checkpoint from elsewhere, to sample from, fork and export; nothing in the file is executed."""
    path = Path(file)
    folder = path.suffix != ".pt" if on_worker else path.is_dir()
    sources = [path / each for each in GPT2_FILES] if folder else [path]
    asked: dict[str, Any] = {"format": "gpt2" if folder else "nanogpt", "name": name or path.name, "dataset": dataset, "worker": on}  # fmt: skip
    with Rest(place(url, token)) as rest:
        if on_worker:
            asked["files"] = [{"name": each.name, "path": str(each)} for each in sources]
        else:
            from app.cli.upload import Here, uploads

            if missing := next((each for each in sources if not each.is_file()), None):
                raise CliError(
                    f"There is no file {missing} here; for a path on the worker's disk add --on-worker.", USAGE
                )
            asked["files"] = uploads(rest, [Here(each.name, each) for each in sources])
        run = rest.post("imports", {key: value for key, value in asked.items() if value is not None})
        while run["state"] in ("queued", "starting"):
            time.sleep(ASK_EVERY_S)
            run = rest.get(f"runs/{run['id']}")
        if as_json:
            from app.cli import show

            show.as_json(run)
        else:
            typer.echo(f"{run['id']} {run['name']}: {run['state']}, {run['detail']} {rest.url}/runs/{run['id']}")
    raise typer.Exit(0 if run["state"] == "finished" else FAILED)


@app.command("export")
def export(
    run: RunId,
    out: Annotated[Path, typer.Option(help="The ckpt.pt to write; for gpt2 a folder.")],
    at: Annotated[str, typer.Option(help="last, best, a step, or a checkpoint's id, c-0001.")] = "last",
    format: Annotated[str, typer.Option(help="nanogpt or gpt2.")] = "nanogpt",
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Write a checkpoint as nanoGPT's ckpt.pt (for its --init_from=resume) or as GPT-2's safetensors."""
    if format == "nanogpt" and out.is_dir():
        raise CliError(f"{out} is a folder; --out names the ckpt.pt to write.", USAGE)
    with Rest(place(url, token)) as rest:
        made = rest.post(f"runs/{run}/exports", {"at": at, "format": format})
        path = f"checkpoints/{made['checkpoint']}/exports"
        while made["state"] in ("queued", "writing"):
            time.sleep(ASK_EVERY_S)
            made = next(one for one in rest.get(path)["exports"] if one["id"] == made["id"])
        if made["state"] != "done":
            raise CliError(f"{made['checkpoint']} was not exported: {made['detail'] or made['state']}", FAILED)
        for file in made["files"]:
            target = out if format == "nanogpt" else out / file["name"]
            target.parent.mkdir(parents=True, exist_ok=True)
            rest.download(file["sha256"], target)
    if as_json:
        from app.cli import show

        show.as_json(made)
    else:
        typer.echo(f"{out}: {made['detail']}")
