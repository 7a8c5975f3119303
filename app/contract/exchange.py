"""Checkpoints from and to other projects: which files, and in which of two formats."""

from typing import Literal

from pydantic import Field, field_validator
from pydantic_core.core_schema import ValidationInfo

from app.contract.dataset import SourceFile
from app.contract.setting import Section, refuse

Format = Literal["nanogpt", "gpt2"]
FORMAT = "nanogpt: train.py's ckpt.pt. gpt2: model.safetensors and config.json, as Hugging Face has them."
GPT2_FILES = ("model.safetensors", "config.json")


class CheckpointImport(Section):
    """A checkpoint from elsewhere, to become a run from which one can sample, fork and export."""

    format: Format = Field("nanogpt", title="Format", description=FORMAT)
    files: tuple[SourceFile, ...] = Field(
        min_length=1,
        max_length=2,
        title="Files",
        description="One ckpt.pt; or model.safetensors and config.json, by these names.",
    )
    name: str | None = Field(None, min_length=1, max_length=200, title="Name", description="Of the run.")
    dataset: str | None = Field(
        None, min_length=1, max_length=200, title="Dataset",
        description="Whose tokens it was trained on: an id or a name. Without one the run can be sampled where its vocabulary is GPT-2's.",
    )  # fmt: skip
    worker: str | None = Field(None, max_length=40, title="Worker", description="Only this worker may take it (w-02).")

    @field_validator("files")
    @classmethod
    def _those_of_the_format(cls, files: tuple[SourceFile, ...], info: ValidationInfo) -> tuple[SourceFile, ...]:
        if any(file.sha256 is None and file.path is None for file in files):
            raise refuse("no_place", "Each file needs a sha256 (an upload) or a path (on the worker's disk).")
        names = sorted(file.name for file in files)
        if info.data.get("format") == "gpt2" and names != sorted(GPT2_FILES):
            raise refuse("gpt2_files", "A GPT-2 is two files, named model.safetensors and config.json.")
        if info.data.get("format") == "nanogpt" and len(files) != 1:
            raise refuse("nanogpt_file", "A checkpoint of nanoGPT is one file, ckpt.pt.")
        return files


class CheckpointExport(Section):
    """Which of a run's checkpoints, and as whose files."""

    at: str = Field(
        "last", title="Checkpoint", max_length=40,
        description="last: the newest. best: the one with the lowest validation loss. A step, or a checkpoint's id (c-0001).",
    )  # fmt: skip
    format: Format = Field("nanogpt", title="Format", description=FORMAT)
