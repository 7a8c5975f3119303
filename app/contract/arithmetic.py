"""What both sides must agree on of a step's arithmetic: the loss's chunks, and what arms of a comparison share."""

LOSS_ROWS = {"cpu": 256, "cuda": 1024, "mps": 1024}
"""Tokens whose logits exist at once where the loss is taken in chunks. A CPU prefers chunks that stay near its caches; a
GPU needs them to fill its units."""

ATTENTION_ROWS = 128
"""Queries in a block of worker.attention: at a context of 256, half of what causality would waste is skipped."""
ATTENTION_LONGEST = 512
"""Its kept probabilities grow with the square of the context; beyond this torch's own kernel, which keeps none, goes first."""

ASKED_FOR = ("device", "dtype", "compile", "tf32", "processes")
"""Of a run's numeric path, as its telemetry has it: what its configuration and its place decide."""
CHOSEN = ("products", "loss_rows", "attention")
"""What a run chooses before step 0 by measuring; a clone on such a device takes its source's, so that two arms of a
comparison do not differ by it."""
