"""The same launch without the form: as a command, as curl, as JSON."""

import json
import shlex
from typing import Any

from app.pages.launch_form import LaunchForm


def _parts(form: LaunchForm) -> dict[str, Any]:
    if form.origin is not None:
        launch: dict[str, Any] = {"checkpoint": form.origin.checkpoint}
        sections = form.changes()
    else:
        launch = {"preset": form.preset} if form.preset else {}
        sections = {}
        for key, value in form.beyond_preset().items():
            section, name = key.split(".")
            sections.setdefault(section, {})[name] = value
    if sections:
        launch["config"] = sections
    if form.name:
        launch["name"] = form.name
    if tags := form.tags.replace(",", " ").split():
        launch["tags"] = tags
    return launch


def body(form: LaunchForm) -> str:
    """The body of POST /api/v1/runs, or of a run's /fork."""
    return json.dumps(_parts(form), indent=2, ensure_ascii=False, allow_nan=False, default=str)


def curl(form: LaunchForm, origin: str) -> str:
    compact = json.dumps(_parts(form), ensure_ascii=False, allow_nan=False, default=str)
    path = f"runs/{form.origin.run}/fork" if form.origin else "runs"
    return (
        f"curl {origin}/api/v1/{path} \\\n"
        '  -H "Authorization: Bearer $PLATEAU_TOKEN" -H "Content-Type: application/json" \\\n'
        f"  -d {shlex.quote(compact)}"
    )


def cli(form: LaunchForm, origin: str) -> str:
    launch = _parts(form)
    words = [f"plateau fork {form.origin.run} --at {form.origin.checkpoint}" if form.origin else "plateau launch"]
    if "preset" in launch:
        words.append(f"--preset {launch['preset']}")
    for section, values in launch.get("config", {}).items():
        words += [f"--set {shlex.quote(f'{section}.{key}={_word(value)}')}" for key, value in values.items()]
    if "name" in launch:
        words.append(f"--name {shlex.quote(launch['name'])}")
    words += [f"--tag {shlex.quote(tag)}" for tag in launch.get("tags", [])]
    return " \\\n  ".join(words)


def _word(value: Any) -> str:
    return (
        {True: "true", False: "false", None: "null"}.get(value, str(value))
        if isinstance(value, (bool, type(None)))
        else str(value)
    )
