"""What both sides must agree on of a step's arithmetic: the loss's chunks, and what arms of a comparison share."""

LOSS_BLOCK_ROWS = {"cpu": 16, "cuda": 256, "mps": 256}
"""Of a chunk of the loss, tokens whose softmax is taken at once."""
CACHED_LOGITS_BYTES = 32 << 20
"""Of a micro-batch, in float32. Measured on a CPU with as large a cache: from half as much again, chunks are 1.1 to 1.5 times as
fast as the whole; with half of it they are slower."""


def loss_rows(device: str, dtype: str) -> int:
    """Tokens whose logits exist at once where the loss is taken in chunks: few where memory is the point; where the shares
    of the head's gradient are added up apart from their products, as many as make that a small part (6 % of a step)."""
    return 256 if device == "cpu" and dtype == "float32" else 1024


def loss_in_chunks(device: str, dtype: str, logits: int, *, compiled: bool, memory_bytes: float) -> bool:
    """What "auto" means for so many logits of a micro-batch (tokens × vocabulary) on a device with `memory_bytes`.

    On a CPU chunks as soon as they are faster; on a GPU, where they are not, when all logits with what the loss makes of
    them would take more than 1 GiB and a tenth of its memory.
    """
    if device == "cpu":
        return 4 * logits > CACHED_LOGITS_BYTES
    return logits * (4 if compiled and dtype != "float32" else 12) > max(1 << 30, memory_bytes / 10)


ATTENTION_ROWS = {"bfloat16": 128, "float32": 64}
"""Queries in a block of worker.attention: at a context of 256, half or three quarters of what causality would waste is skipped.
More blocks, smaller products: which in bfloat16 lose sooner what is saved."""
ATTENTION_SHORTEST = {"bfloat16": 1, "float32": 65}
"""Up to one block of float32 torch's own kernel is as fast and keeps less."""
ATTENTION_LONGEST = 512
"""Its kept probabilities grow with the square of the context; beyond this torch's own kernel, which keeps none, goes first."""

ASKED_FOR = ("device", "dtype", "compile", "tf32", "processes")
"""Of a run's numeric path, as its telemetry has it: what its configuration and its place decide."""
SHARED_OUT = ("threads",)
"""What its machine decides where the configuration says 0."""
LEFT_OPEN = ("dtype", "compile", "threads", "chunked_loss")
"""Fields of a configuration's system that may say "auto" or 0; where two runs leave one open, the later takes the earlier's."""
CHOSEN = ("products", "loss_rows", "attention")
"""What a run chooses before step 0 by measuring; a sibling on such a device (an arm of the same sweep, a fork, a clone)
takes the same, so that two arms of a comparison do not differ by it."""
CUT = ("micro_batch", "accumulation")
"""How a run reads its batch, which a lack of memory may have cut in smaller pieces than its configuration says."""
