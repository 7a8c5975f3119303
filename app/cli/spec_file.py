"""A YAML file as plain values: numbers as YAML 1.2 writes them (1e-3 is one), nothing executed, nothing that JSON lacks."""

import math
import re
from pathlib import Path
from typing import Any

from app.cli.rest import USAGE, CliError

LARGEST = 1_000_000
"""Bytes."""
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*)?\.?[0-9]+(?:[eE][-+]?[0-9]+)?$|[-+]?[0-9]+\.(?:[eE][-+]?[0-9]+)?$|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$")  # fmt: skip
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)$")


def read(path: Path) -> dict[str, Any]:
    """The file's mapping. Raises CliError naming the file, and the line or the place of what is wrong."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{path} cannot be read: {error}", USAGE) from None
    if len(text) > LARGEST:
        raise CliError(f"{path} has {len(text):,} characters; a specification has at most {LARGEST:,}.", USAGE)

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types here
        """YAML 1.1 takes 1e-3 for text and `off` for false; both are everyday values here."""

    Loader.yaml_implicit_resolvers = {
        first: [pair for pair in pairs if not pair[0].endswith((":float", ":bool", ":int", ":timestamp"))]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOL, list("tTfF"))
    Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?[0-9][0-9_]*$"), list("-+0123456789"))
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
    Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value.replace("_", "")))
    Loader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: _number(node.value))
    try:
        found = yaml.load(text, Loader)  # noqa: S506 - a SafeLoader's child
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise CliError(f"{path} is not YAML{where}: {getattr(error, 'problem', error)}", USAGE) from None
    except RecursionError:
        raise CliError(f"{path} nests too deeply.", USAGE) from None
    if not isinstance(found, dict):
        raise CliError(f"{path} must hold a mapping: factors, seeds, config, …", USAGE)
    _check(path, found, "")
    return found


def _number(text: str) -> float:
    plain = text.replace("_", "").lower()
    return float({".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}.get(plain, plain))


def _check(path: Path, value: Any, place: str) -> None:
    """Raises CliError for what no JSON body can carry."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise CliError(f"{path}: the key {key!r} in {place or 'the file'} must be text", USAGE)
            _check(path, inner, f"{place}.{key}".strip("."))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check(path, inner, f"{place}.{index}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise CliError(f"{path}: {place}: {value} is not a finite number", USAGE)
    elif value is not None and not isinstance(value, str | int | float | bool):
        raise CliError(f"{path}: {place}: {type(value).__name__} is no value here; put it in quotes", USAGE)
