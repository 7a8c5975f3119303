"""Logs as other programs write them, for the tests that read them: nanoGPT's, llm.c's, TensorBoard's by an encoder of our own."""

import struct

VAL = [3.6381, 3.6365, 3.6584, 3.6324, 3.5848, 3.6045, 3.5861, 3.5917, 3.5546, 3.5790]
TRAIN = [3.7182, 3.7312, 3.7005, 3.6949, 3.6523, 3.7079, 3.6292, 3.6729, 3.6413, 3.6249]
"""Evaluations at steps 10,000, 10,500, … of a 40M model on one parquet file."""

GOLDEN_ARGS = """python train.py --n_layer=12 --n_head=12 --n_embd=384 --block_size=1024 --batch_size=16 \\
    --gradient_accumulation_steps=32 --dropout=0.1 --bias=False --learning_rate=1e-3 --min_lr=1e-4 --max_iters=20000 \\
    --lr_decay_iters=20000 --warmup_iters=500 --weight_decay=0.1 --beta2=0.99 --eval_interval=500 --eval_iters=200"""


def golden() -> str:
    head = """tokens per iteration will be: 524,288
number of parameters: 40.56M
num decayed parameter tensors: 50, with 40,943,616 parameters
num non-decayed parameter tensors: 25, with 9,600 parameters
using fused AdamW: True
"""
    lines = [
        f"step {10_000 + 500 * place}: train loss {train:.4f}, val loss {val:.4f}\nsaving checkpoint to out\n"
        f"iter {10_000 + 500 * place}: loss {train + 0.1:.4f}, time 4521.33ms, mfu 11.20%\n"
        for place, (train, val) in enumerate(zip(TRAIN, VAL, strict=True))
    ]
    return head + "".join(lines)


def crc32c(data: bytes) -> int:
    """Castagnoli's, bit by bit: not the table that the reader uses."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, kind: int, data: bytes) -> bytes:
    return varint(number << 3 | kind) + (varint(len(data)) if kind == 2 else b"") + data


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def scalar(tag: str, step: int, value: float, wall: float = 1e9, *, tensor: bool = False) -> bytes:
    """One event of one scalar: simple_value as torch writes it, or a tensor as TensorFlow 2 does."""
    number = (
        field(8, 2, field(1, 0, varint(1)) + field(4, 2, struct.pack("<f", value)))
        if tensor
        else field(2, 5, struct.pack("<f", value))
    )
    summary = field(1, 2, field(1, 2, tag.encode()) + number)
    return record(field(1, 1, struct.pack("<d", wall)) + field(2, 0, varint(step)) + field(5, 2, summary))


def version() -> bytes:
    return record(field(1, 1, struct.pack("<d", 1e9)) + field(3, 2, b"brain.Event:2"))
