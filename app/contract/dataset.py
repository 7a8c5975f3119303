"""Datasets: what a person asks for (DatasetSpec) and what a preparation leaves behind (Manifest)."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core.core_schema import ValidationInfo

from app.contract.setting import Section, refuse, setting

SHA256 = r"[0-9a-f]{64}"
Sha256 = Annotated[str, Field(pattern=f"^{SHA256}$")]


class SourceFile(Section):
    """One file of a source: an uploaded artifact (sha256) or a path under one of the worker's data roots."""

    name: str = Field(min_length=1, max_length=500, description="The file's name, for people; never used as a path.")
    sha256: Sha256 | None = Field(None, description="An uploaded artifact.")
    path: str | None = Field(
        None, max_length=4096, description="A file on the worker's disk, under one of its data roots."
    )

    @field_validator("path")
    @classmethod
    def _one_place(cls, path: str | None, info: ValidationInfo) -> str | None:
        if path is not None and info.data.get("sha256") is not None:
            raise refuse(
                "two_places", "Give either sha256 (an upload) or path (a file on the worker's disk), not both."
            )
        return path


class TokenizerSpec(Section):
    kind: Literal["bpe", "gpt2", "bytes", "characters"] = setting(
        "bpe", "Tokenizer",
        "bpe: byte pairs learnt from this text. gpt2: GPT-2's own 50,257. bytes: 256 values. characters: each distinct character.",
    )  # fmt: skip
    vocab_size: int = setting(
        4096,
        "Vocabulary",
        "Entries of a byte-pair vocabulary learnt here, end-of-text included.",
        unit="tokens",
        ge=257,
        le=65536,
    )


class DatasetSpec(Section):
    """What to prepare and how. Equal specs over equal files give byte-identical tokens."""

    name: str = Field(min_length=1, max_length=200, title="Name")
    kind: Literal["builtin", "parquet", "text"] = setting(
        "text", "Source",
        "builtin: the Python standard library's own source text. parquet: a text column. text: UTF-8 files; a form feed starts a new document. A file without one is one document; where there are fewer than 100 files, it is cut at blank lines into passages of about 2,000 characters, so that some can be kept for validation.",
    )  # fmt: skip
    files: tuple[SourceFile, ...] = Field((), title="Files", max_length=10_000)
    text_column: str = setting(
        "text", "Text column", "The parquet column that holds the text.", min_length=1, max_length=200
    )
    tokenizer: TokenizerSpec = TokenizerSpec()
    val_share: float = setting(
        0.1, "Validation share", "Share of documents kept for validation, chosen by a hash of their text, so equal texts never end up on both sides.",
        gt=0, le=0.5,
    )  # fmt: skip
    layout: Literal["plateau", "nanogpt"] = setting(
        "plateau", "Layout", "plateau: end-of-text before each document. nanogpt: after it."
    )
    split: Literal["hash", "tail"] = setting(
        "hash", "Split",
        "hash: each document goes to the side that a hash of its text gives, so equal texts never end up on both. tail: the last share of the text's characters is validation, in one piece, each side tokenised by itself and without end-of-text, as nanoGPT prepares Shakespeare.",
    )  # fmt: skip

    @field_validator("files")
    @classmethod
    def _files_when_needed(cls, files: tuple[SourceFile, ...], info: ValidationInfo) -> tuple[SourceFile, ...]:
        kind = info.data.get("kind")
        if kind == "builtin" and files:
            raise refuse("builtin_takes_no_files", "The built-in dataset takes no files; choose parquet or text.")
        if kind in ("parquet", "text") and not files:
            raise refuse("no_files", "No files: upload at least one, or name a path on the worker.")
        return files


class Record(BaseModel):
    """Written by a worker, read by both sides; unknown fields of a later version are kept."""

    model_config = ConfigDict(extra="allow")


class Shard(Record):
    file: str  #: file name inside the dataset's folder
    sha256: Sha256
    bytes: int
    tokens: int


class Split(Record):
    tokens: int
    documents: int
    text_bytes: int  #: UTF-8 bytes of its documents
    shards: list[Shard]


class TokenizerInfo(Record):
    kind: str
    vocab_size: int  #: entries in use, end-of-text included
    eot: int | None  #: id of end-of-text; None for character vocabularies of one document
    sha256: str  #: of the vocabulary's file, or of its name where it has none
    file: str | None = None  #: tokenizer file inside the dataset's folder


class PreviewDocument(Record):
    text: str
    tokens: list[str] = []  #: the pieces of text that each token stands for
    ids: list[int] = []


class Manifest(Record):
    """What is in a prepared dataset; manifest.json, written last. Its sha256 is the data's name for runs."""

    version: Literal[1] = 1
    spec: DatasetSpec
    sources: list[dict[str, Any]]  #: [{name, bytes, sha256}]
    tokenizer: TokenizerInfo
    dtype: Literal["uint16", "uint32"]
    train: Split
    val: Split
    bytes_per_token: float
    unigram_entropy: float  #: nats per token, over train: what a model that knows only frequencies scores
    empty_documents: int = 0
    preview: list[PreviewDocument] = []


class PrepareProgress(Record):
    """A preparing worker's telemetry."""

    phase: str = "reading"  #: reading | vocabulary | tokens | sending
    share: float | None = None  #: 0..1 of the phase
    documents: int = 0
    text_mb: float = 0.0
    tokens: int = 0
    mb_per_s: float | None = None
    eta_s: float | None = None
