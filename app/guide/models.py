"""Weight decay as published models used it, read in their papers, configurations or code."""

from typing import NamedTuple

from app.guide.claims import GPT3, LLMC, NANOGPT, OLMO2, Source, arxiv


class Model(NamedTuple):
    """A row: numbers and names, the same in every language. None: not published; "": not stated."""

    name: str
    decay: str | None
    betas: str | None
    rate: str | None
    batch: str | None
    decayed: str | None
    source: Source


GPT1 = Source(
    "Radford et al. 2018",
    "https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf",
)
NANOCHAT = Source("nanochat", "https://github.com/karpathy/nanochat")
MODDED = Source("modded-nanogpt", "https://github.com/KellerJordan/modded-nanogpt")

MODELS = (
    Model("GPT-1 117M", "0.01", "", "2.5e-4 → 0", "64 × 512", "¬ bias, gain", GPT1),
    Model("GPT-2", None, None, None, "512 × 1,024", None, Source("Radford et al. 2019", "https://openai.com/index/better-language-models/")),
    Model("GPT-3", "0.1", "0.9 / 0.95", "6e-4 (125M) … 6e-5 (175B) → 10 %", "0.5 – 3.2 M", "", GPT3),
    Model("PaLM", "lr²", "Adafactor", "1e-2 → 1/√k", "1 – 4 M", "", arxiv("Chowdhery et al. 2022", "2204.02311")),
    Model("LLaMA 1, 2", "0.1", "0.9 / 0.95", "3e-4, 1.5e-4 → 10 %", "4 M", "", arxiv("Touvron et al. 2023", "2302.13971")),
    Model("Pythia 70M – 12B", "0.1", "0.9 / 0.95", "1e-3 … 1.2e-4 → 10 %", "2 M", "¬ bias, norm", Source("EleutherAI/pythia", "https://github.com/EleutherAI/pythia")),
    Model("OLMo 1B, 7B", "0.1", "0.9 / 0.95", "4e-4, 3e-4 → 10 %", "2,048 × 2,048", "", arxiv("Groeneveld et al. 2024", "2402.00838")),
    Model("OLMo 2 1B, 7B", "0.1", "0.9 / 0.95", "4e-4, 3e-4 → 10 %", "512, 1,024 × 4,096", "¬ wte; + bias, norm", OLMO2),
    Model("TinyLlama", "0.1", "0.9 / 0.95", "4e-4 → 4e-5", "512 × 2,048", "", arxiv("Zhang et al. 2024", "2401.02385")),
    Model("nanoGPT gpt2", "0.1", "0.9 / 0.95", "6e-4 → 6e-5", "491,520", "dim ≥ 2", NANOGPT),
    Model("nanoGPT shakespeare_char", "0.1", "0.9 / 0.99", "1e-3 → 1e-4", "16,384", "dim ≥ 2", NANOGPT),
    Model("llm.c 124M", "0.1", "0.9 / 0.95", "6e-4 → 0", "524,288", "dim ≥ 2", LLMC),
    Model("nanochat", "0.28·√(B/B₀)·(D₀/D); AdamW 0.01, 0.001", "0.8 / 0.96", "", "", "Muon: wqkv, mlp", NANOCHAT),
    Model("modded-nanogpt", "1.2·lr; Adam 0.005·m·lr²", "", "", "", "per tensor", MODDED),
)  # fmt: skip
