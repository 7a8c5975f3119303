"""The rows of bench/train_step.py's table: shape, precision, device and target of each comparison."""

from typing import NamedTuple


class Row(NamedTuple):
    name: str
    title: str
    shape: tuple[int, int, int, int, int, int]  #: vocabulary, block, layers, heads, width, micro-batch
    dtype: str
    compiled: bool
    target: float
    device: str = "cpu"
    whole_logits: bool = False  #: even where the loss would be taken in chunks

    @property
    def tokens(self) -> int:
        """Of a step."""
        return self.shape[1] * self.shape[5]


ROWS = (
    Row("readme", "README recipe 4/128/64, float32", (65, 64, 4, 4, 128, 12), "float32", False, 1.35),
    Row("fp32", "6/384/256, float32", (65, 256, 6, 6, 384, 8), "float32", False, 1.6),
    Row("bf16", "6/384/256, bf16 autocast", (65, 256, 6, 6, 384, 8), "bfloat16", False, 2.4),
    Row("vocabulary", "6/384/256, vocabulary 50,304, bf16, compiled", (50_304, 256, 6, 6, 384, 8), "bfloat16", True, 2.7),
    Row("gpu", "GPT-2 124M, T 1024, bf16, compiled", (50_304, 1024, 12, 12, 768, 32), "bfloat16", True, 1.3, "cuda"),
)  # fmt: skip
CHUNKED = Row(
    "chunked", "6/384/256, vocabulary 50,304, float32, loss in chunks", (50_304, 256, 6, 6, 384, 8), "float32", False, 0.8
)  # fmt: skip
