import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, torch
from worker.allocator import keep_freed_memory
torch.set_num_threads(1)
kept = keep_freed_memory() if sys.argv[1] == "keep" else None

def step():
    held = [torch.ones(3 << 20) for _ in range(6)]  # 12 MiB each, freed in the order in which they were made
    for i in range(6):
        held[i] = None

for _ in range(4):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> tuple[str, int]:
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True, timeout=60)
    kept, count = done.stdout.split()
    return kept, int(count)


def test_memory_that_a_step_freed_is_there_for_the_next_one_without_a_page_fault() -> None:
    kept, count = faults("keep")
    if kept == "False":
        pytest.skip("this C library has no mallopt")
    assert count < faults("as ever")[1] / 10
