"""`plateau dataset`: add files of this machine, of the worker's or of the hub; list datasets; show one."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.commands import AsJson, Token, Url, _assignment, _print, dataset
from app.cli.data_report import printed
from app.cli.rest import USAGE, CliError, Rest, place
from app.contract.file_kinds import kind_of, without_ending


@dataset.command("add")
def dataset_add(
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Files and folders here, uploaded; with --on-worker paths on the worker's disk."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Else the first file's name.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="parquet, jsonl, text or tokens (nanoGPT's train.bin); else by the files' names.")
    ] = None,
    text_column: Annotated[str | None, typer.Option(help="The column or field that holds the text.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="bpe, gpt2, bytes, characters, cl100k_base, …")] = None,
    vocab_size: Annotated[int | None, typer.Option(help="Entries of a bpe vocabulary.")] = None,
    val_share: Annotated[float | None, typer.Option(help="Share kept for validation.")] = None,
    split: Annotated[str | None, typer.Option(help="hash (by each document's text) or tail (the text's end).")] = None,
    layout: Annotated[str | None, typer.Option(help="plateau or nanogpt: end-of-text before or after.")] = None,
    hub: Annotated[str | None, typer.Option(help="A dataset of the Hugging Face hub, owner/name.")] = None,
    revision: Annotated[str | None, typer.Option(help="Its branch, tag or commit.")] = None,
    pattern: Annotated[str | None, typer.Option(help="Which of its files, sample/10BT/*.parquet.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Any field: field=value, tokenizer.kind=bpe.")] = None,
    on_worker: Annotated[
        bool, typer.Option("--on-worker", help="The paths are on the worker, under a data root.")
    ] = False,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Upload files and have a worker prepare them."""
    if bool(files) == bool(hub):
        raise CliError("Give files, or --hub OWNER/NAME.", USAGE)
    given = {
        "text_column": text_column, "tokenizer.kind": tokenizer, "tokenizer.vocab_size": vocab_size, "val_share": val_share,
        "split": split, "layout": layout, "hub.repo": hub, "hub.revision": revision, "hub.pattern": pattern,
    }  # fmt: skip
    spec: dict[str, Any] = {"name": name or without_ending(Path(hub or (files or [""])[0]).name)}
    for key, value in [*given.items(), *(_assignment(text, "--set takes field=value") for text in set_ or ())]:
        if value is not None:
            into = spec
            *sections, field = key.split(".")
            for section in sections:
                into = into.setdefault(section, {})
            into[field] = value
    with Rest(place(url, token)) as rest:
        if hub:
            spec["kind"] = "hub"
        elif on_worker:
            spec["kind"] = kind or kind_of(files or ())
            spec["files"] = [{"name": Path(file).name, "path": file} for file in files or ()]
        else:
            from app.cli.upload import found, uploads

            here = found([Path(file) for file in files or ()], kind)
            spec["kind"] = kind or kind_of(name for name, _ in here)
            spec["files"] = uploads(rest, here)
        made = rest.post("datasets", spec)
        if as_json:
            _print(made)
        else:
            typer.echo(f"{made['id']} {made['name']}: {made['state']}. {rest.url}/datasets/{made['id']}")


@dataset.command("list")
def dataset_list(url: Url = None, token: Token = None, as_json: AsJson = False) -> None:
    """List datasets."""
    from app.cli import show

    with Rest(place(url, token)) as rest:
        found = rest.get("datasets")
    if as_json:
        _print(found)
    else:
        show.datasets(found["datasets"])


@dataset.command("show")
def dataset_show(
    dataset: Annotated[str, typer.Argument(help="A dataset's id, d-0001.")],
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """One dataset with its counts."""
    with Rest(place(url, token)) as rest:
        found = rest.get(f"datasets/{dataset}")
    if as_json:
        _print(found)
        return
    typer.echo(f"{found['id']} {found['name']}: {found['state']} {found['detail']}".rstrip())
    if manifest := found["manifest"]:
        for split in ("train", "val"):
            part = manifest[split]
            typer.echo(f"{split:5}  {part['tokens']:,} tokens in {part['documents']:,} documents")
        typer.echo(
            f"{manifest['tokenizer']['kind']}, {manifest['tokenizer']['vocab_size']:,} entries, {manifest['bytes_per_token']:.2f} bytes a token"
        )
        if removed := manifest.get("removed"):
            copies = removed["train_duplicates"] + removed["val_duplicates"]
            typer.echo(f"removed: {copies:,} copies, {removed['leaked_val']:,} leaked validation documents")
        printed(found["report"])
        for sentence in manifest.get("first_faults", []):
            typer.echo(sentence)
