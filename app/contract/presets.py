"""Starting points for the launch form, and the weight decay of real models with where each value comes from."""

from typing import Any, NamedTuple

from app.contract.config import RunConfig


class Preset(NamedTuple):
    key: str
    title: str
    summary: str  #: one line under the title
    origin: str  #: where its numbers come from
    config: RunConfig


def _preset(key: str, title: str, summary: str, origin: str, **sections: dict[str, Any]) -> Preset:
    return Preset(key, title, summary, origin, RunConfig.model_validate(sections))


PRESETS: dict[str, Preset] = {
    preset.key: preset
    for preset in (
        _preset(
            "tiny", "Tiny", "4 × 128 · minutes on a CPU", "nanoGPT's CPU recipe with a longer context",
            model={"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 128},
            batch={"micro_batch": 12},
            schedule={"steps": 1000, "lr": 1e-3, "min_lr": 1e-4, "warmup_steps": 50},
            optim={"weight_decay": 0.1, "beta2": 0.99},
            eval={"every": 100, "windows": 64},
            checkpoint={"every": 250},
        ),
        _preset(
            "modern", "Tiny, modern", "4 × 128 · Muon, in 0.6 of Tiny's steps", "the switches of modded-nanogpt and nanochat on Tiny's shape",
            model={
                "n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 128, "activation": "relu2", "positions": "rope",
                "qk_norm": True, "zero_init": True, "tied_head": False, "softcap": 15.0,
            },
            batch={"micro_batch": 12},
            schedule={"steps": 600, "lr": 6e-3, "min_lr": 0.0, "warmup_steps": 20, "shape": "linear"},
            optim={"optimizer": "muon", "weight_decay": 0.1, "beta2": 0.95},
            eval={"every": 100, "windows": 64},
            checkpoint={"every": 200},
        ),
        _preset(
            "shakespeare", "Shakespeare", "6 × 384 · minutes on a GPU", "nanoGPT config/train_shakespeare_char.py",
            model={"n_layer": 6, "n_head": 6, "n_embd": 384, "block_size": 256, "dropout": 0.2},
            data={"sampler": "random"},
            batch={"micro_batch": 64},
            schedule={"steps": 5000, "lr": 1e-3, "min_lr": 1e-4, "warmup_steps": 100},
            optim={"weight_decay": 0.1, "beta2": 0.99},
            eval={"every": 250, "windows": 400},
            checkpoint={"every": 1000},
        ),
        _preset(
            "fineweb-40m", "FineWeb 40M", "12 × 384 · one parquet file", "a day on one 12 GB card, 524,288 tokens a step",
            model={"n_layer": 12, "n_head": 12, "n_embd": 384, "block_size": 1024, "dropout": 0.1},
            batch={"micro_batch": 16, "accumulation": 32},
            schedule={"steps": 20_000, "lr": 1e-3, "min_lr": 1e-4, "warmup_steps": 500},
            optim={"weight_decay": 0.1, "beta2": 0.99},
            eval={"every": 250, "windows": 800},
            checkpoint={"every": 1000},
        ),
        _preset(
            "gpt2-124m", "GPT-2 124M", "12 × 768 · 1,024 tokens", "nanoGPT config/train_gpt2.py",
            model={"n_layer": 12, "n_head": 12, "n_embd": 768, "block_size": 1024},
            batch={"micro_batch": 12, "accumulation": 40},
            schedule={"steps": 600_000, "lr": 6e-4, "min_lr": 6e-5, "warmup_steps": 2000},
            optim={"weight_decay": 0.1, "beta2": 0.95},
            eval={"every": 1000, "windows": 800},
            checkpoint={"every": 5000},
        ),
    )
}  # fmt: skip


class DecayRecord(NamedTuple):
    """How one published model was decayed."""

    model: str
    weight_decay: str
    betas: str
    lr: str  #: peak → floor
    decayed: str  #: which parameters
    source: str


MODEL_DECAY: tuple[DecayRecord, ...] = (
    DecayRecord("GPT-1 117M", "0.01 (modified L2)", "", "2.5e-4 → 0", "all but biases and gains", "the GPT-1 paper"),
    DecayRecord("GPT-2", "not published", "", "", "", "the GPT-2 paper states none"),
    DecayRecord("GPT-3, all sizes", "0.1", "0.9 / 0.95", "6e-4 (125M) to 6e-5 (175B) → 10 %", "not stated", "GPT-3 paper, appendix B"),
    DecayRecord("PaLM", "lr², moving with the schedule", "Adafactor", "1e-2 → 1/√k", "not stated", "PaLM paper"),
    DecayRecord("LLaMA 1 and 2", "0.1", "0.9 / 0.95", "3e-4 or 1.5e-4 → 10 %", "not stated", "LLaMA papers"),
    DecayRecord("Pythia 70M to 12B", "0.1", "0.9 / 0.95", "1e-3 to 1.2e-4 → 10 %", "no biases, no norms", "Pythia models/*.yml"),
    DecayRecord("OLMo-1 1B, 7B", "0.1", "0.9 / 0.95", "4e-4, 3e-4 → 10 %", "", "OLMo configs/official-0724"),
    DecayRecord("OLMo-2 1B, 7B", "0.1", "0.9 / 0.95", "4e-4, 3e-4 → 10 %", "norms and biases too, embeddings not", "OLMo configs/official-0425, -1124"),
    DecayRecord("TinyLlama", "0.1", "0.9 / 0.95", "4e-4 → 4e-5", "", "TinyLlama pretrain/tinyllama.py"),
    DecayRecord("nanoGPT, GPT-2 124M", "0.1", "0.9 / 0.95", "6e-4 → 6e-5", "matrices and embeddings", "nanoGPT train.py"),
    DecayRecord("nanoGPT, Shakespeare", "0.1", "0.9 / 0.99", "1e-3 → 1e-4", "matrices and embeddings", "nanoGPT config/train_shakespeare_char.py"),
    DecayRecord("llm.c 124M", "0.1", "0.9 / 0.95", "6e-4 → 0", "matrices and embeddings", "llm.c scripts, train_gpt2.cu"),
    DecayRecord("nanochat", "Muon 0.28 scaled by batch, data and width; AdamW 0.01 and 0.001", "0.8 / 0.96", "", "by group", "nanochat base_train.py, gpt.py"),
    DecayRecord("modded-nanogpt", "0.005 × lr² (Adam), 1.2 × lr (NorMuon), cautious", "", "", "by group", "modded-nanogpt train_gpt.py"),
)  # fmt: skip
