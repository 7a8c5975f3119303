"""`plateau dataset`: add files of this machine, of the worker's or of the hub; list datasets; show one; delete one."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.commands import AsJson, Token, Url, _assignment, _print, dataset
from app.cli.data_report import printed
from app.cli.rest import USAGE, CliError, Rest, place
from app.contract.file_kinds import kind_of, without_ending

WORKERS_ANSWER_S = 5.0
"""A worker that has nothing to do asks for work every second or so."""


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
        if languages := manifest.get("languages"):
            total = sum(one["documents"] for one in languages)
            shares = ", ".join(f"{one['language'] or '?'} {one['documents'] / total:.1%}" for one in languages[:8])
            typer.echo(f"languages: {shares}")
        if removed := manifest.get("removed"):
            copies = removed["train_duplicates"] + removed["val_duplicates"]
            typer.echo(f"removed: {copies:,} copies, {removed['leaked_val']:,} leaked validation documents")
        printed(found["report"])
        for sentence in manifest.get("first_faults", []):
            typer.echo(sentence)


@dataset.command("delete")
def dataset_delete(
    dataset: Annotated[str, typer.Argument(help="A dataset's id, d-0001.")],
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Delete a dataset and its files, on the server and on every worker; runs that read it keep its manifest."""
    with Rest(place(url, token)) as rest:
        shown = rest.get(f"datasets/{dataset}")["id"]
        freed = rest.delete(f"datasets/{shown}")
        deadline = time.monotonic() + WORKERS_ANSWER_S
        while (
            any(one["bytes"] is None and not one["detail"] for one in freed["workers"]) and time.monotonic() < deadline
        ):
            time.sleep(0.2)
            freed = rest.get(f"datasets/{shown}/freed")
    if as_json:
        _print(freed)
        return
    typer.echo(f"{shown} deleted: {freed['bytes'] / 1e6:,.1f} MB freed, {freed['server_bytes'] / 1e6:,.1f} MB of it by the server.")  # fmt: skip
    for one in freed["workers"]:
        told = (
            one["detail"] or "when it next asks for work" if one["bytes"] is None else f"{one['bytes'] / 1e6:,.1f} MB"
        )
        typer.echo(f"{one['name']}: {told}")


@dataset.command("clean")
def dataset_clean(
    older_than: Annotated[float, typer.Option(help="Hours; younger files are left.")] = 24.0,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Delete what nothing refers to on the server: uploads that never became a dataset, pieces of broken ones."""
    with Rest(place(url, token)) as rest:
        found = rest.post(f"artifacts/clean?older_than_h={older_than:g}")
    if as_json:
        _print(found)
    else:
        typer.echo(f"{found['files']:,} files deleted, {found['bytes'] / 1e6:,.1f} MB freed.")
