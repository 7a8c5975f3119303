"""The claims' verdicts and sources: the same in every language. Which experiments decide one, app/ready_made.py says."""

from typing import NamedTuple


class Source(NamedTuple):
    title: str
    url: str


class Claim(NamedTuple):
    key: str
    verdict: str  #: a key of Words.verdicts
    sources: tuple[Source, ...] = ()


def arxiv(title: str, number: str) -> Source:
    return Source(title, f"https://arxiv.org/abs/{number}")


ADAMW = arxiv("Loshchilov and Hutter 2017", "1711.05101")
TORCH = Source("PyTorch, torch.optim.AdamW", "https://pytorch.org/docs/stable/generated/torch.optim.AdamW.html")
WHY = arxiv("D'Angelo et al. 2023", "2310.04415")
NANOGPT = Source("nanoGPT", "https://github.com/karpathy/nanoGPT")
LLMC = Source("llm.c", "https://github.com/karpathy/llm.c")
GPT3 = arxiv("Brown et al. 2020, appendix B", "2005.14165")
OLMO2 = arxiv("OLMo 2 2025", "2501.00656")
BITS = arxiv("Morris et al. 2025", "2505.24832")
ZERO = arxiv("Bergsma et al. 2025", "2502.15938")

CLAIMS = (
    Claim("W1", "wrong", (ADAMW, TORCH)),
    Claim("W2", "wrong", (ADAMW,)),
    Claim("W3", "mostly_wrong", (WHY, arxiv("Kim et al. 2025", "2509.14786"))),
    Claim("W4", "partly", (TORCH, arxiv("Wang and Aitchison 2024", "2405.13698"))),
    Claim("W5", "unsupported", (NANOGPT, LLMC)),
    Claim("W6", "right", (GPT3, arxiv("Touvron et al. 2023", "2302.13971"))),
    Claim("W7", "wrong", (arxiv("Chowdhery et al. 2022", "2204.02311"),)),
    Claim("W8", "unsupported", (Source("xai-org/grok-1", "https://github.com/xai-org/grok-1"),)),
    Claim("W9", "unsupported"),
    Claim("W10", "wrong"),
    Claim("W11", "convention", (NANOGPT, OLMO2)),
    Claim("W12", "bug", (TORCH,)),
    Claim("W13", "misleading"),
    Claim("W14", "wrong", (BITS,)),
    Claim("P1", "right"),
    Claim("P2", "right"),
    Claim("P3", "wrong"),
    Claim("P4", "wrong", (NANOGPT,)),
    Claim("P5", "wrong", (BITS,)),
    Claim("P6", "wrong"),
    Claim("P7", "wrong", (LLMC,)),
    Claim("P8", "wrong", (NANOGPT,)),
    Claim("P9", "unasked"),
    Claim("P10", "mostly_wrong", (arxiv("Kaplan et al. 2020", "2001.08361"), arxiv("DeepSeek 2024", "2401.02954"))),
    Claim("P11", "unsupported", (GPT3,)),
    Claim("P12", "partly", (ZERO,)),
    Claim("P13", "wrong"),
    Claim("P14", "wrong", (GPT3,)),
    Claim("P15", "wrong", (NANOGPT,)),
    Claim("P16", "wrong", (arxiv("Hoffmann et al. 2022", "2203.15556"), arxiv("Besiroglu et al. 2024", "2404.10102"))),
    Claim("P17", "wrong"),
    Claim("P18", "misleading", (NANOGPT,)),
    Claim("P19", "right"),
    Claim("P20", "wrong", (NANOGPT,)),
    Claim("P21", "trap", (TORCH,)),
    Claim("P22", "partly", (arxiv("Wang and Aitchison 2024", "2405.13698"),)),
    Claim("P23", "misleading"),
    Claim("P24", "partly", (arxiv("Muennighoff et al. 2023", "2305.16264"),)),
)
