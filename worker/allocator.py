"""The host's memory allocator, told to keep what a training step frees: the next step needs the same blocks again.

glibc hands large blocks back to the system when they are freed, and the system has to hand out and clear every page anew:
tens of thousands of page faults, a few percent of a step on a CPU. Kept, they are there already.
"""

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of mallopt(3), from malloc.h
_NEVER = 2**31 - 1
_GROW_BYTES = 64 << 20
_KEPT_BYTES = 32 << 20
"""Larger blocks go back as ever: kept, the holes between them made a run with 400 MiB of logits twice as large."""


def keep_freed_memory() -> bool:
    """From now on this process keeps blocks of up to 32 MiB; False where the allocator is not glibc's and nothing changes."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl and macOS have none
        return False
    kept = [mallopt(_MMAP_THRESHOLD, _KEPT_BYTES), mallopt(_TRIM_THRESHOLD, _NEVER), mallopt(_TOP_PAD, _GROW_BYTES)]
    return all(kept)
