"""Runs from elsewhere: the log that is imported, and the facts about its run that a person can supply."""

from typing import Any, Literal

from pydantic import Field, field_validator

from app.contract.dataset import Sha256
from app.contract.setting import Section, refuse, setting

MOST_TEXT = 16 << 20
"""Characters of a log that is sent as text; a longer one is uploaded first."""
MOST_CONFIG = 50_000


class RunFacts(Section):
    """What neither a log nor a config says, and some verdicts wait for."""

    train_tokens: int | None = setting(
        None, "Training tokens", "In the whole training split: the size of train.bin divided by 2 (uint16).", unit="tokens", ge=1, le=10**15
    )  # fmt: skip
    val_tokens: int | None = setting(
        None, "Validation tokens", "In the whole validation split: the size of val.bin divided by 2.", unit="tokens", ge=1, le=10**15
    )  # fmt: skip
    device: str | None = setting(
        None, "Device", "The accelerator's name, as nvidia-smi shows it.", usual="NVIDIA GeForce RTX 4070", min_length=1, max_length=100
    )  # fmt: skip
    peak_flops: float | None = setting(
        None, "Peak of the device", "Dense FLOP/s at the run's precision, from the data sheet.", unit="FLOP/s", usual="312e12 for an A100", gt=0, le=1e18
    )  # fmt: skip
    vocab_size: int | None = setting(
        None, "Vocabulary", "Rows of the token embedding, padding included.", unit="tokens", usual="50304 for GPT-2's", ge=2, le=10_000_000
    )  # fmt: skip
    parameters: int | None = setting(
        None, "Parameters", "Of the whole model, a tied embedding counted once.", ge=1, le=10**13
    )
    tokens_per_step: int | None = setting(
        None, "Tokens per step", "Micro-batch × accumulation × context, over all devices.", unit="tokens", ge=1, le=10**12
    )  # fmt: skip
    steps: int | None = setting(None, "Planned steps", "Of the whole run, however far the log goes.", unit="steps", ge=1, le=100_000_000)  # fmt: skip

    @field_validator(
        "train_tokens", "val_tokens", "vocab_size", "parameters", "tokens_per_step", "steps", mode="before"
    )
    @classmethod
    def _as_people_write(cls, value: Any) -> Any:
        """7e8 and "700,000,000" are whole numbers too."""
        if isinstance(value, str):
            value = value.replace(",", "").replace("_", "").replace(" ", "")
            try:
                value = float(value) if not value.isdecimal() else int(value)
            except ValueError:
                return value
        return int(value) if isinstance(value, float) and value.is_integer() else value

    @field_validator("device", mode="before")
    @classmethod
    def _a_number_is_a_name(cls, value: Any) -> Any:
        """device=4070 on a command line."""
        return str(value) if type(value) is int else value


class Told(Section):
    """What is told about a run from elsewhere beside its log."""

    config: str = Field(
        "", max_length=MOST_CONFIG, title="Config file",
        description="nanoGPT's config file as text. It is read, never executed; code in it is noted and skipped.",
    )  # fmt: skip
    args: str = Field(
        "", max_length=MOST_CONFIG, title="Command line", description="`python train.py config/x.py --name=value …`; it overrules the file.",
    )  # fmt: skip
    facts: RunFacts = Field(default_factory=RunFacts, title="Facts")


class LogFacts(Section):
    """What a log says of its run beside its measurements."""

    tokens_per_step: int | None = Field(None, ge=1, le=10**12)
    vocab_size: int | None = Field(None, ge=1, le=10**12)
    parameters_printed: int | None = Field(
        None, ge=1, le=10**13, description="nanoGPT's count, without the positions' table."
    )
    parameters_all: int | None = Field(None, ge=1, le=10**13, description="Decayed and not decayed together.")
    fixed_eval: bool | None = Field(None, description="The same windows at every evaluation.")
    train_loss_is: Literal["batch mean", "last micro-batch"] | None = None
    train_loss_mode: Literal["train", "eval"] | None = None
    mfu_peak_flops: float | None = Field(None, gt=0, le=1e18, description="FLOP/s that its MFU is a share of.")
    pretrained: bool | None = None
    replays_data: bool | None = Field(None, description="A resume draws the same batches again.")


class LogTold(Section):
    """What the reader of a growing log has found so far, beside its points."""

    format: str = Field("", max_length=40)
    facts: LogFacts = Field(default_factory=LogFacts)
    resumes: tuple[int, ...] = Field((), max_length=1000)
    config: str = Field("", max_length=MOST_CONFIG)
    command: str = Field("", max_length=4000)
    last_step: int = Field(0, ge=0, le=2**53)
    log_every: int | None = Field(None, ge=1, le=2**53)
    finite: bool = True


class FactsChange(Section):
    """Facts about a run from elsewhere, supplied later; what is not given stays, null takes a fact back."""

    config: str | None = Field(None, max_length=MOST_CONFIG, title="Config file")
    args: str | None = Field(None, max_length=MOST_CONFIG, title="Command line")
    facts: RunFacts = Field(default_factory=RunFacts, title="Facts")


class LogImport(Told):
    """A log, to become a run with curves and a diagnosis."""

    text: str | None = Field(None, max_length=MOST_TEXT, title="Log", description="The log itself.")
    sha256: Sha256 | None = Field(
        None, title="Upload", description="Of a file that was uploaded (PUT /artifacts/{sha256}): a long log, or TensorBoard's."
    )  # fmt: skip
    name: str | None = Field(None, min_length=1, max_length=200, title="Name", description="Of the run.")
    live: bool = Field(
        False, title="Live", description="The log is still growing: the answer holds the claim with which a client posts the batches."
    )  # fmt: skip
    log: LogTold = Field(
        default_factory=LogTold, title="What the log told", description="With live: what its reader has found so far; `plateau watch FILE` sends it."
    )  # fmt: skip

    @field_validator("live")
    @classmethod
    def _nothing_else(cls, live: bool, info: Any) -> bool:
        given = [key for key in ("text", "sha256") if info.data.get(key)]
        if len(given) + live > 1:
            raise refuse("one_source", "Give either the log's text, or the sha256 of its upload, or live.")
        return live
