"""`plateau`: the commands. Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 refused, 5 no server.

What a command needs beyond typer is imported inside it: `plateau --help` should not wait for httpx or rich.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.rest import FAILED, USAGE, CliError, Rest, place

app = typer.Typer(
    help="Launches GPT training runs and shows them live.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

dataset = typer.Typer(help="Datasets: add, list, show.", no_args_is_help=True)
app.add_typer(dataset, name="dataset")

Url = Annotated[str | None, typer.Option("--url", help="The server; else $PLATEAU_URL, else this machine's.")]
Token = Annotated[str | None, typer.Option("--token", help="Else $PLATEAU_TOKEN, else this machine's.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
RunId = Annotated[str, typer.Argument(help="A run's id, r-0001.")]
Lr = Annotated[float | None, typer.Option(help="Peak learning rate.")]
WeightDecay = Annotated[float | None, typer.Option(help="λ, decoupled.")]
DatasetOption = Annotated[str | None, typer.Option(help="A dataset's id or name; builtin is always there.")]
SetFields = Annotated[
    list[str] | None, typer.Option("--set", help="Any field: section.field=value, as schedule.min_lr=0.")
]
ForPeople = Annotated[str | None, typer.Option(help="For people.")]
Notes = Annotated[str | None, typer.Option(help="Free text.")]
OnWorker = Annotated[str | None, typer.Option("--on", help="Only this worker may take it, w-02.")]
WatchIt = Annotated[bool, typer.Option("--watch", help="Stay and watch it.")]
HomeOption = Annotated[Path | None, typer.Option("--home", help="Where Plateau keeps its data; else $PLATEAU_HOME.")]
PortOption = Annotated[int, typer.Option("--port", envvar="PLATEAU_PORT", min=1, max=65535, help="The server's port.")]
DataRoots = Annotated[
    list[Path] | None, typer.Option("--data-root", help="A folder datasets may be read from; repeatable.")
]


@app.command()
def up(
    port: PortOption = 8000,
    home: HomeOption = None,
    lan: Annotated[bool, typer.Option("--lan", help="Also for other machines in this network (plain HTTP).")] = False,
    demo: Annotated[bool, typer.Option("--demo/--no-demo", help="Start the demo in an empty database.")] = True,
    worker: Annotated[bool, typer.Option("--worker/--no-worker", help="Also start a worker here.")] = True,
    open_page: Annotated[bool, typer.Option("--open", help="Open the browser.")] = False,
    data_root: DataRoots = None,
) -> None:
    """Start the server and a worker on this machine; Ctrl-C stops both."""
    from app.cli.up import Plan, run

    raise typer.Exit(run(Plan(port, _home(home), lan, demo, worker, open_page, tuple(data_root or ()))))


@app.command()
def server(
    port: PortOption = 8000,
    host: Annotated[str, typer.Option("--host", envvar="PLATEAU_HOST", help="Address to listen on.")] = "127.0.0.1",
    home: HomeOption = None,
    demo: Annotated[bool, typer.Option("--demo", help="Start the demo in an empty database.")] = False,
    allow_host: Annotated[list[str] | None, typer.Option("--allow-host", help="A host name to answer to.")] = None,
) -> None:
    """Start the server alone."""
    options = ["--port", str(port), "--host", host, "--home", str(_home(home)), *(["--demo"] if demo else [])]
    for name in allow_host or ():
        options += ["--allow-host", name]
    _become("app.server", options)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def worker(context: typer.Context) -> None:
    """Start a worker alone: --url, --token-file, --name, --home, --data-root, --once (see plateau worker --help)."""
    _become("worker", context.args)


@app.command()
def launch(
    preset: Annotated[str | None, typer.Option(help="tiny, shakespeare, fineweb-40m, gpt2-124m.")] = None,
    dataset: DatasetOption = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    lr: Lr = None,
    weight_decay: WeightDecay = None,
    seed: Annotated[int | None, typer.Option(help="Initial weights and order of data.")] = None,
    set_: SetFields = None,
    name: ForPeople = None,
    tag: Annotated[list[str] | None, typer.Option(help="Repeatable.")] = None,
    notes: Notes = None,
    on: OnWorker = None,
    watch: WatchIt = False,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Queue a run; a worker takes it as soon as its dataset is ready."""
    import uuid

    direct = {
        "data.dataset": dataset, "schedule.steps": steps, "schedule.lr": lr,
        "optim.weight_decay": weight_decay, "system.seed": seed,
    }  # fmt: skip
    config = configured(direct, set_)
    body = {"preset": preset, "config": config, "name": name, "tags": tag, "notes": notes, "worker": on}
    asked = {key: value for key, value in body.items() if value is not None}
    with Rest(place(url, token)) as rest:
        run = rest.post_once("runs", asked, key=str(uuid.uuid4()))
        if as_json and not watch:
            _print(run)
        elif not as_json:
            typer.echo(f"{run['id']} {run['name']}: {run['meaning']}. {rest.url}/runs/{run['id']}")
        if watch:
            from app.cli.watch import watch as follow

            raise typer.Exit(follow(rest, run["id"], as_json))


@app.command("runs")
def runs_(
    query: Annotated[
        list[str] | None, typer.Argument(help="Words and terms: status=running wd=0.1 'val/loss<3.2'.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 30,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    from app.cli import show

    with Rest(place(url, token)) as rest:
        found = rest.get("runs", q=" ".join(query or ()), limit=limit)
    if as_json:
        _print(found)
    else:
        show.runs(found["runs"])
        if found["total"] > len(found["runs"]) and sys.stdout.isatty():
            typer.echo(f"{len(found['runs'])} of {found['total']:,}; --limit shows more.")


@app.command()
def watch(
    what: Annotated[str, typer.Argument(metavar="RUN|FILE", help="A run's id, r-0001, or a log file that grows.")],
    server: Annotated[bool, typer.Option("--server", help="Show the file as a run of the server, whose page is live; else it is diagnosed here.")] = False,
    config: Annotated[Path | None, typer.Option("--config", help="The file's config file; read, never executed.")] = None,
    args: Annotated[str, typer.Option("--args", help="The command line it was started with.")] = "",
    fact: Annotated[list[str] | None, typer.Option("--fact", help="train_tokens=7e8 and what else the file does not say.")] = None,
    name: Annotated[str | None, typer.Option(help="With --server: of the run.")] = None,
    idle: Annotated[float | None, typer.Option(min=0, help="End after so many seconds without a new line.")] = None,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Follow a run live until it is over, or a growing log file; exit code 1 when the run failed."""
    if (path := Path(what)).is_file():
        from app.cli import following
        from app.cli.elsewhere import told

        known = following.Told(told(config, args, fact))
        if not server:
            raise typer.Exit(following.follow(path, following.Here(path.name, known, as_json), idle_s=idle))
        with Rest(place(url, token)) as rest:
            raise typer.Exit(following.follow(path, following.There(rest, name or path.name, known), idle_s=idle))
    from app.cli.watch import watch as follow

    with Rest(place(url, token)) as rest:
        raise typer.Exit(follow(rest, what, as_json))


@app.command()
def stop(run: RunId, url: Url = None, token: Token = None, as_json: AsJson = False) -> None:
    """Finish the step, save, end; a second stop terminates."""
    _act(run, "stop", url, token, as_json)


@app.command()
def pause(run: RunId, url: Url = None, token: Token = None, as_json: AsJson = False) -> None:
    """Save, end the process, free the device; resume continues."""
    _act(run, "pause", url, token, as_json)


@app.command()
def resume(run: RunId, url: Url = None, token: Token = None, as_json: AsJson = False) -> None:
    """Queue a run again from its newest checkpoint."""
    _act(run, "resume", url, token, as_json)


@app.command()
def link(url: Url = None, token: Token = None, as_json: AsJson = False) -> None:
    """Print a fresh one-time sign-in link."""
    with Rest(place(url, token)) as rest:
        made = rest.post("sign-in-links")
    if as_json:
        _print(made)
    else:
        typer.echo(made["url"])


@app.command()
def doctor(url: Url = None, token: Token = None, as_json: AsJson = False) -> None:
    """Check what a server and a worker need on this machine."""
    from app.cli.doctor import checks

    found = checks(url, token)
    if as_json:
        _print({"checks": [one._asdict() for one in found]})
    else:
        for one in found:
            typer.echo(f"{'ok  ' if one.ok else 'NO  '} {one.what}: {one.detail}")
    raise typer.Exit(0 if all(one.ok for one in found) else FAILED)


def main() -> None:
    """The console script. Every expected error is a sentence on stderr and an exit code, never a traceback."""
    try:
        app()
    except CliError as error:
        if "--json" in sys.argv:
            typer.echo(json.dumps(error.problem, ensure_ascii=False), err=True)
        else:
            typer.echo(str(error), err=True)
        raise SystemExit(error.exit) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:  # `plateau runs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def _act(run: str, verb: str, url: str | None, token: str | None, as_json: bool) -> None:
    with Rest(place(url, token)) as rest:
        changed = rest.post(f"runs/{run}/{verb}")
    if as_json:
        _print(changed)
    else:
        typer.echo(f"{changed['id']} {changed['name']}: {changed['state']}, {changed['meaning']}.")


def configured(direct: dict[str, Any], set_: list[str] | None) -> dict[str, Any]:
    """{"schedule.lr": 1e-3} and --set's assignments as {"schedule": {"lr": 1e-3}}: options that were given, then --set over them."""
    config: dict[str, Any] = {}
    given = [(key, value) for key, value in direct.items() if value is not None]
    for key, value in [*given, *(_assignment(text) for text in set_ or ())]:
        section, _, field = key.partition(".")
        config.setdefault(section, {})[field] = value
    return config


def _assignment(text: str, form: str = "--set takes section.field=value, as schedule.min_lr=0") -> tuple[str, Any]:
    """("schedule.min_lr", 0) of "schedule.min_lr=0"; a value that is not JSON is taken as text."""
    key, equals, value = text.partition("=")
    if not equals or ("." in form.split("=")[0] and "." not in key):
        raise CliError(f"{form}; got {text!r}.", USAGE)
    try:
        return key.strip(), json.loads(value)
    except ValueError:
        return key.strip(), value


def _home(home: Path | None) -> Path:
    from app.contract.home import plateau_home

    return home.expanduser().resolve() if home is not None else plateau_home()


def _become(module: str, options: list[str]) -> None:
    """Replace this process, so that signals reach the program itself."""
    import importlib.util

    if importlib.util.find_spec(module) is None:
        raise CliError(f"{module} is not installed here.", FAILED)
    os.execv(sys.executable, [sys.executable, "-m", module, *options])  # noqa: S606 - an argument list, no shell


def _print(value: Any) -> None:
    from app.cli import show

    show.as_json(value)
