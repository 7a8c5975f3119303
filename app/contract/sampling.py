"""How text is sampled: what a person asks for and a worker is told."""

from pydantic import Field

from app.contract.setting import Section, setting

MOST_TOKENS = 1000
MOST_SAMPLES = 10


class SampleSettings(Section):
    """Equal settings over equal weights write equal text, on a CPU bit for bit."""

    prompt: str = setting(
        "", "Prompt", "What the text begins with; empty: the start of a document.", max_length=4000
    )  # fmt: skip
    temperature: float = setting(
        0.8, "Temperature", "Below 1 the probable becomes more probable; 0 always takes the most probable token.",
        usual="0.5 to 1", ge=0, le=10,
    )  # fmt: skip
    top_k: int = setting(200, "Top k", "Only the k most probable tokens are drawn from; 0: all.", unit="tokens", ge=0, le=1_000_000)  # fmt: skip
    top_p: float = setting(
        1.0, "Top p", "Only the fewest most probable tokens that hold this share together; 1: all.", gt=0, le=1
    )  # fmt: skip
    seed: int = setting(1, "Seed", "Fixes every draw; each sample has draws of its own.", ge=0, le=2**31 - 1)
    samples: int = setting(1, "Samples", "Texts from one prompt.", ge=1, le=MOST_SAMPLES)
    tokens: int = setting(
        200, "Tokens", "Written after the prompt at most; a text also ends at end-of-text.", unit="tokens", ge=1, le=MOST_TOKENS
    )  # fmt: skip


class Asked(SampleSettings):
    """A request for samples: the settings, and which weights write."""

    at: str = Field(
        "last",
        title="From",
        max_length=40,
        description="last: the newest checkpoint. best: the one with the lowest validation loss. A step, or a checkpoint's id (c-0001). now: the weights of a run that trains, between two of its steps.",
    )
