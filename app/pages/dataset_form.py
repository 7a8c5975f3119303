"""The form that adds a dataset, as data: DatasetSpec's own fields with what was typed and what is wrong."""

import posixpath
from itertools import zip_longest
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from app.contract.dataset import DatasetSpec
from app.contract.file_kinds import kind_of
from app.errors import FieldError
from app.i18n import N_, Speech
from app.pages.forms import Form
from app.pages.launch_form import FieldView, as_typed, bounds, meant

BASICS = ("hub.repo", "hub.revision", "hub.pattern", "tokenizer.kind", "tokenizer.vocab_size", "split", "val_share")
"""Shown on top; every other field is folded below."""
_BY_HAND = ("name", "kind", "files")
GUESS = "guess"
"""The source's choice that leaves it to the files' names."""
_READ = (GUESS, "parquet", "jsonl", "hub")
MATTERS = {
    "tokenizer.vocab_size": ("tokenizer.kind", ("bpe",)),
    "text_column": ("kind", _READ),
    "hub.repo": ("kind", ("hub",)),
    "hub.revision": ("kind", ("hub",)),
    "hub.pattern": ("kind", ("hub",)),
}
"""Field -> (another field, its values for which the first one matters); a script hides it otherwise."""
WORDS = {
    GUESS: N_("by the files' names"),
    "parquet": N_("parquet with a text column"),
    "text": N_("plain text"),
    "jsonl": N_("JSON lines"),
    "tokens": N_("token files of nanoGPT"),
    "hub": N_("a dataset of the Hugging Face hub"),
    "bpe": N_("byte pairs learnt from this text"),
    "gpt2": N_("GPT-2's own"),
    "bytes": N_("bytes"),
    "characters": N_("characters"),
    "plateau": N_("end-of-text before each document"),
    "nanogpt": N_("end-of-text after it, as nanoGPT does"),
    "hash": N_("by a hash of each document's text"),
    "tail": N_("the last part of the text"),
    "none": N_("no copies are removed"),
    "exact": N_("equal texts"),
    "normalised": N_("texts equal but for case and white space"),
    "r50k_base": N_("r50k_base, GPT-2's as well"),
    "cl100k_base": N_("cl100k_base, GPT-4's"),
    "o200k_base": N_("o200k_base, GPT-4o's"),
}
"""What stands for a choice of the contract; one that is not here stands for itself."""


def _leaves(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """{"tokenizer.kind": field info, …}: every field that one input can hold, in the contract's order."""
    found: dict[str, Any] = {}
    for key, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            found |= _leaves(info.annotation, f"{prefix}{key}.")
        elif f"{prefix}{key}" not in _BY_HAND:
            found[f"{prefix}{key}"] = info
    return found


FIELDS = _leaves(DatasetSpec)
KINDS = tuple(kind for kind in get_args(DatasetSpec.model_fields["kind"].annotation) if kind != "builtin")


class DatasetForm:
    """One state of the form: from the defaults, from another dataset's spec, or as a browser posted it."""

    def __init__(self, speech: Speech, start: dict[str, Any] | None = None, source: str = "") -> None:
        spec = DatasetSpec.model_construct(name="").model_dump() | (start or {})
        self.speech, self.source = speech, source
        self.name: str = spec.get("name", "")
        self.kind: str = spec["kind"] if start else GUESS
        self.start = {key: _at(spec, key, info.default) for key, info in FIELDS.items()}
        self.typed: dict[str, Any] = {key: as_typed(value) for key, value in self.start.items()}
        files = spec.get("files") or ()
        self.uploads = [(one["sha256"], one["name"]) for one in files if one.get("sha256")]
        self.paths = "\n".join(one["path"] for one in files if one.get("path"))
        self.errors: dict[str, str] = {}

    def read(self, form: Form) -> None:
        """What a browser posted. A switch that is off sends nothing."""
        self.name, self.kind = form.one("name"), form.one("kind") or GUESS
        for key, info in FIELDS.items():
            if info.annotation is bool:
                self.typed[key] = form.has(key)
            elif form.has(key):
                self.typed[key] = form.one(key)
        pairs = zip_longest(form.all("sha256"), form.all("file_name"), fillvalue="")
        self.uploads = [(sha, name or "upload") for sha, name in pairs if sha]
        self.paths = "\n".join(line.strip() for line in form.one("paths").splitlines() if line.strip())

    def spec(self) -> dict[str, Any]:
        """The typed values as DatasetSpec takes them, numbers as numbers where they are some; it judges them."""
        files = [{"sha256": sha, "name": name} for sha, name in self.uploads]
        files += [
            {"path": path, "name": posixpath.basename(path.rstrip("/")) or path} for path in self.paths.splitlines()
        ]
        kind = self.kind
        if kind == GUESS:
            kind = "hub" if self.typed.get("hub.repo") and not files else kind_of([one["name"] for one in files])
        spec: dict[str, Any] = {"name": self.name, "kind": kind, "files": files}
        for key, value in self.typed.items():
            into = spec
            *sections, last = key.split(".")
            for section in sections:
                into = into.setdefault(section, {})
            into[last] = meant(value, FIELDS[key].annotation)
        return spec

    def take(self, errors: list[FieldError]) -> None:
        """Each message to its field: /tokenizer/vocab_size belongs to tokenizer.vocab_size, /files/0/path to files."""
        for pointer, message in errors:
            parts = [part for part in pointer.split("/") if part]
            named = (".".join(parts[:n]) for n in (2, 1) if ".".join(parts[:n]) in FIELDS)
            inside = (key for key in FIELDS if parts and key.startswith(f"{parts[0]}."))
            key = next(named, next(inside, parts[0] if parts else ""))
            self.errors.setdefault(key, message)

    def homeless(self) -> list[str]:
        return [message for key, message in self.errors.items() if key not in FIELDS and key not in _BY_HAND]

    def field(self, key: str) -> FieldView:
        info, say, typed = FIELDS[key], self.speech, self.typed[key]
        extra = info.json_schema_extra or {}
        options = get_args(info.annotation)
        choices = options if get_origin(info.annotation) is Literal else ()
        kinds = {bool: "switch", str: "text", float: "number"}
        return FieldView(
            key, say(str(info.title)), say(str(info.description)), say(extra.get("unit", "")), say(extra.get("usual", "")),
            "choice" if choices else kinds.get(info.annotation, "whole"), choices, type(None) in options,
            "" if isinstance(typed, bool) else typed, typed is True, self.errors.get(key, ""), None, bounds(info, say), False,
        )  # fmt: skip

    def basics(self) -> list[FieldView]:
        return [self.field(key) for key in FIELDS if key in BASICS]

    def rest(self) -> list[FieldView]:
        return [self.field(key) for key in FIELDS if key not in BASICS]

    def word(self, choice: str) -> str:
        return self.speech(WORDS.get(choice, choice))


def _at(spec: dict[str, Any], key: str, default: Any) -> Any:
    """The value at a dotted key of a stored spec; fields that are younger than it have their default."""
    value: Any = spec
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            return default
        value = value[part]
    return value
