"""Everything one attempt trains with, built from its job: data, network, optimiser, arithmetic; a checkpoint put back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, Field

from app.contract.config import RunConfig
from worker import checkpoint, devices, optim, signals
from worker.corpus import Corpus
from worker.devices import NumericPath
from worker.keeper import Keeper, restore
from worker.loop import Loop
from worker.model import GPT
from worker.relief import Relief
from worker.report import Sink


class Job(BaseModel):
    """RUN_DIR/config.json, written by the agent."""

    run: str
    attempt: int = Field(ge=1)
    config: RunConfig
    dataset_dir: Path
    resume: Path | None = None  #: a checkpoint's folder
    device: str = "auto"  #: the worker's own: cpu, mps, cuda:0
    journal: Path | None = None  #: None: RUN_DIR/journal/a<attempt>.journal


@dataclass(frozen=True)
class Engine:
    """What `build` made; `state` is the checkpoint's state.json, or {} for a run that starts afresh."""

    path: NumericPath
    corpus: Corpus
    model: GPT
    groups: dict[str, list[torch.nn.Parameter]]  #: by group of metrics
    optimizer: torch.optim.Optimizer
    loop: Loop
    relief: Relief
    state: Mapping[str, Any]


def build(job: Job, keeper: Keeper, journal: Sink) -> Engine:
    """Raises what worker.endings knows: a device or data that is not there, a checkpoint that does not fit."""
    config = job.config
    saved = keeper.to_go_on_from(job.resume)
    weights, moments, state = checkpoint.load(saved) if saved else ({}, {}, {})

    device = devices.choose(config.system.device, job.device)
    fresh = devices.numeric_path(config.system, device)
    path = devices.resumed_path(state["numeric_path"], fresh) if saved else fresh
    torch.set_num_threads(path.threads)

    corpus = Corpus(job.dataset_dir, config, state.get("dataset_sha256"))
    torch.manual_seed(config.system.seed)  # of every device
    m, o = config.model, config.optim
    vocab_size = corpus.vocab_size(m.pad_vocab)
    model = GPT(vocab_size, **m.model_dump(exclude={"pad_vocab"})).to(device)
    model.transformer.recompute = config.system.recompute
    corpus.begin(moments, state.get("step", 0))
    recipe = o.model_dump(exclude={"clip", "decay_schedule"})
    optimizer = optim.build(model, peak=config.schedule.lr, **recipe)
    if saved:
        restore(model, optimizer, weights, moments, device)
    tokens = config.batch.micro_batch * m.block_size
    if saved:
        path = devices.possible(path, model, tokens)
    else:
        path = devices.fitted(path, model, vocab_size, tokens, config.system.chunked_loss)
    devices.follow(path, model)
    loop = Loop(
        model, optimizer, corpus.batches,
        clip=o.clip, device=device, dtype=path.dtype, compiled=path.compile, tf32=path.tf32,
    )  # fmt: skip
    loop.scaler.load_state_dict(state.get("scaler") or loop.scaler.state_dict())
    relief = Relief(loop, journal, state.get("batch"))
    return Engine(path, corpus, model, signals.metric_groups(model), optimizer, loop, relief, state)


def announce(engine: Engine, job: Job, journal: Sink) -> None:
    """What the pages show of the engine, and what is not as it was when the run was last under way."""
    path, state = engine.path, engine.state
    everything, _, no_embedding = engine.model.parameter_counts()
    journal.telemetry(
        **asdict(path),
        parameters=everything,
        parameters_no_embedding=no_embedding,
        vocab_size=engine.model.transformer.wte.num_embeddings,
        tokens_per_step=job.config.tokens_per_step,
        flops_per_token=engine.model.flops_per_token(),
        peak_flops=devices.peak_flops(path),
        **engine.relief.cut(),
        eval_windows=engine.corpus.eval_count,
        train_tokens=engine.corpus.manifest.train.tokens,
        val_tokens=engine.corpus.manifest.val.tokens,
    )
    step = state.get("step", 0)
    if job.attempt > 1:
        # Points that an earlier attempt wrote after this step are taken back; these follow in their place.
        text = f"Going on from the checkpoint of step {step}." if state else "Starting afresh."
        journal.event("resume", step, text=text, first_step=step)
    if state and (changes := NumericPath(**state["numeric_path"]).differences(path)):
        journal.event("alarm", step, text=f"Not bit-exact from step {step} on: {'; '.join(changes)}.")
