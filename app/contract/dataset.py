"""Datasets: what a person asks for (DatasetSpec) and what a preparation leaves behind (Manifest)."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core.core_schema import ValidationInfo

from app.contract.setting import Section, refuse, setting

SHA256 = r"[0-9a-f]{64}"
Sha256 = Annotated[str, Field(pattern=f"^{SHA256}$")]


class SourceFile(Section):
    """One file of a source: an uploaded artifact (sha256), or a file or folder under one of the worker's data roots."""

    name: str = Field(min_length=1, max_length=500, description="The file's name, for people; never used as a path.")
    sha256: Sha256 | None = Field(None, description="An uploaded artifact.")
    path: str | None = Field(
        None,
        max_length=4096,
        description="A file on the worker's disk, under one of its data roots; or a folder, which means all files of the kind below it.",
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
    kind: Literal["bpe", "gpt2", "bytes", "characters", "r50k_base", "p50k_base", "cl100k_base", "o200k_base"] = setting(
        "bpe", "Tokenizer",
        "bpe: byte pairs learnt from this text. gpt2: GPT-2's own 50,257. bytes: 256 values. characters: each distinct character. r50k_base (GPT-2's as well), p50k_base, cl100k_base (GPT-4's 100,277), o200k_base (GPT-4o's 200,019): tiktoken's; past 65,536 entries a token takes four bytes instead of two.",
    )  # fmt: skip
    vocab_size: int = setting(
        4096,
        "Vocabulary",
        "Entries of a byte-pair vocabulary learnt here, end-of-text included.",
        unit="tokens",
        ge=257,
        le=65536,
    )


class HubSpec(Section):
    """For kind hub: files of a dataset on the Hugging Face hub."""

    repo: str = setting(
        "", "Dataset on the hub", "Its id there, owner/name, such as HuggingFaceFW/fineweb-edu.",
        max_length=200, pattern=r"^([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)?$",
    )  # fmt: skip
    revision: str = setting(
        "main", "Revision", "A branch, tag or commit; the commit that it meant is recorded in the manifest.",
        max_length=200, pattern=r"^[A-Za-z0-9][\w./-]*$",
    )  # fmt: skip
    pattern: str = setting(
        "*.parquet", "Files on the hub", "Which of its files; * stands for anything: sample/10BT/*.parquet. All of one kind: parquet, JSON lines or text.",
        min_length=1, max_length=500,
    )  # fmt: skip


class DatasetSpec(Section):
    """What to prepare and how. Equal specs over equal files give byte-identical tokens."""

    name: str = Field(min_length=1, max_length=200, title="Name")
    kind: Literal["builtin", "parquet", "jsonl", "text", "tokens", "hub"] = setting(
        "text", "Source",
        "builtin: the Python standard library's own source text. parquet: a text column. text: UTF-8 files; a form feed starts a new document. A file without one is one document; where there are fewer than 100 files, it is cut at blank lines into passages of about 2,000 characters, so that some can be kept for validation. jsonl: JSON lines, also .gz or .zst. tokens: nanoGPT's train.bin and val.bin with their meta.pkl, taken as they are. hub: files of a dataset on the Hugging Face hub.",
    )  # fmt: skip
    files: tuple[SourceFile, ...] = Field((), title="Files", max_length=10_000)
    hub: HubSpec = HubSpec()
    text_column: str = setting(
        "auto", "Text column",
        "The parquet column or JSON field that holds the text. auto: as the known corpora name it (text, content, story, …), else the only one of text.",
        min_length=1, max_length=200,
    )  # fmt: skip
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
    drop_duplicates: Literal["none", "exact", "normalised"] = setting(
        "none", "Remove copies",
        "Of documents that are equal, only the first stays. exact: equal character for character. normalised: equal in lower case with white space collapsed.",
    )  # fmt: skip
    drop_leaked_val: bool = setting(
        False, "Remove leaked validation",
        "Leaves out validation documents that train has too, in lower case with white space collapsed. Equal texts never end up on both sides; this is for copies in another layout.",
    )  # fmt: skip

    @field_validator("files")
    @classmethod
    def _files_when_needed(cls, files: tuple[SourceFile, ...], info: ValidationInfo) -> tuple[SourceFile, ...]:
        kind = info.data.get("kind")
        if kind == "builtin" and files:
            raise refuse("builtin_takes_no_files", "The built-in dataset takes no files; choose another source.")
        if kind == "hub" and files:
            raise refuse("hub_takes_no_files", "A dataset from the hub takes no files; its pattern says which.")
        if kind in ("parquet", "jsonl", "text", "tokens") and not files:
            raise refuse("no_files", "No files: upload at least one, or name a path on the worker.")
        return files

    @field_validator("drop_duplicates", "drop_leaked_val")
    @classmethod
    def _documents_to_drop(cls, drop: Any, info: ValidationInfo) -> Any:
        if drop in ("none", False):
            return drop
        if info.data.get("kind") == "tokens":
            raise refuse("tokens_stay", "Token files are taken as they are; nothing can be removed from them.")
        if info.data.get("split") == "tail":
            raise refuse("no_documents", "A split by the tail knows no documents to remove; split by hash.")
        return drop

    @field_validator("hub")
    @classmethod
    def _hub_when_asked(cls, hub: HubSpec, info: ValidationInfo) -> HubSpec:
        if info.data.get("kind") == "hub" and not hub.repo:
            raise refuse("no_repo", "Which dataset of the hub? Give its id, owner/name.")
        if "kind" in info.data and info.data["kind"] != "hub" and hub.repo:
            raise refuse("hub_unused", "A dataset on the hub is named, but the source is another one; choose hub.")
        return hub


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
    padded_vocab_size: int | None = None  #: what a model with pad_vocab has rows for: the next multiple of 64


class Removed(Record):
    """Documents that a preparation left out because it was asked to."""

    train_duplicates: int = 0  #: copies that would be in train
    val_duplicates: int = 0
    leaked_val: int = 0  #: validation documents that train has too
    text_bytes: int = 0  #: UTF-8 bytes of all of them


class LanguageCount(Record):
    """Documents whose source calls them this language."""

    language: str  #: as the source writes it; empty: it says nothing
    documents: int


class PreviewDocument(Record):
    text: str  #: its beginning
    tokens: list[str] = []  #: the pieces of text that each token stands for
    ids: list[int] = []
    chosen: Literal["first", "random"] = "first"  #: random: at places spread evenly over the token files
    document: int | None = None  #: its number in the order read, from 0, empty ones not counted; None: not known
    characters: int | None = None  #: of the whole document
    split: Literal["train", "val"] | None = None


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
    split_rule: Literal["hash", "tail", "given"] | None = (
        None  #: given: train and val came as two files; None: hash, of before it was told
    )
    empty_documents: int = 0
    preview: list[PreviewDocument] = []
    faults: int = 0  #: single records that were left out or mended
    first_faults: list[str] = []  #: some of them: file, row or line, and what became of it
    removed: Removed | None = None  #: None: nothing was asked to be removed
    languages: list[LanguageCount] = []  #: most frequent first; empty where no column of the source says it
    recipe: Sha256 | None = None  #: of everything the tokens follow from; equal recipes are prepared once


class PrepareProgress(Record):
    """A preparing worker's telemetry."""

    phase: str = "reading"  #: reading | vocabulary | tokens | sending
    share: float | None = None  #: 0..1 of the phase
    documents: int = 0
    text_mb: float = 0.0
    tokens: int = 0
    mb_per_s: float | None = None
    eta_s: float | None = None
    came_by: str = (
        "new"  #: new | resumed (an interrupted preparation goes on) | reused (prepared before on this worker)
    )
