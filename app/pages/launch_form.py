"""The launch form as data: RunConfig's own fields with what was typed, what is wrong and what differs from the start."""

import math
import re
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ValidationError

from app.contract.config import RunConfig
from app.contract.presets import PRESETS
from app.errors import FieldError, from_pydantic
from app.i18n import N_, Speech
from app.pages.forms import Form

BASICS = ("data.dataset", "schedule.steps", "schedule.lr", "optim.weight_decay", "system.seed")
"""Shown on top; every other field is folded into its section."""
_SCALE = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_AMOUNT = re.compile(r"([0-9][0-9_.eE+-]*)\s*([kKmMbBtT]?)")


class FieldView(NamedTuple):
    name: str  #: schedule.lr, also the input's name
    title: str
    help: str
    unit: str
    usual: str
    kind: str  #: switch | choice | whole | number | text
    choices: tuple[str, ...]
    optional: bool
    value: str  #: as typed
    on: bool  #: for switches
    error: str
    was: str | None  #: the starting value where it differs, as one would type it
    bounds: str
    locked: bool  #: a fork cannot change it


class SectionView(NamedTuple):
    key: str
    title: str
    fields: tuple[FieldView, ...]
    changed: int
    wrong: bool


class Origin(NamedTuple):
    """The checkpoint that a fork starts from, as the banner tells it."""

    checkpoint: str
    run: str
    name: str
    step: int
    kept: str
    val_loss: float | None
    falling: bool  #: the form shows a cool-down


def fields_of() -> dict[str, tuple[str, Any]]:
    """{"schedule.lr": ("Schedule", field info), …} in the order of the form."""
    return {
        f"{section}.{key}": (str(part.title), info)
        for section, part in RunConfig.model_fields.items()
        for key, info in _model(part.annotation).model_fields.items()
    }


def _model(annotation: Any) -> type[BaseModel]:
    assert isinstance(annotation, type), f"{annotation} is no section"
    assert issubclass(annotation, BaseModel), f"{annotation} is no section"
    return annotation


FIELDS = fields_of()


class LaunchForm:
    """One state of the form. `start` is the preset or run it was filled from, `typed` what stands in each input."""

    def __init__(self, start: RunConfig, speech: Speech, *, preset: str = "", name: str = "", source: str = "") -> None:
        self.start, self.speech = start.flat(), speech
        self.typed: dict[str, Any] = {key: as_typed(value) for key, value in self.start.items()}
        self.preset, self.name, self.source = preset, name, source
        self.length, self.length_unit = self.typed["schedule.steps"], "steps"
        self.tags, self.notes, self.worker = "", "", ""
        self.origin: Origin | None = None
        self.experiment = ""  #: the token of the diagnosis' offer that filled it in
        self.errors: dict[str, str] = {}
        self.ignored: list[tuple[str, str]] = []

    def fill(self, values: dict[str, Any]) -> None:
        """Overwrites inputs with values (config values or text), by full name."""
        for key, value in values.items():
            if self.locked(key):
                continue
            self.typed[key] = value if isinstance(value, (str, bool)) else as_typed(value)
        if "schedule.steps" in values:
            self.length, self.length_unit = str(self.typed["schedule.steps"]), "steps"

    def read(self, form: Form) -> None:
        """What a browser posted. A switch that is off sends nothing."""
        for key, (_, info) in FIELDS.items():
            if self.locked(key):  # a browser sends nothing of an input that is turned off
                continue
            if info.annotation is bool:
                self.typed[key] = form.has(key)
            elif form.has(key):
                self.typed[key] = form.one(key)
        self.name, self.tags, self.notes = form.one("name"), form.one("tags"), form.one("notes")
        self.worker, self.experiment = form.one("worker"), form.one("experiment")
        self.length, self.length_unit = form.one("length"), form.one("length_unit") or "steps"
        self.typed["schedule.steps"] = self.length if self.length_unit != "tokens" else self._steps_for(self.length)

    def locked(self, key: str) -> bool:
        """A fork keeps the network of its checkpoint."""
        return self.origin is not None and key.startswith("model.") and key != "model.dropout"

    def changes(self) -> dict[str, dict[str, Any]]:
        """The fields that differ from the start, as RunConfig would hold them."""
        config, sections = self.config(), dict[str, dict[str, Any]]()
        for key in FIELDS:
            if not _same(self.typed[key], as_typed(self.start[key])):
                section, name = key.split(".")
                sections.setdefault(section, {})[name] = config[section][name]
        return sections

    def _steps_for(self, tokens_text: str) -> str:
        """Steps that see at least so many tokens; text that is no amount stays, for the message at the field."""
        tokens = amount(tokens_text)
        per_step = 1.0
        for key in ("batch.micro_batch", "batch.accumulation", "model.block_size"):
            per_step *= amount(str(self.typed[key])) or 0
        if tokens is None or not per_step:
            return tokens_text
        return str(max(1, -int(-tokens // per_step)))

    def config(self) -> dict[str, dict[str, Any]]:
        """The typed values by section, numbers as numbers where they are some; RunConfig judges them."""
        sections: dict[str, dict[str, Any]] = {}
        for key, value in self.typed.items():
            section, name = key.split(".")
            sections.setdefault(section, {})[name] = meant(value, FIELDS[key][1].annotation)
        return sections

    def valid(self) -> RunConfig | None:
        """The configuration, or None with `errors` filled."""
        try:
            config = RunConfig.model_validate(self.config())
        except ValidationError as error:
            self.take(list(from_pydantic(error, prefix="/config", model=RunConfig).errors))
            return None
        if self.origin is not None and config.schedule.steps <= self.origin.step:
            more = self.speech(
                "must be more than %(step)s, where the fork starts", step=self.speech.number(self.origin.step)
            )
            self.errors.setdefault("schedule.steps", more)
            return None
        return config

    def take(self, errors: list[FieldError]) -> None:
        """Each message to its field: /config/schedule/lr belongs to schedule.lr, /name to name."""
        for pointer, message in errors:
            parts = [part for part in pointer.split("/") if part and part != "config"]
            key = ".".join(parts[:2])
            self.errors.setdefault(key if key in FIELDS else (parts[0] if parts else ""), message)

    def field(self, key: str) -> FieldView:
        _, info = FIELDS[key]
        extra = info.json_schema_extra or {}
        options = get_args(info.annotation)
        typed = self.typed[key]
        start = as_typed(self.start[key])
        choices = options if get_origin(info.annotation) is Literal else ()
        kinds = {bool: "switch", str: "text", float: "number"}
        say = self.speech
        return FieldView(
            key, say(str(info.title)), say(str(info.description)), say(extra.get("unit", "")), say(extra.get("usual", "")),
            "choice" if choices else kinds.get(info.annotation, "whole"), choices, type(None) in options,
            "" if isinstance(typed, bool) else typed, typed is True,
            self.errors.get(key, ""), None if _same(typed, start) else say.setting(self.start[key]), bounds(info, say),
            self.locked(key),
        )  # fmt: skip

    def title(self, key: str) -> str:
        """The untranslated title of a field, for messages that stand away from it."""
        return str(FIELDS[key][1].title) if key in FIELDS else {"name": N_("Name"), "tags": N_("Tags")}.get(key, "")

    def homeless(self) -> list[str]:
        """What is wrong with nothing that has a field on the page."""
        return [message for key, message in self.errors.items() if key not in FIELDS and key not in ("name", "tags")]

    def marks(self) -> dict[str, Any]:
        """What a script shows beside each input: what is wrong, and what it was where it differs."""
        views = {key: self.field(key) for key in FIELDS}
        return {
            "errors": self.errors,
            "was": {
                key: self.speech("was: %(value)s", value=view.was)
                for key, view in views.items()
                if view.was is not None
            },
            "sections": {
                one.key: self.speech("%(n)s changed", n=one.changed) for one in self.sections() if one.changed
            },
            "steps": self.typed["schedule.steps"],
        }

    def sections(self) -> list[SectionView]:
        found = []
        for section, part in RunConfig.model_fields.items():
            keys = [key for key in FIELDS if key.startswith(section + ".") and key not in BASICS]
            views = tuple(self.field(key) for key in keys)
            if views:
                changed = sum(view.was is not None for view in views)
                wrong = any(view.error for view in views)
                found.append(SectionView(section, self.speech(str(part.title)), views, changed, wrong))
        return found

    def beyond_preset(self) -> dict[str, Any]:
        """What a launch from the preset alone would still have to set, as RunConfig would hold it."""
        base = {key: as_typed(value) for key, value in preset_config(self.preset).flat().items()}
        config = self.config()
        return {
            key: config[key.split(".")[0]][key.split(".")[1]] for key in FIELDS if not _same(self.typed[key], base[key])
        }


def as_typed(value: Any) -> Any:
    """A config value as text for an input; switches stay booleans."""
    if isinstance(value, bool):
        return value
    if value is None:
        return ""
    if isinstance(value, float):
        text = f"{value:.10g}"
        return text.replace("e-0", "e-") if value >= 1e-3 or value == 0 else _short_exponent(value)
    return str(value)


def _short_exponent(value: float) -> str:
    mantissa, exponent = f"{value:.9e}".split("e")
    return f"{float(mantissa):.10g}e{int(exponent)}"


def amount(text: str) -> float | None:
    """A count as people write it: 10e9, 2.5M, 500k, 20_000."""
    match = _AMOUNT.fullmatch(text.strip().replace(",", ""))
    if not match:
        return None
    try:
        value = float(match[1]) * _SCALE.get(match[2].lower(), 1)
    except ValueError:
        return None
    return value if value < 1e18 else None


def _same(typed: Any, start: Any) -> bool:
    if typed == start:
        return True
    try:
        return not isinstance(typed, bool) and float(typed) == float(start)
    except (TypeError, ValueError):
        return False


def meant(value: Any, annotation: Any) -> Any:
    if not isinstance(value, str):
        return value
    if type(None) in get_args(annotation) and not value:
        return None
    wants_int = annotation is int or int in get_args(annotation)
    if wants_int or annotation is float:
        try:
            number = float(value.replace("_", ""))
        except ValueError:
            return value
        if not math.isfinite(number):  # JSON has no such numbers; RunConfig refuses the text by its own message
            return value
        return int(number) if wants_int and number.is_integer() and abs(number) < 2**62 else number
    return value


def bounds(info: Any, say: Speech) -> str:
    """What is allowed, from the contract's own bounds, for a field's title."""
    low = next((m.ge for m in info.metadata if hasattr(m, "ge")), None)
    above = next((m.gt for m in info.metadata if hasattr(m, "gt")), None)
    high = next((m.le for m in info.metadata if hasattr(m, "le")), None)
    below = next((m.lt for m in info.metadata if hasattr(m, "lt")), None)
    if low is not None and high is not None:
        return say("%(low)s to %(high)s", low=say.setting(low), high=say.setting(high))
    if above is not None and high is not None:
        return say("above %(low)s, up to %(high)s", low=say.setting(above), high=say.setting(high))
    if low is not None and below is not None:
        return say("%(low)s to below %(high)s", low=say.setting(low), high=say.setting(below))
    return ""


def preset_config(key: str) -> RunConfig:
    return PRESETS[key].config if key in PRESETS else RunConfig()
