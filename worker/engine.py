"""Everything one attempt trains with, built from its job: data, network, optimiser, arithmetic; a checkpoint put back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, Field

from app.contract import decayed
from app.contract.config import RunConfig
from worker import allocator, checkpoint, devices, fork, optim, sharing, signals
from worker.corpus import Corpus
from worker.devices import NumericPath
from worker.fork import Origin
from worker.keeper import Keeper, Misfit, restore
from worker.loop import Loop
from worker.model import GPT
from worker.processes import ALONE, Alone
from worker.relief import Relief
from worker.report import Sink


class Job(BaseModel):
    """RUN_DIR/config.json, written by the agent."""

    run: str
    attempt: int = Field(ge=1)
    config: RunConfig
    dataset_dir: Path
    resume: Path | None = None  #: a checkpoint's folder
    fork: Origin | None = None  #: the run does not begin at step 0 but there
    numeric_path: dict[str, Any] | None = None  #: a sibling's, whose choices it takes where it has none of its own
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
    changed: Mapping[str, tuple[Any, Any]] | None  #: by a fork that starts now, {"optim.beta2": (before, after)}


def build(job: Job, keeper: Keeper, journal: Sink, processes: Alone = ALONE) -> Engine:
    """Raises what worker.endings knows: a device or data that is not there, a checkpoint that does not fit."""
    config = job.config
    device = processes.begin(devices.choose(config.system.device, job.device), config.system.seed)
    found = keeper.to_go_on_from(job.resume) if processes.leads else None
    folder = processes.first(str(found) if found else None)
    saved = Path(folder) if folder else None
    if job.fork and not saved:
        raise Misfit(
            f"No undamaged checkpoint is left here that this fork could go on from; fork {job.fork.run} again."
        )
    weights, moments, state = checkpoint.load(saved) if saved else ({}, {}, {})
    changed = fork.changes(state, config) if job.fork and state["run"] != job.run else None
    differs = frozenset(changed or ())

    fresh = replace(devices.numeric_path(config.system, device), processes=processes.count)
    keeps_path = bool(saved) and not differs & fork.ARITHMETIC
    shared = None if keeps_path else sharing.as_its_sibling(job.numeric_path, fresh, config.system)
    path = devices.resumed_path(state["numeric_path"], fresh) if keeps_path else shared or fresh
    torch.set_num_threads(path.threads)
    if device.type == "cpu":
        allocator.keep_freed_memory()

    corpus = Corpus(job.dataset_dir, config)
    corpus.check(state, other_data="data.dataset" in differs)
    torch.manual_seed(config.system.seed)  # of every device
    m, o = config.model, config.optim
    vocab_size = corpus.vocab_size(m.pad_vocab)
    model = GPT(vocab_size, **m.model_dump(exclude={"pad_vocab"})).to(device)
    model.transformer.recompute = config.system.recompute
    model.transformer.eot = corpus.eot
    if "system.seed" in differs:  # another seed, other random numbers: the checkpoint's are left behind
        moments = {name: tensor for name, tensor in moments.items() if not name.startswith("rng/")}
    corpus.begin(moments, state, afresh="data.dataset" in differs)
    recipe = o.model_dump(exclude={"clip", "decay_schedule", "decayed", "decay_pattern"})
    optimizer = optim.build(model, peak=config.schedule.lr, decays=decayed.chosen(o.decayed, o.decay_pattern), **recipe)
    if saved:
        restore(model, optimizer, weights, moments, device)
    tokens = config.batch.micro_batch * m.block_size
    if keeps_path:
        path = devices.possible(path, model, tokens)
    else:
        path = devices.fitted(path, model, vocab_size, tokens, config.system.chunked_loss, shared)
    path = NumericPath(**processes.first(asdict(path)))  # what one process has measured holds for all
    if device.type == "cpu" and path.loss_rows:
        allocator.keep_freed_memory(large=True)
    devices.follow(path, model)
    if odd := processes.unlike(dict(model.named_parameters()) | optim.moments(optimizer)):
        raise Misfit(f"The {processes.count} processes did not load the same state: {', '.join(odd[:3])} differ.")
    loop = Loop(
        model, optimizer, corpus.batches,
        clip=o.clip, device=device, dtype=path.dtype, compiled=path.compile, tf32=path.tf32,
        processes=processes,
    )  # fmt: skip
    loop.scaler.load_state_dict(state.get("scaler") or loop.scaler.state_dict())
    cut = None if {"batch.micro_batch", "batch.accumulation"} & differs else state.get("batch")
    relief = Relief(loop, journal, cut or sharing.cut(job.numeric_path) if shared else cut)
    return Engine(path, corpus, model, signals.metric_groups(model), optimizer, loop, relief, state, changed)


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
    if job.fork and engine.changed is not None:
        text = fork.told(job.fork, engine.changed, engine.optimizer, job.config.optim.optimizer)
        journal.event("fork", step, text=text, run=job.fork.run)
    if job.attempt > 1:
        # Points that an earlier attempt wrote after this step are taken back; these follow in their place.
        text = f"Going on from the checkpoint of step {step}." if state else "Starting afresh."
        journal.event("resume", step, text=text, first_step=step)
    if state and not (engine.changed and fork.ARITHMETIC & set(engine.changed)):
        if changes := NumericPath(**state["numeric_path"]).differences(path):
            journal.event("alarm", step, text=f"Not bit-exact from step {step} on: {'; '.join(changes)}.")
    elif job.numeric_path:
        kind, text = sharing.told(job.numeric_path, path, job.run)
        journal.event(kind, step, text=text, run=job.numeric_path.get("run"))
