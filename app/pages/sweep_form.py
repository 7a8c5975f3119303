"""The sweep form as data: what was typed, the specification it stands for, and each message at its field."""

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from app.contract.config import RunConfig
from app.contract.sweep import SweepSpec
from app.errors import FieldError, Invalid, from_pydantic
from app.i18n import Speech
from app.pages.forms import Form
from app.sweeps.arms import spell

ROWS = 3
"""Factors that the form has room for; a YAML file takes more."""
PLAIN = ("name", "preset", "seeds", "seed_values", "order", "priority", "delta", "worker", "notes")
_SPAN = re.compile(r"([-+0-9.eE]+?)(?::|\.\.|…)([-+0-9.eE]+)(?::([0-9]+))?")


def value(text: str) -> Any:
    """A number, true, false, or the text itself."""
    plain = text.strip()
    if plain.lower() in ("true", "on", "yes"):
        return True
    if plain.lower() in ("false", "off", "no"):
        return False
    for kind in (int, float):
        try:
            return kind(plain)
        except ValueError:
            continue
    return plain


def numbers(text: str) -> dict[str, Any]:
    """ "0, 0.1, 1" → values; "0.01:1:5" → five from 0.01 to 1, evenly in log, "0, 0.01:1:5" with 0; "1e-4:1e-2" → ends alone."""
    parts = [part for part in re.split(r"[,;\s]+", text) if part]
    spans = [match for part in parts if (match := _SPAN.fullmatch(part))]
    listed = [value(part) for part in parts if not _SPAN.fullmatch(part)]
    if len(spans) == 1 and listed in ([], [0], [0.0]):
        low, high, points = spans[0].groups()
        return {"low": value(low), "high": value(high), "points": int(points) if points else None, "zero": bool(listed)}
    return {"values": listed + [match[0] for match in spans]}


def written(factor: Mapping[str, Any]) -> str:
    """The inverse of `numbers`."""
    if factor.get("values"):
        return ", ".join(spell(one) for one in factor["values"])
    if factor.get("low") is None:
        return ""
    ends = f"{spell(factor['low'])}:{spell(factor['high'])}" + (f":{factor['points']}" if factor.get("points") else "")
    return f"0, {ends}" if factor.get("zero") else ends


class SweepForm:
    """One state of the form; `typed` is what stands in each input."""

    def __init__(self, speech: Speech, spec: Mapping[str, Any] | None = None) -> None:
        self.speech = speech
        self.errors: dict[str, str] = {}
        self.typed: dict[str, Any] = {
            "name": "", "preset": "tiny", "seeds": "3", "seed_values": "", "order": "seeds", "priority": "0", "delta": "0.005",
            "worker": "", "notes": "", "tags": "", "reuse": True, "floor_follows": True, "settings": "", "variants": "",
            "method": "grid", "trials": "12", "at_once": "2", "rungs": "3", "experiment": "",
        }  # fmt: skip
        self.factors: list[tuple[str, str]] = [("optim.weight_decay", "0, 0.1, 1, 3")]
        if spec:
            self._start(spec)

    def _start(self, spec: Mapping[str, Any]) -> None:
        for name in PLAIN:
            if spec.get(name) not in (None, (), []):
                self.typed[name] = ", ".join(map(str, spec[name])) if name == "seed_values" else str(spec[name])
        if "preset" in spec:
            self.typed["preset"] = spec["preset"] or ""
        self.typed["settings"] = settings_text(spec.get("config") or {})
        if spec.get("factors") is not None:
            self.factors = [(factor["field"], written(factor)) for factor in spec["factors"]]
        self.typed["variants"] = "\n".join(f"{one['name']}: " + ", ".join(f"{field} = {spell(set_)}" for field, set_ in one["set"].items()) for one in spec.get("variants") or ())  # fmt: skip
        if spec.get("search"):
            self.typed |= {name: str(spec["search"][name]) for name in ("method", "trials", "at_once", "rungs") if name in spec["search"]}  # fmt: skip

    @property
    def rows(self) -> list[tuple[str, str]]:
        """The factors, and room for more."""
        return [*self.factors, *[("", "")] * max(1, ROWS - len(self.factors))]

    def read(self, posted: Form) -> None:
        for name in self.typed:
            if name in ("reuse", "floor_follows"):
                self.typed[name] = posted.has(name)
            elif posted.has(name):
                self.typed[name] = posted.one(name)
        fields, values = posted.all("factor"), posted.all("values")
        self.factors = [(field.strip(), text.strip()) for field, text in zip(fields, values, strict=False) if field.strip() or text.strip()]  # fmt: skip

    def body(self) -> dict[str, Any]:
        """What the REST API would be sent. Raises Invalid for settings that are none."""
        typed = self.typed
        body: dict[str, Any] = {
            "preset": typed["preset"] or None, "config": settings(typed["settings"]), "reuse": typed["reuse"],
            "factors": [{"field": field, **numbers(text)} for field, text in self.factors], "floor_follows": typed["floor_follows"],
        }  # fmt: skip
        if typed["name"]:
            body["name"] = typed["name"]
        for name in ("seeds", "priority", "delta"):
            if typed[name]:
                body[name] = value(typed[name])
        if typed["seed_values"]:
            body["seed_values"] = [value(part) for part in re.split(r"[,\s]+", typed["seed_values"].strip(", "))]
        for name in ("order", "notes", "worker"):
            if typed[name]:
                body[name] = typed[name]
        if tags := [tag for tag in typed["tags"].replace(",", " ").split() if tag]:
            body["tags"] = tags
        if typed["variants"]:
            body["variants"] = variants(typed["variants"])
        if typed["method"] != "grid":
            body["search"] = {"method": typed["method"], **{name: value(typed[name]) for name in ("trials", "at_once", "rungs") if typed[name]}}  # fmt: skip
        return body

    def spec(self) -> SweepSpec | None:
        """The specification, or None with `errors` filled."""
        try:
            return SweepSpec.model_validate(self.body())
        except ValidationError as error:
            self.take(list(from_pydantic(error, model=SweepSpec).errors))
        except Invalid as error:
            self.take(list(error.errors))
        return None

    def take(self, errors: list[FieldError]) -> None:
        """Each message to its input: /factors/1/values/2 to the second row, /config/schedule/lr to the settings."""
        for pointer, message in errors:
            parts = pointer.strip("/").split("/")
            key = parts[0]
            if key == "factors" and len(parts) > 1 and parts[1].isdigit():
                key = f"factors.{parts[1]}"
            elif key == "config":
                key, message = "settings", f"{'.'.join(parts[1:3])} {message}".strip()
            elif key == "search":
                key = parts[1] if len(parts) > 1 and parts[1] in self.typed else "method"
            elif key not in self.typed and key != "factors":
                key = ""
            self.errors.setdefault(key, message)

    def yaml(self) -> str:
        """The same as a file for `plateau sweep launch`; JSON is YAML."""
        body = {name: one for name, one in self.body().items() if one not in (None, [], {})}
        return json.dumps(body, indent=2, ensure_ascii=False)


def settings(text: str) -> dict[str, Any]:
    """Lines of section.field = value. Raises Invalid naming the line."""
    config: dict[str, Any] = {}
    known = RunConfig().flat()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.strip().startswith("#"):
            continue
        field, equals, given = line.partition("=")
        field = field.strip()
        if not equals or "." not in field:
            raise Invalid([FieldError("/config", f"line {number} must read section.field = value")])
        section, _, name = field.partition(".")
        text_field = isinstance(known.get(field), str)
        config.setdefault(section, {})[name] = given.strip() if text_field else value(given)
    return config


def settings_text(config: Mapping[str, Any]) -> str:
    return "\n".join(f"{section}.{name} = {spell(one)}" for section, part in config.items() if isinstance(part, Mapping) for name, one in part.items())  # fmt: skip


def variants(text: str) -> list[dict[str, Any]]:
    """Lines of name: section.field = value, …; nothing after the colon is the base as it is. Raises Invalid."""
    known = RunConfig().flat()
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, _, rest = line.partition(":")
        changes: dict[str, Any] = {}
        for part in filter(None, (piece.strip() for piece in rest.split(","))):
            field, equals, given = part.partition("=")
            if not equals:
                raise Invalid([FieldError("/variants", f"line {number} must read name: section.field = value, …")])
            changes[field.strip()] = given.strip() if isinstance(known.get(field.strip()), str) else value(given)
        found.append({"name": name.strip(), "set": changes})
    return found
