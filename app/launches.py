"""What a person asks for when launching a run, and the full configuration it stands for."""

import difflib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from app import datasets
from app.contract import ids
from app.contract.config import RunConfig
from app.contract.dataset import Manifest
from app.contract.presets import PRESETS
from app.contract.setting import refuse
from app.db import Tx
from app.errors import FieldError, Invalid, NotFound, from_pydantic
from app.tables import Dataset, IdempotencyKey

KEY_LIFE_S = 24 * 3600.0
"""How long an Idempotency-Key is remembered."""

TAG_CHARACTERS = 50
NOTES_CHARACTERS = 20_000
MOST_TAGS = 50


def tidy_name(name: str) -> str:
    """One line of text without doubled spaces or control characters; a PydanticCustomError when nothing is left."""
    tidy = " ".join("".join(char if char.isprintable() else " " for char in name).split())
    if not tidy:
        raise refuse("empty_name", "A name needs at least one visible character.")
    return tidy


def tidy_tags(tags: list[str]) -> list[str]:
    """Each tag once, in order, without surrounding spaces."""
    tidy = [" ".join(tag.split()) for tag in tags]
    if wrong := next((tag for tag in tidy if not tag or len(tag) > TAG_CHARACTERS), None):
        raise refuse(
            "tag_length", "The tag “{tag}…” is longer than {most} characters.", tag=wrong[:20], most=TAG_CHARACTERS
        )
    return list(dict.fromkeys(tag for tag in tidy if tag))


class Labels(BaseModel):
    """What people may change about a run at any time; None leaves it as it is."""

    model_config = ConfigDict(extra="forbid")
    name: str | None = Field(
        None, min_length=1, max_length=200, title="Name", description="Free text of 1 to 200 characters."
    )
    tags: list[str] | None = Field(None, max_length=MOST_TAGS, title="Tags")
    notes: str | None = Field(None, max_length=NOTES_CHARACTERS, title="Notes")

    @field_validator("name")
    @classmethod
    def _name(cls, name: str | None) -> str | None:
        return name if name is None else tidy_name(name)

    @field_validator("tags")
    @classmethod
    def _tags(cls, tags: list[str] | None) -> list[str] | None:
        return tags if tags is None else tidy_tags(tags)


class Launch(Labels):
    """The body of POST /api/v1/runs."""

    preset: str | None = Field(
        None, max_length=200, title="Preset", description="Starting point; `config` is merged over it."
    )
    config: dict[str, Any] = Field(default_factory=dict, title="Configuration", description="Any part of RunConfig.")
    worker: str | None = Field(
        None, pattern=f"^{ids.PATTERN}$", title="Worker", description="Only this worker may take it (w-02)."
    )
    source: Literal["worker", "external"] = Field(
        "worker", description="external: no worker; a client posts the batches itself."
    )
    cloned_from: str | None = Field(
        None, pattern=f"^{ids.PATTERN}$", description="The run this one was cloned from (r-0001)."
    )


def resolve_config(launch: Launch) -> RunConfig:
    """The preset's or the default configuration with the launch's part merged over it.

    Raises Invalid with pointers into the launch (/preset, /config/schedule/lr).
    """
    base = RunConfig().model_dump()
    if launch.preset is not None:
        if launch.preset not in PRESETS:
            near = difflib.get_close_matches(launch.preset, PRESETS, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise Invalid([FieldError("/preset", f"is not a preset; {hint}There are: {', '.join(PRESETS)}")])
        base = PRESETS[launch.preset].config.model_dump()
    try:
        return RunConfig.model_validate(merged(base, launch.config))
    except ValidationError as error:
        raise from_pydantic(error, "/config", RunConfig) from None


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`changes` over `base`, section by section; what does not fit is left for RunConfig to refuse."""
    merged = dict(base)
    for section, fields in changes.items():
        here = merged.get(section)
        merged[section] = here | fields if isinstance(here, dict) and isinstance(fields, dict) else fields
    return merged


def default_name(preset: str | None, config: RunConfig, dataset: Dataset) -> str:
    """ "tiny python-stdlib wd0.1": what it is, what it reads, how it is decayed."""
    size = preset or f"{config.model.n_layer}×{config.model.n_embd}"
    return f"{size} {dataset.name} wd{config.optim.weight_decay:g}"[:200]


def check_data(config: RunConfig, dataset: Dataset) -> None:
    """Refuse a context longer than the data, and boundaries that nothing marks, where the data are known already."""
    if dataset.manifest is None:
        return
    manifest = Manifest.model_validate(dataset.manifest)
    if config.data.boundaries == "respect" and (manifest.tokenizer.eot is None or manifest.split_rule == "tail"):
        told = (
            f"cannot be respected on {dataset.name}: no end-of-text stands between its documents; take ignore, or prepare"
            " the text again with a split by hash and a tokenizer that has end-of-text"
        )
        raise Invalid([FieldError("/config/data/boundaries", told)])
    for split, tokens in (("training", manifest.train.tokens), ("validation", manifest.val.tokens)):
        if tokens <= config.model.block_size:
            raise Invalid(
                [
                    FieldError(
                        "/config/model/block_size",
                        f"needs windows of {config.model.block_size + 1:,} tokens, but the {split} split of {dataset.name}"
                        f" has only {tokens:,}; take a shorter context or a larger dataset",
                    )
                ]
            )


def dataset_of(tx: Tx, config: RunConfig, *, now: float) -> Dataset:
    """The dataset that the config names; "builtin" is entered when it is not there yet."""
    if config.data.dataset == "builtin":
        return datasets.ensure_builtin(tx, now)
    try:
        return datasets.get(tx, config.data.dataset)
    except NotFound as error:
        raise Invalid([FieldError("/config/data/dataset", error.detail)]) from None


def remembered(tx: Tx, key: str, body_sha256: str, *, now: float) -> int | None:
    """The run that this Idempotency-Key made within 24 h. Raises Invalid when it was for another body."""
    if not 1 <= len(key) <= 200:
        raise Invalid([FieldError("/Idempotency-Key", "must have 1 to 200 characters")])
    known = tx.session.get(IdempotencyKey, key)
    if known is None or now - known.created_at > KEY_LIFE_S:
        return None
    if known.body_sha256 != body_sha256:
        used = ids.show("run", known.noun_id)
        raise Invalid(
            [FieldError("/Idempotency-Key", f"was used for another launch ({used}); take a new key for a new run")]
        )
    return known.noun_id


def remember(tx: Tx, key: str, body_sha256: str, run_id: int, *, now: float) -> None:
    tx.raw.execute("DELETE FROM idempotency WHERE created_at < ?", (now - KEY_LIFE_S,))
    tx.session.merge(IdempotencyKey(key=key, body_sha256=body_sha256, noun_id=run_id, created_at=now))
